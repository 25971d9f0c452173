"""What a change of plans asks of the records that a partition has judged already.

A windowed rule that is new has to see what its first windows reach back to. And where the change
holds from a time that was judged before this process learned of it, what was said since then is
said again as it should have been, and taken back where it should not. Both by reading a stretch of
the log once more.
"""

from collections.abc import Iterable, Sequence

import msgspec

from tachograph.detectors.in_force import FOR_EVER_US
from tachograph.detectors.partition import Found
from tachograph.detectors.plan import Plan, affected, reach_us
from tachograph.detectors.signals import changed, micros
from tachograph.pipeline.detect.judges import Judge
from tachograph.pipeline.log import get
from tachograph.pipeline.normalize.limits import FAR_FUTURE_US
from tachograph.schemas.alert import Signal

log = get("detect.catch_up")

# Signals whose difference is looked for; beyond them the oldest stay as they were said.
MAX_SIGNALS = 100_000


class CatchUp:
    """One place's stretch of the log, read once more. Used by the thread of its shard."""

    def __init__(self, judge: Judge, olds: Sequence[Plan]) -> None:
        """`judge`: that of the place, which judges by a newer plan already. `olds`: what it was
        judged by, and after a restart what may have been said by besides.
        """
        self._judge, new = judge, judge.plan
        parts_us = min(old.timeline.parts_us(new.timeline) for old in olds)
        added = new.without(olds[0]) if parts_us < FOR_EVER_US else []
        self._warmer = judge.warmer(added)
        newest = judge.milestones.newest_us
        self._difference: Difference | None = None
        asked = list(added)
        if newest is not None and newest >= parts_us:
            others = [old for old in olds if old.timeline.parts_us(new.timeline) < FOR_EVER_US]
            rules = {key for old in others for key in affected(old, new, parts_us)}
            sides = [plan.only(rules) for plan in (*others, new)]
            self._difference = Difference([judge.fresh(side) for side in sides], parts_us)
            asked += [rule for side in sides for rule in side.rules.correlations]
        back_us = max((reach_us(rule) for rule in asked), default=0)
        # An event may be dated so far ahead of its observation.
        self.start_us = parts_us - back_us - FAR_FUTURE_US

    @property
    def needed(self) -> bool:
        """Whether anything is to be read."""
        return self._warmer is not None or self._difference is not None

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """A record of the stretch; its rows. Raises as Judge.take."""
        rows = self._warmer.take(kind, payload) if self._warmer is not None else 0
        if self._difference is not None:
            rows = self._difference.take(kind, payload)
        return rows

    def judge(self, revision: int) -> list[Found]:
        """Judge what was taken; what is to be sent of it: matches, never signals."""
        if self._difference is not None:
            self._difference.judge(revision)
        return self._warmer.judge(revision) if self._warmer is not None else []

    def finish(self, revision: int) -> list[Found]:
        """The stretch is read: what is to be said of it."""
        if self._difference is None:
            return []
        signals = self._difference.signals(revision)
        log.info("said again from the change on", signals=len(signals))
        return [self._judge.say(signals, revision)] if signals else []


class Difference:
    """What judges say of one stretch, of events observed from a time on. The last one is right."""

    def __init__(self, judges: Sequence[Judge], from_us: int) -> None:
        self._sides = [(judge, _Standing(from_us)) for judge in judges]

    def take(self, kind: bytes | None, payload: bytes) -> int:
        """A record of the stretch; its rows."""
        return max(judge.take(kind, payload) for judge, _ in self._sides)

    def judge(self, revision: int) -> None:
        """Judge what was taken."""
        for judge, standing in self._sides:
            for found in judge.judge(revision):
                standing.note(found.signals)

    def signals(self, revision: int) -> list[Signal]:
        """What has to be said so that the last one holds, where any of the others may have held."""
        *before, now = (standing.signals for _, standing in self._sides)
        was = {key: signal for signals in before for key, signal in signals.items()}
        gone = [changed(one, "retracted", revision) for key, one in was.items() if key not in now]
        said = [
            changed(one, "revised" if key in was else "new", revision)
            for key, one in now.items()
            if any(key not in signals or _differ(one, signals[key]) for signals in before)
        ]
        return [*gone, *said]


class _Standing:
    """Signals that stand, of events observed from a time on."""

    def __init__(self, from_us: int) -> None:
        self._from_us = from_us
        self.signals: dict[str, Signal] = {}

    def note(self, signals: Iterable[Signal]) -> None:
        for signal in signals:
            moment = signal.observed_time or signal.event_time
            self.signals.pop(signal.signal_id, None)
            if signal.change != "retracted" and micros(moment) >= self._from_us:
                self.signals[signal.signal_id] = signal
        while len(self.signals) > MAX_SIGNALS:
            del self.signals[next(iter(self.signals))]


def _differ(one: Signal, other: Signal) -> bool:
    return one != msgspec.structs.replace(other, change=one.change, revision=one.revision)
