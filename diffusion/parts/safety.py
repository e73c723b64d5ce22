"""A model's own safety checker: which finished images show what its authors filter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffusion.errors import BundleError
from diffusion.files import read_json
from diffusion.parts.loading import TRANSFORMERS_STEM, described, one_line
from diffusion.parts.weights import check_loaded, read_weights, stored_dtype, weight_files

CHECKER, PROCESSOR = "safety_checker", "feature_extractor"


class SafetyChecker:
    """diffusers' ``StableDiffusionSafetyChecker``: a CLIP that compares images with concepts."""

    def __init__(self, network: Any, processor: Any, device: torch.device) -> None:
        self._network = network
        self._processor = processor
        self._device = device

    @torch.inference_mode()
    def flags(self, images: NDArray[np.uint8]) -> Sequence[bool]:
        """Return for each of the images (N, H, W, 3) whether it is to be filtered."""
        pictures = [Image.fromarray(each) for each in images]
        pixels: Tensor = self._processor(pictures, return_tensors="pt").pixel_values
        # The checker blackens flagged images in this list itself; ours are not in it.
        blanks = [np.zeros(1) for _ in images]
        _, flagged = self._network(pixels.to(self._device, self._network.dtype), blanks)
        return [bool(each) for each in flagged]


def load_safety_checker(folder: Path, device: torch.device) -> SafetyChecker:
    """Load a bundle's safety checker and its preprocessing.

    Raises:
        BundleError: it has none, or it is broken.
    """
    for part in (CHECKER, PROCESSOR):
        if not (folder / part).is_dir():
            raise BundleError(f"the model has no {part}, which SFUMATO_SAFETY needs")
    return SafetyChecker(_network(folder / CHECKER, device), _processor(folder / PROCESSOR), device)


def _network(folder: Path, device: torch.device) -> Any:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    config = read_json(folder / "config.json")
    weights = read_weights(folder, TRANSFORMERS_STEM)
    described(folder, lambda: StableDiffusionSafetyChecker(CLIPConfig.from_dict(config)))
    try:
        network, info = StableDiffusionSafetyChecker.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            variant=weight_files(folder, TRANSFORMERS_STEM).variant,
            torch_dtype=torch.float32 if device.type == "cpu" else stored_dtype(weights),
            output_loading_info=True,
        )
    except Exception as error:  # the loaders let any parser's exception through
        raise BundleError(f"{folder.name}: {one_line(error)}") from error
    check_loaded(folder, info)
    return network.to(device).eval().requires_grad_(False)


def _processor(folder: Path) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    read_json(folder / "preprocessor_config.json")
    try:
        return CLIPImageProcessorPil.from_pretrained(str(folder), local_files_only=True)  # nosec B615
    except Exception as error:  # the loaders let any parser's exception through
        raise BundleError(f"{folder.name}/preprocessor_config.json: {one_line(error)}") from error
