"""Event ids as numbers, so that columns of them can be compared and sorted."""

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl

Words = npt.NDArray[np.uint64]

HEX_CHARS = 32


def halves(ids: pl.Series) -> tuple[Words, Words]:
    """The ids as two columns of 64 bits that sort as the ids do.

    For ids of 32 hex digits, which all of ours are. Others are hashed: still one fixed order,
    another than the text's.
    """
    if ids.is_empty():
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    if (ids.str.len_bytes() == HEX_CHARS).all():
        raw = ids.str.decode("hex", strict=False)
        if not raw.null_count():
            return _split(b"".join(raw.to_list()))
    return _split(b"".join(hashlib.blake2b(i.encode(), digest_size=16).digest() for i in ids))


def _split(packed: bytes) -> tuple[Words, Words]:
    pairs = np.frombuffer(packed, ">u8").astype(np.uint64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


class Hasher:
    """64-bit hashes under a seed of this state's own: nobody outside can aim at a collision."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def of(self, column: pl.Series) -> Words:
        """Hash of each value."""
        return column.hash(self.seed).to_numpy().astype(np.uint64)

    def of_rows(self, values: pl.DataFrame) -> Words:
        """Hash of each row of text columns; of rows with a null it means nothing."""
        # No value can look like two: within one, what separates them has a mark after it.
        escaped = pl.all().str.replace_all("\x1f", "\x1f\x1e", literal=True)
        joined = values.select(pl.concat_str(escaped, separator="\x1f\x1f"))
        return self.of(joined.to_series())
