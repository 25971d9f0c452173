"""`GET /alerts`: one watcher of the feed, as server-sent events.

A watcher has no queue of its own: it walks through the feed's memory at its own pace. When the
feed has moved on past it, it is cut off with an event that says where to resume, and no one
else notices.
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tachograph.pipeline.log import get
from tachograph.pipeline.metrics import DROPPED, WATCHERS
from tachograph.pipeline.serve.cursor import Cursor, decode, encode
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.feed import Feed, Gap, History, Item
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.settings import Settings
from tachograph.schemas.alert import SEVERITIES

log = get("serve.watch")

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
        self._left = limits.watchers

    def watch(self, wanted: Wanted, last_id: str | None) -> "Watch":
        """The stream for a watcher: what is new, or all after `last_id`.

        Raises RequestError: 400 for an id that is none, 503 when all places are taken or the
        log is not there yet.
        """
        try:
            cursor = None if last_id is None else decode(last_id)
        except ValueError as error:
            raise RequestError(400, f"last_id: {error}; `earliest` is the oldest kept") from error
        if not self.feed.ready or self.feed.closed:
            raise RequestError(503, "the alert topic cannot be read yet", retry_after_s=2)
        if self._left == 0:
            raise RequestError(503, "all places at the feed are taken", retry_after_s=10)
        self._left -= 1
        WATCHERS.inc()
        return Watch(self, wanted, cursor)

    def give(self) -> None:
        """A watcher has left."""
        self._left += 1
        WATCHERS.dec()


class _Cut(Exception):
    """The watcher does not read."""


class Watch(Response):
    """The answer to one watcher: a stream that ends when either side leaves."""

    media_type = "text/event-stream"

    def __init__(self, desk: "Desk", wanted: Wanted, cursor: Cursor | None) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._desk, self._wanted = desk, wanted
        self._feed, self._limits = desk.feed, desk.limits
        self._cursor: Cursor = dict(self._feed.now() if cursor is None else cursor)
        self._resumes = cursor is not None
        self._send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
            else:
                await self._stream(receive)
        except _Cut:
            scope["state"]["abort"]()
        finally:
            self._desk.give()

    async def _stream(self, receive: Receive) -> None:
        pump = asyncio.create_task(self._pump())
        gone = asyncio.create_task(_disconnect(receive))
        try:
            await asyncio.wait((pump, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, gone):
                task.cancel()
            outcome, _ = await asyncio.gather(pump, gone, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome
        await self._write(b"", more=False)

    async def _pump(self) -> None:
        await self._write(b"retry: %d\n" % RETRY_MS + self._mark())
        if self._resumes and not await self._catch_up():
            return
        number = self._feed.base
        while not self._feed.closed:
            if number < self._feed.base:
                await self._say_lagged()
                return
            chunk, number = self._chunk(number)
            if chunk:
                await self._write(chunk)
            elif not await self._feed.news(number, self._limits.heartbeat_s):
                await self._write(self._mark())

    def _mark(self) -> bytes:
        # An id without data: the client remembers the place though nothing it wants was there.
        # From the earliest on there is no place to remember yet, and an empty id would mean none.
        place = b"id: %b\n" % encode(self._cursor).encode() if self._cursor else b""
        return b": tacho\n%b\n" % place

    def _chunk(self, number: int) -> tuple[bytes, int]:
        """Wanted events from `number` on, up to a chunk, and the number after them."""
        parts, size_bytes = [], 0
        while number < self._feed.end and size_bytes < self._limits.chunk_bytes:
            if part := self._event(self._feed.at(number)):
                parts.append(part)
                size_bytes += len(part)
            number += 1
        return b"".join(parts), number

    def _event(self, item: Item) -> bytes:
        """The item as an event, or nothing: it is known or not wanted. Moves the cursor past it."""
        if item.offset < self._cursor.get(item.partition, 0):
            return b""
        self._cursor[item.partition] = item.offset + 1
        if not self._wanted.matches(item):
            return b""
        return event("alert", encode(self._cursor), item.line)

    async def _catch_up(self) -> bool:
        """Send what is older than the feed's memory. False: the log could not be read; the
        client resumes.
        """
        if self._feed.covers(self._cursor):
            return True
        async with self._feed.catching_up:
            history = await asyncio.to_thread(History, self._desk.settings, self._cursor)
            try:
                for gap in await asyncio.to_thread(history.examine):
                    self._cursor[gap.partition] = gap.given
                    await self._write(_gap_event(gap, encode(self._cursor)))
                self._cursor = dict(history.cursor)
                while not self._feed.closed and not self._feed.covers(self._cursor):
                    items = await asyncio.to_thread(history.read)
                    await self._send_history(items)
            except KafkaException as error:
                log.warning("history", error=str(error.args[0]))
                return False
            finally:
                await asyncio.shield(asyncio.to_thread(history.close))
        return True

    async def _send_history(self, items: list[Item]) -> None:
        parts: list[bytes] = []
        size_bytes = 0
        for item in items:
            part = self._event(item)
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > self._limits.chunk_bytes:
                await self._write(b"".join(parts), self._limits.catch_up_send_timeout_s)
                parts, size_bytes = [], 0
        # The mark keeps a client up to date that wants none of these, and finds out whether it
        # is still there.
        await self._write(b"".join(parts) + self._mark(), self._limits.catch_up_send_timeout_s)

    async def _say_lagged(self) -> None:
        DROPPED.labels("serve", "watcher_lagged").inc()
        at = encode(self._cursor)
        data = {"resume_from": at, "reason": "the feed moved on while this client did not read"}
        await self._write(event("lagged", at, msgspec.json.encode(data)))

    async def _write(
        self, chunk: bytes, timeout_s: float | None = None, *, more: bool = True
    ) -> None:
        """Send one chunk; raises _Cut when the client takes none for too long."""
        try:
            async with asyncio.timeout(timeout_s or self._limits.send_timeout_s):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        except TimeoutError:
            DROPPED.labels("serve", "watcher_stuck").inc()
            raise _Cut from None


def _gap_event(gap: Gap, at: str) -> bytes:
    data = {
        "partition": gap.partition, "asked": gap.asked, "given": gap.given,
        "reason": "the log no longer holds what was asked for",
    }  # fmt: skip
    return event("gap", at, msgspec.json.encode(data))


async def _disconnect(receive: Receive) -> None:
    """Return when the client has left."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
