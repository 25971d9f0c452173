"""Redaction and size limits over a whole frame: every text column, list and attribute through the
same redactors.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.redact import PERSONAL, Hit, Redactor, Secrets, speaking
from tachograph.pipeline.normalize.rows import TEXTS
from tachograph.pipeline.normalize.suspects import Suspects
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.batch import ATTRIBUTES

# Columns that hold nothing but our own words and hashes. A column that a producer may fill with any
# text is none of them.
OURS: Final = frozenset(
    {
        "event_id", "twin_key", "tenant", "raw_topic", "assurance", "kind", "attempt", "outcome",
        "content_trust", "tool_risk", "redactions", "truncated",
    }
)  # fmt: skip
FOUND: Final = ("secret_types", "secret_fingerprints")


class Redaction:
    """All redactors over all texts of a batch."""

    def __init__(self, redactors: Sequence[Redactor]) -> None:
        self._redactors = redactors
        self._suspects = Suspects("|".join(f"(?:{one.suspects})" for one in redactors))

    def frame(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """The frame with tokens, `redactions`, `secret_types` and `secret_fingerprints`; and counts
        by type.
        """
        places = pl.Series(self._suspicious(frame), dtype=pl.UInt32)
        if not places.len():
            return frame, {}
        some = frame[places]
        found: dict[int, list[Hit]] = defaultdict(list)
        cleaned: list[pl.Series] = []
        for name in self._suspicious_columns(some):
            clean, hits = self._column(some[name])
            if hits:
                cleaned.append(clean)
                for row, hit in hits:
                    found[row].append(hit)
        if not found:
            return frame, {}
        tags = _tags(some.with_columns(cleaned), found)
        cleaned = [series for series in cleaned if series.name not in FOUND] + tags
        counts = Counter(hit.type for hits in found.values() for hit in hits)
        return _placed(frame, places, cleaned), dict(counts)

    def _suspicious(self, frame: pl.DataFrame) -> list[int]:
        """Places of the rows that hold anything to look at: all texts of a row are looked at as
        one.
        """
        schema = frame.schema
        texts = [
            pl.col(name).list.join("\n") if dtype == TEXTS else pl.col(name)
            for name, dtype in schema.items()
            if name not in OURS and dtype in (pl.String, TEXTS)
        ]
        joined = pl.concat_str(texts, separator="\n", ignore_nulls=True)
        found = set(self._suspects.places(frame.select(joined).to_series()))
        for name, dtype in schema.items():
            if dtype == ATTRIBUTES:
                found.update(self._suspicious_attributes(frame[name]))
        return sorted(found)

    def _suspicious_columns(self, some: pl.DataFrame) -> list[str]:
        """Columns of suspicious rows worth a look; lists and attributes always are."""
        return [
            name
            for name, dtype in some.schema.items()
            if name not in OURS
            and (
                dtype in (TEXTS, ATTRIBUTES)
                or (dtype == pl.String and self._suspects.any(some[name]))
            )
        ]

    def _suspicious_attributes(self, series: pl.Series) -> list[int]:
        exploded, rows = _explode(series)
        names, values = exploded.struct.field("key"), exploded.struct.field("value")
        places = self._suspects.places(names + "\n" + values.fill_null(""))
        places += speaking(names, values)
        return rows.gather(places).to_list() if places else []

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
        """A snapshot with tokens in every text, the names of what it maps included."""
        plain = msgspec.to_builtins(snapshot)
        texts = list(dict.fromkeys(_texts_in(plain)))
        cleaned = dict(zip(texts, self.texts(texts), strict=True))
        return msgspec.convert(_with_texts(plain, cleaned), StateSnapshot)


def _texts_in(value: Any) -> Iterator[str]:
    """Every text inside, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_in(inner)


def _with_texts(value: Any, cleaned: Mapping[str, str | None]) -> Any:
    """The same with each text replaced."""
    if isinstance(value, str):
        return cleaned[value]
    if isinstance(value, dict):
        return {cleaned[name]: _with_texts(inner, cleaned) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_texts(inner, cleaned) for inner in value]
    return value


def _explode(series: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Inner values, and the row each came from."""
    sizes = series.list.len().fill_null(0).to_numpy()
    rows = pl.Series("row", np.repeat(np.arange(len(series)), sizes))
    filled = np.flatnonzero(sizes)
    if not len(filled):
        return pl.Series("value", [], series.dtype.inner), rows  # type: ignore[attr-defined]
    return series.gather(filled).explode().alias("value"), rows


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


def _placed(frame: pl.DataFrame, places: pl.Series, columns: list[pl.Series]) -> pl.DataFrame:
    """The frame with the columns' values at those rows."""
    height = frame.height
    at = pl.DataFrame({"at": pl.int_range(0, height, dtype=pl.UInt32, eager=True)})
    some = pl.DataFrame({"at": places}).with_columns(*columns)
    spread = at.join(some, on="at", how="left", maintain_order="left")
    touched = at["at"].is_in(places.implode())
    made = [
        frame[series.name].zip_with(~touched, spread[series.name])
        if series.name in frame.columns
        else spread[series.name]
        for series in columns
    ]
    return frame.with_columns(made)


def _tags(frame: pl.DataFrame, found: dict[int, list[Hit]]) -> list[pl.Series]:
    size = frame.height
    given: dict[str, list[list[str] | None]] = {
        name: frame[name].to_list() if name in frame.columns else [None] * size for name in FOUND
    }
    redactions: list[list[str] | None] = [None] * size
    for row, hits in found.items():
        redactions[row] = sorted({hit.type for hit in hits})
        secret = [hit for hit in hits if not hit.type.startswith(PERSONAL)]
        if not secret:
            continue
        types = sorted({hit.type for hit in secret})
        given["secret_types"][row] = _merged(given["secret_types"][row], types)
        prints = [hit.fingerprint for hit in secret]
        given["secret_fingerprints"][row] = _merged(given["secret_fingerprints"][row], prints)
    return [
        pl.Series("redactions", redactions, TEXTS),
        *(pl.Series(name, values, TEXTS) for name, values in given.items()),
    ]


def _merged(one: list[str] | None, other: list[str]) -> list[str]:
    return sorted({*(one or ()), *other})[: limits.LIST_ITEMS]


def cut(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts cut at their limit, named in `truncated`. After redaction, so that no half of a secret
    stays.
    """
    long = {
        series.name: too_long
        for series in frame
        if series.dtype == pl.String
        # Bytes of the whole column: nearly always less than one text may have.
        and series.estimated_size() > limits.TEXT_BYTES
        and (too_long := (series.str.len_bytes() > limits.TEXT_BYTES).fill_null(value=False)).any()
    }
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
