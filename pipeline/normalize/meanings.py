"""What a span says, as bytes for its id: the same whichever encoding or order it came in.

All texts of a batch are laid one after the other, span by span, and each span's stretch is hashed
in one call. Their lengths stand before them, so that no two spans read alike.
"""

from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from tachograph.pipeline.normalize.spans import Pairs, Spans
from tachograph.pipeline.normalize.wire import Ints

_canonical = msgspec.json.Encoder(order="sorted").encode
# Numbers of a span and the lengths of its own texts; of an attribute the lengths and its type.
_HEAD = np.dtype(
    [("start", "<u8"), ("end", "<u8"), ("kind", "<i8"), ("status", "<i8"), ("sizes", "<u4", 4),
     ("pairs", "<u4")]
)  # fmt: skip
_PAIR = np.dtype([("key", "<u4"), ("text", "<u4"), ("code", "u1")])
_PARTS = 6


def meanings(spans: Spans) -> tuple[list[memoryview], Ints]:
    """The bytes of each span's meaning but for its own ids and time, and how many they are."""
    pairs, size = spans.pairs, len(spans)
    order = _sorted(pairs)
    each = np.bincount(pairs.owner, minlength=size)
    texts = _texts(pairs)
    events = (
        pl.Series([_events(spans, at) for at in range(size)], dtype=pl.String)
        if spans.events
        else pl.repeat("", size, dtype=pl.String, eager=True)
    )
    own = [spans.parent_span_id, spans.name, spans.status_message, events]
    keys = pl.Series(pairs.keys, dtype=pl.String)
    parts = [
        _heads(spans, own, each), *(text.cast(pl.Binary) for text in own),
        _lengths(pairs, keys, texts, order, each), keys.cast(pl.Binary), texts.cast(pl.Binary),
    ]  # fmt: skip
    starts = np.concatenate(([0], np.cumsum(_PARTS + 2 * each)))
    gathered = pl.concat(parts).gather(_places(pairs, order, starts, size))
    array = gathered.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset :][starts].tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    found = [view[begin:end] for begin, end in pairwise(ends)]
    return found, np.diff(ends)


def _sorted(pairs: Pairs) -> Ints:
    """Rows span by span, and within each in the order of the names."""
    rank = np.empty(len(pairs.keys), np.int64)
    rank[sorted(range(len(pairs.keys)), key=pairs.keys.__getitem__)] = np.arange(len(pairs.keys))
    return np.argsort(pairs.owner * max(len(rank), 1) + rank[pairs.key], kind="stable")


def _texts(pairs: Pairs) -> pl.Series:
    """Values as texts, those of JSON with sorted names."""
    texts = pairs.text.fill_null("") if pairs.text.null_count() else pairs.text
    if not pairs.other:
        return texts
    told = [_canonical(value).decode() for value in pairs.other.values()]
    return texts.clone().scatter(list(pairs.other), pl.Series(told, dtype=pl.String))


def _events(spans: Spans, at: int) -> str:
    events = spans.events.get(at)
    return _canonical([list(event) for event in events]).decode() if events else ""


def _heads(spans: Spans, own: list[pl.Series], each: Ints) -> pl.Series:
    heads = np.zeros(len(spans), _HEAD)
    heads["start"], heads["end"] = spans.start_ns, spans.end_ns
    heads["kind"], heads["status"] = spans.kind, spans.status
    heads["pairs"] = each
    for place, texts in enumerate(own):
        heads["sizes"][:, place] = texts.str.len_bytes().to_numpy()
    return _binary(heads.tobytes(), np.full(len(spans), _HEAD.itemsize))


def _lengths(pairs: Pairs, keys: pl.Series, texts: pl.Series, order: Ints, each: Ints) -> pl.Series:
    lengths = np.zeros(len(order), _PAIR)
    lengths["key"] = keys.str.len_bytes().to_numpy()[pairs.key[order]]
    lengths["text"] = texts.str.len_bytes().to_numpy()[order]
    lengths["code"] = pairs.code[order]
    return _binary(lengths.tobytes(), each * _PAIR.itemsize)


def _binary(data: bytes, sizes: Ints) -> pl.Series:
    """The bytes cut into pieces of these sizes."""
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    array = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(sizes), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    return pl.Series(pl.from_arrow(array), dtype=pl.Binary)


def _places(pairs: Pairs, order: Ints, starts: Ints, size: int) -> Ints:
    """Where each piece stands among all heads, own texts, lengths, keys and texts."""
    places = np.empty(starts[-1], np.int64)
    for part in range(_PARTS):
        places[starts[:-1] + part] = part * size + np.arange(size)
    owner = pairs.owner[order]
    within = np.arange(len(order)) - np.searchsorted(owner, owner)
    at = starts[owner] + _PARTS + 2 * within
    places[at] = _PARTS * size + pairs.key[order]
    places[at + 1] = _PARTS * size + len(pairs.keys) + order
    return places
