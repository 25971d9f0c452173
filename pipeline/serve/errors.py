"""What the door answers when it does not accept a request."""

from collections.abc import Mapping

from tachograph.pipeline.errors import TachoError

MAX_MESSAGE_CHARS = 300


class RequestError(TachoError):
    """The request is answered with `status`; the message tells the client why and what to do.

    `retry_after_s` says when the same request may go through; `details` go into a JSON answer
    as they are.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(shown(message))
        self.status = status
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
        self.details = dict(details or {})


def shown(message: str) -> str:
    """One printable line, cut short: it may quote what a client sent."""
    line = "".join(c if c.isprintable() else "�" for c in message[:MAX_MESSAGE_CHARS])
    return line if len(message) <= MAX_MESSAGE_CHARS else line + "…"
