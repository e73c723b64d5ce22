"""What the chart gives to Prometheus' operator and to Grafana."""

import yaml

from tests.deploy.tools import ROOT, documents, only, rendered


def test_the_chart_brings_the_rules_and_the_dashboards_as_they_are() -> None:
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
