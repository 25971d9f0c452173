"""Results for a person: a table, or a block a row where a table would be too wide. Everything that
comes from the data is shown as text: no markup, no control characters.
"""

from collections.abc import Sequence
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tachograph.pipeline.plain_text import safe

MAX_CELL_CHARS = 400
# Narrower than this a column of text is unreadable.
_COLUMN_CHARS = 16
_NUMBERS = ("Int", "UInt", "Float", "Decimal", "Nullable(Int", "Nullable(UInt", "Nullable(Float")


def show(
    columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[str]], sink: TextIO
) -> None:
    """Write rows whose values are texts."""
    console = Console(file=sink, markup=False, highlight=False, emoji=False)
    if not rows:
        console.print(f"no rows ({', '.join(_plain(name) for name in columns)})")
    elif console.width < _least(columns, rows):
        _blocks(columns, rows, console)
    else:
        _table(columns, types, rows, console)


def _least(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How wide a table must be at least."""
    wanted = 0
    for at, name in enumerate(columns):
        longest = max(len(name), *(len(row[at]) for row in rows))
        wanted += min(longest, _COLUMN_CHARS) + 2
    return wanted


def _table(
    columns: Sequence[str],
    types: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: Console,
) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, kind in zip(columns, types, strict=True):
        justify = "right" if kind.startswith(_NUMBERS) else "left"
        table.add_column(Text(_plain(name)), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(safe(value, MAX_CELL_CHARS) if value else Text() for value in row))
    console.print(table)


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    width = max(len(name) for name in columns)
    for number, row in enumerate(rows, 1):
        console.print(f"── {number} " + "─" * 20)
        for name, value in zip(columns, row, strict=True):
            if value:
                line = Text(f"{_plain(name):<{width}}  ") + safe(value, MAX_CELL_CHARS)
                console.print(line)


def _plain(name: str) -> str:
    return safe(name, MAX_CELL_CHARS).plain
