"""The loop beside triage that joins alerts into incidents: agent.incident_members in; links to
agent.signal_groups, where they are kept with the alert, and incidents to agent.incidents out.

All alerts of a tenant lie in one partition, so one process joins them. What is said comes first,
then offsets, and these never past the oldest alert that may still be joined: whatever instant the
process dies at, the next one reads those alerts again and says what is still to be said.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import Message

from tachograph.pipeline import log as logs
from tachograph.pipeline import metrics
from tachograph.pipeline.kafka.reader import Place, Reader, headers_of
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.triage.gathering import Gathering, News
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import IncidentMember

GROUP: Final = "tacho.triage.incidents"
MEMBERS: Final = "agent.incident_members"
INCIDENTS: Final = "agent.incidents"
GROUPS: Final = "agent.signal_groups"
READ_RECORDS: Final = 1_000
READ_WAIT_S: Final = 0.1
# Alerts that come together are joined together.
EVERY_S: Final = 0.5
# Joining costs at most this share of one core.
SHARE: Final = 0.1
COMMIT_EVERY_S: Final = 1.0
_LINK: Final = {RECORD_HEADER: b"incident_link", VERSION_HEADER: b"1"}
_INCIDENT: Final = {RECORD_HEADER: b"incident", VERSION_HEADER: b"1"}

log = logs.get("triage.incidents")


class Incidents:
    """The running loop: one reader, one writer. Used by one thread."""

    def __init__(self, settings: Settings, now_s: Callable[[], float] = time.monotonic) -> None:
        """Raises RetryLater or Refused when the topics are not there."""
        self._now_s = now_s
        self._writer = Writer(settings)
        for topic in (MEMBERS, INCIDENTS, GROUPS):
            self._writer.partitions(topic)
        self._held: dict[Place, Gathering] = {}
        self._next: dict[Place, int] = {}
        self._committed: dict[Place, int] = {}
        self._due_s = self._commit_s = 0.0
        self._reader = Reader(settings, GROUP, [MEMBERS], on_revoke=self._revoked)

    def round(self) -> None:
        """One round. Raises RetryLater or Refused: nothing is committed then."""
        for message in self._reader.read(READ_RECORDS, READ_WAIT_S):
            self._take(message)
        began_s = self._now_s()
        if began_s < self._due_s:
            return
        for place, held in self._held.items():
            self._tell(held.news())
            if held.evicted:
                metrics.EVICTED.labels("triage", "incident_member").inc(held.evicted)
                log.warning("alerts are joined no more", place=place, alerts=held.evicted)
                held.evicted = 0
        took_s = self._now_s() - began_s
        self._due_s = began_s + max(EVERY_S, took_s / SHARE)
        if began_s >= self._commit_s:
            self._commit_s = began_s + COMMIT_EVERY_S
            self._commit()

    def _take(self, message: Message) -> None:
        place, offset = (MEMBERS, message.partition() or 0), message.offset() or 0
        self._next[place] = offset + 1
        held = self._held.setdefault(place, Gathering())
        if headers_of(message).get(RECORD_HEADER) != b"incident_member":
            return
        try:
            held.take(codec.decode(IncidentMember, message.value() or b""), offset)
        except codec.InvalidRecord as error:
            metrics.DROPPED.labels("triage", "undecodable_record").inc()
            log.warning("record cannot be read", offset=offset, error=str(error))

    def _tell(self, news: News) -> None:
        """Incidents, then the alerts that belong to them; all is acknowledged when it returns."""
        if not news.links and not news.incidents:
            return
        for incident in news.incidents:
            key = incident.tenant.encode()
            self._writer.send(INCIDENTS, codec.encode(incident), key=key, headers=_INCIDENT)
        for link in news.links:
            key = f"{link.tenant}/{link.entity}".encode()
            self._writer.send(GROUPS, codec.encode(link), key=key, headers=_LINK)
        self._writer.flush()

    def _commit(self) -> None:
        due = {}
        for place, reached in self._next.items():
            floor = self._held[place].floor()
            at = reached if floor is None else min(floor, reached)
            if self._committed.get(place) != at:
                due[place] = at
        self._reader.commit(due)
        self._committed |= due

    def _revoked(self, places: list[Place]) -> None:
        """Others read these on from what is committed."""
        for place in places:
            for kept in (self._next, self._committed, self._held):
                kept.pop(place, None)

    def close(self) -> None:
        """Leave the group."""
        self._reader.close()


def run(settings: Settings, stop: threading.Event) -> None:
    """Run until `stop`. Raises RetryLater, Refused, ConfigError."""
    incidents = Incidents(settings)
    try:
        while not stop.is_set():
            incidents.round()
    finally:
        incidents.close()
