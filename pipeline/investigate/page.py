"""A page as data: sections of facts, grids and lines. What is in them is text of anybody, agents
included; only the renderers decide how it is shown.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


class Facts(msgspec.Struct, frozen=True, tag="facts"):
    """Names with their values."""

    rows: list[tuple[str, str]]


class Grid(msgspec.Struct, frozen=True, tag="grid"):
    """A table; `marked` rows are what the page is about."""

    columns: list[str]
    rows: list[list[str]]
    marked: list[int] = []


class Lines(msgspec.Struct, frozen=True, tag="lines"):
    """One sentence after the other."""

    lines: list[str]


class Talk(msgspec.Struct, frozen=True, tag="talk"):
    """A conversation: time, speaker and words of each turn; `marked` as in a grid."""

    turns: list[tuple[str, str, str]]
    marked: list[int] = []
    notes: dict[int, list[str]] = {}  # where the values of a turn came from


class Plot(msgspec.Struct, frozen=True, tag="plot"):
    """A measure hour by hour, beside what was usual; None where nothing is known."""

    title: str
    unit: str
    hours: list[int]  # since 1970
    amounts: list[int]
    usual: list[float | None]
    most: list[float | None]


Block = Facts | Grid | Lines | Talk | Plot


class Section(msgspec.Struct, frozen=True):
    """A heading and what stands below it. `empty`: what is said when nothing does."""

    title: str
    blocks: list[Block]
    empty: str = ""

    @property
    def filled(self) -> list[Block]:
        """The blocks that hold something."""
        return [block for block in self.blocks if _size(block)]


class Page(msgspec.Struct, frozen=True):
    """Everything of one alert, session or agent."""

    kind: str
    id: str
    title: str
    severity: str
    sections: list[Section]


def _size(block: Block) -> int:
    return len(block.lines if isinstance(block, Lines) else
               block.turns if isinstance(block, Talk) else
               block.hours if isinstance(block, Plot) else block.rows)  # fmt: skip


def facts(pairs: Iterable[tuple[str, Any]]) -> Facts:
    """Those of the pairs that have a value."""
    told = [(name, said(value)) for name, value in pairs]
    return Facts([(name, text) for name, text in told if text])


def grid(
    columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]], marked: Iterable[int] = ()
) -> Grid:
    """Some columns of rows, each under its heading; columns without a value are left out."""
    listed = list(rows)
    kept = [name for name in columns if any(said(row[name]) for row in listed)]
    return Grid(
        [columns[name] for name in kept],
        [[said(row[name]) for name in kept] for row in listed],
        list(marked),
    )


def said(value: Any) -> str:
    """A value as text; what is absent or empty is ''."""
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(said(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {said(one)}" for name, one in value.items())
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value)


def clock(moment: str) -> str:
    """The time of day of a moment, to the millisecond."""
    return moment[11:23]


def second(moment: str | None) -> str:
    """A moment to the second."""
    return (moment or "")[:19]


def period(begin: str | None, end: str | None) -> str:
    """From when to when, to the second."""
    return f"{second(begin)} to {second(end)} UTC"
