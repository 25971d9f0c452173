"""Who is logged in: browser sessions, in memory, bounded, each with an end."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from tachograph.pipeline.clock import Clock
from tachograph.pipeline.metrics import DROPPED
from tachograph.pipeline.serve.tokens import Caller

SESSION_S: Final = 8 * 3600
MAX_SESSIONS: Final = 5_000
COOKIE: Final = "tacho_session"


# Who it is now: None when the right to be here has ended.
Holder = Callable[[], Awaitable[Caller | None]]


class Session(msgspec.Struct, frozen=True):
    """One login."""

    csrf: str
    ends_us: int
    holder: Holder


class Sessions:
    """Sessions by what the browser holds; here only its hash. Used on the event loop."""

    def __init__(self, clock_us: Clock) -> None:
        self._clock_us = clock_us
        self._held: OrderedDict[bytes, Session] = OrderedDict()

    def open(self, holder: Holder) -> str:
        """Begin a session; what the browser is to keep."""
        secret = secrets.token_urlsafe(32)
        ends_us = self._clock_us() + SESSION_S * 1_000_000
        self._held[_digest(secret)] = Session(secrets.token_urlsafe(24), ends_us, holder)
        while len(self._held) > MAX_SESSIONS:
            self._held.popitem(last=False)
            DROPPED.labels("serve", "session_evicted").inc()
        return secret

    async def of(self, secret: str) -> tuple[Caller, str] | None:
        """Who it is, and the session's word against forged posts; None: log in."""
        name = _digest(secret)
        session = self._held.get(name)
        if session is None:
            return None
        caller = await session.holder() if self._clock_us() < session.ends_us else None
        if caller is None or name not in self._held:
            self._held.pop(name, None)
            return None
        return caller, session.csrf

    def end(self, secret: str) -> None:
        """Log out."""
        self._held.pop(_digest(secret), None)


def _digest(secret: str) -> bytes:
    return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=32).digest()
