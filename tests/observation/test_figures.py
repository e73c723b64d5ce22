"""Every expression of every dashboard and rule, asked of a real Prometheus that saw a real run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.observation.figures import Figures
from tests.observation.live import Live
from tests.observation.test_rules import alerts, rules
from tests.processes import wait

pytestmark = pytest.mark.needs("prometheus")
ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
SILENT = {
    "ALERTS": "nothing is wrong in this run",
}
"""Expressions that may be empty, and why."""
SELECTOR = re.compile(r"\b((?:model(?:_\w+)?:)?sfumato[\w:]*|process_\w+)(\{[^}]*\})?")


def queries(dashboard: Path) -> list[tuple[str, str]]:
    """Return each panel's title with each of its expressions, variables filled in."""
    found: list[tuple[str, str]] = []
    page: Any = json.loads(dashboard.read_text())
    for panel in page["panels"]:
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "30s").replace("$model", ".*")
            assert "$" not in expr
            found.append((panel["title"], expr))
    return found


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_shows_something(figures: Figures, dashboard: Path) -> None:
    empty = [
        (title, expr)
        for title, expr in queries(dashboard)
        if not figures.over_time(expr) and not any(word in expr for word in SILENT)
    ]
    assert empty == []


def test_every_recording_rule_has_a_value(figures: Figures) -> None:
    records = [rule["record"] for rule in rules() if "record" in rule]
    assert [record for record in records if not figures.over_time(record)] == []


def test_every_alert_looks_at_series_that_exist(figures: Figures) -> None:
    for alert in alerts():
        figures.over_time(alert["expr"])
        selectors = ["".join(found) for found in SELECTOR.findall(alert["expr"])]
        assert selectors
        for selector in selectors:
            existing = selector.replace('status=~"5.."', 'status=~".*"')
            assert figures.over_time(existing), (alert["alert"], selector)


def test_a_quiet_run_fires_nothing(figures: Figures) -> None:
    assert figures.over_time('ALERTS{alertstate="firing", severity="page"}') == []


@pytest.mark.parametrize(
    "histogram",
    ["sfumato_job_seconds", "sfumato_http_request_seconds", "sfumato_job_queued_seconds",
     "sfumato_job_running_seconds"],
)  # fmt: skip
def test_histograms_name_traces(live: Live, figures: Figures, histogram: str) -> None:
    def named() -> bool:
        sent = {span.trace_id for span in live.collector.spans}
        return bool(figures.traces(f"{histogram}_bucket") & sent)

    wait("a trace that the collector has", named)


def test_every_metric_is_documented_and_every_documented_one_exists(figures: Figures) -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    documented = set(re.findall(r"^\| `(sfumato_\w+)", text, re.MULTILINE))
    exposed = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in figures.names()
        if name.startswith("sfumato_") and ":" not in name
    }
    assert documented == exposed
