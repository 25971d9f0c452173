"""Canaries: planted texts, looked for wherever an agent may pass them on, plain and encoded."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import polars as pl

from tachograph.detectors.reference.entries import Content
from tachograph.detectors.reference.joins import Join, Joiner
from tachograph.schemas.batch import COLUMNS

# Shorter texts turn up by chance.
MIN_CHARS = 8
# Where what stands goes to the outside, and where it may only have come in.
OUTWARD = ("tool_args", "target_url", "process_command_line", "output_messages", "change_diff")
INWARD = ("tool_result", "content_text", "memory_value", "input_messages")
_OUTBOUND = {"content_direction": ["out"], "kind": ["completion", "message"]}


def forms(value: str) -> list[str]:
    """The text as it is, and as it looks in base64 (wherever it starts in it), hex or a URL."""
    raw = value.encode()
    found = [value, raw.hex(), quote(value, safe="")]
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw).decode()
        # What depends on the bytes before and after is left off.
        start = (0, 2, 3)[before]
        tail = (len(raw) + before) % 3
        found.append(text[start : len(text) - (0, 3, 2)[tail]])
    return [form for form in dict.fromkeys(found) if len(form) >= MIN_CHARS]


@dataclass(frozen=True)
class _Canaries:
    """The first canary, by the order of the reference, in a row's texts; and whether it leaves."""

    gives: Mapping[str, pl.DataType]
    reads: tuple[str, ...]

    def bind(self, content: Content) -> Joiner | None:
        """See Join."""
        places: dict[str, list[int]] = {}
        for at, canary in enumerate(content.canaries):
            for value in canary.values:
                for form in forms(value):
                    places.setdefault(form.lower(), []).append(at)
        if not places:
            return None
        names = [(canary.tenant, canary.name) for canary in content.canaries]
        return lambda frame: _joined(frame, places, names)


def _joined(
    frame: pl.DataFrame, places: dict[str, list[int]], names: list[tuple[str | None, str]]
) -> pl.DataFrame:
    words = list(places)
    seen: dict[int, int] = {}
    leaving: set[int] = set()
    outward = frame.select(_outward(frame)).to_series()
    for column in (*OUTWARD, *INWARD):
        if column not in frame.columns or frame[column].null_count() == frame.height:
            continue
        text = frame[column]
        rows = text.str.contains_any(words, ascii_case_insensitive=True).arg_true()
        found = text.gather(rows).str.extract_many(
            words, ascii_case_insensitive=True, overlapping=True
        )
        for row, hits in zip(rows.to_list(), found.to_list(), strict=True):
            ats = _of_tenant(frame["tenant"][row], hits, places, names)
            if ats:
                seen[row] = min(ats + ([seen[row]] if row in seen else []))
                if column in OUTWARD or (column == "content_text" and outward[row]):
                    leaving.add(row)
    order = sorted(seen)
    name = pl.Series("canary_name", [None], pl.String).new_from_index(0, frame.height)
    leaves = pl.Series("canary_leaving", [None], pl.Boolean).new_from_index(0, frame.height)
    name = name.scatter(order, [names[seen[row]][1] for row in order])
    return frame.with_columns(name, leaves.scatter(order, [row in leaving for row in order]))


def _of_tenant(
    tenant: str | None,
    hits: list[str],
    places: dict[str, list[int]],
    names: list[tuple[str | None, str]],
) -> list[int]:
    ats = {at for hit in hits for at in places[hit.lower()]}
    return [at for at in ats if names[at][0] in (None, tenant)]


def _outward(frame: pl.DataFrame) -> pl.Expr:
    """Rows whose content goes to the outside."""
    asked = [
        pl.col(name).is_in(values).fill_null(value=False)
        for name, values in _OUTBOUND.items()
        if name in frame.columns
    ]
    return pl.any_horizontal(asked) if asked else pl.col("tenant").is_null() & pl.lit(value=False)


JOINS: tuple[Join, ...] = (
    _Canaries(
        {"canary_name": COLUMNS["canary_id"], "canary_leaving": pl.Boolean()},
        ("tenant", "kind", "content_direction", *OUTWARD, *INWARD),
    ),
)
