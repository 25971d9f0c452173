"""Which texts of a column a regular expression matches: one pass over all of them at once.

The expression is compiled once and keeps the automaton that it learns from texts. Polars takes a
fresh one for every call, and learning it costs as much as reading a hundred kilobytes.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import polars as pl
import re2

# What all patterns together may learn, far above what they need.
_MEMORY_BYTES: Final = 64_000_000


class Suspects:
    """One expression of RE2's, over many texts. `^` and `$` hold at every line."""

    def __init__(self, regex: str) -> None:
        """Raises re2.error."""
        options = re2.Options()
        options.max_mem = _MEMORY_BYTES
        options.log_errors = False
        self._regex: Any = re2.compile(f"(?m:{regex})".encode(), options)

    def places(self, texts: pl.Series) -> list[int]:
        """Places of the texts that it matches, perhaps of a few more: a match may go on into the
        next text.
        """
        return list(self._matches(texts))

    def any(self, texts: pl.Series) -> bool:
        """Whether it matches one of them, or seems to."""
        return next(self._matches(texts), None) is not None

    def _matches(self, texts: pl.Series) -> Iterator[int]:
        # Each ends in a line feed, so that none begins inside the one before.
        array = (texts + "\n").rechunk().to_arrow()
        _, offsets, payload = array.buffers()
        if payload is None or not len(array):
            return
        first = array.offset + 1
        ends = np.frombuffer(offsets, np.int64)[first : first + len(array)].tolist()
        text, end = payload.to_pybytes(), ends[-1]
        search = self._regex.search
        match = search(text, 0, end)
        while match is not None and match.start() < end:
            at = bisect_right(ends, match.start())
            yield at
            match = search(text, ends[at], end)
