"""A page as one file that asks nobody for anything: no script, no link, no image, its style allowed
by hash alone. Every value is escaped, and control and direction characters are shown as dots.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from html import escape

from tachograph.pipeline.investigate.page import (
    Facts,
    Grid,
    Lines,
    Page,
    Plot,
    Section,
    Talk,
)
from tachograph.pipeline.investigate.plots import svg

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 75rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.4rem; margin: .3rem 0 }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d5d9de }
table { border-collapse: collapse; margin: .4rem 0; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0;
  overflow-wrap: anywhere }
th { font-weight: 600; color: #57606a }
.number { text-align: right } .time { white-space: nowrap }
.facts th { width: 14rem; white-space: nowrap }
.grid td, .turn p { font-family: ui-monospace, monospace; font-size: .85rem }
.turn { margin: .6rem 0; padding-left: .5rem }
.turn p { white-space: pre-wrap; overflow-wrap: anywhere; margin: .1rem 0 0 }
tr.marked td, .turn.marked { background: #fff1f0 }
tr.marked td:first-child, .turn.marked { border-left: 3px solid #c62828; padding-left: .5rem }
.id, .empty, .turn b { color: #57606a }
.severity { display: inline-block; padding: 0 .6rem; border-radius: .3rem; background: #57606a;
  color: #fff }
.critical, .high { background: #c62828 }
.medium { background: #b26a00 }
.low { background: #00695c }
.turn .from { color: #57606a }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
figure { margin: 0 }
figcaption { font-size: .85rem; color: #57606a }
svg { width: 100%; height: auto; display: block }
.bar { fill: #0969da } .bar.over { fill: #c62828 }
.usual { stroke: #57606a; fill: none } .most { stroke: #57606a; fill: none; stroke-dasharray: 4 3 }
.axis { stroke: #d5d9de } svg text { font-size: 11px; fill: #57606a }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{_HASH}'"
CELL_CHARS = 2_000
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(\.\d{1,6})?")
_NUMBER = re.compile(r"-?[\d,]{1,20}(\.\d{1,6})?")
# Nobody reads the fraction of a whole second.
_WHOLE = ".000000"
TURN_CHARS = 20_000
SEVERITIES = frozenset({"critical", "high", "medium", "low", "informational"})


def document(page: Page) -> str:
    """The file."""
    severity = page.severity if page.severity in SEVERITIES else ""
    badge = f'<span class="severity {severity}">{severity}</span>' if severity else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{text(page.title, 120)}</title><style>{STYLE}</style></head><body>\n"
        f"{badge}<h1>{text(page.title, CELL_CHARS)}</h1>"
        f'<p class="id">{text(page.kind, 40)} {text(page.id, CELL_CHARS)}</p>\n'
        + "".join(_section(section) for section in page.sections)
        + "</body></html>\n"
    )


def text(value: str, most: int) -> str:
    """A value as it may stand in the file."""
    cut = value if len(value) <= most else value[:most] + f" … {len(value) - most:,} more"
    return escape("".join(c if c.isprintable() or c == "\n" else "·" for c in cut))


# Column or fact, and value → where the value has a page of its own, if it has one.
Link = Callable[[str, str], str | None]


def nowhere(_name: str, _value: str) -> None:
    """A file of its own leads nowhere."""


def _section(section: Section) -> str:
    blocks = section.filled
    if not blocks and not section.empty:
        return ""
    said = body(section)
    return f"<section><h2>{text(section.title, 120)}</h2>{said}</section>\n"


def body(section: Section, link: Link = nowhere) -> str:
    """What stands below a section's heading."""
    blocks = section.filled
    plots = "".join(_figure(block) for block in blocks if isinstance(block, Plot))
    inner = "".join(_block(block, link) for block in blocks if not isinstance(block, Plot))
    inner += f'<div class="plots">{plots}</div>' if plots else ""
    return inner or f'<p class="empty">{text(section.empty, CELL_CHARS)}</p>'


def _figure(plot: Plot) -> str:
    caption = f"{text(plot.title.replace('_', ' '), 80)} ({text(plot.unit, 40)} an hour)"
    return f"<figure><figcaption>{caption}</figcaption>{svg(plot)}</figure>"


def _block(block: Facts | Grid | Lines | Talk, link: Link) -> str:
    match block:
        case Facts():
            rows = "".join(
                f'<tr><th scope="row">{text(name, 80)}</th>'
                f"<td>{_value(name, value, link)}</td></tr>"
                for name, value in block.rows
            )
            return f'<table class="facts">{rows}</table>'
        case Grid():
            return _grid(block, link)
        case Lines():
            items = "".join(f"<li>{text(line, CELL_CHARS)}</li>" for line in block.lines)
            return f"<ul>{items}</ul>"
        case Talk():
            return "".join(_turn(block, number) for number in range(len(block.turns)))


def _value(name: str, value: str, link: Link) -> str:
    shown = text(value.removesuffix(_WHOLE), CELL_CHARS)
    if name == "severity" and value in SEVERITIES:
        return f'<span class="severity {value}">{value}</span>'
    to = link(name, value)
    return shown if to is None else f'<a href="{escape(to)}">{shown}</a>'


def _kind(column: Sequence[str]) -> str:
    """What a column holds, as far as its place in the line depends on it."""
    for kind, form in (("time", _MOMENT), ("number", _NUMBER)):
        if all(form.fullmatch(value) for value in column if value) and any(column):
            return kind
    return ""


def _named(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _grid(block: Grid, link: Link) -> str:
    kinds = [_kind(column) for column in zip(*block.rows, strict=True)] or [""] * len(block.columns)
    head = "".join(
        f'<th scope="col"{_named(kind)}>{text(name, 80)}{" (UTC)" if kind == "time" else ""}</th>'
        for name, kind in zip(block.columns, kinds, strict=True)
    )
    marked = set(block.marked)
    rows = "".join(
        f"<tr{_class(number in marked)}>"
        + "".join(
            f"<td{_named(kind)}>{_value(name, value, link)}</td>"
            for name, value, kind in zip(block.columns, row, kinds, strict=True)
        )
        + "</tr>"
        for number, row in enumerate(block.rows)
    )
    return f'<table class="grid"><tr>{head}</tr>{rows}</table>'


def _class(marked: bool) -> str:  # noqa: FBT001 - read beside its one use
    return ' class="marked"' if marked else ""


def _turn(block: Talk, number: int) -> str:
    time, speaker, words = block.turns[number]
    kind = "turn marked" if number in block.marked else "turn"
    came = "".join(
        f'<p class="from">← {text(one, CELL_CHARS)}</p>' for one in block.notes.get(number, ())
    )
    return (
        f'<div class="{kind}"><b>{text(time, 40)} {text(speaker, 120)}</b>'
        f"<p>{text(words, TURN_CHARS)}</p>{came}</div>"
    )
