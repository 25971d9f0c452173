"""From alerts to acknowledged records of one destination: chosen, capped, rendered, delivered.

Nothing here knows Kafka. What `put` returns from is acknowledged or accounted for; what it raises
from may be put again as it is: the ledger leaves out what went through.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US, Clock, system_us
from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.forward.config import Configured
from tachograph.pipeline.forward.destination import (
    Destination,
    Doubtful,
    Outgoing,
    PartlyRefused,
)
from tachograph.pipeline.forward.ledger import Ledger
from tachograph.pipeline.forward.ratecap import RateCap, summaries
from tachograph.pipeline.forward.selection import select
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import Health

_MINUTE_US = 60 * SECOND_US

Rendered = tuple[Alert, Outgoing]


class Stopping(RetryLater):
    """The stage was told to stop between two deliveries; the rest goes out at the next start."""


class RefusedAlert(msgspec.Struct, frozen=True):
    """An alert that the other end will never take, and why."""

    alert: Alert
    reason: str


class Outbox:
    """Everything between a batch of alerts and one destination. Used by one thread."""

    def __init__(
        self,
        configured: Configured,
        destination: Destination,
        ledger: Ledger,
        *,
        tenant: str = "default",
        clock: Clock = system_us,
    ) -> None:
        self._route, self._form = configured.route, configured.format
        self._extra = configured.type.render_options(configured.options)
        self._destination, self._ledger = destination, ledger
        self._tenant, self._clock = tenant, clock
        self._cap = RateCap(configured.route.rate_cap)
        # What did not go out as a record of its own, by reason, since start.
        self.drops: Counter[str] = Counter()
        self.watermark: datetime | None = None
        self.answer = ""
        self._taken = 0

    def put(self, alerts: Sequence[Alert], stop: threading.Event) -> list[RefusedAlert]:
        """Bring a batch out; returns those that the other end refused for good.

        Raises RetryLater when the rest must be put again.
        """
        known = self._ledger.known([alert.alert_id for alert in alerts])
        selected = select(self._route, alerts, known)
        admitted, held = self._cap.split(selected.send, known, self._clock())
        refused = self._delivered(self._rendered(admitted, known), stop)
        self._ledger.hold(held)
        selected.skipped["rate_cap"] += len(held)
        self._count(selected.skipped)
        self._reach(alerts)
        return refused

    def sum_up(self) -> None:
        """Send what earlier minutes held back, as one record a minute. Raises RetryLater."""
        held = self._ledger.held_before(self._clock() // _MINUTE_US)
        for summary in summaries(self._route.name, self._tenant, held):
            self._deliver(list(self._rendered([summary], {})))
        if held:
            self._ledger.forget_held(held)

    def greet(self, health: Health) -> None:
        """Tell the destination how the pipeline is. Raises RetryLater, Refused."""
        key = f"health:{health.component}:{int(health.at.timestamp())}"
        body = self._form.render_health(health, **self._extra)
        record = Outgoing(key, body, self._form.CONTENT_TYPE, health.at)
        self.answer = self._destination.deliver([record])

    def close(self) -> None:
        """Close destination and ledger."""
        self._destination.close()
        self._ledger.close()

    def _rendered(self, alerts: Iterable[Alert], known: Mapping[str, int]) -> Iterator[Rendered]:
        for alert in alerts:
            body = self._form.render(alert, update=alert.alert_id in known, **self._extra)
            key = f"{alert.alert_id}:{alert.revision}"
            yield alert, Outgoing(key, body, self._form.CONTENT_TYPE, alert.updated_at)

    def _delivered(self, rendered: Iterable[Rendered], stop: threading.Event) -> list[RefusedAlert]:
        """Bring records out; those in doubt are judged by how the others fare that come after
        them: what was taken before says nothing of an address that has gone away since.
        """
        refused: list[RefusedAlert] = []
        doubtful: list[tuple[Rendered, Doubtful, int]] = []
        for part in _slices(rendered, self._destination):
            if stop.is_set():
                raise Stopping("stopping")
            try:
                refused += self._deliver(part)
            except Doubtful as error:
                doubtful.append((part[0], error, self._taken))
        for one, doubt, taken in doubtful:
            if self._taken == taken:
                raise doubt
            refused += self._once_more(one)
        return refused

    def _once_more(self, one: Rendered) -> list[RefusedAlert]:
        """A record that was not taken where others were: its last chance."""
        try:
            return self._deliver([one])
        except Doubtful as error:
            return self._refuse(one, Refused(str(error)))

    def _deliver(self, batch: list[Rendered]) -> list[RefusedAlert]:
        try:
            self.answer = self._destination.deliver([record for _, record in batch])
        except PartlyRefused as error:
            self._acknowledge(batch[: error.at])
            rest = batch[error.at + 1 :]
            return self._refuse(batch[error.at], error) + (self._deliver(rest) if rest else [])
        except Refused as error:
            if len(batch) == 1:
                return self._refuse(batch[0], error)
            return [refused for one in batch for refused in self._deliver([one])]
        self._acknowledge(batch)
        return []

    def _refuse(self, rendered: Rendered, error: Refused) -> list[RefusedAlert]:
        self.drops["refused"] += 1
        return [RefusedAlert(rendered[0], str(error))]

    def _acknowledge(self, batch: Sequence[Rendered]) -> None:
        self._ledger.acknowledge((alert.alert_id, alert.revision) for alert, _ in batch)
        self._cap.used(len(batch), self._clock())
        self._taken += len(batch)
        metrics.DELIVERED.labels(self._route.name).inc(len(batch))

    def _count(self, skipped: Counter[str]) -> None:
        self.drops.update(skipped)
        for reason, count in skipped.items():
            metrics.HELD_BACK.labels(self._route.name, reason).inc(count)

    def _reach(self, alerts: Sequence[Alert]) -> None:
        newest = max((alert.updated_at for alert in alerts), default=None)
        if newest is not None and (self.watermark is None or newest > self.watermark):
            self.watermark = newest


def _slices(rendered: Iterable[Rendered], destination: Destination) -> Iterator[list[Rendered]]:
    """Batches as the destination takes them: so many records, so many bytes, at least one."""
    batch: list[Rendered] = []
    size_bytes = 0
    for one in rendered:
        length = len(one[1].body)
        full = len(batch) >= destination.batch_records
        if batch and (full or size_bytes + length > destination.batch_bytes):
            yield batch
            batch, size_bytes = [], 0
        batch.append(one)
        size_bytes += length
    if batch:
        yield batch
