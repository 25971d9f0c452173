"""Alerts of a file in a format, as a destination would get them: a preview, and a check."""

from collections.abc import Iterator
from typing import BinaryIO

from tachograph.pipeline.forward.formats import Format
from tachograph.pipeline.forward.from_file import Unreadable, alerts

# What one request carries at most, as far as this preview is concerned.
PACK_RECORDS = 100
PACK_BYTES = 900_000
# Alerts remembered, to tell an update from a first record.
MAX_KNOWN = 100_000


def rendered(source: BinaryIO, form: Format) -> Iterator[bytes | Unreadable]:
    """What destinations of this format get for the alerts of a file, a request at a time.

    A later line of the same alert is an update, as it would be to a receiver.
    """
    known: dict[str, None] = {}
    pack: list[tuple[str, bytes]] = []
    size_bytes = 0
    for alert in alerts(source):
        if isinstance(alert, Unreadable):
            yield alert
            continue
        body = form.render(alert, update=alert.alert_id in known)
        _remember(known, alert.alert_id)
        if pack and (len(pack) >= PACK_RECORDS or size_bytes + len(body) > PACK_BYTES):
            yield _ended(form.pack(pack))
            pack, size_bytes = [], 0
        pack.append((f"{alert.alert_id}:{alert.revision}", body))
        size_bytes += len(body)
    if pack:
        yield _ended(form.pack(pack))


def _remember(known: dict[str, None], alert_id: str) -> None:
    known[alert_id] = None
    if len(known) > MAX_KNOWN:
        del known[next(iter(known))]


def _ended(body: bytes) -> bytes:
    return body if body.endswith(b"\n") else body + b"\n"
