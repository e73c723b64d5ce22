"""What a model is, from its configuration and its weights' headers: nothing is loaded.

It describes models that are not served, too; whether one is, :mod:`workers.check` says.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError, ScheduleError
from diffusion.files import INDEX, SCHEDULER_CONFIG, digest, part_folder, read_json
from diffusion.tensor_file import BITS, TensorEntry, read_header
from jobs.host.models import RECORD
from workers.models.directory.errors import size
from workers.models.directory.record import Record
from workers.models.sources.selection import licences, select

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
FAMILIES = (
    (r"StableDiffusionXL.*", "Stable Diffusion XL"),
    (r"StableDiffusion3.*", "Stable Diffusion 3"),
    (r"(StableDiffusion|LatentConsistencyModel).*", "Stable Diffusion"),
    (r"Flux.*", "FLUX"), (r"PixArtSigma.*", "PixArt-Σ"), (r"PixArtAlpha.*", "PixArt-α"),
    (r"ZImage.*", "Z-Image"), (r"(DDPM|DDIM|PNDM|ScoreSdeVe|KarrasVe)Pipeline", "without a prompt"),
)  # fmt: skip
"""Names of pipelines, as patterns, and what people call their models."""
VERSIONS = {768: " 1", 1024: " 2"}  # of Stable Diffusion, by the width of its prompts
NETWORKS = ("unet", "transformer")
SCHEDULE_KEYS = (
    "timestep_spacing", "steps_offset", "beta_schedule", "rescale_betas_zero_snr", "shift",
    "use_dynamic_shifting", "use_karras_sigmas", "sigma_min", "sigma_max", "final_sigmas_type",
)  # fmt: skip
UNSAID = (
    "epsilon (assumed: scheduler_config.json does not say; if images are noise, add it with "
    "--prediction v_prediction)"
)
Lines = list[tuple[str, str]]


@dataclass(frozen=True)
class Weights:
    """A part's weights by its files' headers."""

    count: int  # parameters
    bytes: int
    dtypes: tuple[str, ...]
    files: int


def describe(folder: Path, record: Record | None = None) -> Lines:
    """Return what a model is, as pairs of a heading and a text."""
    index = _json(folder / INDEX)
    weights = weights_of(folder)
    lines = [("kind", kind(folder, index, weights)), ("layout", _layout(weights))]
    lines += [("prediction", prediction(folder)), ("schedule", schedule(folder))]
    lines += [("size", size(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())))]
    lines += [("memory", memory(weights)), ("licence", licence(folder))]
    if found := missing(folder, index):
        lines.append(("missing", "; ".join(found)))
    return lines + ([] if record is None else _of_record(record)) + [("sha256", digest(folder))]


def _of_record(record: Record) -> Lines:
    source = record.source + (f" at {record.revision}" if record.revision else "")
    lines = [("source", source)]
    lines += [("its sha256", record.source_sha256)] if record.source_sha256 else []
    lines += [("options", ", ".join(record.options))] if record.options else []
    lines += [("vae", record.vae)] if record.vae else []
    lines += [("lora", each) for each in record.loras]
    return [*lines, *[("note", note) for note in record.notes], ("added", record.added_at)]


def weights_of(folder: Path) -> dict[str, Weights]:
    """Return the weights of each part; a model of one network may have it beside its index."""
    parts = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    parts.setdefault("unet", folder)
    return {name: found for name, path in parts.items() if (found := read_weights(path)).files}


def _scheduler(folder: Path) -> dict[str, Any]:
    from diffusion.backbones.layout import of_named_class  # it needs torch

    config = _json(part_folder(folder, "scheduler", SCHEDULER_CONFIG) / SCHEDULER_CONFIG)
    with suppress(BundleError):  # schedule() says so
        return dict(of_named_class(_json(folder / INDEX), config))
    return config


def read_weights(folder: Path) -> Weights:
    """Return a part's weights; those that cannot be read count for nothing."""
    entries: list[TensorEntry] = []
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        try:
            entries += read_header(file).values()
        except BundleError:
            continue
    counts = [prod(entry.shape) for entry in entries]
    stored = sum(c * BITS[e.dtype] // 8 for c, e in zip(counts, entries, strict=True))
    return Weights(sum(counts), stored, tuple(sorted({e.dtype for e in entries})), len(files))


def kind(folder: Path, index: Mapping[str, Any], weights: Mapping[str, Weights]) -> str:
    """Return what people call such a model, its pipeline, and the size of its network."""
    pipeline = str(index.get("_class_name", "no pipeline"))
    part = next((each for each in NETWORKS if (folder / each).is_dir()), NETWORKS[0])
    config = _json(part_folder(folder, part, "config.json") / "config.json")
    named = next((name for pattern, name in FAMILIES if re.fullmatch(pattern, pipeline)), "unknown")
    if named == "Stable Diffusion":
        named += VERSIONS.get(config.get("cross_attention_dim", 0), "")
    if config.get("num_class_embeds") or config.get("class_embed_type"):
        named = "of classes" if named == "without a prompt" else named
    made_for = {9: ", for inpainting", 8: ", for editing"}.get(config.get("in_channels", 0), "")
    if config.get("time_cond_proj_dim") is not None or config.get("guidance_embeds"):
        made_for += ", with guidance as an input"
    network = str(config.get("_class_name", "no network"))
    count = weights[part].count if part in weights else 0
    return f"{named}{made_for} ({pipeline}, {network} of {_millions(count)} parameters)"


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e9 else f"{count / 1e6:.3g} million"


def _layout(weights: Mapping[str, Weights]) -> str:
    stored = sorted({dtype for each in weights.values() for dtype in each.dtypes})
    shards = [f"{part} in {each.files} files" for part, each in weights.items() if each.files > 1]
    return ", ".join([f"diffusers, stored as {' and '.join(stored) or 'nothing'}", *shards])


def prediction(folder: Path) -> str:
    """Return what the network predicts, and whether that is said or assumed."""
    config = _scheduler(folder)
    scheduler = str(config.get("_class_name", ""))
    if "FlowMatch" in scheduler or config.get("use_flow_sigmas"):
        return "flow velocity"
    said = config.get("prediction_type")
    text = str(said) if said else UNSAID
    return f"{text}, EDM preconditioning" if "EDM" in scheduler else text


def schedule(folder: Path) -> str:
    """Return the model's own scheduler, our sampler that takes its steps, and what sets it."""
    from diffusion.backbones.layouts import layout_of  # it needs torch
    from diffusion.schedules.scheduler_config import read_schedule

    config, index = _scheduler(folder), _json(folder / INDEX)
    scheduler = str(config.get("_class_name", "none"))
    said = [f"{key} {config[key]}" for key in SCHEDULE_KEYS if config.get(key) not in (None, False)]
    try:
        layout = layout_of(index)
        read = read_schedule(layout.own_scheduler(index, config), ends=layout.ends)
        taken = f"taken by the sampler {read.own.sampler}" if read.own else ""
        ours = taken or f"not followed: {read.not_own}"
    except (BundleError, ScheduleError, TypeError, ValueError) as error:
        ours = f"not served: {error}"
    return f"{', '.join([scheduler, *said])}; {ours}"


def memory(weights: Mapping[str, Weights]) -> str:
    """Return what the weights take in each precision.

    Activations come on top: they depend on the images' sizes and number, and were not measured.
    """
    count = sum(each.count for each in weights.values())
    by_bytes: dict[int, list[str]] = {}
    for precision, each in BYTES.items():
        by_bytes.setdefault(each, []).append(precision)
    said = [f"{size(count * each)} in {' or '.join(p)}" for each, p in by_bytes.items()]
    return f"{', '.join(said)} for the weights alone; activations come on top"


def licence(folder: Path) -> str:
    """Return the licence's files, and the name that a model card gives it."""
    files = licences(path.name for path in folder.iterdir() if path.is_file())
    card = folder / "README.md"
    text = card.read_text("utf-8", "replace")[:20_000] if card.is_file() else ""
    match = re.search(r"\A---\s.*?^license(?:_name)?:\s*([^\n]{1,80})$", text, re.S | re.M)
    said = [f"{match[1].strip()} (README.md)"] if match else []
    return ", ".join([*files, *said]) or "no file states one"


def missing(folder: Path, index: Mapping[str, Any] | None = None) -> list[str]:
    """Return the parts that a model names and lacks, and what no image can be drawn without."""
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    found = _json(folder / INDEX) if index is None else index
    try:
        said = list(select((f for f in files if f != RECORD), found, None).missing)
    except BundleError as error:
        said = [str(error)]
    with_prompts = (folder / "text_encoder").is_dir()
    if with_prompts and not (folder / "vae").is_dir() and "vae" not in {s[:3] for s in said}:
        said.append("vae")
    return said


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except BundleError:
        return {}


def text_of(lines: Lines) -> Iterator[str]:
    """Yield a description line by line, the headings in one column."""
    width = max(len(heading) for heading, _ in lines)
    for heading, text in lines:
        yield f"{heading:<{width}}  {text}"
