"""Turns a checkpoint in one file, in the layout of CompVis or Stability AI, into a directory."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from diffusion.checkpoints import networks
from diffusion.checkpoints.edm import KEYS as EDM_KEYS
from diffusion.checkpoints.edm import with_edm
from diffusion.checkpoints.ema import EMA, averaged
from diffusion.checkpoints.families import UNET, VAE, Family, family_of
from diffusion.checkpoints.kinds import READ, UNET_CHANNELS, check_floats, check_format, check_kind
from diffusion.checkpoints.networks import VAE_PARTS, Network
from diffusion.checkpoints.prediction import Prediction, prediction, scheduler_config, side
from diffusion.checkpoints.tokenizer import write_tokenizer
from diffusion.checkpoints.vae import given_vae
from diffusion.errors import BundleError
from diffusion.files import INDEX
from diffusion.parts.loading import one_line
from diffusion.tensor_file import TensorEntry, read_file

READ_PREFIXES = (UNET, VAE, "cond_stage_model.", "conditioner.")
KNOWN_PREFIXES = (
    EMA, f"{VAE}loss.", f"{VAE}{EMA}", "alphas_cumprod", "betas", "denoiser.", "global_step",
    "log_one_minus_", "logvar", "lvlb_weights", "posterior_", "sqrt_", "v_pred", "ztsnr", *EDM_KEYS,
)  # fmt: skip
"""Tensors of training, which a model does without, and what is read of them beside networks."""


@dataclass(frozen=True)
class Checkpoint:
    """A single file, as its header describes it."""

    file: Path
    family: Family
    prediction: Prediction
    names: Mapping[str, str]  # in the file, by those that the networks are read by
    notes: tuple[str, ...]  # what it is, what was assumed and what is passed over, in sentences

    @property
    def has_vae(self) -> bool:
        """Whether it holds a VAE."""
        return any(name.startswith(VAE) for name in self.names)


def read_checkpoint(
    file: Path,
    *,
    prediction_type: str | None = None,
    zero_snr: bool | None = None,
    ema: bool = False,
) -> Checkpoint:
    """Return what a single file is, from its header alone.

    Args:
        file: the checkpoint, ``.safetensors``.
        prediction_type: what its network predicts: "epsilon" or "v_prediction"; None is what the
            file says or, where it does not, what its family does.
        zero_snr: whether it was trained with zero terminal SNR; None is what the file says.
        ema: take the moving averages of the weights where the file holds both.

    Raises:
        BundleError: it is not a checkpoint that is read; the message says what it is.
    """
    check_format(file)
    entries, metadata = read_file(file)
    names, notes = _unet_names(entries, file, ema)
    taken = {name: entries[source] for name, source in names.items()}
    check_kind(file, taken)
    family = family_of(taken)
    if family is None:
        raise BundleError(f"{file.name} holds another text encoder than those of {READ}")
    check_floats(file, {n: e for n, e in taken.items() if n.startswith(READ_PREFIXES)})
    family = with_edm(family, entries, file)
    with _naming(file):
        found = prediction(family, entries.keys(), metadata, prediction_type, zero_snr)
    notes += [found.because, *_ignored(entries, family)]
    return Checkpoint(file, family, found, names, (family.title, *notes))


def _unet_names(
    entries: Mapping[str, TensorEntry], file: Path, ema: bool
) -> tuple[dict[str, str], list[str]]:
    """Return the names in the file by those read, and what is said of moving averages."""
    names = {name: name for name in entries if not name.startswith(EMA)}
    plain = any(name.startswith(UNET) for name in names)
    has_averages = any(name.startswith(f"{EMA}diffusion_model") for name in entries)
    if not has_averages:
        if ema:
            raise BundleError(f"{file.name} holds no moving averages (EMA) of its weights")
        return names, []
    if plain and not ema:
        return names, ["its moving averages (EMA) are ignored; --ema takes them"]
    averages = averaged(entries, file)
    names = {name: source for name, source in names.items() if not name.startswith(UNET)}
    said = "as asked" if plain else "as it holds no other weights"
    return names | averages, [f"its moving averages (EMA) are taken, {said}"]


def _ignored(entries: Mapping[str, TensorEntry], family: Family) -> list[str]:
    encoders = tuple(each.prefix for each in family.encoders)
    vae = tuple(VAE + part for part in VAE_PARTS)
    known = (UNET, *vae, *encoders, *KNOWN_PREFIXES)
    left = [name for name in entries if not name.startswith(known)]
    if not left:
        return []
    shown = ", ".join(repr(name[:60])[1:-1] for name in left[:3]) + (", …" if left[3:] else "")
    return [f"{len(left)} tensors are ignored ({shown})"]


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Begin the message of an error with the file's name."""
    try:
        yield
    except BundleError as error:
        if str(error).startswith(file.name):
            raise
        raise BundleError(f"{file.name}: {error}") from error


def read_networks(checkpoint: Checkpoint, vae: Path | None = None) -> list[Network]:
    """Return a checkpoint's networks; their tensors lie in the file, which is mapped.

    Raises:
        BundleError: one of them is not whole, or there is no VAE.
    """
    file, family = checkpoint.file, checkpoint.family
    if vae is None and not checkpoint.has_vae:
        raise BundleError(f"{file.name} holds no VAE: give one with --vae, a file or a folder")
    tensors = _mapped(checkpoint)
    latents = side(family, checkpoint.prediction)
    with _naming(file):
        found = [networks.unet(tensors, family, latents, file)]
        found += [networks.text_encoder(tensors, each, file) for each in family.encoders]
        if vae is None:
            own = {name: tensor for name, tensor in tensors.items() if name.startswith(VAE)}
            return [*found, networks.vae(own, family, latents, file)]
    with _naming(vae):
        given = given_vae(vae, family, latents)
        if (channels := given.config.get("latent_channels", 4)) != UNET_CHANNELS:
            raise BundleError(
                f"its latents have {channels} channels, and the UNet's {UNET_CHANNELS}"
            )
    return [*found, given]


def _mapped(checkpoint: Checkpoint) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(checkpoint.file)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{checkpoint.file.name}: {one_line(error)}") from error
    return {name: tensors[source] for name, source in checkpoint.names.items()}


def convert(
    file: Path,
    folder: Path,
    *,
    vae: Path | None = None,
    prediction_type: str | None = None,
    zero_snr: bool | None = None,
    ema: bool = False,
) -> Checkpoint:
    """Write a single file's model into an empty folder, as a diffusers directory.

    Weights keep the precision that they are stored in. ``model_index.json`` is written last: a
    folder without one is not whole. ``vae`` is a file or a folder of diffusers; it replaces the
    file's own. The other arguments are those of ``read_checkpoint``.

    Raises:
        BundleError: the file is not a checkpoint that is read, or the folder cannot be written.
    """
    checkpoint = read_checkpoint(file, prediction_type=prediction_type, zero_snr=zero_snr, ema=ema)
    found = read_networks(checkpoint, vae)
    if vae is not None:
        said = "its VAE is replaced by" if checkpoint.has_vae else "its VAE is"
        checkpoint = replace(checkpoint, notes=(*checkpoint.notes, f"{said} {vae.name}"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BundleError(f"{folder} is not empty")
        _write(folder, checkpoint, found)
    except OSError as error:
        raise BundleError(f"{folder}: {error.strerror or error}") from error
    return checkpoint


def _write(folder: Path, checkpoint: Checkpoint, found: list[Network]) -> None:
    for network in found:
        _write_network(folder / network.part, network)
    for encoder in checkpoint.family.encoders:
        name = encoder.part.replace("text_encoder", "tokenizer")
        write_tokenizer(folder / name, pad=encoder.pad)
    (folder / "scheduler").mkdir()
    scheduler = scheduler_config(checkpoint.family, checkpoint.prediction)
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    _write_json(folder / INDEX, _index(checkpoint.family, scheduler))


def _index(family: Family, scheduler: Mapping[str, Any]) -> dict[str, Any]:
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler["_class_name"]],
    }
    for encoder in family.encoders:
        parts[encoder.part] = ["transformers", encoder.kind]
        parts[encoder.part.replace("text_encoder", "tokenizer")] = ["transformers", "CLIPTokenizer"]
    return {"_class_name": family.pipeline, **parts, **family.index}


def _write_network(folder: Path, network: Network) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in network.tensors.items()}
    try:
        save_file(tensors, folder / network.file, metadata={"format": "pt"})
    except SafetensorError as error:
        raise BundleError(f"{folder / network.file}: {one_line(error)}") from error
    _write_json(folder / "config.json", network.config)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(value), indent=2) + "\n")
