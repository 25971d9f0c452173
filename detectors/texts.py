"""The texts of an action by what they are to a model: what it was given, what it said, what a tool
was asked and what it answered.

Rules that look for wording ask for these instead of columns, as `text.input`. Each is a list: the
texts as they are, and as an agent reads them where that differs: characters of one look and meaning
made one, invisible ones taken away, the escapes of JSON undone. `…_prose` is the same without the
code in it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tachograph.detectors.reference.entries import Content
from tachograph.detectors.reference.joins import Joiner
from tachograph.schemas.batch import COLUMNS

TEXTS = pl.List(pl.String())
PREFIX = "text_"
PROSE = "_prose"

_OUT = (pl.col("content_direction") == "out") | (pl.col("content_role") == "assistant")
_SAID = pl.when(pl.col("content_direction").is_null()).then(pl.col("kind") == "completion")
_OUTWARD = (_OUT | _SAID.otherwise(pl.lit(value=False))).fill_null(value=False)
_DIALOG = ("prompt", "completion", "message", "agent_call", "guardrail", "other")
_DOCUMENTS = ("artifact", "code_change", "config_change", "train", "index", "deploy", "file")


def _of(*kinds: str) -> pl.Expr:
    return pl.col("kind").is_in(kinds).fill_null(value=False)


@dataclass(frozen=True)
class Origin:
    """A column, the rows whose text in it counts, and whether it is JSON text."""

    column: str
    rows: pl.Expr | None = None
    json: bool = False

    def text(self) -> pl.Expr:
        """The text of the rows that count."""
        column = pl.col(self.column)
        return column if self.rows is None else pl.when(self.rows).then(column)


ORIGINS: dict[str, tuple[Origin, ...]] = {
    "input": (
        Origin("content_text", _of(*_DIALOG) & ~_OUTWARD),
        Origin("input_messages", json=True),
    ),
    "output": (
        Origin("content_text", _of(*_DIALOG) & _OUTWARD),
        # The words of these are the content already, where there is any.
        Origin("output_messages", pl.col("content_text").is_null(), json=True),
    ),
    "call": (
        Origin("tool_args", json=True),
        Origin("process_command_line", pl.col("tool_args").is_null()),
    ),
    "result": (
        Origin("tool_result", json=True),
        Origin("content_text", _of("tool_call", "tool_result", "retrieval", "http")),
    ),
    "definition": (
        Origin("tool_description"),
        Origin("tool_schema", json=True),
        Origin("tool_definitions", json=True),
    ),
    "document": (Origin("content_text", _of(*_DOCUMENTS)), Origin("change_diff")),
    "message": (
        Origin("content_text", _of("message", "agent_call")),
        Origin("input_messages", _of("message", "agent_call"), json=True),
    ),
    "memory": (
        Origin("memory_value", json=True),
        Origin("content_text", _of("memory_read", "memory_write")),
    ),
}
_CONDITIONED_BY = ("kind", "content_direction", "content_role", "content_text", "tool_args")


@dataclass(frozen=True)
class Texts:
    """The join that gives one list of texts."""

    role: str
    prose: bool = False

    @property
    def gives(self) -> Mapping[str, pl.DataType]:
        """See Join."""
        return {f"{PREFIX}{self.role}{PROSE if self.prose else ''}": TEXTS}

    @property
    def reads(self) -> tuple[str, ...]:
        """See Join."""
        return tuple(
            dict.fromkeys([origin.column for origin in ORIGINS[self.role]] + [*_CONDITIONED_BY])
        )

    def bind(self, content: Content) -> Joiner | None:  # noqa: ARG002 - reference data says nothing here
        """See Join."""
        return self._joined

    def _joined(self, frame: pl.DataFrame) -> pl.DataFrame:
        absent = [name for name in self.reads if name not in frame.columns]
        whole = frame.with_columns(pl.lit(None, COLUMNS[name]).alias(name) for name in absent)
        texts = whole.select(
            origin.text().alias(str(at)) for at, origin in enumerate(ORIGINS[self.role])
        )
        found: list[pl.Series] = []
        for text, origin in zip(texts, ORIGINS[self.role], strict=True):
            if text.null_count() < frame.height:
                found += _readings(text, json=origin.json)
        if self.prose:
            found = [_without_code(text) for text in found]
        (name,) = self.gives
        return frame.with_columns(_lists(found, frame.height).alias(name))


JOINS: tuple[Texts, ...] = tuple(Texts(role, prose) for role in ORIGINS for prose in (False, True))


def _lists(texts: list[pl.Series], height: int) -> pl.Series:
    """The texts of each row in a list; null where there is none."""
    if not texts:
        return pl.Series([None] * height, dtype=TEXTS)
    if len(texts) == 1:
        column = pl.DataFrame(texts).select(pl.concat_list(pl.all())).to_series()
        return column.set(texts[0].is_null(), None)
    named = [text.alias(str(at)) for at, text in enumerate(texts)]
    lists = pl.DataFrame(named).select(pl.concat_list(pl.all()).list.drop_nulls()).to_series()
    return lists.set(lists.list.len() == 0, None)


def _readings(text: pl.Series, *, json: bool) -> list[pl.Series]:
    """The text, and the same as an agent reads it where that differs."""
    odd = text.str.len_bytes() != text.str.len_chars()
    if json:
        odd |= text.str.contains("\\", literal=True)
    places = odd.fill_null(value=False).arg_true()
    if places.is_empty():
        return [text]
    shown = text.gather(places)
    read = _unescaped(shown) if json else shown
    read = read.str.normalize("NFKC").str.replace_all(_INVISIBLE, "")
    read = read.str.replace_many(_LOOKALIKES)
    differs = read != shown
    plain = pl.Series([None] * len(text), dtype=pl.String)
    return [text, plain.scatter(places.filter(differs), read.filter(differs))]


def _unescaped(text: pl.Series) -> pl.Series:
    return text.str.replace_many(_ESCAPES)


def _without_code(text: pl.Series) -> pl.Series:
    """The text without what Markdown marks as code or quotes in a table."""
    marked = (text.str.contains(r"`|(?m:^\|)")).fill_null(value=False).arg_true()
    if marked.is_empty():
        return text
    return text.scatter(marked, [prose(one) for one in text.gather(marked).to_list()])


def prose(text: str) -> str:
    """What is left of a text in Markdown without fenced blocks, code in lines, and quotations in
    tables. A block that is not closed ends with the text.
    """
    lines: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            inline = _INLINE_CODE.sub(" ", line)
            lines.append(_QUOTED.sub(" ", inline) if line.startswith("|") else inline)
    return "\n".join(lines)


_INLINE_CODE = re.compile(r"`[^`]+`")
_QUOTED = re.compile(r'"[^"]+"')
# Characters without a look of their own: joiners, direction marks, soft hyphens, tags.
_INVISIBLE = (
    r"[\u{ad}\u{180e}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{2060}-\u{2064}\u{2066}-\u{2069}\u{feff}"
    r"\u{e0000}-\u{e007f}]"
)
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\/": "/", "\\n": "\n", "\\r": "\r", "\\t": "\t"}


def _paired(like: str, latin: str) -> dict[str, str]:
    return dict(zip(like, latin, strict=True))


# Letters that look like Latin ones: Cyrillic, Greek, Armenian, and Latin's own odd ones.
_LOOKALIKES: dict[str, str] = {
    **_paired("авгеікмнорстухѕјһԁԛԝӏ", "abreikmhopctyxsjhdqwl"),
    **_paired("АВЕЅІЈКМНОРСТУХҮ", "ABESIJKMHOPCTYXY"),
    **_paired("αβγεικνορτυχω", "abyeikvoptuxw"),
    **_paired("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX"),
    **_paired("օսհոցյ", "ouhngj"),
    **_paired("ıɡǀɑʟ", "iglal"),
}
