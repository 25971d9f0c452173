"""What came of capture requests: answered by a snapshot, or not in time.

Pure. The owner of an agent's partition of agent.control and of agent.state alike keeps the requests
that are open; what it decides is written to the log, and everybody else reads it there.
"""

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tachograph.detectors.published import bounded
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.records import CaptureAnswer, Directive

MAX_OPEN = 20_000
MAX_EARLY = 1_000
MAX_ENDED = 50_000
# Of those that nobody answered in time; the answer may still come.
MAX_LATE = 5_000
# Between the agent's answer and its snapshot in the log.
GRACE = timedelta(seconds=5)


class Ended(msgspec.Struct, frozen=True):
    """A request that has ended, and why: answered, unanswered or evicted; late: answered after it
    had ended without.
    """

    answer: CaptureAnswer
    outcome: str


class _Open(msgspec.Struct, frozen=True):
    directive: Directive
    offset: int


class Captures:
    """Requests of one partition. Not thread-safe; no clock: it is told the time."""

    def __init__(
        self, max_open: int = MAX_OPEN, max_early: int = MAX_EARLY, max_ended: int = MAX_ENDED
    ) -> None:
        self._limits = max_open, max_early, max_ended
        self._open: OrderedDict[str, _Open] = OrderedDict()
        # Snapshots that were read before the request that they answer.
        self._early: OrderedDict[str, tuple[StateSnapshot, datetime]] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._late: OrderedDict[str, Directive] = OrderedDict()
        self.evicted = 0  # of the early snapshots

    def __len__(self) -> int:
        return len(self._open)

    def asked(self, directive: Directive, offset: int) -> Iterator[Ended]:
        """A directive as it stands in the log; those that are no capture request are passed by."""
        name = directive.directive_id
        if directive.kind != "capture" or not _complete(directive):
            return
        if name in self._open or name in self._ended:
            return
        self._open[name] = _Open(directive, offset)
        if name in self._early:
            yield from self.told(*self._early.pop(name))
        while len(self._open) > self._limits[0]:
            oldest = next(iter(self._open.values())).directive
            yield self._end(oldest, None, oldest.expires_at, "evicted")

    def told(self, snapshot: StateSnapshot, at: datetime) -> Iterator[Ended]:
        """A snapshot as it stands in the log since `at`; it may answer a request."""
        name = snapshot.directive_id
        if name is None:
            return
        if name in self._ended:
            late = self._late.get(name)
            if late is not None and _asked(late, snapshot):
                del self._late[name]
                yield _answered(late, snapshot, at, "late")
            return
        found = self._open.get(name)
        if found is None:
            # Anybody may name a request: what is kept of it is as small as an answer.
            self._early[name] = bounded(snapshot), at
            self.evicted += _hold(self._early, self._limits[1])
        elif _asked(found.directive, snapshot):
            yield self._end(found.directive, snapshot, at, "answered")

    def late(self, now: datetime) -> list[Directive]:
        """Requests whose time is over, oldest first."""
        waiting = (one.directive for one in self._open.values())
        return [directive for directive in waiting if directive.expires_at + GRACE < now]

    def overdue(self, now: datetime) -> Iterator[Ended]:
        """Requests that can no longer be answered; everything up to `now` must have been read."""
        late = [
            one.directive for one in self._open.values() if one.directive.expires_at + GRACE < now
        ]
        for directive in late:
            yield self._end(directive, None, directive.expires_at, "unanswered")

    def floor(self) -> int | None:
        """Offset of the oldest request that is open: reading starts there after a restart."""
        return min((one.offset for one in self._open.values()), default=None)

    def _end(
        self, directive: Directive, snapshot: StateSnapshot | None, at: datetime, outcome: str
    ) -> Ended:
        del self._open[directive.directive_id]
        self._ended[directive.directive_id] = None
        _hold(self._ended, self._limits[2])
        if snapshot is None:
            self._late[directive.directive_id] = directive
            _hold(self._late, MAX_LATE)
        return _answered(directive, snapshot, at, outcome)


def _asked(directive: Directive, snapshot: StateSnapshot) -> bool:
    """Whether the snapshot is of the agent that was asked."""
    asked = directive.tenant, directive.agent_id
    return asked == (snapshot.tenant, snapshot.agent_id)


def _answered(
    directive: Directive, snapshot: StateSnapshot | None, at: datetime, outcome: str
) -> Ended:
    answer = CaptureAnswer(
        directive_id=directive.directive_id,
        tenant=directive.tenant,
        alert_id=directive.alert_id or "",
        entity=directive.entity or "",
        bucket_start=directive.bucket_start or at,
        answered=snapshot is not None,
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        decided_at=at,
        snapshot=bounded(snapshot) if snapshot else None,
    )
    return Ended(answer, outcome)


def _complete(directive: Directive) -> bool:
    """Whether an alert waits for what comes of it."""
    return bool(directive.alert_id and directive.entity and directive.bucket_start)


def _hold(found: OrderedDict[str, Any], limit: int) -> int:
    """Keep the newest; how many went."""
    spare = max(0, len(found) - limit)
    for _ in range(spare):
        found.popitem(last=False)
    return spare
