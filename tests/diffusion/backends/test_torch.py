"""The UNet on an accelerator, as far as a device without memory shows it."""

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from diffusion.backends.torch import TorchBackend, unet_example
from diffusion.device import sent
from tests.bundles import tiny_bundle

META = torch.device("meta")


def test_an_accelerator_has_weights_in_the_layout_of_its_convolutions(tmp_path: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny_bundle(tmp_path / "tiny") / "unet")
    inputs = {name: x.to(META) for name, x in unet_example(unet, 3, 2, 5).items()}
    backend = TorchBackend(unet, META)
    kernel = unet.conv_in.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()
    found = backend.predict(**inputs, added=None)
    assert (found.shape, found.dtype) == (inputs["sample"].shape, torch.float32)


def test_values_are_sent_as_they_are() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert sent(values, torch.device("cpu")).tolist() == values.tolist()
    assert sent(values, META).shape == (2, 3)
