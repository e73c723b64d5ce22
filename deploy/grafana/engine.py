"""Are the devices full, and how much of their time does the model get?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import THIRD, board, graph, number

MODEL = '{model=~"$model"}'


def _rate(counter: str) -> str:
    return f"sum by (model) (rate({counter}{MODEL}[$__rate_interval]))"


def engine() -> Dashboard:
    """Return occupancy, batch sizes, parts of a tick and efficiency."""
    parts = f"sum by (part) (rate(sfumato_engine_tick_seconds_total{MODEL}[$__rate_interval]))"
    ticks = f"ignoring (part) group_left sum(rate(sfumato_engine_ticks_total{MODEL}"
    return (
        board("engine", "Engine", "Occupancy, rows per tick, parts of a tick, efficiency.")
        .with_panel(
            number(
                "Occupancy",
                "Slots in use as a share of all slots.",
                "percentunit",
                (f"model:sfumato_engine_occupancy:ratio{MODEL}", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            number(
                "Efficiency",
                "Share of the engines' time spent in the model's forward pass.",
                "percentunit",
                (f"model:sfumato_engine_efficiency:ratio5m{MODEL}", "{{model}}"),
                limits=((0, "red"), (0.75, "orange"), (0.9, "green")),
                width=THIRD,
            )
        )
        .with_panel(
            number(
                "Rows per second",
                "UNet rows per second of all engines.",
                "short",
                (f"model:sfumato_engine_rows:rate5m{MODEL}", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Slots",
                "Pictures in the engines, and the maximum.",
                "short",
                (f"sum by (model) (sfumato_engine_slots_used{MODEL})", "{{model}} used"),
                (f"sum by (model) (sfumato_engine_slots{MODEL})", "{{model}} total"),
            )
        )
        .with_panel(
            graph(
                "Rows per tick",
                "Mean batch size of a forward pass, and its limit.",
                "short",
                (
                    f"{_rate('sfumato_engine_rows_total')} / {_rate('sfumato_engine_ticks_total')}",
                    "{{model}}",
                ),
                (f"min by (model) (sfumato_engine_rows_per_tick{MODEL})", "{{model}} limit"),
            )
        )
        .with_panel(
            graph(
                "Parts of a tick",
                "Mean seconds per tick: forward pass, sampler step, overhead.",
                "s",
                (f"{parts} / {ticks}[$__rate_interval]))", "{{part}}"),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Efficiency",
                "Forward pass as a share of the tick.",
                "percentunit",
                (f"model:sfumato_engine_efficiency:ratio5m{MODEL}", "{{model}}"),
                most=1,
            )
        )
        .with_panel(
            graph(
                "Rows and pictures per second",
                "UNet rows (two per guided picture), and picture steps.",
                "short",
                (_rate("sfumato_engine_rows_total"), "{{model}} rows"),
                (_rate("sfumato_engine_evaluations_total"), "{{model}} pictures"),
            )
        )
        .with_panel(
            graph(
                "Rows left",
                "UNet rows left for the pictures in the engines.",
                "short",
                (f"sum by (model) (sfumato_engine_remaining_rows{MODEL})", "{{model}}"),
            )
        )
        .with_panel(
            graph(
                "Silence",
                "Time since an engine's last tick while it holds pictures.",
                "s",
                (f"max by (instance) (sfumato_engine_silent_seconds{MODEL})", "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Rows per job",
                "UNet rows of finished jobs.",
                "short",
                *(
                    (
                        f"histogram_quantile({q}, sum by (le) (rate("
                        f"sfumato_job_evaluations_bucket{MODEL}[$__rate_interval])))",
                        f"p{100 * q:g}",
                    )
                    for q in (0.5, 0.95)
                ),
            )
        )
    )
