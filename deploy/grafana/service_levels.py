"""Does the service keep its promises?"""

from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import HALF, THIRD, WIDTH, board, graph, number

GREEN_UP = ((0, "red"), (0.25, "orange"), (0.5, "green"))
WINDOWS = ("5m", "1h", "6h", "3d")


@dataclass(frozen=True)
class Level:
    """A promise: the share of errors that deploy/prometheus/rules.yaml records, and its bound."""

    title: str
    record: str  # without its window
    budget: float
    labels: str = '{model=~"$model"}'
    legend: str = "{{model}}"

    def errors(self, window: str) -> str:
        """Return the expression of the share of errors in a window."""
        return f"{self.record}{window}{self.labels}"


LEVELS = (
    Level("Door", "sfumato_door_errors:ratio_rate", 0.001, labels="", legend=""),
    Level("Jobs", "model:sfumato_job_errors:ratio_rate", 0.01),
    Level("Latency", "model:sfumato_job_slow:ratio_rate", 0.05),
)


def service_levels() -> Dashboard:
    """Return the levels, what is left of their budgets, and what uses them up."""
    page = board(
        "service-levels",
        "Service levels",
        "Door: 99.9 % of requests without a 5xx. Jobs: 99 % of those not canceled succeed. "
        "Latency: 95 % of those end within 60 s.",
    )
    for level in LEVELS:
        left = f"1 - {level.errors('3d')} / {level.budget}"
        page.with_panel(
            number(
                f"{level.title}: budget left",
                "Of the errors that three days may have; below zero they had more.",
                "percentunit",
                (left, level.legend or "left"),
                limits=GREEN_UP,
                width=THIRD,
            )
        )
    for level in LEVELS:
        page.with_panel(
            graph(
                f"{level.title}: burn rate",
                "Errors over what the level allows; 14.4 in an hour and 6 in six hours page.",
                "none",
                *((f"{level.errors(w)} / {level.budget}", f"{w} {level.legend}") for w in WINDOWS),
                width=THIRD,
            )
        )
    return _panels(page)


def _panels(page: Dashboard) -> Dashboard:
    seconds = 'rate(sfumato_job_seconds_bucket{outcome="succeeded", model=~"$model"}'
    jobs = f"max by (le) ({seconds}[$__rate_interval]))"
    route = 'rate(sfumato_http_request_seconds_bucket{route!="none"}[$__rate_interval])'
    return (
        page.with_panel(
            graph(
                "Jobs: creation to picture",
                "Succeeded jobs, whatever worker drew them. Points are traces.",
                "s",
                *((f"histogram_quantile({q}, {jobs})", f"p{100 * q:g}") for q in (0.5, 0.95, 0.99)),
            )
        )
        .with_panel(
            graph(
                "Door: time to answer, p99",
                "By route; waits and streams left out. Points are traces.",
                "s",
                (f"histogram_quantile(0.99, sum by (le, route) ({route}))", "{{route}}"),
            )
        )
        .with_panel(
            graph(
                "Answers",
                "By status; 0 went away before its answer.",
                "reqps",
                (
                    "sum by (status) (rate(sfumato_http_requests_total[$__rate_interval]))",
                    "{{status}}",
                ),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Problems",
                "Refusals and errors, by the stable word in `code`.",
                "reqps",
                (
                    "sum by (code) (rate(sfumato_http_problems_total[$__rate_interval]))",
                    "{{code}}",
                ),
                width=HALF,
            )
        )
        .with_panel(
            graph(
                "Alerts",
                "Sfumato's own, pending and firing; docs/runbook.md has a section for each.",
                "short",
                (
                    'sum by (alertname, alertstate) (ALERTS{alertname=~"Sfumato.*"})',
                    "{{alertname}} {{alertstate}}",
                ),
                width=WIDTH,
            )
        )
    )
