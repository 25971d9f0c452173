"""Through the HTTP door: gzip, one connection kept open, the same bytes again when it must be."""

import gzip
import http.client
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tachograph.pipeline.sdk.buffer import Kind, Queued
from tachograph.pipeline.sdk.transport import Outcome, tls_of

PATHS: Final[dict[Kind, str]] = {
    "action": "/v1/actions",
    "state_snapshot": "/v1/state",
    "directive_ack": "/v1/acks",
}
MAX_ANSWER_BYTES: Final = 65_536
# The batch itself is at fault: half of it may pass.
_SPLIT: Final = 413
# A fault of these is in our set-up, and an operator can mend it while we wait.
_MISPLACED: Final = frozenset({401, 403, 404, 405, 415, 421})


class HttpTransport:
    """Posts NDJSON to a door. Raises ValueError at construction for an address that is none."""

    def __init__(self, endpoint: str, token: str | None, timeout_s: float) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"endpoint: {endpoint!r} is no http:// or https:// address")
        self._host, self._port = parts.hostname, parts.port
        self._tls = tls_of(parts.scheme)
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            timeout_s = self._timeout_s
            if self._tls is None:
                self._connection = http.client.HTTPConnection(
                    self._host, self._port, timeout=timeout_s
                )
            else:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=timeout_s, context=self._tls
                )
        return self._connection

    def send(self, kind: Kind, records: Sequence[Queued]) -> Outcome:
        """Post a batch. Lines that the door names as bad are refused for good, the others sent
        again.
        """
        body = gzip.compress(b"\n".join(record.payload for record in records), 1)
        try:
            connection = self._connected()
            connection.request("POST", self._prefix + PATHS[kind], body, self._headers)
            answer = connection.getresponse()
            content = answer.read(MAX_ANSWER_BYTES)
            if not answer.isclosed():
                self.close()  # an answer that goes on is none of the door's
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Outcome(0, again=records, problem=f"{type(error).__name__}: {error}")
        return self._judged(answer.status, answer.getheader("retry-after"), content, records)

    def _judged(
        self, status: int, retry_after: str | None, content: bytes, records: Sequence[Queued]
    ) -> Outcome:
        if status == 200:
            return Outcome(len(records))
        problem = f"the door answered {status}"
        if status == 400:
            bad = _bad_lines(content, len(records))
            good = [record for number, record in enumerate(records, 1) if number not in bad]
            return Outcome(0, len(records) - len(good), good, 0.0, problem)
        if status == _SPLIT:
            return self._split(records, problem)
        if status in _MISPLACED or status == 429 or status >= 500 or status == 408:
            wait_s = float(retry_after) if retry_after and retry_after.isdigit() else None
            return Outcome(0, again=records, wait_s=wait_s, problem=problem)
        return Outcome(0, len(records), problem=problem)

    def _split(self, records: Sequence[Queued], problem: str) -> Outcome:
        if len(records) == 1:
            return Outcome(0, 1, problem=problem)
        kind, middle = records[0].kind, len(records) // 2
        first = self.send(kind, records[:middle])
        if first.again:
            return first._replace(again=[*first.again, *records[middle:]])
        second = self.send(kind, records[middle:])
        return second._replace(
            sent=first.sent + second.sent, refused=first.refused + second.refused
        )

    def close(self) -> None:
        """Close the connection; the next send opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abandon(self) -> None:
        """Close this process's copy of the connection; the other process keeps its own."""
        self.close()


def _bad_lines(content: bytes, count: int) -> set[int]:
    """Numbers of the lines that the door refused; all of them when it does not say."""
    try:
        answer: Any = msgspec.json.decode(content)
        bad = {int(error["line"]) for error in answer["errors"]}
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        bad = set()
    return bad or set(range(1, count + 1))
