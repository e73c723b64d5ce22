"""How much work is there, and how long does it wait?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import QUARTER, board, graph, number

MODEL = '{model=~"$model"}'


def queue() -> Dashboard:
    """Return the backlog in jobs, units and seconds, and what becomes of jobs."""
    waits = 'sum by (le) (rate(sfumato_job_queued_seconds_bucket{model=~"$model"}'
    return (
        board("queue", "Queue and work", "Backlog, waits, arrivals, ends, refusals.")
        .with_panel(
            number(
                "Waiting",
                "Jobs that no worker has claimed.",
                "short",
                (f"model_state:sfumato_backlog_jobs:max{_with('queued')}", "{{model}}"),
            )
        )
        .with_panel(
            number(
                "Running",
                "Jobs that a worker holds.",
                "short",
                (f"model_state:sfumato_backlog_jobs:max{_with('running')}", "{{model}}"),
            )
        )
        .with_panel(
            number(
                "Backlog of one worker",
                "All work left, queued and running, over what one worker does: the scaling signal.",
                "s",
                (f"model:sfumato_backlog_seconds:max{MODEL}", "{{model}}"),
            )
        )
        .with_panel(
            number(
                "Wait of a new job",
                "The backlog over the workers that are live.",
                "s",
                (f"model:sfumato_expected_wait_seconds{MODEL}", "{{model}}"),
                limits=((60, "orange"), (600, "red")),
            )
        )
        .with_panel(
            graph(
                "Backlog in jobs",
                "Jobs not ended.",
                "short",
                (f"model_state:sfumato_backlog_jobs:max{MODEL}", "{{model}} {{state}}"),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Backlog in units",
                "Work left, in UNet evaluations at base resolution.",
                "short",
                (f"max by (model, state) (sfumato_backlog_units{MODEL})", "{{model}} {{state}}"),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Expected wait",
                "What a job submitted now would wait, were no worker started or stopped.",
                "s",
                (f"model:sfumato_expected_wait_seconds{MODEL}", "{{model}}"),
            )
        )
        .with_panel(
            graph(
                "Time to the first claim",
                "Measured at the workers, of jobs that were claimed. Points are traces.",
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
                "Jobs taken on, over all models.",
                "ops",
                ("max(rate(sfumato_jobs_accepted_total[$__rate_interval]))", "accepted"),
                width=QUARTER,
            )
        )
        .with_panel(
            graph(
                "Ended",
                "By outcome.",
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
                "Admission's refusals: backlog, quota, deadline, rate, memory, no model.",
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
                "By the code in the job's error.",
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
