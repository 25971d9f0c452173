"""Splunk HTTP Event Collector, with indexer acknowledgement where the token has it.

With `ack` (default) a batch counts as delivered when the indexers say so. An acknowledgement that
does not come in time is asked for again before anything is sent again.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.forward.destination import Outgoing, PartlyRefused, Secret
from tachograph.pipeline.forward.destinations import _http
from tachograph.pipeline.forward.destinations._http import (
    Answer,
    Client,
    later,
    revealed,
    secret_problems,
    taken,
)
from tachograph.pipeline.forward.formats import hec

TYPE = "splunk_hec"
FORMATS = ("hec",)

_EVENT_PATH, _ACK_PATH = "/services/collector/event", "/services/collector/ack"
# Codes that speak of one event (no data, format, blank …) rather than of token, index or server.
_BAD_EVENT = frozenset({5, 6, 12, 13, 15})
_ACK_DISABLED = 14
_POLL_S = 0.25
# How long an acknowledgement may be waited for before its batch is sent again.
_PATIENCE_S = 300.0


class Options(_http.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "splunk_hec"`; the secret is the token."""

    index: str | None = None
    hostname: str | None = None
    ack: bool = True

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the URL or the token."""
        return super().problems(secret) + secret_problems(secret)


def open(options: Options, secret: Secret | None) -> "SplunkHec":  # noqa: A001 - name of the seam
    """A sender from checked options. Raises ConfigError when the CA file cannot be used."""
    return SplunkHec(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """What the envelope says beside the alert: host and index."""
    import socket

    return {"hostname": options.hostname or socket.gethostname(), "index": options.index or ""}


class SplunkHec:
    """Batches of events over one channel; see the module for when one counts as delivered."""

    batch_records = 100
    # The collector's own limit has been a megabyte.
    batch_bytes = 900_000

    def __init__(self, options: Options, secret: Secret | None) -> None:
        self._options = options
        self._base = options.url.rstrip("/")
        self._headers = {
            "content-type": hec.CONTENT_TYPE,
            "authorization": f"Splunk {revealed(secret)}",
            "x-splunk-request-channel": str(uuid.uuid4()),
        }
        self._client = Client(options.deadline_s, options.ca_file)
        self._ack_known = False
        # Sent and not acknowledged yet: keys of the batch, its number, when it was sent.
        self._pending: tuple[tuple[str, ...], int, float] | None = None

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """One request, and its acknowledgement; see `Destination.deliver`."""
        end = time.monotonic() + self._options.deadline_s
        keys = tuple(record.key for record in records)
        if self._options.ack:
            self._check_ack()
            if self._waits_for(keys):
                return self._acknowledged(end, len(records))
        answer = self._post(_EVENT_PATH, hec.pack([(r.key, r.body) for r in records]))
        _judge(answer, len(records))
        if not self._options.ack:
            return answer.said
        number = answer.json().get("ackId")
        if not isinstance(number, int):
            raise RetryLater(f"no ackId in the answer: {answer.said}")
        self._pending = (keys, number, time.monotonic())
        return self._acknowledged(end, len(records))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _check_ack(self) -> None:
        """Ask before the first event: with a token that cannot acknowledge, none would count."""
        if self._ack_known:
            return
        answer = self._post(_ACK_PATH, b'{"acks":[0]}')
        if answer.json().get("code") == _ACK_DISABLED:
            raise RetryLater(
                "the token has no indexer acknowledgement: enable it, or say ack = false"
            )
        taken(answer, refused=())
        self._ack_known = True

    def _waits_for(self, keys: tuple[str, ...]) -> bool:
        if self._pending is None:
            return False
        sent_keys, _, sent_s = self._pending
        return sent_keys == keys and time.monotonic() - sent_s < _PATIENCE_S

    def _acknowledged(self, end: float, count: int) -> str:
        assert self._pending is not None  # noqa: S101 - set by the caller
        number = self._pending[1]
        while True:
            answer = self._post(_ACK_PATH, b'{"acks":[%d]}' % number)
            taken(answer, refused=())
            if answer.json().get("acks", {}).get(str(number)) is True:
                self._pending = None
                return f"{count} events, acknowledged by the indexers"
            if time.monotonic() >= end:
                raise RetryLater("taken, but not acknowledged by the indexers yet")
            time.sleep(_POLL_S)

    def _post(self, path: str, body: bytes) -> Answer:
        return self._client.post(self._base + path, body, self._headers)


def _judge(answer: Answer, sent: int) -> None:
    """Raise what the answer means, if it is not success."""
    if answer.ok:
        return
    told = answer.json()
    at = told.get("invalid-event-number", 0)
    if answer.status == 400 and told.get("code") in _BAD_EVENT and _is_place(at, sent):
        raise PartlyRefused(answer.said, at)
    # A wrong index or token is mended at the other end; too large a body is sent one by one.
    if answer.status == 413:
        taken(answer)
    raise later(answer)


def _is_place(at: Any, sent: int) -> bool:
    return isinstance(at, int) and not isinstance(at, bool) and 0 <= at < sent
