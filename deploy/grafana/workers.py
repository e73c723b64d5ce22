"""Who works, how fast, and how does a job leave?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import THIRD, Query, board, graph, number

MODEL = '{model=~"$model"}'


def _by(label: str, counter: str) -> Query:
    expr = f"sum by ({label}) (rate({counter}{MODEL}[$__rate_interval]))"
    return expr, "{{" + label + "}}"


def _process(metric: str) -> str:
    return f"{metric} and on (instance, job) sfumato_worker_up{MODEL}"


def workers() -> Dashboard:
    """Return live workers, their speed, claims, departures and deaths."""
    return (
        board("workers", "Workers", "Live workers, speed, claims, departures, deaths.")
        .with_panel(
            number(
                "Live",
                "Workers that announced themselves in the last seconds.",
                "short",
                (f"model:sfumato_workers:max{MODEL}", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            number(
                "One worker's speed",
                "Units a second with full batches.",
                "short",
                (f"max by (model) (sfumato_worker_units_per_second{MODEL})", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            number(
                "Cold start",
                "From a process to an engine that is ready.",
                "s",
                (f"max by (model) (sfumato_worker_cold_start_seconds{MODEL})", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Live and draining",
                "Live ones as the store knows them; draining ones give their jobs back to stop.",
                "short",
                (f"model:sfumato_workers:max{MODEL}", "{{model}} live"),
                (f"sum by (model) (sfumato_worker_draining{MODEL})", "{{model}} draining"),
            )
        )
        .with_panel(
            graph(
                "Speed of each",
                "UNet rows a second while busy.",
                "short",
                (f"sfumato_engine_rows_per_second{MODEL}", "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Claims",
                "Fresh jobs, and those resumed from a checkpoint.",
                "ops",
                _by("start", "sfumato_worker_claims_total"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Ends",
                "Jobs that ended at a worker.",
                "ops",
                _by("outcome", "sfumato_worker_jobs_total"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Departures",
                "Jobs that left before their end: drained, parked, or lost to a cancel or another.",
                "ops",
                _by("reason", "sfumato_worker_departures_total"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Deaths",
                "Leases that ran out, and starts of processes, in an hour.",
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
                "Time held",
                "By workers, over all attempts of a job. Points are traces.",
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
                "Cores that each worker uses.",
                "short",
                (_process("rate(process_cpu_seconds_total[$__rate_interval])"), "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Memory",
                "Resident, of each worker.",
                "bytes",
                (_process("process_resident_memory_bytes"), "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Previews",
                "Published a second.",
                "ops",
                _by("model", "sfumato_worker_previews_total"),
            )
        )
        .with_panel(
            graph(
                "Failed store calls",
                "Of workers, a second.",
                "ops",
                _by("model", "sfumato_worker_redis_errors_total"),
            )
        )
    )
