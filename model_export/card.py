"""The model card: what a bundle is, what it was made of, and what it is worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusion.bundle_files import read_json
from model_export.captions import KINDS, MIX
from model_export.evaluate import SEEDS, read_evaluation
from model_export.held_out_section import held_out_section
from model_export.origin import TRAINING
from model_export.provenance import EMOJI, Provenance, provenance
from model_export.sampling import SamplingSettings

COMPARISON = Path(__file__).parent / "comparison.md"
SHEET = "sheet.png"
COLUMNS = ("prompt", "steps", "guidance", "drawings", "top-1", "top-5", "PSNR dB",
           "high frequencies", "speckle", "diversity")  # fmt: skip
NAMES = {
    "en": "English label",
    "zh": "Chinese label",
    "tags": "three English tags",
    "caption": "first caption",
}


def write_card(folder: Path) -> Path:
    """Write the bundle's ``README.md`` from its figures.

    Raises:
        ExportError: it has not been evaluated.
        BundleError: a file of it is missing.
    """
    evaluation = read_evaluation(folder)
    training = read_json(folder / TRAINING)
    defaults = read_json(folder / "sfumato.json")
    words = provenance(training)
    parts = [
        _head(defaults, words),
        _intro(folder, training, defaults, words),
        _figures(evaluation, defaults, words),
        *held_out_section(evaluation),
        _training(training, evaluation, defaults, words),
        f"## Limits\n\n{words.limits}\n",
        f"## Data and licences\n\n{words.licences}\n",
    ]
    if words is EMOJI:  # on which it was measured
        comparison = COMPARISON.read_text("utf-8")
        parts.insert(-2, f"## Prediction type and weighting\n\n{comparison}")
    path = folder / "README.md"
    path.write_text("\n".join(parts), "utf-8")
    return path


def _head(defaults: dict[str, Any], words: Provenance) -> str:
    languages = "".join(f"- {language}\n" for language in defaults["languages"])
    spoken = f"language:\n{languages}" if languages else ""
    kind = "pipeline_tag: text-to-image\nlibrary_name: diffusers\n"
    return f"---\n{words.licence}{kind}{spoken}---\n"


def _intro(
    folder: Path, training: dict[str, Any], defaults: dict[str, Any], words: Provenance
) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
    examples = ", ".join(f"“{example}”" for example in defaults["examples"])
    picture = f"\n![drawings of the model]({SHEET})\n" if (folder / SHEET).exists() else ""
    count = training["settings"]["emoji"]
    unet, text = training["parameters"]["unet"], training["parameters"]["text_encoder"]
    return f"""# {defaults["title"]}

{words.prompts.format(side=defaults["min_side"])}
A UNet of {unet / 1e6:.1f} M parameters and a text encoder of {text / 1e6:.1f} M, trained from
scratch on {count} {words.things} by `model_export`; {size:.1f} MB of float16
safetensors, nothing else is needed to draw. Try {examples}.
{picture}"""


def _figures(evaluation: dict[str, Any], defaults: dict[str, Any], words: Provenance) -> str:
    rows = sorted(
        evaluation["runs"],
        key=lambda r: (-r["seeds"], r["prompts"], -r["guidance_scale"], r["steps"]),
    )
    lines = [_row(_how(run), run["measures"]) for run in rows]
    bounds = evaluation["bounds"]
    lines.append(_row("the codec alone, no drawing | | | |", bounds["codec"]))
    lines.append(_row(f"pictures of other {words.others} | | | |", bounds["others"]))
    table = "\n".join(lines)
    return f"""## Figures

`python -m model_export evaluate <bundle>`: every trained {words.one} is asked for and drawn by the
service's own sampling code, {defaults["default_sampler"]} by default. *Top-1* is the share of
drawings nearest, by 16×16 pixels, to the picture asked for among {words.among};
*top-5* the share with it among the nearest five. *High frequencies* is the mean second difference,
as a multiple of what the codec's own pictures have. *Speckle* is the distance from white, of 255
levels, on pixels where the reference is white all around. *Diversity* is a pixel's standard
deviation over a prompt's drawings, of 255 levels.

| {" | ".join(COLUMNS)} |
{"|---" * len(COLUMNS)}|
{table}

Measured on the weights as stored, digest `{evaluation["sha256"][:16]}…`.
"""


def _how(run: dict[str, Any]) -> str:
    drawings = f"{run['emoji']} × {run['seeds']}"
    name = NAMES.get(run["prompts"], run["prompts"])
    return f"{name} | {run['steps']} | {run['guidance_scale']:g} | {drawings} |"


def _row(how: str, measures: dict[str, float | None]) -> str:
    diversity = measures.get("diversity")
    return (
        f"| {how} {measures['top1']:.3f} | {measures['top5']:.3f} | {measures['psnr_db']:.2f} "
        f"| {measures['high_frequency']:.2f} | {measures['speckle']:.2f} "
        f"| {'–' if diversity is None else format(diversity, '.2f')} |"
    )


def _training(
    training: dict[str, Any],
    evaluation: dict[str, Any],
    defaults: dict[str, Any],
    words: Provenance,
) -> str:
    settings = training["settings"]
    process = settings["process"]
    time = "pure noise" if settings.get("one_step") else "a random time"
    return f"""## Training

{_length(training)}

A random picture and {time} make a row of a batch; AdamW at {settings["learning_rate"]:g},
warm-up over {settings["warmup_steps"]} steps and a linear fall at the end, a moving average of
{settings["ema_decay"]}, which is what is stored; the prompt is dropped
{settings["prompt_drop"]:.0%} of the time. {process["num_train_timesteps"]} steps of
`{process["beta_schedule"]}` noise from {process["beta_start"]:g} to {process["beta_end"]:g},
prediction type `{process["prediction_type"]}`, weighting `{settings["weighting"]}`. Prompts are
{words.mix} Latents are 8×8×{settings["network"]["latent_channels"]}, principal components of 8×8
patches: the codec has no network in it.

```sh
{_commands(training, words, _evaluations(evaluation["runs"], training, defaults, words))}
```
"""


def _length(training: dict[str, Any]) -> str:
    settings = training["settings"]
    seen = training["step"] * settings["batch"]
    time = f" in {training['elapsed_s'] / 60:.0f} minutes" if "elapsed_s" in training else ""
    mix = "" if "data" in training else f" Prompts: {_mix(settings.get('mix', MIX))}."
    note = f" {training['note']}" if "note" in training else ""
    text = (
        f"{training['step']:,} steps of {settings['batch']} pictures out of {settings['emoji']} "
        f"({seen:,} in all, {seen // settings['emoji']:,} of each){time}.{mix}{note}"
    )
    if "origin" not in training:
        return text
    before = _length(training["origin"]).removeprefix("First: ")
    return f"First: {before}\nThen, from those weights: {text}"


def _mix(shares: Sequence[float]) -> str:
    return ", ".join(f"{kind} {share:.0%}" for kind, share in zip(KINDS, shares, strict=True))


def _evaluations(
    runs: Sequence[dict[str, Any]],
    training: dict[str, Any],
    defaults: dict[str, Any],
    words: Provenance,
) -> list[str]:
    """Return the options of the commands that made the figures."""
    whole = training["settings"]["emoji"]
    found: dict[str, list[str]] = {}
    for run in runs:
        given = {
            "--guidance": (f"{run['guidance_scale']:g}", f"{defaults['default_guidance_scale']:g}"),
            "--steps": (run["steps"], SamplingSettings.steps),
            "--sampler": (run["sampler"], SamplingSettings.sampler),
            "--seeds": (run["seeds"], SEEDS),
            "--every": (-(-whole // run["emoji"]), 1),
        }
        options = "".join(
            f" {name} {used}" for name, (used, usual) in given.items() if used != usual
        )
        found.setdefault(options, []).append(run["prompts"])
    return [
        ("" if set(kinds) == set(words.kinds) else "".join(f" --prompts {kind}" for kind in kinds))
        + options
        for options, kinds in found.items()
    ]


def _commands(training: dict[str, Any], words: Provenance, evaluations: Sequence[str]) -> str:
    sittings = [training]
    while "origin" in sittings[0]:
        sittings.insert(0, sittings[0]["origin"])
    runs = [f"run{number}" for number in range(1, len(sittings) + 1)]
    lines = list(dict.fromkeys(provenance(sitting).data for sitting in sittings))
    for before, run, sitting in zip([None, *runs], runs, sittings, strict=False):
        lines.append(_train(sitting, run) + (f" --origin {before}" if before else ""))
    lines += [f"bundle {runs[-1]} <bundle>", *words.before_measuring]
    lines += [f"evaluate <bundle>{words.gallery}{options}" for options in evaluations]
    lines += [*words.after_measuring, f"sheet <bundle>{words.gallery}", "card <bundle>"]
    return "\n".join(f"python -m model_export {line}" for line in lines)


def _train(training: dict[str, Any], run: str) -> str:
    settings, process = training["settings"], training["settings"]["process"]
    folder = provenance(training).folder
    # Of runs from before there was a choice:
    precision, mix = settings.get("precision", "float32"), settings.get("mix", list(MIX))
    one_step = " --one-step" if settings.get("one_step") else ""
    return (
        f"train {folder} --run {run} --emoji {settings['emoji']} --steps {training['step']} "
        f"--batch {settings['batch']} --rate {settings['learning_rate']:g} "
        f"--beta-end {process['beta_end']:g}"
        + (f" --precision {precision}" if precision != "float32" else "")
        + (f" --mix {' '.join(map(str, mix))}" if mix != list(MIX) else "")
        + one_step
    )
