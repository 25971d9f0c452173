"""One session that is looked at: its steps in order, what was said of it, and what is known after
the steps read so far.
"""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from tachograph.detectors.intent.course import Course
from tachograph.detectors.intent.findings import Finding
from tachograph.detectors.intent.marks import Step
from tachograph.detectors.intent.sent import Sent
from tachograph.detectors.intent.verdicts import blind_spots, signal_of
from tachograph.detectors.limits import Limits
from tachograph.schemas.alert import Signal

# Signals of one session that can still be revised or retracted; later findings are not said.
MAX_SAID = 100


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A session in a dump."""

    steps: list[Step]
    said: list[Signal]
    settled: list[str]
    late: int
    shed: bool
    sent: list[Sent] = []


class Live:
    """The steps of one session."""

    def __init__(self, limits: Limits) -> None:
        self._max_chars, self._max_steps = limits.chars_per_session, limits.steps_per_session
        self.steps: list[Step] = []
        self._orders: list[tuple[int, str]] = []
        self.chars = 0
        self.said: dict[str, Signal] = {}
        # Said of steps that are partly forgotten: stands as it is.
        self.settled: set[str] = set()
        # What other sessions are to know of it, and of that what stands as it is.
        self.sent: dict[tuple[str, str, str], Sent] = {}
        self._settled_sent: dict[tuple[str, str, str], Sent] = {}
        self.late = 0
        self.shed = False
        self._course: Course | None = None
        self._read = 0

    @property
    def last_us(self) -> int:
        """Time of its last step."""
        return self.steps[-1].facts.time_us

    def add(self, step: Step) -> None:
        """Put a step in its place; one that is there already changes nothing."""
        at = bisect_left(self._orders, step.order)
        if at < len(self._orders) and self._orders[at] == step.order:
            return
        self._orders.insert(at, step.order)
        self.steps.insert(at, step)
        self.chars += step.chars
        if at < self._read:
            self.reread()
        if self.chars > self._max_chars or len(self.steps) > self._max_steps:
            self._shed()

    def _refill(self, steps: Iterable[Step]) -> None:
        self.steps = list(steps)
        self._orders = [step.order for step in self.steps]
        self.chars = sum(step.chars for step in self.steps)
        self.reread()

    def _shed(self) -> None:
        """Forget the older half."""
        self.shed = True
        self.settled |= self.said.keys()
        self.said = {}
        self._settled_sent = self.sent
        chars, kept = self.chars, list(self.steps)
        while kept and (2 * chars > self._max_chars or 2 * len(kept) > self._max_steps):
            chars -= kept.pop(0).chars
        self._refill(kept)

    def take_out(self, trace: str) -> list[Step]:
        """Remove the steps of a trace."""
        moved = [step for step in self.steps if step.facts.trace_id == trace]
        if moved:
            self._refill(step for step in self.steps if step.facts.trace_id != trace)
        return moved

    def reread(self) -> None:
        """What was read does not hold any more, or is to be forgotten: read again when asked."""
        self._course, self._read = None, 0

    def judge(self) -> None:
        """Read what was not read yet; afterwards `said` is what is to be said of the session."""
        if self._course is None:
            self._course, self._read, self.said = Course(), 0, {}
            self.sent = dict(self._settled_sent)
        course = self._course
        for step in self.steps[self._read :]:
            for finding in course.read(step):
                if not isinstance(finding, Finding):
                    self.sent[finding.key] = finding
                    continue
                blind = blind_spots(self.late, shed=self.shed, cut=course.cut)
                signal = signal_of(finding, blind)
                if len(self.said) < MAX_SAID and signal.signal_id not in self.settled:
                    self.said[signal.signal_id] = signal
        self._read = len(self.steps)

    def stored(self) -> Stored:
        """All that `of` needs."""
        said, sent = list(self.said.values()), list(self.sent.values())
        return Stored(self.steps, said, sorted(self.settled), self.late, self.shed, sent)

    @classmethod
    def of(cls, stored: Stored, limits: Limits) -> "Live":
        """A session out of a dump."""
        live = cls(limits)
        live._refill(stored.steps)
        live.said = {signal.signal_id: signal for signal in stored.said}
        live.settled = set(stored.settled)
        live.late, live.shed = stored.late, stored.shed
        live.sent = {one.key: one for one in stored.sent}
        live._settled_sent = dict(live.sent) if stored.shed else {}
        return live
