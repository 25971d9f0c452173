"""Records for the store's tests, made from a few words."""

import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from tachograph.pipeline.store.pending import Pending
from tachograph.pipeline.store.records import Origin
from tachograph.schemas import batch, codec
from tachograph.schemas.fields import Record
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import SessionLink

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PLACE = "svc"


def at(seconds: float) -> datetime:
    """A moment that many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def action(tenant: str, name: str, **fields: Any) -> dict[str, Any]:
    """An action; its event id follows from its name."""
    return {
        "event_id": plain_id(name),
        "tenant": tenant,
        "partition_key": PLACE,
        "kind": "tool_call",
        "event_time": NOON,
        "observed_time": NOON,
        "agent_id": "agent-1",
        "agent_name": "Agent one",
        "principal_id": "ann",
        "source_id": "sdk",
        **fields,
    }


def frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Actions as a batch with just the columns that hold a value."""
    listed = list(rows)
    names = [name for name in batch.COLUMNS if any(name in row for row in listed)]
    return pl.DataFrame(listed, schema={name: batch.COLUMNS[name] for name in names})


def link(tenant: str, trace: str, session: str, **fields: Any) -> SessionLink:
    """A trace belongs to a conversation."""
    return SessionLink(
        tenant=tenant, partition_key=PLACE, trace_id=trace, session_id=session,
        observed_time=NOON, **fields,
    )  # fmt: skip


class Feed:
    """Puts records into batches as the stage does, with running offsets."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        # A place in Kafka is a key of the logs: no two tests may use the same.
        self._offset = zlib.crc32(tenant.encode()) << 20

    def empty(self) -> Pending:
        return Pending(clock=lambda: 0, redact=lambda text: text, tenant=self.tenant)

    def origin(self, topic: str, value: bytes) -> Origin:
        self._offset += 1
        return Origin((topic, 0), self._offset, value)

    def batch(self, *items: Any) -> Pending:
        """A batch of records of agent.actions: lists of actions, links."""
        pending = self.empty()
        for item in items:
            kind, value = _encoded(item)
            pending.add(self.origin("agent.actions", value), kind, 0.0)
        return pending

    def records(self, topic: str, *found: Record | bytes) -> Pending:
        """A batch of JSON records of another topic."""
        pending = self.empty()
        for record in found:
            value = record if isinstance(record, bytes) else codec.encode(record)
            pending.add(self.origin(topic, value), "", 0.0)
        return pending


def _encoded(item: Any) -> tuple[str, bytes]:
    if isinstance(item, SessionLink):
        return "session_link", codec.encode(item)
    if isinstance(item, dict):
        item = [item]
    return "action_batch", batch.encode(frame(item))
