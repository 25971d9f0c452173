"""What was said last of each group and bucket that can still change."""

from collections.abc import Iterator

import msgspec

from tachograph.schemas.alert import Signal

_decoder = msgspec.msgpack.Decoder(Signal)
_encoder = msgspec.msgpack.Encoder()


class Live(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A signal that stands: its time, the numbers it rests on, and itself, encoded to be small."""

    time_us: int
    footprint: tuple[float, ...]
    encoded: bytes

    @classmethod
    def of(cls, signal: Signal, time_us: int, footprint: tuple[float, ...]) -> "Live":
        """What to remember of a signal."""
        return cls(time_us, footprint, _encoder.encode(signal))

    @property
    def signal(self) -> Signal:
        """The signal as it was said."""
        return _decoder.decode(self.encoded)


class Said:
    """Bucket → group → Live. Bounded: what is oldest goes first, and is revised no more."""

    def __init__(self, limit: int) -> None:
        self._buckets: dict[int, dict[int, Live]] = {}
        self._limit = limit
        self._size = 0
        self.evicted = 0

    def __len__(self) -> int:
        return self._size

    def get(self, bucket: int, gid: int) -> Live | None:
        """What was said of a group in a bucket."""
        groups = self._buckets.get(bucket)
        return None if groups is None else groups.get(gid)

    def put(self, bucket: int, gid: int, live: Live) -> None:
        """This was said."""
        groups = self._buckets.setdefault(bucket, {})
        self._size += gid not in groups
        groups[gid] = live
        while self._size > self._limit:
            oldest = min(self._buckets)
            self.pop(oldest, next(iter(self._buckets[oldest])))
            self.evicted += 1

    def pop(self, bucket: int, gid: int) -> Live | None:
        """This stands no more."""
        groups = self._buckets.get(bucket)
        live = None if groups is None else groups.pop(gid, None)
        if live is not None:
            self._size -= 1
            if not groups:
                del self._buckets[bucket]
        return live

    def of(self, gid: int, since: int) -> Iterator[tuple[int, Live]]:
        """Buckets from `since` on in which something stands of a group, in order."""
        for bucket in sorted(b for b in self._buckets if b >= since):
            live = self._buckets[bucket].get(gid)
            if live is not None:
                yield bucket, live

    def close(self, before: int) -> None:
        """Buckets before this one change no more."""
        for bucket in [bucket for bucket in self._buckets if bucket < before]:
            self._size -= len(self._buckets.pop(bucket))

    def settle(self, before_us: int) -> None:
        """What was said of events before this time changes no more."""
        for bucket, groups in list(self._buckets.items()):
            kept = {gid: live for gid, live in groups.items() if live.time_us >= before_us}
            self._size -= len(groups) - len(kept)
            if kept:
                self._buckets[bucket] = kept
            else:
                del self._buckets[bucket]

    def state(self) -> dict[int, dict[int, Live]]:
        """All of it, for a dump."""
        return self._buckets

    def restore(self, state: dict[int, dict[int, Live]]) -> None:
        """Take up a dump."""
        self._buckets = state
        self._size = sum(map(len, state.values()))
