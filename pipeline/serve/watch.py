"""`GET /alerts`: watchers of the feed, as server-sent events: what each wants, and its place."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tachograph.pipeline.metrics import DROPPED, WATCHERS
from tachograph.pipeline.serve.cursor import Cursor, decode
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.feed import Feed, Item
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.serve.places import Places
from tachograph.pipeline.serve.walk import Cut, View, Walk, until_left
from tachograph.pipeline.settings import Settings
from tachograph.schemas.alert import SEVERITIES

RETRY_MS: Final = 2_000
MAX_FILTER_VALUES: Final = 100
_FILTERS: Final = ("severity", "rule", "risk_category", "tenant")


class Wanted(msgspec.Struct, frozen=True):
    """Which alerts a watcher wants; None is any."""

    severity: frozenset[str] | None = None
    rule: frozenset[str] | None = None
    risk_category: frozenset[str] | None = None
    tenant: frozenset[str] | None = None

    @classmethod
    def of(cls, query: QueryParams, tenant: str | None) -> "Wanted":
        """Read the query; values are joined by commas or given again. `tenant` is the caller's,
        if it has one.

        Raises RequestError 400 for an unknown severity or too many values, 403 for another
        tenant.
        """
        chosen = {name: _values(query.getlist(name)) for name in _FILTERS}
        severities = chosen["severity"]
        if severities and not severities <= set(SEVERITIES):
            raise RequestError(400, f"severity is one of {', '.join(SEVERITIES)}")
        if tenant is not None:
            asked = chosen["tenant"]
            if asked is not None and asked != {tenant}:
                raise RequestError(403, "the token sees its own tenant only")
            chosen["tenant"] = frozenset({tenant})
        return cls(**chosen)

    def line(self, item: Item) -> bytes | None:
        """The alert's JSON, where the watcher wants it."""
        return item.line if self.matches(item) else None

    def matches(self, item: Item) -> bool:
        """Whether the watcher wants it."""
        facts = item.facts
        if facts is None:
            return False
        return (
            _within(self.severity, (facts.severity,))
            and _within(self.tenant, (facts.tenant,))
            and _within(self.risk_category, (facts.risk_category,))
            and (self.rule is None or _within(self.rule, (rule.rule_id for rule in facts.rules)))
        )


def _values(given: list[str]) -> frozenset[str] | None:
    values = [value for text in given for value in text.split(",") if value]
    if len(values) > MAX_FILTER_VALUES:
        raise RequestError(400, f"a filter may have {MAX_FILTER_VALUES} values")
    return frozenset(values) if values else None


def _within(wanted: Collection[str] | None, values: Iterable[str]) -> bool:
    return wanted is None or any(value in wanted for value in values)


def event(kind: str, at: str, data: bytes) -> bytes:
    """One server-sent event; `data` is one line."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (at.encode(), kind.encode(), data)


class Desk:
    """Gives watchers their places, as many as there are."""

    def __init__(self, settings: Settings, feed: Feed, limits: Limits) -> None:
        self.settings, self.feed, self.limits = settings, feed, limits
        self._places = Places(limits.watchers, "watchers")

    def watch(
        self,
        view: View,
        last_id: str | None,
        client: str,
        *,
        most_s: float | None = None,
        holds: Callable[[], bool] | None = None,
    ) -> "Watch":
        """The stream for a watcher: what is new, or all after `last_id`; it ends after `most_s`,
        and once `holds` says no. Raises as `place` does.
        """
        cursor = self.place(last_id, client)
        return Watch(self, view, cursor, client, most_s=most_s, holds=holds)

    def place(self, last_id: str | None, client: str) -> Cursor | None:
        """Take a place at the feed, to be given back; where to begin there.

        Raises RequestError: 400 for an id that is none, 503 when all places are taken or the
        log is not there yet, 429 when this client has its share of the places.
        """
        try:
            cursor = None if last_id is None else decode(last_id)
        except ValueError as error:
            raise RequestError(400, f"last_id: {error}; `earliest` is the oldest kept") from error
        if not self.feed.ready or self.feed.closed:
            raise RequestError(503, "the alert topic cannot be read yet", retry_after_s=2)
        self._places.take(client)
        WATCHERS.inc()
        return cursor

    def give(self, client: str) -> None:
        """A watcher has left."""
        self._places.give(client)
        WATCHERS.dec()


class Watch(Response):
    """The answer to one watcher: a stream that ends when either side leaves."""

    media_type = "text/event-stream"

    def __init__(
        self,
        desk: "Desk",
        view: View,
        cursor: Cursor | None,
        client: str,
        *,
        most_s: float | None,
        holds: Callable[[], bool] | None,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._desk, self._client, self._most_s, self._holds = desk, client, most_s, holds
        self._walk = Walk(
            desk.settings, desk.feed, desk.limits, wire=self, view=view, cursor=cursor
        )
        self._send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
            else:
                await self._stream(receive)
        except Cut:
            scope["state"]["abort"]()
        finally:
            self._desk.give(self._client)

    async def _stream(self, receive: Receive) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._most_s):
                await until_left(self._walk, _disconnect(receive), self._holds)
        await self._write(b"", more=False)

    def said(self, kind: str, at: str, data: bytes) -> bytes:
        """One event."""
        return event(kind, at, data)

    def mark(self, at: str | None) -> bytes:
        """An id without data: the client remembers the place though nothing it wants was there.
        From the earliest on there is no place to remember yet, and an empty id would mean none.
        """
        place = b"id: %b\n" % at.encode() if at else b""
        return b": tacho\n%b\n" % place

    async def put(self, parts: list[bytes], timeout_s: float | None = None) -> None:
        """Send events. Raises Cut when the client takes none for too long."""
        await self._write(b"".join(parts), timeout_s)

    async def begin(self) -> None:
        """How long a client waits before it comes again."""
        await self._write(b"retry: %d\n" % RETRY_MS)

    async def _write(
        self, chunk: bytes, timeout_s: float | None = None, *, more: bool = True
    ) -> None:
        """Send one chunk; raises Cut when the client takes none for too long."""
        try:
            async with asyncio.timeout(timeout_s or self._desk.limits.send_timeout_s):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        except TimeoutError:
            DROPPED.labels("serve", "watcher_stuck").inc()
            raise Cut from None


async def _disconnect(receive: Receive) -> None:
    """Return when the client has left."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
