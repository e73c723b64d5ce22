"""Are the devices full, and is their time the model's?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import THIRD, board, graph, number

MODEL = '{model=~"$model"}'


def _rate(counter: str) -> str:
    return f"sum by (model) (rate({counter}{MODEL}[$__rate_interval]))"


def engine() -> Dashboard:
    """Return occupancy, batches, a tick's parts and efficiency."""
    parts = f"sum by (part) (rate(sfumato_engine_tick_seconds_total{MODEL}[$__rate_interval]))"
    ticks = f"ignoring (part) group_left sum(rate(sfumato_engine_ticks_total{MODEL}"
    return (
        board("engine", "Engine", "Occupancy, rows a tick, parts of a tick, efficiency.")
        .with_panel(
            number(
                "Occupancy",
                "Slots used over slots there are.",
                "percentunit",
                (f"model:sfumato_engine_occupancy:ratio{MODEL}", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            number(
                "Efficiency",
                "The share of the engines' time that is the model's forward pass.",
                "percentunit",
                (f"model:sfumato_engine_efficiency:ratio5m{MODEL}", "{{model}}"),
                limits=((0, "red"), (0.75, "orange"), (0.9, "green")),
                width=THIRD,
            )
        )
        .with_panel(
            number(
                "Rows a second",
                "UNet rows of all engines.",
                "short",
                (f"model:sfumato_engine_rows:rate5m{MODEL}", "{{model}}"),
                width=THIRD,
            )
        )
        .with_panel(
            graph(
                "Slots",
                "Pictures that the engines hold, and can hold.",
                "short",
                (f"sum by (model) (sfumato_engine_slots_used{MODEL})", "{{model}} used"),
                (f"sum by (model) (sfumato_engine_slots{MODEL})", "{{model}} there are"),
            )
        )
        .with_panel(
            graph(
                "Rows a tick",
                "The mean size of a forward pass, and its bound.",
                "short",
                (
                    f"{_rate('sfumato_engine_rows_total')} / {_rate('sfumato_engine_ticks_total')}",
                    "{{model}}",
                ),
                (f"min by (model) (sfumato_engine_rows_per_tick{MODEL})", "{{model}} bound"),
            )
        )
        .with_panel(
            graph(
                "A tick's parts",
                "Mean seconds of a tick: the forward pass, the step, all else.",
                "s",
                (f"{parts} / {ticks}[$__rate_interval]))", "{{part}}"),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Efficiency",
                "Forward pass over all of a tick.",
                "percentunit",
                (f"model:sfumato_engine_efficiency:ratio5m{MODEL}", "{{model}}"),
                most=1,
            )
        )
        .with_panel(
            graph(
                "Rows and pictures a second",
                "UNet rows, guided pictures counting twice; and pictures advanced by a row.",
                "short",
                (_rate("sfumato_engine_rows_total"), "{{model}} rows"),
                (_rate("sfumato_engine_evaluations_total"), "{{model}} pictures"),
            )
        )
        .with_panel(
            graph(
                "Rows left",
                "UNet rows that the pictures in the engines have before them.",
                "short",
                (f"sum by (model) (sfumato_engine_remaining_rows{MODEL})", "{{model}}"),
            )
        )
        .with_panel(
            graph(
                "Silence",
                "Seconds since an engine's last tick while it holds pictures.",
                "s",
                (f"max by (instance) (sfumato_engine_silent_seconds{MODEL})", "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Rows a job",
                "UNet rows of finished jobs: what clients ask for.",
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
