"""The families of checkpoints that are served."""

from collections.abc import Mapping
from typing import Any

from diffusion.backbones.flux import FLUX
from diffusion.backbones.layout import Layout
from diffusion.backbones.pixart import PIXART
from diffusion.backbones.sd3 import SD3
from diffusion.backbones.unconditional import UNCONDITIONAL
from diffusion.backbones.unet import UNET
from diffusion.backbones.z_image import Z_IMAGE
from diffusion.config import fault, shown
from diffusion.errors import BundleError
from diffusion.files import INDEX

LAYOUTS: tuple[Layout, ...] = (UNET, UNCONDITIONAL, PIXART, SD3, FLUX, Z_IMAGE)


def layout_of(index: Mapping[str, Any]) -> Layout:
    """Return the family that a bundle's index names; without a name it is a UNet's.

    Raises:
        BundleError: it is not served, or one of its keys is not.
    """
    name = index.get("_class_name", UNET.pipelines[0])
    layout = next((each for each in LAYOUTS if name in each.pipelines), None)
    if layout is None:
        known = ", ".join(pipeline for each in LAYOUTS for pipeline in each.pipelines)
        raise BundleError(f"{INDEX}: _class_name {shown(name)} is not served, only {known}")
    absent = {name for name, part in index.items() if part == [None, None]} - layout.index.keys()
    if wrong := fault({k: v for k, v in index.items() if k not in absent}, layout.index):
        raise BundleError(f"{INDEX}: {wrong}")
    return layout
