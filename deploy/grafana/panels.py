"""The kinds of panel in the dashboards."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as parts

SOURCE = parts.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HALF, THIRD, QUARTER = 24, 12, 8, 6
Query = tuple[str, str]
"""An expression and the legend of its series."""


def board(uid: str, title: str, description: str, *, by_model: bool = True) -> dashboard.Dashboard:
    """Return an empty dashboard with a variable for the data source and, if asked, the model."""
    made = (
        dashboard.Dashboard(f"Sfumato / {title}")
        .uid(f"sfumato-{uid}")
        .description(description)
        .tags(["sfumato"])
        .readonly()
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(parts.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Sfumato")
            .type(parts.DashboardLinkType.DASHBOARDS)
            .tags(["sfumato"])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
    )
    if by_model:
        made.with_variable(
            dashboard.QueryVariable("model")
            .label("Model")
            .datasource(SOURCE)
            .query("label_values(sfumato_workers, model)")
            .refresh(parts.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    return made


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = HALF,
    stacked: bool = False,
    most: float | None = None,
) -> timeseries.Panel:
    """Return curves over time, optionally stacked as parts of a whole."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .fill_opacity(40 if stacked else 8)
        .line_width(1)
        .show_points(options.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(options.LegendDisplayMode.LIST)
                .placement(options.LegendPlacement.BOTTOM).show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI)
                 .sort(options.SortOrder.DESCENDING))
        .targets(_targets(queries))
    )  # fmt: skip
    if stacked:
        panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL))
    if most is not None:
        panel.max(most)
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    limits: Sequence[tuple[float, str]] = (),
    width: int = QUARTER,
) -> stat.Panel:
    """Return one large figure per series, coloured by the last limit that it reaches."""
    steps = [parts.Threshold(value=None, color="text")]
    steps += [parts.Threshold(value=limit, color=colour) for limit, colour in limits]
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(options.BigValueGraphMode.AREA)
        .thresholds(dashboard.ThresholdsConfig().mode(parts.ThresholdsMode.ABSOLUTE).steps(steps))
        .targets(_targets([query]))
    )


def _targets(queries: Sequence[Query]) -> list[Builder[Dataquery]]:
    found: list[Builder[Dataquery]] = []
    for letter, (expr, legend) in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(expr).legend_format(legend)
        # Show the exemplars of histograms.
        found.append(target.range().exemplar("_bucket" in expr))
    return found
