"""The model card's section on prompts that the model was not trained on."""

from typing import Any

from model_export.colours import HUES
from model_export.held_out import COLOURED, SECTION

KINDS = {
    "described en": "described, English",
    "described zh": "described, Chinese",
    "reworded en": "reworded, English",
    "reworded zh": "reworded, Chinese",
}


def held_out_section(evaluation: dict[str, Any]) -> list[str]:
    """Return the section, or nothing where nothing of it was measured."""
    runs = evaluation.get(SECTION, [])
    if not runs:
        return []
    named = [run for run in runs if run["kind"] != COLOURED]
    tinted = [run for run in runs if run["kind"] == COLOURED]
    return [_head(runs[0]) + _named(named) + "".join(map(_coloured, tinted))]


def _head(run: dict[str, Any]) -> str:
    return f"""## Beyond the training prompts

`python -m model_export held-out <bundle>`: prompts written by hand that are no label, template or
choice of tags, {run["sampler"]} with {run["steps"]} steps, guidance {run["guidance_scale"]:g}.

"""


def _named(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return ""
    rows = "\n".join(
        f"| {KINDS.get(run['kind'], run['kind'])} | {run['example']} | {run['prompts']} × "
        f"{run['seeds']} | {run['measures']['top1']:.3f} | {run['measures']['top5']:.3f} |"
        for run in runs
    )
    return f"""*Reworded* prompts name the emoji within a sentence of their own;
*described* ones ask for it without its name. Top-1 and top-5 are as above.

| prompts | such as | drawings | top-1 | top-5 |
|---|---|---|---|---|
{rows}
"""


def _coloured(run: dict[str, Any]) -> str:
    m = run["measures"]
    return f"""
Things in a colour that they did not have in training, such as “{run["example"]}”: {run["prompts"]}
prompts × {run["seeds"]} seeds. The *colour* is right when most saturated pixels are nearest in
hue to the word asked for, of {", ".join(HUES)}.
The *shape* is right when the thing's silhouette is among the five nearest, at 16×16, of all that
were trained on. The second row is what the things' labels alone give by the same measures.

| prompts | colour | shape | both |
|---|---|---|---|
| colour and thing | {m["colour"]:.3f} | {m["shape"]:.3f} | {m["both"]:.3f} |
| label alone | {m["plain_colour"]:.3f} | {m["plain_shape"]:.3f} | |
"""
