"""Does Redis have room, and does it respond?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import HALF, board, graph, number

USED = "max(sfumato_store_memory_bytes)"
LIMIT = "max(sfumato_store_memory_limit_bytes)"
KEPT = "max(sfumato_results_bytes)"
MOST = "max(sfumato_results_limit_bytes)"
FULL = ((0.8, "orange"), (1, "red"))


def store() -> Dashboard:
    """Return Redis' memory and pictures, errors, webhooks, and the doors."""
    doors = "on (instance, job) sfumato_event_streams"
    return (
        board(
            "store",
            "Redis and doors",
            "Memory, pictures, errors, webhooks, streams.",
            by_model=False,
        )
        .with_panel(
            number(
                "Memory",
                "Memory used, as a share of the high-water mark.",
                "percentunit",
                (f"{USED} / {LIMIT}", "used"),
                limits=FULL,
                width=HALF,
            )
        )
        .with_panel(
            number(
                "Pictures",
                "Finished pictures, as a share of their limit; beyond it the oldest are deleted.",
                "percentunit",
                (f"{KEPT} / {MOST}", "used"),
                limits=((0.95, "orange"),),
                width=HALF,
            )
        )
        .with_panel(
            graph(
                "Memory",
                "Memory of Redis, and the mark above which no job is accepted.",
                "bytes",
                (USED, "used"),
                (LIMIT, "high-water mark"),
            )
        )
        .with_panel(
            graph(
                "Pictures",
                "Finished pictures, and their limit.",
                "bytes",
                (KEPT, "used"),
                (MOST, "limit"),
            )
        )
        .with_panel(
            graph(
                "Errors",
                "Requests refused because Redis was unavailable, and failed calls of workers.",
                "ops",
                ("sum(rate(sfumato_door_redis_errors_total[$__rate_interval]))", "doors"),
                ("sum(rate(sfumato_worker_redis_errors_total[$__rate_interval]))", "workers"),
            )
        )
        .with_panel(
            graph(
                "Webhooks",
                "Delivery attempts, by outcome.",
                "ops",
                (
                    "sum by (outcome) (rate(sfumato_webhooks_total[$__rate_interval]))",
                    "{{outcome}}",
                ),
            )
        )
        .with_panel(
            graph(
                "Webhooks pending",
                "Deliveries waiting or in flight.",
                "short",
                ("max(sfumato_webhooks_pending)", "pending"),
            )
        )
        .with_panel(
            graph(
                "Webhooks overdue",
                "How long the oldest delivery has been due.",
                "s",
                ("max(sfumato_webhooks_oldest_due_seconds)", "oldest due"),
            )
        )
        .with_panel(
            graph(
                "Streams",
                "Open event streams per door.",
                "short",
                ("sfumato_event_streams", "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Connections",
                "Open connections per door, and those closed for what they did.",
                "short",
                ("sfumato_door_connections", "{{instance}}"),
                (
                    "sum by (reason) (rate(sfumato_door_connections_refused_total"
                    "[$__rate_interval]))",
                    "{{reason}} a second",
                ),
            )
        )
        .with_panel(
            graph(
                "CPU of doors",
                "Cores used per replica.",
                "short",
                (
                    f"rate(process_cpu_seconds_total[$__rate_interval]) and {doors}",
                    "{{instance}}",
                ),
            )
        )
    )
