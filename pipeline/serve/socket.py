"""`/alerts/ws`: the feed as WebSocket messages, one JSON object each, with the same filters and the
same places to resume from as the server-sent events.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from tachograph.pipeline.metrics import DROPPED
from tachograph.pipeline.serve.cursor import Cursor
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import Gate, foreign
from tachograph.pipeline.serve.walk import Cut, Walk, until_left
from tachograph.pipeline.serve.watch import Desk, Wanted

# The feed has ended, or the client lagged: it may come again.
TRY_AGAIN: Final = 1013


def same_site(connection: HTTPConnection) -> None:
    """Refuse a page of another site: browsers let any page open a socket. Raises RequestError."""
    if foreign(connection):
        raise RequestError(403, "opened by another site")


class Sockets:
    """Watchers over WebSocket."""

    def __init__(self, gate: Gate, desk: Desk) -> None:
        self._gate, self._desk = gate, desk

    async def watch(self, socket: WebSocket) -> None:
        """Answer one watcher. Raises RequestError before the socket is accepted."""
        same_site(socket)
        caller = self._gate.admit(socket, "watch")
        wanted = Wanted.of(socket.query_params, caller.tenant)
        last_id = socket.headers.get("last-event-id") or socket.query_params.get("last_id")
        client = self._gate.client(socket, caller)
        cursor = self._desk.place(last_id or None, client)
        try:
            await socket.accept()
            holds = self._gate.holds(socket, caller, "watch")
            await self._serve(socket, wanted, cursor, holds)
        except WebSocketDisconnect:
            pass
        except Cut:
            socket.scope["state"]["abort"]()
        finally:
            self._desk.give(client)

    async def _serve(
        self,
        socket: WebSocket,
        wanted: Wanted,
        cursor: Cursor | None,
        holds: Callable[[], bool],
    ) -> None:
        desk = self._desk
        wire = _Wire(socket, desk.limits.send_timeout_s)
        walk = Walk(
            desk.settings, desk.feed, desk.limits, wire=wire, view=wanted.line, cursor=cursor
        )
        if await until_left(walk, _left(socket), holds):
            await socket.close(TRY_AGAIN)


class _Wire:
    """Events as messages: `{"type": …, "id": …, "data": …}`."""

    def __init__(self, socket: WebSocket, timeout_s: float) -> None:
        self._socket, self._timeout_s = socket, timeout_s

    def said(self, kind: str, at: str, data: bytes) -> bytes:
        return msgspec.json.encode({"type": kind, "id": at, "data": msgspec.Raw(data)})

    def mark(self, at: str | None) -> bytes:
        return msgspec.json.encode({"type": "place", "id": at})

    async def begin(self) -> None:
        pass  # the first message is the place

    async def put(self, parts: list[bytes], timeout_s: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                for part in parts:
                    await self._socket.send_text(part.decode())
        except TimeoutError:
            DROPPED.labels("serve", "watcher_stuck").inc()
            raise Cut from None


async def _left(socket: WebSocket) -> None:
    """Return when the client has left; what it says is not listened to."""
    message: Any = {}
    while message.get("type") != "websocket.disconnect":
        message = await socket.receive()
