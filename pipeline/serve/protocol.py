"""The HTTP server's own protocol, with the limits it lacks: size of the head, time for head and
body.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tachograph.pipeline.serve.limits import Limits

# After the application's own deadline for a body, so that this one only ends what no answer has
# ended.
_GRACE_S = 5.0
_CHUNKING = 2  # how much larger a body may be on the wire than the bytes it carries


class GuardedProtocol(HttpToolsProtocol):
    """One connection. A request that is too slow or has too large a head ends it."""

    limits: ClassVar[Limits] = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = None  # None: no head is being read
        self._body_bytes = 0
        self._refusal = 400

    def _within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._within(self.limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that goes on over its limit ends here."""
        super().data_received(data)
        if self._head_bytes is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._refusal = 431
                self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"]["abort"] = self.transport.abort
        self._head_bytes, self._body_bytes = 0, 0
        self._within(self.limits.header_timeout_s)

    def on_headers_complete(self) -> None:
        """The head is there; raising makes the parser refuse the request."""
        self._head_bytes = None
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.limits.header_bytes:
            self._refusal = 431
            raise ValueError("the request's head is too large")
        super().on_headers_complete()
        self._within(self.limits.body_timeout_s + _GRACE_S)

    def on_body(self, body: bytes) -> None:
        """Count what comes, also after the answer: nobody sends for ever."""
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.body_bytes * _CHUNKING:
            self.transport.abort()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there; how long the answer takes is the application's affair."""
        self._within(None)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """The head is whole, and the connection is another protocol's from here on."""
        self._within(None)
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, and hang up."""
        text = "The request's head is too large." if self._refusal == 431 else msg
        body = text.encode("ascii")
        head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[self._refusal] + head + length + body)
        self.transport.close()


class SocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that the application can hang up on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As HTTP's."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}


def guarded(limits: Limits) -> type[GuardedProtocol]:
    """The protocol with these limits, as the server wants it: a class."""
    return type("DoorProtocol", (GuardedProtocol,), {"limits": limits})
