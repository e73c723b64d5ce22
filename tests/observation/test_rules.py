"""Rules and alerts: valid, tested, and each with its place in the runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import CHART, ROOT, run
from tests.needs import path_of

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules.yaml"
CHARTS_RULES = CHART / "templates" / "rules.yaml"
UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))


def rules() -> list[dict[str, Any]]:
    """Return every rule of every group."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    return [rule for rule in rules() if "alert" in rule]


@pytest.mark.needs("promtool")
def test_rules_are_valid() -> None:
    outcome = run(path_of("promtool"), "check", "rules", "--lint-fatal", RULES)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    outcome = run(path_of("promtool"), "test", "rules", path)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_every_alert_has_a_unit_test_in_which_it_fires() -> None:
    tested = set(re.findall(r'alertname="(\w+)"', "".join(p.read_text() for p in UNIT_TESTS)))
    assert {alert["alert"] for alert in alerts()} == tested


def test_every_alert_has_a_section_in_the_runbook() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    sections = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    charts_own = re.findall(r"- alert: (\w+)", CHARTS_RULES.read_text())
    assert sections == [*dict.fromkeys(alert["alert"] for alert in alerts()), *charts_own]
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["annotations"]["summary"]
        assert alert["labels"]["severity"] in ("page", "ticket")
    links = set(re.findall(r"\]\(#(\w+)\)", text))
    assert links <= {section.lower() for section in sections}
