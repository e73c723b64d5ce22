"""``python -m tests.gpu``: what a device does, printed and in ``out/gpu.json`` after every part.

Parts run in a fixed order, the most telling first; one for which too little time is left is not
begun. It needs neither a network nor an installed Sfumato: see docs/gpu.md.
"""

import argparse
import json
import logging
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, strftime

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from tests.gpu import breaking, parity, raw, service, waits
from tests.gpu.ground import Figures, Ground, NotRun, Part

OUT = Path("out/gpu.json")
PARTS = (
    Part("every layout", parity.check, needs_s=60),
    Part("SDXL, raw", raw.sdxl, needs_s=60),
    Part("SDXL, served", service.sdxl, needs_s=120),
    Part("emoji, served", service.emoji, needs_s=40),
    Part("SD 1.5, raw", raw.sd15, needs_s=30),
    Part("SD 1.5, served", service.sd15, needs_s=60),
    Part("host waits", waits.check, needs_s=20),
    Part("kill and resume", breaking.kill_and_resume, needs_s=60),
    Part("out of memory", breaking.out_of_memory, needs_s=60),
)
NEEDED = {"SDXL, served": "SDXL, raw", "SD 1.5, served": "SD 1.5, raw"}


def main(words: list[str]) -> int:
    """Run the parts; return how many failed."""
    options = argparse.ArgumentParser(prog="python -m tests.gpu")
    options.add_argument("--device", default="cuda")
    options.add_argument("--tiny", action="store_true", help="models that a processor draws")
    options.add_argument("--budget-s", type=float, default=400.0)
    options.add_argument("--part", action="append", choices=[part.name for part in PARTS])
    chosen = options.parse_args(words)
    _quiet()
    found: dict[str, Figures] = {}
    report = {"date": strftime("%Y-%m-%d"), "machine": _machine(chosen.device), "parts": found}
    OUT.parent.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        ground = Ground(
            torch.device(chosen.device), chosen.tiny, Path(folder), monotonic() + chosen.budget_s
        )
        for part in PARTS:
            if chosen.part and part.name not in chosen.part:
                continue
            began = monotonic()
            found[part.name] = _run(part, ground, found)
            found[part.name]["took_s"] = round(monotonic() - began, 1)
            OUT.write_text(json.dumps(report, indent=2) + "\n")
            print("\n".join(table(part.name, found[part.name])), flush=True)
    failed = [name for name, figures in found.items() if figures.get("failed")]
    print(f"{len(found)} parts, failed: {', '.join(failed) or 'none'}; {OUT}")
    return len(failed)


def table(name: str, figures: Figures) -> Iterator[str]:
    """Yield a part's figures as the lines of a table."""
    yield name
    for figure, value in figures.items():
        each = value.items() if isinstance(value, dict) else [("", value)]
        yield from (f"  {' '.join((figure, str(of))):<40} {shown}" for of, shown in each)


def _run(part: Part, ground: Ground, found: dict[str, Figures]) -> Figures:
    before = NEEDED.get(part.name)
    if before and (before not in found or "failed" in found[before] or "not_run" in found[before]):
        return {"not_run": f"it needs {before}"}
    if ground.left_s < part.needs_s and not ground.tiny:
        return {"not_run": f"it takes {part.needs_s:.0f} s, and {ground.left_s:.0f} s are left"}
    try:
        return part.run(ground, found)
    except NotRun as reason:
        return {"not_run": str(reason)}
    except Exception as error:  # a part that fails must not cost the others their figures
        logging.getLogger(__name__).exception("%s failed", part.name)
        return {"failed": f"{type(error).__name__}: {str(error)[:2000]}"}


def _machine(device: str) -> Figures:
    machine: Figures = {"python": platform.python_version(), "torch": torch.__version__}
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(torch.device(device))
        machine |= {"device": card.name, "bytes": card.total_memory, "cuda": torch.version.cuda}
    return machine


def _quiet() -> None:
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.simplefilter("ignore")
    for name in ("httpx", "diffusion"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
