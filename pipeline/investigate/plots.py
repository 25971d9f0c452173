"""A measure's course as inline SVG: a bar for each hour, the usual as a line, the most before as a
dashed one. Numbers alone go in, and no style: the page has it.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from tachograph.pipeline.investigate.page import Plot

WIDTH, HEIGHT = 480, 120
TOP, LEFT, BOTTOM = 14, 4, 18
HOURS = 48
_STEP = (WIDTH - 2 * LEFT) / HOURS
_FLOOR = HEIGHT - BOTTOM


def svg(plot: Plot) -> str:
    """The picture."""
    levels = [*plot.usual, *plot.most]
    most = max([1.0, *plot.amounts, *(one for one in levels if one is not None)])
    first = plot.hours[-1] - HOURS + 1
    places = [LEFT + (hour - first) * _STEP for hour in plot.hours]
    bars = "".join(
        _bar(x, amount, most, over=limit is not None and amount > limit)
        for x, amount, limit in zip(places, plot.amounts, plot.most, strict=True)
        if amount
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_told(plot)}">'
        f'<line class="axis" x1="{LEFT}" y1="{_FLOOR}" x2="{WIDTH - LEFT}" y2="{_FLOOR}"/>{bars}'
        f"{_line('most', places, plot.most, most)}{_line('usual', places, plot.usual, most)}"
        f'<text x="{LEFT}" y="10">{most:,.0f}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 4}">{_hour(first)}</text>'
        f'<text x="{WIDTH - LEFT}" y="{HEIGHT - 4}" text-anchor="end">{_hour(plot.hours[-1])} UTC'
        "</text></svg>"
    )


def _height(amount: float, most: float) -> float:
    return (_FLOOR - TOP) * amount / most


def _bar(x: float, amount: int, most: float, *, over: bool) -> str:
    high = max(1.0, _height(amount, most))
    kind = "bar over" if over else "bar"
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{_FLOOR - high:.1f}" width="{_STEP - 1.5:.1f}"'
        f' height="{high:.1f}"/>'
    )


def _line(kind: str, places: Sequence[float], levels: Iterable[float | None], most: float) -> str:
    """A step for each hour in which the level is known."""
    steps = "".join(
        f"M{x:.1f} {_FLOOR - _height(level, most):.1f}h{_STEP:.1f}"
        for x, level in zip(places, levels, strict=True)
        if level is not None
    )
    return f'<path class="{kind}" d="{steps}"/>' if steps else ""


def _told(plot: Plot) -> str:
    usual = plot.usual[-1]
    beside = "its usual is not known yet" if usual is None else f"usual are {usual:,.1f}"
    return f"{plot.amounts[-1]:,} in the newest hour; {beside}"


def _hour(hour: int) -> str:
    return f"{datetime.fromtimestamp(hour * 3600, UTC):%d %b %H:00}"
