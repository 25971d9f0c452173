"""A curve in the terminal, in braille dots: two across and four down in each character."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from rich.text import Text

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.plain_text import safe
from tachograph.pipeline.query.hunts import Plot

HEIGHT = 12
MAX_CURVES = 6
_LABEL_CHARS = 10
_STYLES = ("cyan", "yellow", "green", "magenta", "red", "blue")
# Bit of a dot by its place in a character: column, then row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))

Points = list[tuple[float, float]]


class Range(msgspec.Struct, frozen=True):
    """What an axis shows."""

    low: float
    high: float

    def place(self, value: float, steps: int) -> int:
        """Where a value lies among so many steps."""
        if self.high == self.low:
            return 0
        return min(steps - 1, int((value - self.low) / (self.high - self.low) * steps))


def curves(plot: Plot, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Points]:
    """The points of each curve; those with the largest sums where there are too many. Raises
    ConfigError for columns that are not there or hold neither numbers nor times.
    """
    wanted = [plot.x, plot.y, *([plot.by] if plot.by else [])]
    if missing := [name for name in wanted if name not in columns]:
        raise ConfigError(
            f"--plot: the result has no column {missing[0]}; it has {', '.join(columns)}"
        )
    at_x, at_y = columns.index(plot.x), columns.index(plot.y)
    at_by = columns.index(plot.by) if plot.by else None
    found: dict[str, Points] = {}
    for row in rows:
        point = (_number(row[at_x], plot.x), _number(row[at_y], plot.y))
        if all(map(math.isfinite, point)):
            found.setdefault("" if at_by is None else row[at_by], []).append(point)
    largest = sorted(found, key=lambda name: -sum(y for _, y in found[name]))[:MAX_CURVES]
    return {name: sorted(found[name]) for name in largest}


def _number(text: str, column: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ConfigError(f"--plot: {column} holds neither numbers nor times") from None


def drawn(plot: Plot, found: dict[str, Points], width: int) -> Text:
    """The curves with their axes and names."""
    points = [point for curve in found.values() for point in curve]
    if not points:
        return Text("nothing to plot")
    xs = Range(min(x for x, _ in points), max(x for x, _ in points))
    ys = Range(min(0.0, *(y for _, y in points)), max(y for _, y in points))
    across = max(20, width - _LABEL_CHARS - 3)
    cells = _cells(found, xs, ys, across)
    text = Text()
    for line in range(HEIGHT):
        label = {0: ys.high, HEIGHT - 1: ys.low}.get(line)
        text.append(f"{'' if label is None else f'{label:,.6g}':>{_LABEL_CHARS}} │")
        for column in range(across):
            bits, style = cells.get((line, column), (0, ""))
            text.append(chr(0x2800 + bits) if bits else " ", style)
        text.append("\n")
    text.append(_below(plot, xs, across))
    for number, name in enumerate(found):
        if name:
            text.append(f"\n{'':>{_LABEL_CHARS}}  ■ ", _STYLES[number]).append(safe(name, 60))
    return text


def _cells(
    found: dict[str, Points], xs: Range, ys: Range, across: int
) -> dict[tuple[int, int], tuple[int, str]]:
    """Dots and colour by line and column. A line joins neighbours, so that a curve is one."""
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for number, curve in enumerate(found.values()):
        places = [(xs.place(x, across * 2), ys.place(y, HEIGHT * 4)) for x, y in curve]
        for (x0, y0), (x1, y1) in zip(places, [*places[1:], places[-1]], strict=True):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for step in range(steps + 1):
                x = x0 + round((x1 - x0) * step / steps)
                y = HEIGHT * 4 - 1 - (y0 + round((y1 - y0) * step / steps))
                bits, _ = cells.get((y // 4, x // 2), (0, ""))
                cells[y // 4, x // 2] = (bits | _DOTS[x % 2][y % 4], _STYLES[number])
    return cells


def _below(plot: Plot, xs: Range, across: int) -> str:
    first, last = (_edge(value) for value in (xs.low, xs.high))
    axis = f"{'':>{_LABEL_CHARS}} └{'─' * across}\n"
    edges = f"{'':>{_LABEL_CHARS}}  {first}{last:>{max(1, across - len(first))}}\n"
    return f"{axis}{edges}{'':>{_LABEL_CHARS}}  {plot.y} over {plot.x}"


def _edge(value: float) -> str:
    # Seconds since 1970 are the only numbers of this size that a hunt puts on this axis.
    if value > 1e9:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    return f"{value:,.6g}"
