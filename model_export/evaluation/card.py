"""The model card: what a bundle is, what it was made from, and how good it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion.files import read_json
from model_export.bundle import has_emoji
from model_export.data.captions import KINDS, Mix
from model_export.data.hues import HUES
from model_export.evaluation.composed import FRAMES
from model_export.evaluation.evaluate import SEEDS, read_evaluation
from model_export.evaluation.held_out import SECTION
from model_export.evaluation.sampling import SamplingSettings
from model_export.evaluation.sheet import ASKED, ASKED_COLUMNS
from model_export.evaluation.template import render
from model_export.training.origin import TRAINING, lineage
from model_export.training.settings import TrainingSettings, settings_of

SHEET = "sheet.png"
ASKED_SHEET = "asked.png"
PROMPT_NAMES = {
    "en": "English label",
    "zh": "Chinese label",
    "tags": "three English tags",
    "caption": "first caption",
}


@dataclass(frozen=True)
class Stage:
    """One of the training runs that led to a model, each from the weights of the one before."""

    settings: TrainingSettings
    step: int
    elapsed_s: float | None
    custom: bool
    folder: str  # of the data set
    note: str | None
    mean_of: Sequence[int]  # the numbers of the runs whose weights' mean it is; empty: its own

    @property
    def seen(self) -> int:
        """The number of images it was shown."""
        return self.step * self.settings.batch

    @property
    def mix(self) -> str:
        """The shares of the kinds of prompts."""
        shares = zip(KINDS, self.settings.mix, strict=True)
        return ", ".join(f"{kind} {share:.0%}" for kind, share in shares if share)


def write_card(folder: Path) -> Path:
    """Write the bundle's ``README.md`` from its figures.

    Raises:
        ExportError: it has not been evaluated.
        BundleError: a file of it is missing.
    """
    evaluation = read_evaluation(folder)
    training = read_json(folder / TRAINING)
    defaults = read_json(folder / "sfumato.json")
    stages = list(_stages(training))
    text = render(
        "card.md.jinja",
        defaults=defaults,
        evaluation=evaluation,
        training=training,
        custom="data" in training,
        has_emoji=has_emoji(training),
        settings=stages[-1].settings,
        side=defaults["min_side"],
        size_bytes=sum(path.stat().st_size for path in folder.rglob("*.safetensors")),
        sheet=_existing(folder, SHEET),
        asked_sheet=_existing(folder, ASKED_SHEET),
        asked=[ASKED[i : i + ASKED_COLUMNS] for i in range(0, len(ASKED), ASKED_COLUMNS)],
        runs=sorted(
            evaluation["runs"],
            key=lambda r: (-r["seeds"], r["prompts"], -r["guidance_scale"], r["steps"]),
        ),
        held_out=evaluation.get(SECTION, []),
        hues=HUES,
        frames=sum(map(len, FRAMES.values())),
        stages=stages,
        prompt_names=PROMPT_NAMES,
        commands=[
            *_commands(stages, evaluation, defaults),
            *(["sheet <bundle> --asked"] if _existing(folder, ASKED_SHEET) else []),
            "card <bundle>",
        ],
    )
    path = folder / "README.md"
    path.write_text(text, "utf-8")
    return path


def _existing(folder: Path, name: str) -> str | None:
    return name if (folder / name).exists() else None


def _stages(training: dict[str, Any]) -> Iterator[Stage]:
    """Yield the runs that led to a model, the first one first."""
    for record in lineage(training):
        custom = "data" in record
        yield Stage(
            settings=settings_of(record["settings"]),
            step=record["step"],
            elapsed_s=record.get("elapsed_s"),
            custom=custom,
            folder="custom" if custom and has_emoji(record) else "data",  # emoji are in "data"
            note=record.get("note"),
            mean_of=record.get("mean_of", ()),
        )


def _commands(
    stages: Sequence[Stage], evaluation: dict[str, Any], defaults: dict[str, Any]
) -> Iterator[str]:
    """Yield the arguments of the commands that made the data, the model and its figures."""
    yield from dict.fromkeys(
        f"pictures <folder> --out {stage.folder}"
        if stage.custom
        else "data --labels emojibase-data-17.0.0.tgz --out data"
        for stage in stages
    )
    origin = None
    for number, stage in enumerate(stages, 1):
        yield _train(stage, number, origin)
        origin = f"run{number}"
        mean = "".join(f" --mean run{other}" for other in stage.mean_of if other != number)
        if stage is stages[-1]:
            yield f"bundle {origin} <bundle>{mean}"
        elif mean:
            yield f"bundle {origin} mean{number}{mean}"
            origin = f"mean{number}"
    last, gallery = stages[-1], ""
    if last.custom:
        yield f"gallery {last.folder} --out gallery"
        gallery = " --gallery gallery"
    for options in _evaluations(evaluation["runs"], last, defaults):
        yield f"evaluate <bundle>{gallery}{options}"
    if not last.custom:
        seeds = {run["seeds"] for run in evaluation.get(SECTION, [])}
        yield "held-out <bundle>" + "".join(_option("--seeds", n, SEEDS) for n in sorted(seeds))
    yield f"sheet <bundle>{gallery}"


def _train(stage: Stage, number: int, origin: str | None) -> str:
    settings, usual = stage.settings, TrainingSettings()
    return (
        f"train {stage.folder} --run run{number} --emoji {settings.emoji} --steps {stage.step} "
        f"--batch {settings.batch} --rate {settings.learning_rate:g} "
        f"--beta-end {settings.process.beta_end:g}"
        + _option("--precision", settings.precision, usual.precision)
        + _option("--mix", _shares(settings.mix), _shares(usual.mix))
        + (" --one-step" if settings.one_step else "")
        + (f" --origin {origin}" if origin else "")
    )


def _shares(mix: Mix) -> str:
    return " ".join(f"{share:g}" for share in mix)


def _evaluations(
    runs: Sequence[dict[str, Any]], stage: Stage, defaults: dict[str, Any]
) -> Iterator[str]:
    """Yield the options of the commands that made the figures."""
    kinds: dict[str, list[str]] = {}
    for run in runs:
        options = (
            _option("--guidance", f"{run['guidance_scale']:g}",
                    f"{defaults['default_guidance_scale']:g}")
            + _option("--steps", run["steps"], SamplingSettings.steps)
            + _option("--sampler", run["sampler"], SamplingSettings.sampler)
            + _option("--seeds", run["seeds"], SEEDS)
            + _option("--every", -(-stage.settings.emoji // run["emoji"]), 1)
        )  # fmt: skip
        kinds.setdefault(options, []).append(run["prompts"])
    every = {"caption"} if stage.custom else PROMPT_NAMES.keys() - {"caption"}
    for options, found in kinds.items():
        asked = "" if set(found) == every else "".join(f" --prompts {kind}" for kind in found)
        yield asked + options


def _option(name: str, value: object, usual: object) -> str:
    return "" if value == usual else f" {name} {value}"
