"""Places for streams: so many, and some of them always for others than who holds most."""

from collections import Counter
from math import ceil
from typing import Final

from tachograph.pipeline.serve.errors import RequestError

# Of all places, what one client may hold: one that opens streams without end shuts nobody out.
SHARE: Final = 0.8
_RETRY_AFTER_S: Final = 10


class Places:
    """So many places, counted by client: a principal, or an address. For the event loop alone."""

    def __init__(self, total: int, whose: str) -> None:
        self._total, self._whose = total, whose
        self._most = ceil(total * SHARE)
        self._held: Counter[str] = Counter()

    def check(self, client: str) -> None:
        """Raise RequestError where there is no place for the client: 503, or 429 when it holds its
        share.
        """
        if self._held.total() >= self._total:
            raise RequestError(
                503, f"all places for {self._whose} are taken", retry_after_s=_RETRY_AFTER_S
            )
        if self._held[client] >= self._most:
            raise RequestError(
                429,
                f"this client holds {self._most} of {self._total} places for {self._whose}",
                retry_after_s=_RETRY_AFTER_S,
            )

    def take(self, client: str) -> None:
        """Take a place, to be given back. Raises as `check` does."""
        self.check(client)
        self._held[client] += 1

    def give(self, client: str) -> None:
        """The client has left a place."""
        self._held[client] -= 1
        if self._held[client] <= 0:
            del self._held[client]
