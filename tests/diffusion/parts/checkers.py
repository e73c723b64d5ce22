"""Safety checkers, tiny and random, in the layout in which Stable Diffusion 1.5 brings its own."""

import json
from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig

VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14, "projection_dim": 16,
}  # fmt: skip
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "vocab_size": 100, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
PREPROCESSOR = {
    "crop_size": 28, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
    "do_resize": True, "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 28,
}  # fmt: skip
ALL, NONE = -2.0, 2.0  # beyond any cosine


def write_checker(folder: Path, threshold: float) -> Path:
    """Write into a bundle a checker that flags whose cosine with a concept is above a threshold.

    Its tensors have the names of the files of 2022.
    """
    torch.manual_seed(6)
    network = StableDiffusionSafetyChecker(
        CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    )
    torch.nn.init.normal_(network.concept_embeds)
    torch.nn.init.constant_(network.concept_embeds_weights, threshold)
    torch.nn.init.constant_(network.special_care_embeds_weights, NONE)
    network.save_pretrained(folder / "safety_checker")
    path = folder / "safety_checker" / "model.safetensors"
    save_file({_early(name): t for name, t in load_file(path).items()}, path, {"format": "pt"})
    (folder / "feature_extractor").mkdir()
    extractor = folder / "feature_extractor" / "preprocessor_config.json"
    extractor.write_text(json.dumps(PREPROCESSOR))
    return folder


def _early(name: str) -> str:
    return f"vision_model.{name}" if name.startswith("vision_model.") else name
