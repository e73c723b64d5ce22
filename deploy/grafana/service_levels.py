"""Does the service meet its objectives?"""

from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import HALF, THIRD, WIDTH, board, graph, number

GREEN_UP = ((0, "red"), (0.25, "orange"), (0.5, "green"))
WINDOWS = ("5m", "1h", "6h", "3d")


@dataclass(frozen=True)
class Level:
    """An objective: the error ratio that deploy/prometheus/rules.yaml records, and its budget."""

    title: str
    record: str  # without its window
    budget: float
    labels: str = '{model=~"$model"}'
    legend: str = "{{model}}"

    def errors(self, window: str) -> str:
        """Return the expression of the error ratio in a window."""
        return f"{self.record}{window}{self.labels}"


LEVELS = (
    Level("Door", "sfumato_door_errors:ratio_rate", 0.001, labels="", legend=""),
    Level("Jobs", "model:sfumato_job_errors:ratio_rate", 0.01),
    Level("Latency", "model:sfumato_job_slow:ratio_rate", 0.05),
)


def service_levels() -> Dashboard:
    """Return what is left of each error budget, and what consumes it."""
    page = board(
        "service-levels",
        "Service levels",
        "Door: 99.9 % of requests without a 5xx. Jobs: 99 % of those not canceled succeed. "
        "Latency: 95 % of the succeeded ones end within 60 s.",
    )
    for level in LEVELS:
        left = f"1 - {level.errors('3d')} / {level.budget}"
        page.with_panel(
            number(
                f"{level.title}: budget left",
                "Share of three days' error budget that is left; negative when it is overspent.",
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
                "Error ratio divided by the budget; 14.4 over an hour and 6 over six hours page.",
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
                "Jobs: creation to end",
                "Succeeded jobs. Points are traces.",
                "s",
                *((f"histogram_quantile({q}, {jobs})", f"p{100 * q:g}") for q in (0.5, 0.95, 0.99)),
            )
        )
        .with_panel(
            graph(
                "Door: response time, p99",
                "By route, without waits and streams. Points are traces.",
                "s",
                (f"histogram_quantile(0.99, sum by (le, route) ({route}))", "{{route}}"),
            )
        )
        .with_panel(
            graph(
                "Responses",
                "By status; 0: the client disconnected first.",
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
                "Error responses, by `code`.",
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
                "Pending and firing; docs/runbook.md has a section for each.",
                "short",
                (
                    'sum by (alertname, alertstate) (ALERTS{alertname=~"Sfumato.*"})',
                    "{{alertname}} {{alertstate}}",
                ),
                width=WIDTH,
            )
        )
    )
