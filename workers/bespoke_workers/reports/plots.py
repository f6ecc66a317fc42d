"""The plots of a report: what each shows, as a Vega-Lite chart, and its SVG.

Vega writes an SVG with texts that are texts and a label on each mark, and passes colours
through; so those are the page's own, which follow the reader's light or dark theme.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bespoke_workers.errors import Misconfigured
from bespoke_workers.reports.figures import Figures, Stint

WIDTH: Final = 380
"""Units of the drawing, not pixels: a phone shows them a little smaller, a screen larger."""
HEIGHT: Final = 190
FONT: Final = "system-ui, sans-serif"
COLOURS: Final = 8
"""Optimizers beyond so many share colours."""
NO_OPTIMIZER: Final = "by hand"
LONGEST_NAME: Final = 28  # characters of an optimizer's name; the table has it whole
FEW_RUNS: Final = 10
"""Where no mark is of more optimizations than this, one of a single one stays small."""
SPARSE: Final = {"tickCount": 5, "labelOverlap": "greedy", "labelSeparation": 12}
EPOCH: Final = datetime.fromtimestamp(0, UTC)
DAYS: Final = timedelta(days=3)
MONTHS: Final = timedelta(days=300)

Chart = dict[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Plot:
    """One plot: a title, a sentence on how to read it, its chart, and how many marks it has.

    ``chart`` is None where there is nothing to plot; ``note`` says why.
    """

    name: str
    title: str
    note: str
    chart: Chart | None
    marks: int


def plots(figures: Figures) -> list[Plot]:
    """Return the plots of a report."""
    return [_scores(figures), _optimizers(figures), _prices(figures), _in_use(figures)]


def svg(chart: Chart) -> str:
    """Draw a chart; raises Misconfigured where the library for it is not installed."""
    try:
        import vl_convert
    except ImportError:
        raise missing() from None
    drawn = str(vl_convert.vegalite_to_svg(chart, vl_version="5.21"))
    # What a label says to a screen reader, a title shows to a mouse.
    return re.sub(r'(<path aria-label="([^"]*)"[^>]*)/>', r"\1><title>\2</title></path>", drawn)


def missing() -> Misconfigured:
    """Make the error of a page without the libraries that it is made with."""
    return Misconfigured(
        "the page needs libraries that are not installed; run "
        "pip install 'bespoke-workers[report]', or ask for --json"
    )


def named(optimizer: str | None) -> str:
    """Return the name under which an optimizer is plotted."""
    name = NO_OPTIMIZER if optimizer is None else optimizer
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _scores(figures: Figures) -> Plot:
    rows = [
        {
            "at": point.at.isoformat(),
            "score": point.score,
            "low": point.low,
            "high": point.high,
            "optimizer": named(point.optimizer),
            "says": f"{_day(point.at)}: {point.score:.3f}"
            + (
                f", {named(point.optimizer)}"
                if point.versions == 1 and figures.user is not None
                else f", median of {point.versions}"
            ),
        }
        for point in figures.scores
    ]
    x = _time("at", "saved", [point.at for point in figures.scores])
    y = _y("score", "quantitative", "score", scale={"zero": False, "nice": True})
    line: Chart = {"mark": {"type": "line", "stroke": "var(--quiet)", "strokeWidth": 1.5}}
    if figures.scores_are_of == "versions":
        marks = _points(_coloured(rows))
        note = f"Each mark is a version; the newest {len(rows)} that have a score."
        layers = [{**line, "encoding": {"x": x, "y": y}}]
    else:
        marks = _points({"fill": {"value": "var(--c1)"}})
        band = {"mark": {"type": "area", "fill": "var(--c1)", "opacity": 0.18}}
        spread = {
            "y": _y("low", "quantitative", "score", scale=y["scale"]),
            "y2": {"field": "high"},
        }
        layers = [{**band, "encoding": {"x": x, **spread}}, {**line, "encoding": {"x": x, "y": y}}]
        note = (
            "Each mark is the median of the versions saved at about that time; the band holds the "
            "middle half of them."
        )
    marks["encoding"] |= {"x": x, "y": y}
    return _plot("scores", "Score over versions", note, rows, [*layers, marks])


def _optimizers(figures: Figures) -> Plot:
    rows = [
        {**one.model_dump(), "optimizer": named(one.optimizer), "says":
         f"{named(one.optimizer)}: median {one.median:.3f}, {one.lowest:.3f} to "
         f"{one.highest:.3f}, {one.versions} versions"}
        for one in figures.optimizers
    ]  # fmt: skip
    y = _y("optimizer", "nominal", None, sort=None, axis={"labelLimit": 110})
    options = {"scale": {"zero": False, "nice": True}, "axis": SPARSE}
    span = {"x": _x("lowest", "quantitative", "score", **options), "x2": {"field": "highest"}}
    half = {"x": _x("lower", "quantitative", "score", **options), "x2": {"field": "upper"}}
    colour = _coloured(rows, legend=False)
    median = _points({"fill": {"value": "var(--page)"}, "stroke": {"value": "var(--ink)"}}, size=45)
    median["encoding"] |= {"x": _x("median", "quantitative", "score", **options), "y": y}
    layers: list[Chart] = [
        {"mark": {"type": "rule", "stroke": "var(--quiet)"}, "encoding": {**span, "y": y}},
        {"mark": {"type": "bar", "size": 14}, "encoding": {**half, "y": y, **colour}},
        median,
    ]
    note = "The mark is the median, the bar the middle half, the line from the lowest to the best."
    return _plot("optimizers", "Per optimizer", note, rows, layers, height=_tall(len(rows)))


def _prices(figures: Figures) -> Plot:
    unit = figures.price
    rows = [
        {
            "price": point.price,
            "gain": point.gain,
            "runs": point.runs,
            "outcome": "promoted" if point.promoted else "not promoted",
            "says": f"{point.runs} at {point.price:.4g} {unit}: gain {point.gain:+.3f}, "
            + ("promoted" if point.promoted else "not promoted"),
        }
        for point in figures.runs
    ]
    scale = {"domain": ["promoted", "not promoted"], "range": ["var(--c3)", "var(--c8)"]}
    size: Chart = {"field": "runs", "type": "quantitative", "legend": None}
    most = max((point.runs for point in figures.runs), default=0)
    size["scale"] = {"type": "sqrt", "range": [30, 300], "domain": [0, max(most, FEW_RUNS)]}
    marks = _points({"fill": {"field": "outcome", "type": "nominal", "scale": scale}})
    marks["encoding"]["fill"]["legend"] = {"title": None}
    marks["encoding"] |= {
        "x": _x("price", "quantitative", unit, axis=SPARSE, scale={"padding": 12}),
        "y": _y("gain", "quantitative", "gain in score", scale={"padding": 12}),
        "size": size,
    }
    zero = {
        "data": {"values": [{"gain": 0}]},
        "mark": {"type": "rule", "stroke": "var(--quiet)", "strokeDash": [3, 3]},
        "encoding": {"y": {"field": "gain", "type": "quantitative"}},
    }
    note = (
        "Each mark is the optimizations of about the same price and gain; a larger one is more of "
        "them. Above the dashed line the new version scored better."
    )
    return _plot("prices", "Cost against gain", note, rows, [zero, marks])


def _in_use(figures: Figures) -> Plot:
    if figures.user is not None:
        return _stints(figures)
    rows = [
        {
            "low": share.score,
            "high": share.score + 0.05,
            "users": share.users,
            "optimizer": named(share.optimizer),
            "says": f"{share.users} users at {share.score:.2f}, {named(share.optimizer)}",
        }
        for share in figures.in_use.shares
    ]
    x = _x("low", "quantitative", "score of the version in use", bin={"binned": True, "step": 0.05})
    layer = {
        "mark": {"type": "bar", "stroke": "var(--page)", "strokeWidth": 0.5},
        "encoding": {
            "x": x,
            "x2": {"field": "high"},
            "y": _y("users", "quantitative", "users"),
            "description": {"field": "says"},
            **_coloured(rows),
        },
    }
    served = figures.in_use
    note = (
        f"{served.users_with_own:,} users have a version of their own in use; "
        f"{served.users_on_base:,} have given examples and are served by the shared base."
    )
    return _plot("in-use", "Versions in use", note, rows, [layer])


def _stints(figures: Figures) -> Plot:
    stints = figures.in_use.stints
    rows = [
        {
            "since": stint.since.isoformat(),
            "until": (stint.until or figures.made_at).isoformat(),
            "version": f"{number}. {_scored(stint)}",
            "optimizer": named(stint.optimizer),
            "says": f"{_day(stint.since)} to {_day(stint.until) if stint.until else 'now'}: "
            f"{named(stint.optimizer)}, {_scored(stint)}, {stint.reason}",
        }
        for number, stint in enumerate(stints, 1)
    ]
    moments = [moment for stint in stints for moment in (stint.since, figures.made_at)]
    layer = {
        "mark": {"type": "bar", "size": 12, "cornerRadius": 2},
        "encoding": {
            "x": _time("since", "in use", moments),
            "x2": {"field": "until"},
            "y": _y("version", "nominal", None, sort=None),
            "description": {"field": "says"},
            **_coloured(rows),
        },
    }
    note = "One bar for each time a version came into use, the oldest first, with its score."
    return _plot("in-use", "Versions in use", note, rows, [layer], height=_tall(len(rows)))


def _plot(
    name: str,
    title: str,
    note: str,
    rows: Sequence[Row],
    layers: Sequence[Chart],
    height: Any = HEIGHT,
) -> Plot:
    if not rows:
        return Plot(name, title, "Nothing to show yet.", None, 0)
    chart = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": WIDTH,
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "background": None,
        "padding": {"left": 14, "top": 6, "right": 10, "bottom": 4},
        "data": {"values": list(rows)},
        "layer": list(layers),
        "config": _config(),
    }
    return Plot(name, title, note, chart, len(rows))


def _points(colour: Chart, size: int = 55) -> Chart:
    mark = {"type": "point", "filled": True, "opacity": 0.9, "size": size, "strokeWidth": 1.5}
    return {"mark": mark, "encoding": {**colour, "description": {"field": "says"}}}


def _coloured(rows: Sequence[Row], *, legend: bool = True) -> Chart:
    names = sorted({row["optimizer"] for row in rows})
    scale = {
        "domain": names,
        "range": [f"var(--c{number % COLOURS + 1})" for number in range(len(names))],
    }
    shown = {"title": None} if legend else None
    return {"fill": {"field": "optimizer", "type": "nominal", "scale": scale, "legend": shown}}


def _x(field: str, kind: str, title: str | None, **options: Any) -> Chart:
    return {"field": field, "type": kind, "title": title, **options}


_y = _x


def _time(field: str, title: str, moments: Sequence[datetime]) -> Chart:
    """Return an axis of times, as fine as the moments on it ask for."""
    span = max(moments, default=EPOCH) - min(moments, default=EPOCH)
    form = "%b %-d %H:%M" if span < DAYS else "%b %-d" if span < MONTHS else "%b %Y"
    axis = {**SPARSE, "format": form, "tickCount": 4}
    return _x(field, "temporal", title, scale={"type": "utc"}, axis=axis)


def _tall(rows: int) -> Chart:
    """Return the height of a plot with a line for each row."""
    return {"step": max(20, min(54, HEIGHT // max(rows, 1)))}


def _config() -> Chart:
    text = {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "labelFont": FONT,
        "titleFont": FONT,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    }
    axis = {"gridColor": "var(--rule)", "domainColor": "var(--rule)", "tickColor": "var(--rule)"}
    legend = {
        "orient": "bottom",
        "columns": 2,
        "symbolType": "circle",
        "symbolStrokeWidth": 0,
        "columnPadding": 26,
    }
    return {
        "axis": {**text, **axis},
        "legend": {**text, **legend, "labelLimit": 150},
        "view": {"stroke": None},
    }


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _scored(stint: Stint) -> str:
    return "no score" if stint.score is None else f"{stint.score:.3f}"
