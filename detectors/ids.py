"""Event ids as numbers, so that columns of them can be compared and sorted."""

import binascii
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Words = npt.NDArray[np.uint64]

HEX_CHARS = 32
# Odd and with its bits well spread: multiplying by it loses nothing.
_ODD = np.uint64(0x9E3779B97F4A7C15)


def halves(ids: pl.Series) -> tuple[Words, Words]:
    """The ids as two columns of 64 bits that sort as the ids do.

    For ids of 32 hex digits, which all of ours are. Others are hashed: still one fixed order,
    another than the text's.
    """
    if ids.is_empty():
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    texts = ids.to_list()
    if set(map(len, texts)) <= {HEX_CHARS}:
        try:
            return _split(binascii.unhexlify("".join(texts)))
        except ValueError:
            pass
    return _split(b"".join(hashlib.blake2b(i.encode(), digest_size=16).digest() for i in texts))


def _split(packed: bytes) -> tuple[Words, Words]:
    pairs = np.frombuffer(packed, ">u8").astype(np.uint64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


class Hasher:
    """64-bit hashes under a seed of this state's own: nobody outside can aim at a collision."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def of(self, column: pl.Series, place: int = 0) -> Words:
        """Hash of each value; `place` tells columns of one row apart."""
        return column.hash(self._seed_of(place)).to_numpy().astype(np.uint64)

    def of_rows(self, values: pl.DataFrame) -> Words:
        """Hash of each row of text columns; of rows with a null it means nothing."""
        hashed = values.select(
            self.asked(pl.col(name), place) for place, name in enumerate(values.columns)
        )
        return self.joined([column.to_numpy() for column in hashed], values.height)

    def asked(self, value: pl.Expr, place: int) -> pl.Expr:
        """Hash of a value that stands at this place among others."""
        return value.hash(self._seed_of(place))

    def joined(self, hashes: Sequence[Words], rows: int) -> Words:
        """One hash of several of so many rows each, in the order of their places: as `of_rows`."""
        found = np.zeros(rows, np.uint64)
        for one in hashes:
            found = (found * _ODD) ^ one
        return found

    def _seed_of(self, place: int) -> int:
        return (self.seed + place) % 2**63
