"""Writes a bundle in the diffusers directory layout that ``diffusion.bundle.bundle`` loads."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from diffusion.files import digest
from model_export.fresh_folder import fresh_folder
from model_export.training.checkpoint import load_checkpoint
from model_export.training.codec import save_codec
from model_export.training.network import NETWORKS, Networks
from model_export.training.origin import (
    TRAINING,
    load_origin,
    mean_of_lineage,
    open_parts,
    run_record,
)
from model_export.training.settings import Process, settings_of

EVALUATION = "evaluation.json"
INDEX = "model_index.json"
NOTICES = Path(__file__).parent / "notices"


EXAMPLES = (
    "red heart", "draw me a tiger", "a cute panda", "pizza", "a blue apple", "ice cream please",
    "octopus", "hamburger", "蓝心", "章鱼", "紫色的草莓", "请画一只可爱的小狗",
)  # fmt: skip


@dataclass(frozen=True)
class Defaults:
    """The defaults of requests, in ``sfumato.json``."""

    name: str = "emoji"
    title: str = "Emoji"
    default_sampler: str = "dpmpp_2m"
    default_schedule: str = "sampler"
    default_steps: int = 15
    default_guidance_scale: float = 2.0
    languages: tuple[str, ...] = ("en", "zh")
    examples: tuple[str, ...] = EXAMPLES


def bundle_run(run: Path, folder: Path, defaults: Defaults, *, mean: Sequence[Path] = ()) -> Path:
    """Write the averaged weights of a training run as a bundle, in float16; return its folder.

    With ``mean``, runs or bundles that the run started from, average their weights with its own.

    The bundle is written beside the folder and replaces it once complete. The figures of an
    evaluation are kept if the weights are the same; the model card has to be written again.

    Raises:
        CheckpointError: there is no run, or it is broken.
        OutputError: the folder holds something other than a bundle.
    """
    checkpoint = load_checkpoint(run)
    settings = settings_of(checkpoint.settings)
    networks = Networks(settings.network)
    weights, training = checkpoint.part("ema"), run_record(run, checkpoint)
    if mean:
        origins = [load_origin(path, settings) for path in mean]
        weights, training["mean_of"] = mean_of_lineage(weights, training, origins)
    networks.load_state_dict(weights)
    training |= {
        "elapsed_s": round(checkpoint.elapsed_s),
        "parameters": {name: _count(getattr(networks, name)) for name in NETWORKS},
    }
    if "data" in training:
        name, examples = folder.resolve().name, tuple(training["data"]["examples"])
        defaults = replace(defaults, name=name, title=name, languages=(), examples=examples)
    if settings.one_step:  # it knows one noise level and takes no guidance
        defaults = replace(defaults, default_steps=1, default_guidance_scale=1.0)
    tokenizer, codec = open_parts(run, settings)
    with fresh_folder(folder, lambda place: (place / INDEX).is_file()) as fresh:
        _save_networks(fresh, networks)
        tokenizer.save_pretrained(str(fresh / "tokenizer"))
        save_codec(fresh / "vae", codec)
        _write(fresh / "scheduler" / "scheduler_config.json", _scheduler(settings.process))
        # On larger canvases it repeats or misplaces things; on smaller ones they do not fit.
        side = settings.network.sample_size * codec.patch_size
        _write(fresh / "sfumato.json", {**vars(defaults), "min_side": side})
        _write(fresh / TRAINING, training)
        _write(fresh / INDEX, _index())
        for notice in NOTICES.iterdir() if has_emoji(training) else ():
            shutil.copyfile(notice, fresh / notice.name)
        for path in fresh.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes owner-only files
        if (folder / EVALUATION).exists() and digest(folder) == digest(fresh):
            shutil.copyfile(folder / EVALUATION, fresh / EVALUATION)
    return folder


def has_emoji(training: dict[str, Any]) -> bool:
    """Return whether a model was trained on emoji, or from weights that were."""
    if "data" not in training:
        return True
    return "origin" in training and has_emoji(training["origin"])


def _save_networks(folder: Path, networks: Networks) -> None:
    for name in NETWORKS:
        part = getattr(networks, name)
        dtype = next(part.parameters()).dtype
        part.half().save_pretrained(str(folder / name))
        part.to(dtype)


def _scheduler(process: Process) -> dict[str, Any]:
    return {
        "_class_name": "DPMSolverMultistepScheduler",
        "_diffusers_version": version("diffusers"),
        "algorithm_type": "dpmsolver++",
        "use_karras_sigmas": True,
        **asdict(process),
    }


def _index() -> dict[str, Any]:
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": version("diffusers"),
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusion.codec", "PatchPCACodec"],
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
