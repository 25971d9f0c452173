"""Many words looked for in many texts in one pass (Aho-Corasick)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from ahocorasick_rs import BytesAhoCorasick, Implementation

from tachograph.detectors.matching import bits
from tachograph.detectors.matching.bits import Runs

Places = npt.NDArray[np.int64]
# From so many words on the faster automaton takes longer to build than most files to scan.
MANY_WORDS = 20_000


# Cells of the table in which texts and words are set against each other, a byte each.
_TABLE_BYTES = 1 << 22


class Hits(NamedTuple):
    """Texts that hold a word, by place, perhaps more than once, and how each stands in it."""

    texts: Places
    begins: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.bool_]


class Found:
    """What stands where: all hits, word after word, and where those of each word are."""

    def __init__(self, hits: Hits, runs: Mapping[int, slice], count: int) -> None:
        """`count`: how many texts there are."""
        self._hits, self._count = hits, count
        # The words that stand in any text.
        self.runs = runs

    def hits(self, word: int) -> Hits:
        """The texts that hold a word that stands in any."""
        run = self.runs[word]
        texts, begins, ends = self._hits
        return Hits(texts[run], begins[run], ends[run])

    def sets(self, words: Iterable[int]) -> Iterator[tuple[int, int]]:
        """The texts of each of the words that stands in any, as a set (see `bits`)."""
        there = [word for word in words if word in self.runs]
        at_once = max(_TABLE_BYTES // max(self._count, 1), 1)
        for at in range(0, len(there), at_once):
            part = there[at : at + at_once]
            table = np.zeros((len(part), self._count), np.bool_)
            for row, word in zip(table, part, strict=True):
                row[self._hits.texts[self.runs[word]]] = True
            yield from zip(part, bits.of_masks(table), strict=True)


NOTHING: Final = Found(
    Hits(np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0, np.bool_)), {}, 0
)


class Words:
    """Looks for words, given in lower case and not empty, in texts given in lower case."""

    def __init__(self, words: Sequence[str]) -> None:
        kind = Implementation.ContiguousNFA if len(words) > MANY_WORDS else Implementation.DFA
        self._automaton = BytesAhoCorasick([word.encode() for word in words], implementation=kind)

    def found(self, texts: Sequence[str]) -> Found:
        """The words that stand in the texts, by number, and where."""
        whole = "\n".join(texts)
        packed = whole.encode()
        ascii_only = len(packed) == len(whole)
        lengths = list(map(len, texts if ascii_only else map(str.encode, texts)))
        found = self._automaton.find_matches_as_indexes(packed, overlapping=True)
        if not found:
            return NOTHING
        flat = np.fromiter(chain.from_iterable(found), np.int64, 3 * len(found)).reshape(-1, 3)
        return _by_word(flat, np.array(lengths, np.int64))


def _by_word(found: Places, lengths: Places) -> Found:
    """Matches (word, begin, end; in bytes) in joined texts, sorted out."""
    stop = np.cumsum(lengths + 1) - 1
    begin = stop - lengths
    found = found[np.argsort(found[:, 0], kind="stable")]
    text = np.searchsorted(stop, found[:, 1], side="left")
    # A word that runs from one text into the next stands in neither.
    whole = found[:, 2] <= stop[text]
    found, text = found[whole], text[whole]
    hits = Hits(text, found[:, 1] == begin[text], found[:, 2] == stop[text])
    return Found(hits, dict(Runs.of(found[:, 0]).slices(len(found))), len(lengths))
