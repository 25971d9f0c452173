"""One session as the detector holds it: its steps in order, what was said of it, and what is known
after the steps read so far.
"""

from collections.abc import Callable, Iterable

import msgspec

from tachograph.detectors.facts import Facts
from tachograph.detectors.limits import Limits
from tachograph.detectors.provenance.parts import Part, Role, Step
from tachograph.detectors.provenance.session import Judged, Session
from tachograph.detectors.sessions.followed import Followed
from tachograph.schemas.alert import Signal

# What a step weighs beside its texts.
STEP_CHARS = 1_000
# Signals of one session that can still be revised or retracted; later calls are not judged.
MAX_SAID = 100
Say = Callable[[Judged], Signal | None]
_StoredPart = tuple[Role, int, str, str, bool]


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A session in a dump; parts name their texts by number, so that each is there once."""

    texts: list[str]
    steps: list[tuple[Facts, list[_StoredPart]]]
    said: list[Signal]
    settled: list[str]
    late: int
    shed: bool


class Live(Followed[Step]):
    """The steps of one session. Texts that come again with every request are held once."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._texts: dict[str, str] = {}
        self._session: Session | None = None

    @property
    def asks(self) -> bool:
        """Whether some brought-in text asks for something, as far as is known."""
        if self._session is not None and self._read == len(self.steps):
            return self._session.known.asked
        return any(
            part.role in ("content", "definition") for step in self.steps for part in step.parts
        )

    def _held(self, step: Step) -> Step:
        self.chars += STEP_CHARS
        parts = []
        for part in step.parts:
            text = self._texts.get(part.text)
            if text is None:
                text = self._texts[part.text] = part.text
                self.chars += len(text)
            here = text is part.text
            parts.append(part if here else msgspec.structs.replace(part, text=text))
        return Step(step.facts, parts)

    def _refill(self, steps: Iterable[Step]) -> None:
        self._texts = {}
        super()._refill(steps)

    def _lighten(self) -> None:
        """The user's words go last: without them every call looks foreign."""
        for mine in (False, True):
            kept, spare = [], max(self.chars - self._max_chars // 2, 0)
            over = max(len(self.steps) - self._max_steps // 2, 0)
            for step in self.steps:
                parts = [p for p in step.parts if mine or p.role != "user"]
                if parts and (spare > 0 or over > 0):
                    spare -= sum(len(part.text) for part in parts) + STEP_CHARS
                    over -= 1
                    left = [part for part in step.parts if part not in parts]
                    kept += [Step(step.facts, left)] if left else []
                else:
                    kept.append(step)
            self._refill(kept)
            if self.chars <= self._max_chars and len(self.steps) <= self._max_steps:
                return

    def reread(self) -> None:
        """See Followed."""
        super().reread()
        self._session = None

    def judge(self, say: Say, *, all_calls: bool = True) -> None:
        """Read what was not read yet; afterwards `said` is what is to be said of the session.
        `all_calls`: see `of_call`.
        """
        if self._session is None:
            self._session, self._read = Session(all_calls=all_calls), 0
            self.said = {}
        for judged in self._session.read(self.steps[self._read :]):
            if len(self.said) >= MAX_SAID:
                break
            signal = say(judged)
            if signal is not None and signal.signal_id not in self.settled:
                self.said[signal.signal_id] = signal
        self._read = len(self.steps)

    def stored(self) -> Stored:
        """All that `of` needs."""
        numbers = {text: number for number, text in enumerate(self._texts)}
        return Stored(
            list(self._texts),
            [
                (s.facts, [(p.role, numbers[p.text], p.tool, p.call_id, p.cut) for p in s.parts])
                for s in self.steps
            ],
            list(self.said.values()),
            sorted(self.settled),
            self.late,
            self.shed,
        )

    @classmethod
    def of(cls, stored: Stored, limits: Limits) -> "Live":
        """A session out of a dump."""
        live = cls(limits)
        live._refill(
            Step(
                facts,
                [
                    Part(role, stored.texts[n], tool, call, cut)
                    for role, n, tool, call, cut in parts
                ],
            )
            for facts, parts in stored.steps
        )
        live.said = {signal.signal_id: signal for signal in stored.said}
        live.settled = set(stored.settled)
        live.late, live.shed = stored.late, stored.shed
        return live
