"""Spans as columns: what the readers of both encodings make, and what becomes actions.

The attributes of all spans stand in one table, span by span; their names are numbers into a list,
since a batch has few different ones.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.pipeline.normalize import genai
from tachograph.pipeline.normalize.forms import Attributes, Group
from tachograph.pipeline.normalize.raw import Row
from tachograph.pipeline.normalize.rows import json_text
from tachograph.pipeline.normalize.wire import Bools, Ints, Words

Codes = npt.NDArray[np.uint8]
Event = tuple[str, int, Attributes]

# What an attribute's value is.
NONE, TEXT, WHOLE, REAL, FLAG, OTHER = range(6)
_CODES: Final = {type(None): NONE, str: TEXT, int: WHOLE, float: REAL, bool: FLAG}
_INT64: Final = 2**63
_WORD: Final = 2**64 - 1


class Source(msgspec.Struct, frozen=True):
    """A resource and scope, and what they say of every span under them."""

    resource: Attributes
    scope: str
    fields: Row
    attributes: dict[str, str]
    place: str

    @classmethod
    def of(cls, resource: Attributes, scope: str) -> "Source":
        """From the attributes of the resource and the name of the scope."""
        said = genai.resource_row(resource, scope)
        said["source_kind"] = "otlp_span"
        kept = said.pop("attributes", None) or {}
        texts = {name: v if v.__class__ is str else json_text(v) for name, v in kept.items()}
        return cls(resource, scope, said, texts, genai.place_of(resource))


class Pairs(msgspec.Struct, frozen=True):
    """Attributes of spans: a row each, in the order of the spans; no span has a name twice."""

    owner: Ints  # which span
    key: Ints  # which of `keys`
    keys: list[str]
    code: Codes
    number: Words  # a whole number, the bits of a real one, or a flag
    other: dict[int, Any]  # row → a value that is none of these
    text: pl.Series  # every value as text; JSON where it is none; null where there is none

    def value(self, at: int) -> Any:
        """The value in this row, as it was sent."""
        code = self.code[at]
        if code == TEXT:
            return self.text[at]
        if code == OTHER:
            return self.other[at]
        if code == NONE:
            return None
        number = self.number[at]
        if code == REAL:
            return float(number.view(np.float64))
        return bool(number) if code == FLAG else int(number.view(np.int64))

    def with_texts(self) -> "Pairs":
        """The same with the texts of those values that are none."""
        plain = np.flatnonzero(self.code != TEXT)
        if not len(plain):
            return self
        whole = plain[self.code[plain] == WHOLE]
        rest = plain[self.code[plain] != WHOLE]
        told = [
            self.text,
            pl.Series(self.number[whole].view(np.int64)).cast(pl.String),
            _texts([text_of(self.value(at)) for at in rest.tolist()]),
        ]
        place = np.arange(len(self.text))
        place[whole] = len(self.text) + np.arange(len(whole))
        place[rest] = len(self.text) + len(whole) + np.arange(len(rest))
        return msgspec.structs.replace(self, text=pl.concat(told).gather(place))

    def of(self, chosen: Bools) -> "Pairs":
        """The attributes of the chosen spans, which are numbered anew."""
        if chosen.all():
            return self
        kept = np.flatnonzero(chosen[self.owner])
        numbers = np.cumsum(chosen) - 1
        places = np.searchsorted(kept, list(self.other)).tolist() if self.other else []
        other = {
            new: value
            for new, (old, value) in zip(places, self.other.items(), strict=True)
            if new < len(kept) and kept[new] == old
        }
        return Pairs(
            numbers[self.owner[kept]],
            self.key[kept],
            self.keys,
            self.code[kept],
            self.number[kept],
            other,
            self.text.gather(kept),
        )


class Spans(msgspec.Struct, frozen=True):
    """Spans as columns. Ids are lower-case hex, "" where a span has none."""

    record: Ints  # which record of the batch
    index: Ints  # place in its record
    group: Ints  # which of `groups`
    groups: Sequence[Source]
    trace_id: pl.Series
    span_id: pl.Series
    parent_span_id: pl.Series
    name: pl.Series
    kind: Ints
    status: Ints
    status_message: pl.Series
    start_ns: Words
    end_ns: Words
    start_us: Ints
    event_us: Ints  # when it ended, else began
    timeless: Bools  # neither is said
    events: dict[int, list[Event]]
    pairs: Pairs

    def __len__(self) -> int:
        return len(self.record)

    def of(self, chosen: Bools) -> "Spans":
        """The chosen spans."""
        if chosen.all():
            return self
        kept = np.flatnonzero(chosen)
        places = {int(old): new for new, old in enumerate(kept)} if self.events else {}
        made: dict[str, Any] = {
            "groups": self.groups,
            "events": {places[at]: e for at, e in self.events.items() if at in places},
            "pairs": self.pairs.of(chosen),
        }
        for name in self.__struct_fields__:
            if name not in made:
                column = getattr(self, name)
                taken = column.gather(kept) if isinstance(column, pl.Series) else column[kept]
                made[name] = taken
        return Spans(**made)


def code_of(value: Any) -> int:
    """What kind of value it is."""
    code = _CODES.get(value.__class__, OTHER)
    return OTHER if code == WHOLE and not -_INT64 <= value < _INT64 else code


def word_of(value: Any, code: int) -> int:
    """The value as 64 bits; 0 where it is no number."""
    if code == REAL:
        return int(np.float64(value).view(np.uint64))
    return int(value) & _WORD if code in (WHOLE, FLAG) else 0


def of_groups(groups: Sequence[tuple[int, Group]]) -> Spans:
    """Spans of groups that were read one by one, each with the number of its record."""
    spans = [span for _, group in groups for span in group.spans]
    sizes = [len(group.spans) for _, group in groups]
    values = [value for span in spans for value in span.attributes.values()]
    codes = [code_of(value) for value in values]
    names = [name for span in spans for name in span.attributes]
    keys = list(dict.fromkeys(names))
    numbers = {name: at for at, name in enumerate(keys)}
    ends = [span.end_ns or span.start_ns for span in spans]
    return Spans(
        record=np.repeat([number for number, _ in groups], sizes).astype(np.int64),
        index=_indexes(groups),
        group=np.repeat(np.arange(len(groups)), sizes),
        groups=[Source.of(group.resource, group.scope) for _, group in groups],
        trace_id=_texts([span.trace_id for span in spans]),
        span_id=_texts([span.span_id for span in spans]),
        parent_span_id=_texts([span.parent_span_id for span in spans]),
        name=_texts([span.name for span in spans]),
        kind=numbers_of([span.kind for span in spans]),
        status=numbers_of([span.status for span in spans]),
        status_message=_texts([span.status_message for span in spans]),
        start_ns=np.array([span.start_ns & _WORD for span in spans], np.uint64),
        end_ns=np.array([span.end_ns & _WORD for span in spans], np.uint64),
        start_us=_ints([span.start_ns // 1000 for span in spans]),
        event_us=_ints([end // 1000 for end in ends]),
        timeless=np.array([end <= 0 for end in ends], np.bool_),
        events={at: span.events for at, span in enumerate(spans) if span.events},
        pairs=Pairs(
            owner=np.repeat(np.arange(len(spans)), [len(span.attributes) for span in spans]),
            key=_ints([numbers[name] for name in names]),
            keys=keys,
            code=np.array(codes, np.uint8),
            number=np.array(list(map(word_of, values, codes)), np.uint64),
            other={at: values[at] for at, code in enumerate(codes) if code == OTHER},
            text=_texts(list(map(text_of, values))),
        ),
    )


def numbers_of(values: Sequence[int]) -> Ints:
    """Numbers of a closed vocabulary; none of it is beyond 32 bits, whatever was sent."""
    clipped: Ints = np.clip(np.array(values, object), -(2**31), 2**31 - 1).astype(np.int64)
    return clipped


def numbered(names: pl.Series) -> tuple[Ints, list[str]]:
    """Texts as numbers into the list of different ones."""
    encoded = names.to_arrow().dictionary_encode()
    key: Ints = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return key, encoded.dictionary.to_pylist()


def repeating(owner: Ints, key: Ints, keys: int) -> Ints:
    """Owners that have a key twice. `owner` ascends. A bit for each key, 64 at a time."""
    if not len(owner):
        return owner
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    different = np.zeros(len(first), np.int64)
    for base in range(0, keys, 64):
        own = (key >= base) & (key < base + 64)
        bits = np.where(own, np.uint64(1) << (key - base).astype(np.uint64), np.uint64(0))
        different += np.bitwise_count(np.bitwise_or.reduceat(bits, first))
    each = np.diff(np.r_[first, len(owner)])
    found: Ints = owner[first][different != each]
    return found


def text_of(value: Any) -> str | None:
    """The value as text: JSON where it is none, None where there is none."""
    if value is None or value.__class__ is str:
        return value
    return json_text(value)


def _indexes(groups: Sequence[tuple[int, Group]]) -> Ints:
    """Places of the spans in their records; broken ones of a group stand behind its others."""
    found: list[Ints] = []
    record, at = -1, 0
    for number, group in groups:
        at = at if number == record else 0
        record = number
        found.append(np.arange(at, at + len(group.spans)))
        at += len(group.spans) + len(group.faults)
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _texts(values: list[str | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def _ints(values: list[int]) -> Ints:
    return np.array(values, np.int64)
