"""How much work is queued, and how long does it wait?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import QUARTER, board, graph, number

MODEL = '{model=~"$model"}'


def queue() -> Dashboard:
    """Return the backlog in jobs, units and seconds, and the outcomes of jobs."""
    waits = 'sum by (le) (rate(sfumato_job_queued_seconds_bucket{model=~"$model"}'
    return (
        board("queue", "Queue and work", "Backlog, waits, arrivals, outcomes, refusals.")
        .with_panel(
            number(
                "Queued",
                "Jobs that no worker has claimed.",
                "short",
                (f"model_state:sfumato_backlog_jobs:max{_with('queued')}", "{{model}}"),
            )
        )
        .with_panel(
            number(
                "Running",
                "Jobs held by a worker.",
                "short",
                (f"model_state:sfumato_backlog_jobs:max{_with('running')}", "{{model}}"),
            )
        )
        .with_panel(
            number(
                "Backlog",
                "Work left, queued and running, in seconds of one worker: the scaling signal.",
                "s",
                (f"model:sfumato_backlog_seconds:max{MODEL}", "{{model}}"),
            )
        )
        .with_panel(
            number(
                "Wait of a new job",
                "The backlog divided by the number of live workers.",
                "s",
                (f"model:sfumato_expected_wait_seconds{MODEL}", "{{model}}"),
                limits=((60, "orange"), (600, "red")),
            )
        )
        .with_panel(
            graph(
                "Backlog in jobs",
                "Jobs that have not ended.",
                "short",
                (f"model_state:sfumato_backlog_jobs:max{MODEL}", "{{model}} {{state}}"),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Backlog in units",
                "Work left, in UNet rows at base resolution.",
                "short",
                (f"max by (model, state) (sfumato_backlog_units{MODEL})", "{{model}} {{state}}"),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Expected wait",
                "Wait of a job submitted now, at the present number of workers.",
                "s",
                (f"model:sfumato_expected_wait_seconds{MODEL}", "{{model}}"),
            )
        )
        .with_panel(
            graph(
                "Time to the first claim",
                "Measured by the workers. Points are traces.",
                "s",
                *(
                    (f"histogram_quantile({q}, {waits}[$__rate_interval])))", f"p{100 * q:g}")
                    for q in (0.5, 0.95, 0.99)
                ),
            )
        )
        .with_panel(
            graph(
                "Accepted",
                "Jobs accepted, over all models.",
                "ops",
                ("max(rate(sfumato_jobs_accepted_total[$__rate_interval]))", "accepted"),
                width=QUARTER,
            )
        )
        .with_panel(
            graph(
                "Ended",
                "Jobs ended, by outcome.",
                "ops",
                (
                    "sum by (outcome) (max by (model, outcome) "
                    f"(rate(sfumato_job_seconds_count{MODEL}[$__rate_interval])))",
                    "{{outcome}}",
                ),
                width=QUARTER,
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Refused",
                "Jobs refused: backlog, quota, deadline, rate, memory, no model.",
                "ops",
                (
                    "sum by (code) (rate(sfumato_http_problems_total{code=~"
                    '"backlog_full|quota_exceeded|deadline_unmeetable|rate_limited|store_full'
                    '|no_model"}'
                    "[$__rate_interval]))",
                    "{{code}}",
                ),
                width=QUARTER,
            )
        )
        .with_panel(
            graph(
                "Failed",
                "Jobs failed, by error code.",
                "ops",
                (
                    "max by (code) (rate(sfumato_job_failures_total[$__rate_interval]))",
                    "{{code}}",
                ),
                width=QUARTER,
            )
        )
    )


def _with(state: str) -> str:
    return f'{{model=~"$model", state="{state}"}}'
