"""A VAE that is given apart from its checkpoint: a file, or a folder of diffusers."""

from pathlib import Path

from torch import Tensor

from diffusion.checkpoints import networks
from diffusion.checkpoints.families import Family
from diffusion.checkpoints.kinds import check_floats, check_format
from diffusion.checkpoints.networks import Network
from diffusion.errors import BundleError
from diffusion.parts.loading import DIFFUSERS_STEM, one_line
from diffusion.parts.open import codec_config
from diffusion.parts.weights import read_weights, weight_files
from diffusion.tensor_file import read_header

DEFAULT_SCALING_FACTOR = 0.18215  # diffusers'


def given_vae(path: Path, family: Family, side: int) -> Network:
    """Return a VAE for a checkpoint of a family.

    Raises:
        BundleError: it is no VAE, is broken, or is another family's.
    """
    if path.is_dir():
        return _from_folder(path / "vae" if (path / "vae").is_dir() else path, family)
    check_format(path)
    entries = read_header(path)
    names = [name.removeprefix("first_stage_model.") for name in entries]
    if "decoder.conv_in.weight" not in names:
        raise BundleError(f"{path.name} is no VAE")
    check_floats(path, entries)
    return networks.vae(_mapped(path), family, side, path)


def _from_folder(folder: Path, family: Family) -> Network:
    config = codec_config(folder)
    if config["_class_name"] != "AutoencoderKL":
        raise BundleError(f"{folder.name}/config.json: {config['_class_name']} is no VAE")
    scale = config.get("scaling_factor", DEFAULT_SCALING_FACTOR)
    if scale != family.scaling_factor:
        raise BundleError(
            f"{folder.name}/config.json: scaling_factor {scale} is another family's VAE; "
            f"that of {family.title} has {family.scaling_factor}"
        )
    entries = read_weights(folder, DIFFUSERS_STEM)
    check_floats(folder, entries)
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder, DIFFUSERS_STEM).paths:
        tensors |= _mapped(path)
    return networks.checked_vae(tensors, config, folder)


def _mapped(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path.name}: {one_line(error)}") from error
