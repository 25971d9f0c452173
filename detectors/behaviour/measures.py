"""The features of closed windows, from what was added up in them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.baselines import WARM, Known, busier
from tachograph.detectors.behaviour.features import (
    BYTES_OUT,
    FEATURES,
    NAMES,
    NEW_TARGETS,
    TO_NEW,
)
from tachograph.detectors.behaviour.levels import SKETCH_BITS, different, different_new, level_of
from tachograph.detectors.behaviour.rows import CALLS, SENT_CLASSES, SOURCE, TARGETS, TOOLS

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_GRAINS = np.array([feature.grain for feature in FEATURES])
_OWN = np.array([feature.own for feature in FEATURES])
_LEAST = np.array([feature.least for feature in FEATURES]).T
_ADDED = ("acts", "failures", "bytes_out", "rows_read", "tokens")
# Both are compared as they are.
_NEW_TOOLS = NAMES.index("new_tools")
_NEW = [NEW_TARGETS, _NEW_TOOLS]
# A sketch with fewer free bits says too little of how many values there are.
_FREE_BITS = 16
_CLASS_BYTES = SKETCH_BITS // SENT_CLASSES // 8
KNOWN_WORDS = len(TARGETS) + len(TOOLS) + 1
# A window that is added up has this share of what would be enough alone.
_NEXT_TO_NOTHING = 4
# Below all scores: what is too little to be out of line.
NO_SCORE = -(2**15)


def words_of(rows: pl.DataFrame, names: tuple[str, ...]) -> Words:
    """Sketches as (windows, words)."""
    return np.stack([rows[name].to_numpy() for name in names], axis=1)


def seen_words(rows: pl.DataFrame) -> Words:
    """Sketches of which earlier values are remembered: targets, tools, services."""
    return words_of(rows, (*TARGETS, *TOOLS, SOURCE))


def amounts_of(rows: pl.DataFrame) -> Ints:
    """(windows, features); what is new to an agent is left at 0 until it is known what is."""
    targets, tools = words_of(rows, TARGETS), words_of(rows, TOOLS)
    calls, sketched = rows["calls"].to_numpy(), words_of(rows, CALLS)
    once = different(sketched)
    telling = np.bitwise_count(sketched).astype(np.int64).sum(axis=1) < SKETCH_BITS - _FREE_BITS
    none = np.zeros(rows.height, np.int64)
    columns = {
        **{name: rows[name].to_numpy() for name in _ADDED},
        "targets": different(targets),
        "new_targets": none,
        "tools": _bits(tools),
        "new_tools": none,
        "bytes_to_new": none,
        "repeats": np.where(telling, np.maximum(calls - 2 * once, 0), 0),
    }
    return np.stack([columns[name] for name in NAMES], axis=1).astype(np.int64)


class Sent(NamedTuple):
    """Of windows the sketches of who received data, and bytes by the class of these."""

    receivers: Words
    by_class: Ints


def count_new(amounts: Ints, levels: Ints, words: Words, sent: Sent, before: Words) -> None:
    """Fill in what is new. `words`, `before`: the sketches of windows, and of what their agents had
    met before. Of what was sent to the receivers of one class that counts as sent to new ones which
    is their share of these.
    """
    many = len(TARGETS)
    amounts[:, NEW_TARGETS] = different_new(words[:, :many], before[:, :many])
    amounts[:, _NEW_TOOLS] = _bits(words[:, many:-1] & ~before[:, many:-1])
    levels[:, _NEW] = level_of(amounts[:, _NEW])
    new = _by_class(sent.receivers & ~before[:, :many])
    of = np.maximum(_by_class(sent.receivers), 1)
    amounts[:, TO_NEW] = (sent.by_class // of * new).sum(axis=1)
    levels[:, TO_NEW] = level_of(amounts[:, TO_NEW] // _GRAINS[TO_NEW])


def _by_class(receivers: Words) -> Ints:
    """How many bits of each class of receivers are set: (windows, SENT_CLASSES)."""
    parts = np.ascontiguousarray(receivers.astype("<u8")).view(f"<u{_CLASS_BYTES}")
    counted: Ints = np.bitwise_count(parts).astype(np.int64)
    return counted


def levels_of(amounts: Ints) -> Ints:
    """Levels in each feature's own grain."""
    return level_of(amounts // _GRAINS)


def scores_of(scales: Ints, amounts: Ints, levels: Ints, known: Known, windows: Ints) -> Ints:
    """How far above what is usual, in spreads of 256 steps; NO_SCORE where it is too little, or the
    agent's own `windows` are too few to tell. Where no more is sent than usual, it says nothing
    that it went to new targets, however much an agent sends.
    """
    scores = (levels - known.usual - busier(levels, known)) * 256 // known.spread
    telling = (windows >= WARM[scales])[:, None] | ~_OWN
    telling[:, TO_NEW] &= levels[:, BYTES_OUT] >= known.usual[:, BYTES_OUT]
    return np.where((amounts >= _LEAST[scales]) & telling, scores, NO_SCORE)


def added_scores_of(scales: Ints, amounts: Ints, added: Ints, windows: Ints) -> Ints:
    """Of windows that are added up to those before: NO_SCORE where this one has next to nothing, or
    the agent's own `windows` are too few to tell.
    """
    enough = amounts * _NEXT_TO_NOTHING >= _LEAST[scales]
    telling = (windows >= 2 * WARM[scales])[:, None]
    return np.where(enough & telling, added, NO_SCORE)


def used_by_several(words: Words, before: Words) -> npt.NDArray[np.bool_]:
    """Windows of what is shared that several services used, or one that had not used it before:
    what the one who always uses it does with it is said of him.
    """
    services, known = words[:, -1], before[:, -1]
    found: npt.NDArray[np.bool_] = (np.bitwise_count(services) > 1) | (services & ~known != 0)
    return found


def free_bits(before: Words) -> Ints:
    """Of the sketches of targets that were met before."""
    return SKETCH_BITS - _bits(before[:, : len(TARGETS)])


def _bits(words: Words) -> Ints:
    bits: Ints = np.bitwise_count(words).astype(np.int64).sum(axis=1)
    return bits
