"""One watcher's walk through the feed, however it is spoken to.

A watcher has no queue of its own: it walks through the feed's memory at its own pace. When the
feed has moved on past it, it is cut off with an event that says where to resume, and no one
else notices.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import msgspec
from confluent_kafka import KafkaException

from tachograph.pipeline.log import get
from tachograph.pipeline.metrics import DROPPED
from tachograph.pipeline.serve.cursor import Cursor, encode
from tachograph.pipeline.serve.feed import Feed, Gap, History, Item
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.settings import Settings

log = get("serve.watch")

# What a watcher is shown of an item, on one line; None: nothing.
View = Callable[[Item], bytes | None]
# So often it is asked whether a watcher may still watch.
RIGHTS_S: Final = 5.0
LAGGED: Final = "the feed moved on while this client did not read"


class Cut(Exception):
    """The watcher does not read."""


class Wire(Protocol):
    """How a watcher is spoken to. Called on the event loop."""

    def said(self, kind: str, at: str, data: bytes) -> bytes:
        """An event of a kind, with the place after it."""

    def mark(self, at: str | None) -> bytes:
        """A sign of life, with the place if there is one."""

    async def begin(self) -> None:
        """What is said first."""

    async def put(self, parts: list[bytes], timeout_s: float | None = None) -> None:
        """Send what was said. Raises Cut when the client takes none for too long."""


class Walk:
    """The walk. `cursor`: all after it; None: what is new."""

    def __init__(
        self,
        settings: Settings,
        feed: Feed,
        limits: Limits,
        *,
        wire: Wire,
        view: View,
        cursor: Cursor | None,
    ) -> None:
        self._settings, self._feed, self._limits = settings, feed, limits
        self._wire, self._view = wire, view
        self._cursor: Cursor = dict(self._feed.now() if cursor is None else cursor)
        self._resumes = cursor is not None

    async def run(self) -> None:
        """Walk until the feed closes or the client is left behind. Raises Cut."""
        await self._wire.begin()
        await self._wire.put([self._mark()])
        if self._resumes and not await self._catch_up():
            return
        number = self._feed.base
        while not self._feed.closed:
            if number < self._feed.base:
                await self._say_lagged()
                return
            parts, number = self._chunk(number)
            if parts:
                await self._wire.put(parts)
            elif not await self._feed.news(number, self._limits.heartbeat_s):
                await self._wire.put([self._mark()])

    def _mark(self) -> bytes:
        return self._wire.mark(encode(self._cursor) if self._cursor else None)

    def _chunk(self, number: int) -> tuple[list[bytes], int]:
        """Wanted events from `number` on, up to a chunk, and the number after them."""
        parts, size_bytes = list[bytes](), 0
        while number < self._feed.end and size_bytes < self._limits.chunk_bytes:
            if part := self._event(self._feed.at(number)):
                parts.append(part)
                size_bytes += len(part)
            number += 1
        return parts, number

    def _event(self, item: Item) -> bytes:
        """The item as an event, or nothing: it is known or not wanted. Moves the cursor past it."""
        if item.offset < self._cursor.get(item.partition, 0):
            return b""
        self._cursor[item.partition] = item.offset + 1
        data = self._view(item)
        return b"" if data is None else self._wire.said("alert", encode(self._cursor), data)

    async def _catch_up(self) -> bool:
        """Send what is older than the feed's memory. False: the log could not be read; the
        client resumes.
        """
        if self._feed.covers(self._cursor):
            return True
        async with self._feed.catching_up:
            history = await asyncio.to_thread(History, self._settings, self._cursor)
            try:
                for gap in await asyncio.to_thread(history.examine):
                    self._cursor[gap.partition] = gap.given
                    await self._wire.put([self._gap(gap)])
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
            if not part:
                continue
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > self._limits.chunk_bytes:
                await self._wire.put(parts, self._limits.catch_up_send_timeout_s)
                parts, size_bytes = [], 0
        # The mark keeps a client up to date that wants none of these, and finds out whether it
        # is still there.
        await self._wire.put([*parts, self._mark()], self._limits.catch_up_send_timeout_s)

    async def _say_lagged(self) -> None:
        DROPPED.labels("serve", "watcher_lagged").inc()
        at = encode(self._cursor)
        data = msgspec.json.encode({"resume_from": at, "reason": LAGGED})
        await self._wire.put([self._wire.said("lagged", at, data)])

    def _gap(self, gap: Gap) -> bytes:
        data = {
            "partition": gap.partition, "asked": gap.asked, "given": gap.given,
            "reason": "the log no longer holds what was asked for",
        }  # fmt: skip
        return self._wire.said("gap", encode(self._cursor), msgspec.json.encode(data))


async def until_left(
    walk: Walk,
    leaving: Coroutine[Any, Any, None],
    holds: Callable[[], bool] | None = None,
    every_s: float = RIGHTS_S,
) -> bool:
    """Walk until it ends, the client leaves, or may no longer watch; whether the client is still
    there. Raises what the walk raises.
    """
    doings = (walk.run(), leaving, _until_ended(holds, every_s))
    pump, gone, ended = tasks = [asyncio.create_task(doing) for doing in doings]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcome, left, _ = await asyncio.gather(pump, gone, ended, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome
    return isinstance(left, asyncio.CancelledError)


async def _until_ended(holds: Callable[[], bool] | None, every_s: float) -> None:
    """Return when a right no longer holds; None: it holds as long as anybody is there."""
    while holds is None or holds():  # noqa: ASYNC110 - nothing tells when a token ends
        await asyncio.sleep(every_s)
