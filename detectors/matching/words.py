"""Many words looked for in many texts in one pass (Aho-Corasick)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
from ahocorasick_rs import BytesAhoCorasick, Implementation

from tachograph.detectors.matching.bits import Runs

Places = npt.NDArray[np.int64]
# From so many words on the faster automaton takes longer to build than most files to scan.
MANY_WORDS = 20_000


@dataclass(frozen=True, slots=True)
class Hits:
    """Texts that hold a word, by place, perhaps more than once, and how each stands in it."""

    texts: Places
    begins: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.bool_]


class Words:
    """Looks for words, given in lower case and not empty, in texts given in lower case."""

    def __init__(self, words: Sequence[str]) -> None:
        kind = Implementation.ContiguousNFA if len(words) > MANY_WORDS else Implementation.DFA
        self._automaton = BytesAhoCorasick([word.encode() for word in words], implementation=kind)

    def hits(self, texts: Sequence[str]) -> Mapping[int, Hits]:
        """The texts that hold each word, by the word's number; words that none holds are absent."""
        whole = "\n".join(texts)
        packed = whole.encode()
        ascii_only = len(packed) == len(whole)
        lengths = list(map(len, texts if ascii_only else map(str.encode, texts)))
        found = self._automaton.find_matches_as_indexes(packed, overlapping=True)
        if not found:
            return {}
        flat = np.fromiter(chain.from_iterable(found), np.int64, 3 * len(found)).reshape(-1, 3)
        return _by_word(flat, np.array(lengths, np.int64))


def _by_word(found: Places, lengths: Places) -> dict[int, Hits]:
    """Matches (word, begin, end; in bytes) in joined texts, sorted out."""
    stop = np.cumsum(lengths + 1) - 1
    begin = stop - lengths
    found = found[np.argsort(found[:, 0], kind="stable")]
    text = np.searchsorted(stop, found[:, 1], side="left")
    # A word that runs from one text into the next stands in neither.
    whole = found[:, 2] <= stop[text]
    found, text = found[whole], text[whole]
    begins, ends = found[:, 1] == begin[text], found[:, 2] == stop[text]
    return {
        word: Hits(text[run], begins[run], ends[run])
        for word, run in Runs.of(found[:, 0]).slices(len(found))
    }
