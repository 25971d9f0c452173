"""Requests per second and client: a token bucket each, for a bounded number of clients."""

import time
from collections import OrderedDict
from collections.abc import Callable


class RateLimit:
    """Token buckets by client. The client seen longest ago is forgotten first, which only ever
    favours it.
    """

    def __init__(
        self,
        per_s: float,
        burst: float,
        clients: int,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s, self._burst, self._clients = per_s, burst, clients
        self._monotonic_s = monotonic_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float | None:
        """Take one token. None when there was one, else the seconds until there is."""
        now = self._monotonic_s()
        tokens, at = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_s)
        granted = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if granted else tokens, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return None if granted else (1.0 - tokens) / self._per_s
