"""The chart's objects for the Prometheus Operator and for Grafana."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import ROOT, documents, only, rendered, run
from tests.needs import path_of

pytestmark = pytest.mark.needs("helm")
STEPS = 12  # of five minutes, an hour
CREATED = 'kube_cronjob_created{namespace="sfumato",cronjob="sfumato-redis-backup"}'
SUCCEEDED = CREATED.replace("created", "status_last_successful_time")
OTHERS = SUCCEEDED.replace('namespace="sfumato"', 'namespace="other"')


def test_the_chart_has_the_rules_and_the_dashboards_unchanged() -> None:
    manifest = documents(rendered(sets="monitoring.enabled=true"))
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text())
    assert only(manifest, "PrometheusRule", "sfumato")["spec"] == rules
    folder = ROOT / "deploy" / "grafana" / "dashboards"
    given = only(manifest, "ConfigMap", "sfumato-dashboards")
    assert given["data"] == {path.name: path.read_text() for path in folder.glob("*.json")}
    assert given["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_both_can_be_left_out() -> None:
    off = "monitoring.enabled=true,monitoring.rules=false,monitoring.dashboards=false"
    kinds = {(d["kind"], d["metadata"]["name"]) for d in documents(rendered(sets=off))}
    assert not kinds & {("PrometheusRule", "sfumato"), ("ConfigMap", "sfumato-dashboards")}


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(
    ("given", "firing"),
    [
        ({CREATED: "0x120", SUCCEEDED: f"0x{STEPS} 3600x99"}, {2: 0, 4: 0, 5: 1}),
        ({CREATED: "0x120", OTHERS: "0+300x120"}, {3: 0, 4: 1}),
        ({CREATED: "0x120", SUCCEEDED: "0+300x120"}, {4: 0, 9: 0}),
        ({OTHERS: "0+300x120"}, {0: 0, 1: 1}),
    ],
    ids=["it no longer succeeds", "it never succeeded", "all is well", "no record of it"],
)
def test_an_overdue_backup_fires_an_alert(
    given: dict[str, str], firing: dict[int, int], tmp_path: Path
) -> None:
    sets = "monitoring.enabled=true,redis.backup.enabled=true"
    spec: dict[str, Any] = only(documents(rendered(sets=sets)), "PrometheusRule", "sfumato")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    name = "SfumatoBackupOverdue"
    expected = [
        {"eval_time": f"{hour}h", "alertname": name}
        | ({"exp_alerts": [alert(spec, name)]} if count else {})
        for hour, count in firing.items()
    ]
    series = [{"series": each, "values": values} for each, values in given.items()]
    test = {"interval": "5m", "input_series": series, "alert_rule_test": expected}
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "5m", "tests": [test]})
    )
    promtool = path_of("promtool")
    checked = run(promtool, "check", "rules", "--lint-fatal", tmp_path / "rules.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = run(promtool, "test", "rules", tmp_path / "test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def alert(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what promtool expects to see of an alert that fires."""
    (found,) = (
        rule for group in spec["groups"] for rule in group["rules"] if rule.get("alert") == name
    )
    labels = found["labels"] | {"namespace": "sfumato", "cronjob": "sfumato-redis-backup"}
    return {"exp_labels": labels, "exp_annotations": found["annotations"]}
