"""Every fault at its short size; ``make faults`` runs the long ones."""

from pathlib import Path

import pytest

from tests.faults.registry import SCENARIOS, Scenario
from tests.faults.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


SHORT = [scenario for scenario in SCENARIOS if scenario.short is not None]


@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
async def test_what_must_hold_holds(scenario: Scenario, tmp_path: Path, tiny: Path) -> None:
    missing = scenario.missing()
    if missing:
        pytest.skip(f"no {missing}")
    async with Stage(tmp_path / "stage", tiny) as stage:
        outcome = await scenario.run(stage, **(scenario.short or {}))
    print(outcome.figures)
    assert not outcome.broken
