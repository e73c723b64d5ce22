"""Networks from the tensors of a checkpoint, renamed by diffusers' converters."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from diffusion.checkpoints import shapes as by_shape
from diffusion.checkpoints.families import UNET, VAE, ClipPart, Family
from diffusion.config import Table, fault
from diffusion.config_keys import TEXT_ENCODER
from diffusion.config_keys import UNET as UNET_KEYS
from diffusion.config_keys import VAE as VAE_KEYS
from diffusion.errors import BundleError
from diffusion.parts.loading import described, one_line
from diffusion.parts.weights import FLOATS, check_weights, difference
from diffusion.tensor_file import TensorEntry

DTYPES = {dtype: name for name, dtype in FLOATS.items()}
Tensors = Mapping[str, Tensor]
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
"""What of a VAE is read; a file may hold the losses of its training, too."""
OPEN_CLIP = re.compile(
    r"transformer\..*|(positional|token)_embedding(\.weight)?|ln_final\..*|text_projection"
    r"|logit_scale|attn_mask"
)
UNUSED_CLIP = re.compile(r".*position_ids|logit_scale|attn_mask")


@dataclass(frozen=True, eq=False)
class Network:
    """A part of a model: its folder, configuration and tensors, which are the file's in place."""

    part: str
    config: Mapping[str, Any]
    tensors: Tensors

    @property
    def file(self) -> str:
        """The name of its weights, which the library that loads them looks for."""
        clip = self.part.startswith("text_encoder")
        return f"{'' if clip else 'diffusion_pytorch_'}model.safetensors"


def unet(tensors: Tensors, family: Family, side: int, file: Path) -> Network:
    """Return a checkpoint's UNet.

    Raises:
        BundleError: it is not whole, or not of the family.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    own = {name: tensor for name, tensor in tensors.items() if name.startswith(UNET)}
    config = by_shape.unet_config(_shapes(tensors), family, side)
    with _converting("UNet"):
        converted = convert_ldm_unet_checkpoint(own, config)
    _check_all_used(own, converted)
    network = Network("unet", config, converted)
    _check(network, UNET_KEYS, lambda: UNet2DConditionModel.from_config(dict(config)), file)
    return network


def vae(tensors: Tensors, family: Family, side: int, file: Path) -> Network:
    """Return a VAE, of the names in a checkpoint, of those in a file of its own, or of diffusers.

    Raises:
        BundleError: it is not whole.
    """
    own = {name.removeprefix(VAE): tensor for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in own.items() if name.startswith(VAE_PARTS)}
    if not any(name.startswith("encoder.down_blocks.") for name in own):
        own = _converted_vae(own)
    return checked_vae(own, by_shape.vae_config(_shapes(own), family, side), file)


def checked_vae(tensors: Tensors, config: Mapping[str, Any], file: Path) -> Network:
    """Return a VAE of diffusers' names, compared with its configuration.

    Raises:
        BundleError: it is not whole.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    network = Network("vae", config, tensors)
    _check(network, VAE_KEYS, lambda: AutoencoderKL.from_config(dict(config)), file)
    return network


@contextlib.contextmanager
def _converting(part: str) -> Iterator[None]:
    """Say which part is not as diffusers' converter expects it to be."""
    try:
        yield
    except KeyError as error:
        raise BundleError(f"{one_line(error)} is missing in its {part}") from error
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise BundleError(f"its {part} cannot be converted: {one_line(error)}") from error


def _converted_vae(own: Tensors) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    levels = len({m[1] for name in own if (m := re.match(r"encoder\.down\.(\d+)\.", name))})
    blocks = {"down_block_types": range(levels), "up_block_types": range(levels)}
    with _converting("VAE"):
        converted: dict[str, Tensor] = convert_ldm_vae_checkpoint(own, blocks)
    _check_all_used(own, converted)
    return converted


def text_encoder(tensors: Tensors, encoder: ClipPart, file: Path) -> Network:
    """Return one of a checkpoint's text encoders.

    Raises:
        BundleError: it is not whole, or another than the family's.
    """
    import transformers

    own = {name: tensor for name, tensor in tensors.items() if name.startswith(encoder.prefix)}
    # The converter copies some tensors, so that it sees only shapes until they are known to fit.
    converted = _converted_clip({n: t.to("meta") for n, t in own.items()}, encoder)
    config = by_shape.clip_config(_shapes(converted), encoder)
    kind: Any = getattr(transformers, encoder.kind)
    build = kind.config_class.from_dict
    shown = Network(encoder.part, config, converted)
    _check(shown, TEXT_ENCODER, lambda: kind(build(dict(config))), file)
    return Network(encoder.part, config, _converted_clip(own, encoder))


def _converted_clip(own: Tensors, encoder: ClipPart) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import (
        convert_ldm_clip_checkpoint,
        convert_open_clip_checkpoint,
    )

    if not encoder.open_clip:
        names = {name: name.removeprefix(encoder.prefix) for name in own}
        kept = {n: t for n, t in own.items() if not UNUSED_CLIP.fullmatch(names[n])}
        converted = convert_ldm_clip_checkpoint(kept)
        return {f"text_model.{n.removeprefix('text_model.')}": t for n, t in converted.items()}
    width = own.get(f"{encoder.prefix}positional_embedding")
    if width is None or width.ndim != 2:
        raise BundleError(f"{encoder.prefix}positional_embedding is missing")
    _check_open_clip(own, encoder.prefix)
    network = SimpleNamespace(config=SimpleNamespace(hidden_size=width.shape[1]))
    with _converting(encoder.part):
        return dict(convert_open_clip_checkpoint(network, own, prefix=encoder.prefix))


def _check_open_clip(own: Tensors, prefix: str) -> None:
    """Refuse tensors that the converter passes over without being harmless."""
    names = (name.removeprefix(prefix) for name in own)
    left = [name for name in names if not OPEN_CLIP.fullmatch(name)]
    if left:
        raise BundleError(difference([], left))


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _check_all_used(given: Tensors, converted: Tensors) -> None:
    """Refuse tensors that the converter passes over: they would have changed the images."""
    used = {tensor.data_ptr() for tensor in converted.values() if tensor is not None}
    if left := [name for name, tensor in given.items() if tensor.data_ptr() not in used]:
        raise BundleError(difference([], left))


def _check(network: Network, table: Table, build: Any, file: Path) -> None:
    """Compare the converted tensors with the network that their configuration describes."""
    if wrong := fault(network.config, table):
        raise BundleError(f"{network.part}: {wrong}")
    weights = {
        name: TensorEntry(DTYPES.get(each.dtype, str(each.dtype)), tuple(each.shape), file.name)
        for name, each in network.tensors.items()
        if each is not None
    }
    state: Mapping[str, Tensor] = described(Path(network.part), build)
    check_weights(weights, state)


def dtypes(network: Network) -> str:
    """Return the precisions that a network's weights are stored in."""
    return ", ".join(
        sorted({str(each.dtype).rpartition(".")[2] for each in network.tensors.values()})
    )
