"""Tiny random models in real layouts, made on the spot."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from diffusion.codec import PatchPCACodec

TOKENS = 12
WIDTH = 32


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer trained on two words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    special = ["<|pad|>", "<|start|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a red apple", "红苹果"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", 1), ("<|end|>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|start|>",
        eos_token="<|end|>",
        model_max_length=TOKENS,
    )


def set_scheduler(folder: Path, scheduler: Any) -> None:
    """Make one of diffusers' schedulers a model's own."""
    scheduler.save_pretrained(folder / "scheduler")
    index = folder / "model_index.json"
    named = {"scheduler": ["diffusers", type(scheduler).__name__]}
    index.write_text(json.dumps(json.loads(index.read_text()) | named))


def tiny_bundle(folder: Path, *, prediction_type: str = "epsilon", seed: int = 0) -> Path:
    """Write a random text-to-image model of 32×32 pixels and return its folder."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    unet.save_pretrained(folder / "unet")
    text = CLIPTextConfig(
        vocab_size=300,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    tiny_tokenizer().save_pretrained(str(folder / "tokenizer"))
    codec = PatchPCACodec.fit(torch.rand(16, 3, 32, 32) * 2 - 1, 8, 4, 0.5)
    (folder / "vae").mkdir()
    save_file(codec.state_dict(), folder / "vae" / "diffusion_pytorch_model.safetensors")
    write(folder / "vae" / "config.json", _class_name="PatchPCACodec", patch_size=8,
          latent_channels=4)  # fmt: skip
    (folder / "scheduler").mkdir()
    write(
        folder / "scheduler" / "scheduler_config.json",
        _class_name="DDIMScheduler",
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        num_train_timesteps=1000,
        prediction_type=prediction_type,
    )
    write(folder / "model_index.json", _class_name="StableDiffusionPipeline")
    write(folder / "sfumato.json", name="tiny", title="Tiny", default_steps=4,
          default_guidance_scale=2.0)  # fmt: skip
    return folder


def named(folder: Path, name: str) -> Path:
    """Give a model another name."""
    extra = folder / "sfumato.json"
    write(extra, **json.loads(extra.read_text()) | {"name": name})
    return folder


def write(path: Path, **values: object) -> None:
    """Write a JSON object."""
    path.write_text(json.dumps(values))
