"""Redaction and size limits over a whole frame: every text column, list and attribute through the same redactors."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import polars as pl

from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.redact import Hit, Redactor, Secrets
from tachograph.pipeline.normalize.rows import TEXTS
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.batch import ATTRIBUTES

# Columns that hold nothing but our own words and hashes.
OURS: Final = frozenset(
    {
        "event_id", "twin_key", "tenant", "raw_topic", "assurance", "kind", "attempt", "outcome",
        "content_trust", "tool_risk", "source_kind", "redactions", "truncated",
        "secret_fingerprints", "secret_types", "content_direction",
    }
)  # fmt: skip


class Redaction:
    """All redactors over all texts of a batch."""

    def __init__(self, redactors: Sequence[Redactor]) -> None:
        self._redactors = redactors

    def frame(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """The frame with tokens, `redactions`, `secret_types` and `secret_fingerprints`; and counts by type."""
        found: dict[int, list[Hit]] = defaultdict(list)
        changed = []
        for series in frame:
            if series.name in OURS:
                continue
            cleaned, hits = self._column(series)
            if hits:
                changed.append(cleaned)
                for row, hit in hits:
                    found[row].append(hit)
        if not found:
            return frame, {}
        counts = Counter(hit.type for hits in found.values() for hit in hits)
        return frame.with_columns(changed).with_columns(_tags(frame, found)), dict(counts)

    def _column(self, series: pl.Series) -> tuple[pl.Series, list[tuple[int, Hit]]]:
        if series.dtype == pl.String:
            cleaned, hits = self._flat(series)
            return cleaned, [(hit.at, hit) for hit in hits]
        if series.dtype == TEXTS:
            return self._nested(series)
        if series.dtype == ATTRIBUTES:
            return self._attributes(series)
        return series, []

    def _flat(self, texts: pl.Series) -> tuple[pl.Series, list[Hit]]:
        every: list[Hit] = []
        for redactor in self._redactors:
            texts, hits = redactor.redact(texts)
            every += hits
        return texts, every

    def _nested(self, series: pl.Series) -> tuple[pl.Series, list[tuple[int, Hit]]]:
        exploded, rows = _explode(series)
        cleaned, hits = self._flat(exploded)
        if not hits:
            return series, []
        return _imploded(series, rows, cleaned), [(rows[hit.at], hit) for hit in hits]

    def _attributes(self, series: pl.Series) -> tuple[pl.Series, list[tuple[int, Hit]]]:
        exploded, rows = _explode(series)
        names, values = exploded.struct.field("key"), exploded.struct.field("value")
        new_names, hits = self._flat(names)
        named: list[Hit] = []
        for redactor in self._redactors:
            if isinstance(redactor, Secrets):
                values, more = redactor.named(names, values)
                named += more
        new_values, others = self._flat(values)
        hits = hits + named + others
        if not hits:
            return series, []
        pairs = pl.DataFrame({"key": new_names, "value": new_values}).to_struct()
        return _imploded(series, rows, pairs), [(rows[hit.at], hit) for hit in hits]

    def texts(self, texts: Sequence[str | None]) -> list[str | None]:
        """A few texts, cleaned."""
        return self._flat(pl.Series(texts, dtype=pl.String))[0].to_list()

    def snapshot(self, snapshot: StateSnapshot) -> StateSnapshot:
        """A snapshot with tokens in every text."""
        plain = msgspec.to_builtins(snapshot)
        places: list[tuple[Any, Any]] = []
        _collect(plain, places)
        cleaned = self.texts([holder[at] for holder, at in places])
        for (holder, at), text in zip(places, cleaned, strict=True):
            holder[at] = text
        return msgspec.convert(plain, StateSnapshot)


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Every text inside, as (holder, place)."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for at, inner in pairs:
        if isinstance(inner, str):
            places.append((value, at))
        elif isinstance(inner, dict | list):
            _collect(inner, places)


def _explode(series: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Inner values, and the row each came from."""
    sizes = series.list.len().fill_null(0)
    rows = pl.int_range(0, len(series), eager=True).repeat_by(sizes)
    frame = pl.DataFrame({"row": rows, "value": series}).filter(sizes > 0)
    if frame.is_empty():
        return pl.Series("value", [], series.dtype.inner), pl.Series("row", [], pl.Int64)  # type: ignore[attr-defined]
    both = frame.explode("row", "value")
    return both["value"], both["row"]


def _imploded(series: pl.Series, rows: pl.Series, values: pl.Series) -> pl.Series:
    """The lists again; rows without a value keep what they had (null or empty)."""
    lists = (
        pl.DataFrame({"row": rows, "value": values})
        .group_by("row", maintain_order=True)
        .agg("value")
    )
    every = pl.DataFrame({"row": pl.int_range(0, len(series), eager=True), "old": series})
    joined = every.join(lists, on="row", how="left", maintain_order="left")
    return joined.select(pl.coalesce("value", "old").alias(series.name)).to_series()


def _tags(frame: pl.DataFrame, found: dict[int, list[Hit]]) -> list[pl.Series]:
    size = frame.height
    given = {
        name: frame[name].to_list() if name in frame.columns else [None] * size
        for name in ("secret_types", "secret_fingerprints")
    }
    redactions: list[list[str] | None] = [None] * size
    for row, hits in found.items():
        types = sorted({hit.type for hit in hits})
        redactions[row] = types
        given["secret_types"][row] = _merged(given["secret_types"][row], types)
        prints = [hit.fingerprint for hit in hits]
        given["secret_fingerprints"][row] = _merged(given["secret_fingerprints"][row], prints)
    return [
        pl.Series("redactions", redactions, TEXTS),
        *(pl.Series(name, values, TEXTS) for name, values in given.items()),
    ]


def _merged(one: list[str] | None, other: list[str]) -> list[str]:
    return sorted({*(one or ()), *other})[: limits.LIST_ITEMS]


def cut(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts cut at their limit, named in `truncated`. After redaction, so that no half of a secret stays."""
    long = {
        series.name: (series.str.len_bytes() > limits.TEXT_BYTES).fill_null(value=False)
        for series in frame
        if series.dtype == pl.String
    }
    long = {name: flags for name, flags in long.items() if flags.any()}
    if not long:
        return frame
    named: list[list[str]] = [
        list(texts or ())
        for texts in (frame["truncated"] if "truncated" in frame.columns else [None] * frame.height)
    ]
    changed = []
    for name, flags in long.items():
        places = flags.arg_true()
        shorter = [
            text.encode()[: limits.TEXT_BYTES].decode("utf-8", "ignore")
            for text in frame[name].gather(places)
        ]
        changed.append(frame[name].scatter(places, shorter))
        for at in places:
            named[at].append(name)
    truncated = pl.Series("truncated", [texts or None for texts in named], TEXTS)
    return frame.with_columns([*changed, truncated])
