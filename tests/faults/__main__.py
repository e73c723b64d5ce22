"""``make faults``: break things on real processes, print what held, write ``out/faults.json``.

``python -m tests.faults [NAME…] [--short]``
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.telemetry.logs import configure
from tests.bundles import tiny_bundle
from tests.faults.outcome import Outcome
from tests.faults.registry import SCENARIOS, Scenario
from tests.faults.stage import Stage
from tests.needs import find

OUT = Path("out/faults.json")


async def play(scenario: Scenario, size: dict[str, Any], folder: Path, model: Path) -> Outcome:
    """Run one scenario; an exception counts as a broken promise."""
    try:
        async with Stage(folder, model) as stage:
            return await scenario.run(stage, **size)
    except Exception as error:
        traceback.print_exc()
        return Outcome(broken=[f"{type(error).__name__}: {error}"])


def row(scenario: Scenario, size: dict[str, Any], outcome: Outcome, seconds: float) -> list[str]:
    """Return a scenario's line of the table."""
    figures = [f"{name} {value:g}" for name, value in outcome.figures.items()]
    return [
        f"{scenario.title} ({scenario.name})",
        ", ".join(f"{name} {value}" for name, value in size.items()),
        "held" if not outcome.broken else "BROKEN: " + "; ".join(outcome.broken),
        ", ".join(figures),
        f"{seconds:.0f}",
    ]


def main() -> int:
    """Run the scenarios that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_names()))
    parser.add_argument("--short", action="store_true", help="the sizes of the test suite")
    parser.add_argument("--keep", type=Path, help="keep logs and Redis' files in this folder")
    options = parser.parse_args()
    unknown = set(options.names) - set(_names())
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    configure("console", "CRITICAL")
    scenarios = [s for s in SCENARIOS if s.short is not None or not options.short]
    chosen = [s for s in scenarios if s.name in options.names or not options.names]
    with tempfile.TemporaryDirectory() as scratch:
        model = tiny_bundle(Path(scratch) / "tiny")
        return _run(chosen, options.short, options.keep or Path(scratch), model)


def _names() -> list[str]:
    return [scenario.name for scenario in SCENARIOS]


def _run(chosen: list[Scenario], short: bool, folder: Path, model: Path) -> int:
    console = Console(width=int(os.environ.get("COLUMNS", "150")))
    table = Table("fault", "size", "result", "figures", "s", title="Faults on real processes")
    kept: dict[str, Any] = _before()
    broken = False
    for scenario in chosen:
        size = (scenario.short if short else scenario.long) or {}
        wanted = scenario.needs
        missing = wanted if wanted and not find(wanted) else scenario.missing()
        if missing:
            table.add_row(scenario.title, "", f"not run: no {missing}", "", "")
            continue
        shutil.rmtree(folder / scenario.name, ignore_errors=True)
        began = monotonic()
        outcome = asyncio.run(play(scenario, size, folder / scenario.name, model))
        seconds = monotonic() - began
        table.add_row(*row(scenario, size, outcome, seconds))
        console.print(" | ".join(row(scenario, size, outcome, seconds)), soft_wrap=True)
        broken = broken or bool(outcome.broken)
        kept[scenario.name] = {
            "size": size, "figures": outcome.figures, "broken": outcome.broken,
            "seconds": round(seconds, 1),
        }  # fmt: skip
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(kept, indent=2) + "\n")
    console.print(table)
    return 1 if broken else 0


def _before() -> dict[str, Any]:
    """Return the figures of scenarios that are not run now, with what they were run on."""
    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    return {**kept, "machine": machine, "python": platform.python_version()}


if __name__ == "__main__":
    sys.exit(main())
