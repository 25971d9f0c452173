"""Which of some names may be keys in lines of JSON, told from the bytes before each colon.

Looking up a key among hundreds of names that never come costs more than decoding all there is. So
only names that may have come are looked up; one too many does no harm, one too few would.
"""

from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
_COLON, _QUOTE = b':"'
_BLANK = np.isin(np.arange(256), list(b" \t\r\n"))
# Blanks that may stand between a key and its colon before we give up.
MAX_BLANKS = 8
# Bytes looked at before a colon: the end of a name and its quote.
_TAIL_BYTES = 8
_TABLE_BITS = 16
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def tellable(name: str) -> bool:
    """Whether a name fills a tail, and JSON can spell it with the numbers of its characters only
    instead.
    """
    plain = name.isascii() and name.isprintable() and not set(name) & set('"\\/')
    return plain and len(name) >= _TAIL_BYTES - 2


class Names:
    """Looks for some names, all `tellable`."""

    def __init__(self, names: Collection[str]) -> None:
        self._by_tail: dict[int, list[str]] = {}
        for name in names:
            for end in set(_ends(name, _TAIL_BYTES - 1)):
                tail = int.from_bytes(f'{end}"'.encode(), "little")
                self._by_tail.setdefault(tail, []).append(name)
        # Most tails are told to be none of ours by their slot.
        self._table = np.zeros(1 << _TABLE_BITS, np.bool_)
        self._table[_slots(np.array(list(self._by_tail), np.uint64))] = True

    def among(self, text: memoryview) -> list[str] | None:
        """Those that may be keys in a text; None where that cannot be told."""
        stops = _stops(np.frombuffer(text, np.uint8))
        if stops is None:
            return None
        # What stops sooner is none of the names.
        stops = stops[stops >= _TAIL_BYTES]
        if not len(stops):
            return []
        words = np.ndarray(len(text) - _TAIL_BYTES + 1, "<u8", text, strides=(1,))
        tails = words[stops - _TAIL_BYTES]
        met = set(tails[self._table[_slots(tails)]].tolist())
        return [name for tail in met for name in self._by_tail.get(tail, ())]


def _ends(name: str, room: int) -> Iterator[str]:
    """The last characters of a name in every spelling, its opening quote before it."""
    if room <= 0 or not name:
        yield '"'[:room]
        return
    number = f"{ord(name[-1]):02x}"
    spellings = {
        name[-1],
        *(f"\\u00{number[0]}{digit}" for digit in {number[1], number[1].upper()}),
    }
    for last in spellings:
        for end in _ends(name[:-1], room - len(last)):
            yield (end + last)[-room:]


def _slots(tails: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return (tails * _SPREAD) >> np.uint64(64 - _TABLE_BITS)


def _stops(text: npt.NDArray[np.uint8]) -> Places | None:
    """Where what may be a key stops, behind its quote: at a colon, or at blanks and a colon; None
    where these blanks are too many.
    """
    stops = np.flatnonzero(text == _COLON)
    last = text[stops - 1]
    found = [stops[last == _QUOTE]]
    for _ in range(MAX_BLANKS):
        stops = stops[_BLANK[last]] - 1
        if not len(stops):
            return np.concatenate(found)
        last = text[stops - 1]
        found.append(stops[last == _QUOTE])
    return None
