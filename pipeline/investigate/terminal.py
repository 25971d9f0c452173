"""A page for a terminal. Text of agents is put in as plain text, without control characters."""

from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tachograph.pipeline.investigate.page import Facts, Grid, Lines, Page, Plot, Talk
from tachograph.pipeline.plain_text import STYLE, safe

CELL_CHARS = 300
TURN_CHARS = 4_000
MARK = "●"


def write(page: Page, sink: TextIO) -> None:
    """Write the page."""
    console = Console(file=sink, markup=False, highlight=False, emoji=False)
    head = Text(f" {page.severity} ", STYLE.get(page.severity, "bold")) if page.severity else Text()
    console.print(head + Text(" ") + safe(page.title, CELL_CHARS))
    console.print(Text(f"{page.kind} ", "dim") + safe(page.id, CELL_CHARS))
    for section in page.sections:
        blocks = section.filled
        if not blocks and not section.empty:
            continue
        console.print()
        console.print(Text(section.title.upper(), "bold"))
        if not blocks:
            console.print(Padding(Text(section.empty, "dim"), (0, 0, 0, 2)))
        for block in blocks:
            if not isinstance(block, Plot):  # the table above it has the same course as bars
                console.print(Padding(_shown(block), (0, 0, 0, 2)))


def _shown(block: Facts | Grid | Lines | Talk) -> Table | Text:
    match block:
        case Facts():
            return _facts(block)
        case Grid():
            return _grid(block)
        case Lines():
            return Text("\n").join(Text("• ") + safe(line, CELL_CHARS * 3) for line in block.lines)
        case Talk():
            return _talk(block)


def _facts(block: Facts) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in block.rows:
        table.add_row(safe(name, 40), safe(value, CELL_CHARS * 3))
    return table


def _grid(block: Grid) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    marked = set(block.marked)
    if marked:
        table.add_column("")
    for name in block.columns:
        table.add_column(name, overflow="fold")
    for number, row in enumerate(block.rows):
        cells = [safe(value, CELL_CHARS) if value else Text() for value in row]
        sign = [Text(MARK if number in marked else "", "bold red")] if marked else []
        table.add_row(*sign, *cells)
    return table


def _talk(block: Talk) -> Text:
    text = Text()
    marked = set(block.marked)
    for number, (time, speaker, words) in enumerate(block.turns):
        sign = MARK if number in marked else " "
        text.append(sign, "bold red").append(f" {time}  ", "dim")
        text.append_text(safe(speaker, 80)).append("\n")
        for line in paragraphs(words, TURN_CHARS):
            text.append("    ").append(line).append("\n")
        for note in block.notes.get(number, ()):
            text.append("    ← ", "dim").append_text(safe(note, CELL_CHARS)).append("\n")
    return text


def paragraphs(words: str, most: int) -> list[str]:
    """Lines of a text without control characters, cut to so many characters."""
    cut = words if len(words) <= most else words[:most] + f" … {len(words) - most:,} more"
    return [safe(line, most + 40).plain if line else "" for line in cut.splitlines()]
