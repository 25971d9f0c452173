"""The figures as one table; and what stands beside it so that they can be judged."""

import os
import platform
from collections.abc import Sequence
from typing import Final

import msgspec

HEADER: Final = ("what", "events/s", "core-µs", "bytes", "rules", "of limit", "by CPU", "note")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `core_us` is CPU time of the process tree an event; 0: not measured."""

    name: str
    per_s: float
    core_us: float
    bytes_each: float
    rules: int | None = None
    note: str = ""


def row(figure: Figure, limit: Figure | None) -> tuple[str, ...]:
    """The cells of a line. Ratios are to the limit of the same run; a dash where there is none."""
    return (
        figure.name,
        f"{figure.per_s:,.0f}" if figure.per_s else "–",
        f"{figure.core_us:,.2f}" if figure.core_us else "–",
        f"{figure.bytes_each:,.0f}" if figure.bytes_each else "–",
        "–" if figure.rules is None else str(figure.rules),
        f"{figure.per_s / limit.per_s:.1%}" if limit and limit.per_s and figure.per_s else "–",
        f"{limit.core_us / figure.core_us:.1%}"
        if limit and limit.core_us and figure.core_us
        else "–",
        figure.note,
    )


def render(figures: Sequence[Figure]) -> str:
    """The table as text, columns aligned; the limit is the figure of that name."""
    limit = next((figure for figure in figures if figure.name == "limit"), None)
    rows = [HEADER, *(row(figure, limit) for figure in figures)]
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(HEADER))]
    lines = []
    for cells in rows:
        first, *numbers, note = cells
        middle = [cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *middle, note]).rstrip())
    return "\n".join(lines)


def machine() -> str:
    """What the figures were measured on, and how busy it was."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},"
        f" load average {load:.1f} before the run"
    )
