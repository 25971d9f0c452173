"""One session that is looked at: its steps in order, what was said of it, and what is known after
the steps read so far.
"""

import msgspec

from tachograph.detectors.intent.course import Course
from tachograph.detectors.intent.findings import Finding
from tachograph.detectors.intent.sent import Sent
from tachograph.detectors.intent.steps import Step
from tachograph.detectors.intent.verdicts import blind_spots, signal_of
from tachograph.detectors.limits import Limits
from tachograph.detectors.sessions.followed import Followed
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


class Live(Followed[Step]):
    """The steps of one session."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        # What other sessions are to know of it, and of that what stands as it is.
        self.sent: dict[tuple[str, str, str], Sent] = {}
        self._settled_sent: dict[tuple[str, str, str], Sent] = {}
        self._course: Course | None = None

    def _held(self, step: Step) -> Step:
        self.chars += step.chars
        return step

    def _lighten(self) -> None:
        self._settled_sent = self.sent
        chars, kept = self.chars, list(self.steps)
        while kept and (2 * chars > self._max_chars or 2 * len(kept) > self._max_steps):
            chars -= kept.pop(0).chars
        self._refill(kept)

    def reread(self) -> None:
        """See Followed."""
        super().reread()
        self._course = None

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
