"""Is there room in Redis, and does it answer?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import HALF, board, graph, number

USED = "max(sfumato_store_memory_bytes)"
LIMIT = "max(sfumato_store_memory_limit_bytes)"
KEPT = "max(sfumato_results_bytes)"
MOST = "max(sfumato_results_limit_bytes)"
FULL = ((0.8, "orange"), (1, "red"))


def store() -> Dashboard:
    """Return Redis' memory, the pictures in it, errors, and the doors that stand before it."""
    doors = "on (instance, job) sfumato_event_streams"
    return (
        board("store", "Redis and doors", "Memory, pictures, errors, streams.", by_model=False)
        .with_panel(
            number(
                "Memory",
                "Of what stops admission.",
                "percentunit",
                (f"{USED} / {LIMIT}", "used"),
                limits=FULL,
                width=HALF,
            )
        )
        .with_panel(
            number(
                "Pictures",
                "Of what finished pictures may take; beyond it the oldest go.",
                "percentunit",
                (f"{KEPT} / {MOST}", "used"),
                limits=((0.95, "orange"),),
                width=HALF,
            )
        )
        .with_panel(
            graph(
                "Memory",
                "Redis' own, and the mark above which no job is taken on.",
                "bytes",
                (USED, "used"),
                (LIMIT, "mark"),
            )
        )
        .with_panel(
            graph(
                "Pictures",
                "Finished ones, and their bound.",
                "bytes",
                (KEPT, "kept"),
                (MOST, "bound"),
            )
        )
        .with_panel(
            graph(
                "Errors",
                "Requests refused because Redis was away, and workers' calls that failed.",
                "ops",
                ("sum(rate(sfumato_door_redis_errors_total[$__rate_interval]))", "doors"),
                ("sum(rate(sfumato_worker_redis_errors_total[$__rate_interval]))", "workers"),
            )
        )
        .with_panel(
            graph(
                "Webhooks",
                "Attempts, by outcome.",
                "ops",
                (
                    "sum by (outcome) (rate(sfumato_webhooks_total[$__rate_interval]))",
                    "{{outcome}}",
                ),
            )
        )
        .with_panel(
            graph(
                "Webhooks that wait",
                "For their time, a place or an answer.",
                "short",
                ("max(sfumato_webhooks_pending)", "pending"),
            )
        )
        .with_panel(
            graph(
                "Webhooks that are late",
                "For how long the first that is due could have been tried.",
                "s",
                ("max(sfumato_webhooks_oldest_due_seconds)", "oldest due"),
            )
        )
        .with_panel(
            graph(
                "Streams",
                "Open event streams of each door.",
                "short",
                ("sfumato_event_streams", "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Doors' CPU",
                "Cores that each replica uses.",
                "short",
                (
                    f"rate(process_cpu_seconds_total[$__rate_interval]) and {doors}",
                    "{{instance}}",
                ),
            )
        )
    )
