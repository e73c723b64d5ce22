"""Which workers are live, how fast are they, and how do jobs leave them?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import THIRD, Query, board, graph, number

MODEL = '{model=~"$model"}'


def _by(label: str, counter: str) -> Query:
    expr = f"sum by ({label}) (rate({counter}{MODEL}[$__rate_interval]))"
    return expr, "{{" + label + "}}"


def _process(metric: str) -> str:
    return f"{metric} and on (instance, job) sfumato_worker_up{MODEL}"


def workers() -> Dashboard:
    """Return live workers, their speed, claims, departures and failures."""
    return (
        board("workers", "Workers", "Live workers, speed, claims, departures, failures.")
        .with_panel(
            number(
                "Live",
                "Live workers.",
                "short",
                (f"model:sfumato_workers:max{MODEL}", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            number(
                "Speed of one worker",
                "Units per second with full batches.",
                "short",
                (f"max by (model) (sfumato_worker_units_per_second{MODEL})", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            number(
                "Cold start",
                "From process start to a ready engine.",
                "s",
                (f"max by (model) (sfumato_worker_cold_start_seconds{MODEL})", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Live and draining",
                "Live workers, and those giving back their jobs before they stop.",
                "short",
                (f"model:sfumato_workers:max{MODEL}", "{{model}} live"),
                (f"sum by (model) (sfumato_worker_draining{MODEL})", "{{model}} draining"),
            )
        )
        .with_panel(
            graph(
                "Speed per worker",
                "UNet rows per second while busy.",
                "short",
                (f"sfumato_engine_rows_per_second{MODEL}", "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Claims",
                "Jobs claimed: fresh, or resumed from a checkpoint.",
                "ops",
                _by("start", "sfumato_worker_claims_total"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Jobs ended",
                "On workers, by outcome.",
                "ops",
                _by("outcome", "sfumato_worker_jobs_total"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Departures",
                "Jobs that left unfinished: drain, parked (preempted), lost (cancel or takeover).",
                "ops",
                _by("reason", "sfumato_worker_departures_total"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Failures",
                "Expired leases and process restarts in an hour.",
                "short",
                ("max(increase(sfumato_leases_reaped_total[1h]))", "leases reaped"),
                (
                    "sum(changes(process_start_time_seconds[1h]) "
                    f"and on (instance, job) sfumato_worker_up{MODEL})",
                    "restarts",
                ),
            )
        )
        .with_panel(
            graph(
                "Running time",
                "Time on workers, over all attempts of a job. Points are traces.",
                "s",
                *(
                    (
                        f"histogram_quantile({q}, sum by (le) (rate("
                        f"sfumato_job_running_seconds_bucket{MODEL}[$__rate_interval])))",
                        f"p{100 * q:g}",
                    )
                    for q in (0.5, 0.95)
                ),
            )
        )
        .with_panel(
            graph(
                "CPU",
                "Cores used per worker.",
                "short",
                (_process("rate(process_cpu_seconds_total[$__rate_interval])"), "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Memory",
                "Resident memory per worker.",
                "bytes",
                (_process("process_resident_memory_bytes"), "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Previews",
                "Previews published per second.",
                "ops",
                _by("model", "sfumato_worker_previews_total"),
            )
        )
        .with_panel(
            graph(
                "Failed store calls",
                "Failed store calls of workers per second.",
                "ops",
                _by("model", "sfumato_worker_redis_errors_total"),
            )
        )
    )
