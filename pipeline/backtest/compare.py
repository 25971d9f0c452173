"""What rules say now beside what was said before: new, gone, unchanged, by rule and day.

A signal of a single event is about that event. One of a window is about its group in a stretch of
time as long as the timespan: if that was changed, the longer one of the two. So a rule's new
version is compared with its old one although their signals have other ids.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

from tachograph.pipeline.errors import ConfigError

Change = Literal["new", "gone", "unchanged"]
CHANGES: tuple[Change, ...] = ("new", "gone", "unchanged")
# Signals held until their day is settled, of both sides together.
MAX_HELD = 300_000
MAX_EXAMPLES = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Said(msgspec.Struct, frozen=True, gc=False):
    """One signal, as far as it is compared and shown. `timespan_s`: 0 for a single event."""

    rule_id: str
    tenant: str
    event_time: datetime
    event_id: str
    timespan_s: int
    # Partition key and group values; empty for a single event.
    group: tuple[str, ...]
    reason: str


class DayOf(msgspec.Struct, frozen=True):
    """Counts of one rule on one day."""

    rule_id: str
    day: date
    new: int
    gone: int
    unchanged: int


class Example(msgspec.Struct, frozen=True):
    """One signal that is new or gone."""

    rule_id: str
    change: Change
    event_time: datetime
    event_id: str
    group: list[str]
    reason: str


class Comparison:
    """Takes signals of both sides in about the order of time; settles stretch after stretch.

    Settle at whole days and well behind what is read, or a stretch is torn in two.
    """

    def __init__(self) -> None:
        self.days: list[DayOf] = []
        self.examples: list[Example] = []
        self._now: dict[str, Said] = {}
        self._before: list[Said] = []
        self._spans: dict[str, int] = {}
        self._shown: Counter[tuple[str, str]] = Counter()

    def say(self, signal_id: str, said: Said) -> None:
        """The rule says this now, or says it otherwise."""
        self._now[signal_id] = said
        self._note(said)

    def take_back(self, signal_id: str) -> None:
        """The rule says it no more."""
        self._now.pop(signal_id, None)

    def before(self, said: Iterable[Said]) -> None:
        """This was said before."""
        for one in said:
            self._before.append(one)
            self._note(one)

    def _note(self, said: Said) -> None:
        self._spans[said.rule_id] = max(self._spans.get(said.rule_id, 0), said.timespan_s)
        if len(self._now) + len(self._before) > MAX_HELD:
            raise ConfigError(
                f"more than {MAX_HELD:,} signals wait to be compared: take fewer rules, or a"
                " shorter stretch of time"
            )

    def settle(self, until: datetime) -> None:
        """Compare what lies before: nothing more comes to it from either side."""
        now = [one for one in self._now.values() if self._stretch(one) < until]
        before = [one for one in self._before if self._stretch(one) < until]
        self._now = {key: one for key, one in self._now.items() if self._stretch(one) >= until}
        self._before = [one for one in self._before if self._stretch(one) >= until]
        known = {self._about(one) for one in before}
        standing = {self._about(one) for one in now}
        counts: dict[tuple[date, str], Counter[Change]] = defaultdict(Counter)
        for one in sorted(now, key=_when):
            self._count(counts, "unchanged" if self._about(one) in known else "new", one)
        for one in sorted(before, key=_when):
            if self._about(one) not in standing:
                self._count(counts, "gone", one)
        for (day, rule_id), found in sorted(counts.items()):
            self.days.append(DayOf(rule_id, day, *(found[change] for change in CHANGES)))

    def _count(
        self, counts: dict[tuple[date, str], Counter[Change]], change: Change, said: Said
    ) -> None:
        counts[self._stretch(said).date(), said.rule_id][change] += 1
        self._shown[said.rule_id, change] += change != "unchanged"
        if change != "unchanged" and self._shown[said.rule_id, change] <= MAX_EXAMPLES:
            group = list(said.group)
            self.examples.append(
                Example(said.rule_id, change, said.event_time, said.event_id, group, said.reason)
            )

    def _stretch(self, said: Said) -> datetime:
        """When the stretch that a signal is about began."""
        if not said.timespan_s:
            return said.event_time
        span = timedelta(seconds=self._spans[said.rule_id])
        return _EPOCH + (said.event_time - _EPOCH) // span * span

    def _about(self, said: Said) -> tuple[object, ...]:
        if not said.timespan_s:
            return (said.rule_id, said.tenant, said.event_id)
        return (said.rule_id, said.tenant, said.group, self._stretch(said))


def _when(said: Said) -> tuple[datetime, str]:
    return said.event_time, said.event_id
