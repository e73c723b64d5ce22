"""What a file is that is no checkpoint of a family we read: it is refused by that."""

from collections.abc import Callable, Mapping
from pathlib import Path

from diffusion.checkpoints.families import UNET
from diffusion.errors import BundleError
from diffusion.parts.weights import FLOATS
from diffusion.tensor_file import TensorEntry, has_header

Entries = Mapping[str, TensorEntry]
READ = "Stable Diffusion 1.5, 2.1 and XL"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
LORA = ("lora_unet_", "lora_te", ".lora_", "hada_w", "lokr_w", ".dora_scale", "oft_blocks")
CONTROL = ("control_model.", "controlnet_", "input_hint_block.", "lllite_")
ADAPTER = ("image_proj.", "ip_adapter.", "adapter.body.")
UNET_CHANNELS = 4  # that a model of text alone takes
UNET_INPUTS = {
    5: "a depth-to-image model",
    7: "an upscaler",
    8: "a model that edits images (InstructPix2Pix)",
    9: "an inpainting model",
}
COUNTS = ("position_ids", "attn_mask", "num_updates")
"""Tensors of integers in any file."""
MOST_VECTORS = 8  # tensors in a textual inversion


def check_format(file: Path) -> None:
    """Refuse a file that is not of safetensors, by its first bytes.

    Raises:
        BundleError: it is not; the message says what it is.
    """
    try:
        if file.exists() and not file.is_file():
            raise BundleError(f"{file.name} is no file")
        with file.open("rb") as opened:
            head = opened.read(64)
        sound = has_header(file)
    except OSError as error:
        raise BundleError(f"{file.name}: {error.strerror}") from error
    if not sound and (what := _format(head, file.suffix.lower())):
        raise BundleError(f"{file.name} is {what}; only safetensors are read")


def _format(head: bytes, suffix: str) -> str | None:
    if head.startswith(b"GGUF"):
        return "a GGUF file, of quantised weights"
    if head.startswith((b"PK\x03\x04", b"\x80")) or suffix in PICKLE_SUFFIXES:
        return "a pickle, which may hold code"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page, perhaps of a download that needs a login"
    return "a GGUF file, of quantised weights" if suffix == ".gguf" else None


def check_kind(file: Path, entries: Entries) -> None:
    """Refuse what is not a whole text-to-image checkpoint, by its tensors.

    Raises:
        BundleError: it is not; the message says what it is.
    """
    for what, fits in KINDS:
        if fits(entries):
            raise BundleError(f"{file.name} is {what}")
    if not _unet(entries):
        raise BundleError(f"{file.name} is {describe_other(entries)}")
    if not _starts("cond_stage_model.", "conditioner.")(entries):
        raise BundleError(f"{file.name} holds no text encoder: it is a part of a checkpoint")
    shape = entries[f"{UNET}input_blocks.0.0.weight"].shape
    channels = shape[1] if len(shape) > 1 else 0
    if channels != UNET_CHANNELS:
        what = UNET_INPUTS.get(channels, "a model of another kind")
        raise BundleError(
            f"{file.name} is {what}: its UNet takes {channels} channels, not {UNET_CHANNELS}"
        )


def check_floats(file: Path, entries: Entries) -> None:
    """Refuse weights that are not stored as floats of 16 bits or more.

    Raises:
        BundleError: they are not; the message names their format.
    """
    for name, entry in entries.items():
        if entry.dtype not in FLOATS and not name.endswith(COUNTS):
            raise BundleError(
                f"{file.name} stores weights as {entry.dtype} ({name[:80]}): quantised ones are "
                "not served, only F16, BF16 and F32"
            )


def _some(*parts: str) -> Callable[[Entries], bool]:
    return lambda entries: any(part in name for name in entries for part in parts)


def _starts(*prefixes: str) -> Callable[[Entries], bool]:
    return lambda entries: any(name.startswith(prefixes) for name in entries)


def _inversion(entries: Entries) -> bool:
    flat = all(len(entry.shape) <= 2 for entry in entries.values())
    return len(entries) <= MOST_VECTORS and flat and "v_pred" not in entries


def _vae(entries: Entries) -> bool:
    return not _unet(entries) and _some("decoder.conv_in.weight")(entries)


def _unet(entries: Entries) -> bool:
    return f"{UNET}input_blocks.0.0.weight" in entries


def _refiner(entries: Entries) -> bool:
    second = _starts("conditioner.embedders.1.")(entries)
    return _starts("conditioner.embedders.0.model.")(entries) and not second


def _other(entries: Entries) -> str | None:
    """Return diffusers' name of a model of another architecture."""
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type

    try:
        found = str(infer_diffusers_model_type(entries))
    except (KeyError, IndexError, UnboundLocalError):
        return None
    return None if found == "v1" else found


def describe_other(entries: Entries) -> str:
    """Return what a file without a UNet of ours is, as far as it can be known."""
    name = _other(entries)
    known = f"a {name} model" if name else "of another model, or of a part of one"
    return f"{known}: single files of {READ} are read, others as diffusers directories"


KINDS: tuple[tuple[str, Callable[[Entries], bool]], ...] = (
    ("empty: it holds no tensors", lambda entries: not entries),
    ("a LoRA: add the model that it belongs to, with --lora", _some(*LORA)),
    ("a ControlNet, which needs a model beside it", _starts(*CONTROL)),
    ("an adapter for image prompts, which needs a model beside it", _starts(*ADAPTER)),
    ("a motion module (AnimateDiff), which makes videos", _some("motion_modules.")),
    ("a textual inversion, which needs a model beside it", _inversion),
    ("a VAE alone: add the model that it belongs to, with --vae", _vae),
    ("a refiner: it finishes another model's images", _refiner),
    ("an unCLIP model: it takes an image's embedding", _starts("embedder.", "noise_augmentor.")),
    (
        "one part of a diffusers directory: add the whole directory",
        _starts("down_blocks.", "text_model.", "time_embedding."),
    ),
)
