"""Which agents match a rule's group for the first time in an alert's bucket.

A rule whose groups lie in several partitions is judged where nothing of an agent's session is
known. So who sees the agent sends its last actions along with its first match, whether or not the
rule will fire.
"""

import secrets

import msgspec
import polars as pl

from tachograph.detectors.correlation.travel import GONE, GROUP, LATE, RULE, VERSION
from tachograph.detectors.facts import AGENT
from tachograph.detectors.ids import Hasher
from tachograph.detectors.language.rule import MICROS
from tachograph.detectors.signals import ALERT_BUCKET_S

MAX_FIRSTS = 100_000
BUCKET = "bucket_us"
_AGENT = "acting"
_KEY = ("tenant", RULE, VERSION, GROUP, _AGENT)
_BUCKET_US = ALERT_BUCKET_S * MICROS


class FirstsState(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered, as it is dumped."""

    seed: int
    polars: str
    seen: dict[int, int]


class Firsts:
    """Remembers what was met, by bucket. Not thread-safe."""

    def __init__(self, limit: int = MAX_FIRSTS) -> None:
        self._hasher = Hasher(secrets.randbits(63))
        # Hash of rule, group, agent and bucket → the bucket.
        self._seen: dict[int, int] = {}
        self._limit = limit
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._seen)

    def among(self, rows: pl.DataFrame, most: int) -> pl.DataFrame:
        """Up to `most` of the match rows that are firsts, with column BUCKET; they count as met
        from now on. Late ones open nothing, and neither do those that leave a group.
        """
        bucket = pl.col("event_time") - pl.col("event_time") % _BUCKET_US
        asked = (
            rows.filter(~(pl.col(LATE) | pl.col(GONE)))
            .with_columns(AGENT.alias(_AGENT), bucket.alias(BUCKET))
            .unique([*_KEY, BUCKET], keep="first", maintain_order=True)
        )
        if asked.is_empty():
            return asked
        keys = asked.select(*_KEY, pl.col(BUCKET).cast(pl.String))
        hashes = self._hasher.of_rows(keys).tolist()
        fresh = [at for at, key in enumerate(hashes) if key not in self._seen][:most]
        firsts = asked[fresh]
        for at, bucket_us in zip(fresh, firsts[BUCKET].to_list(), strict=True):
            self._seen[hashes[at]] = bucket_us
        while len(self._seen) > self._limit:
            del self._seen[next(iter(self._seen))]
            self.evicted += 1
        return firsts

    def forget(self, floor_us: int) -> None:
        """Buckets that ended before this are over."""
        before = floor_us - _BUCKET_US
        over = [key for key, bucket_us in self._seen.items() if bucket_us <= before]
        for key in over:
            del self._seen[key]

    def state(self) -> FirstsState:
        return FirstsState(self._hasher.seed, pl.__version__, self._seen)

    def restore(self, state: FirstsState) -> None:
        """Take up a state; of another Polars it is forgotten: what was said is said again."""
        if state.polars == pl.__version__:
            self._hasher, self._seen = Hasher(state.seed), dict(state.seen)
