"""A UNet's configuration: which networks are served."""

from pathlib import Path
from typing import Any

from diffusion.config import fault, shown
from diffusion.config_keys import UNET
from diffusion.errors import BundleError
from diffusion.files import read_json

# Of UNets that need more than a prompt, a size and a timestep.
UNSUPPORTED_CONDITIONING = (
    "class_embed_type",
    "num_class_embeds",
    "encoder_hid_dim_type",
    "encoder_hid_dim",
)


def unet_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a bundle's UNet.

    Raises:
        BundleError: it is broken, or of a kind that is not served.
    """
    config = read_json(folder / "unet" / "config.json")
    if config.get("_class_name") != "UNet2DConditionModel":
        kind = shown(config.get("_class_name"))
        raise BundleError(f"unet/config.json: {kind} is not served")
    for key in ("sample_size", "in_channels", "block_out_channels", "cross_attention_dim"):
        if not config.get(key):
            raise BundleError(f"unet/config.json does not say {key}")
    if not isinstance(config["sample_size"], int):
        raise BundleError(
            f"unet/config.json: sample_size {shown(config['sample_size'])} is not one side"
        )
    taken, given = config["in_channels"], config.get("out_channels", 4)
    if taken != given:
        raise BundleError(
            f"unet/config.json: unet takes {shown(taken)} channels and gives {shown(given)}: "
            "models that take an image, for inpainting or editing, are not served"
        )
    for key in UNSUPPORTED_CONDITIONING:
        if config.get(key) is not None:
            raise BundleError(f"unet/config.json: a UNet with {key} is not served")
    if config.get("addition_embed_type") not in (None, "text", "text_time"):
        kind = shown(config["addition_embed_type"])
        raise BundleError(f"unet/config.json: addition_embed_type {kind} is unknown")
    if wrong := fault(config, UNET):
        raise BundleError(f"unet/config.json: {wrong}")
    return config
