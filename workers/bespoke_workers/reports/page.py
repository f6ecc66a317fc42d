"""The page of a report: one HTML file that needs nothing else, and runs no script."""

from typing import Any, Final

from bespoke_workers.reports.figures import Figures
from bespoke_workers.reports.plots import missing, plots, svg

KIB: Final = 1024
MILLION: Final = 10**6
TEN_MILLION: Final = 10 * MILLION
MINUTE: Final = 60
HOUR: Final = 3600
NOTHING: Final = "\N{EN DASH}"


def page(figures: Figures) -> str:
    """Return the page; raises Misconfigured where what makes it is not installed."""
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise missing() from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bespoke_workers.reports"),
        autoescape=True,  # names and descriptions are whatever somebody gave
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "usd": _usd,
        "count": _count,
        "short": _short,
        "size": _size,
        "time": _time,
    }
    drawn: list[dict[str, Any]] = [
        {
            "plot": plot,
            # Vega escapes what it is given.
            "svg": None if plot.chart is None else Markup(svg(plot.chart)),  # noqa: S704
        }
        for plot in plots(figures)
    ]
    return environment.get_template("report.html").render(figures=figures, plots=drawn)


def _score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _usd(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.4f}"


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _short(value: int) -> str:
    """Write a number that may be large so that it fits a tile."""
    return _count(value) if value < TEN_MILLION else f"{value / MILLION:,.0f} M"


def _size(value: int) -> str:
    return f"{value} B" if value < KIB else f"{value / KIB:,.1f} KiB"


def _time(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 5 * HOUR else f"{seconds / HOUR:,.0f} h"
