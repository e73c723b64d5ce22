"""Every fault at its short size; ``make faults`` runs the long ones."""

from pathlib import Path

import pytest

from tests.faults.registry import SCENARIOS, Scenario
from tests.faults.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FULL = {
    "clock_jump", "device_fleet", "device_hang", "device_weak", "failover_strict", "full_disk",
    "out_of_memory", "redis_behind", "redis_kill", "rolling_stop", "upgrade",
}  # fmt: skip


def marks(scenario: Scenario) -> list[pytest.MarkDecorator]:
    needed = [pytest.mark.needs(scenario.needs)] if scenario.needs else []
    return needed + [pytest.mark.full] * (scenario.name in FULL)


SHORT = [
    pytest.param(scenario, marks=marks(scenario), id=scenario.name)
    for scenario in SCENARIOS
    if scenario.short is not None
]


@pytest.mark.parametrize("scenario", SHORT)
async def test_what_must_hold_holds(scenario: Scenario, tmp_path: Path, tiny: Path) -> None:
    if missing := scenario.missing():
        pytest.skip(f"no {missing}")
    async with Stage(tmp_path / "stage", tiny) as stage:
        outcome = await scenario.run(stage, **(scenario.short or {}))
    print(outcome.figures)
    assert not outcome.broken
