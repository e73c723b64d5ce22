"""Grafana dashboards, generated: ``python -m deploy.grafana`` writes ``dashboards/*.json``."""
