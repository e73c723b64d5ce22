"""Rules and alerts: valid, tested, and each with its place in the runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.needs import path_of

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules.yaml"
CHARTS_RULES = ROOT / "deploy" / "helm" / "sfumato" / "templates" / "rules.yaml"
UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))


def rules() -> list[dict[str, Any]]:
    """Return every rule of every group."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    return [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    command = [path_of("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.needs("promtool")
def test_rules_are_valid() -> None:
    outcome = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    outcome = promtool("test", "rules", str(path))
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
