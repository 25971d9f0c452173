"""The detector: sessions of one partition as they come in, each read in the order of its events.

What stands after any calls is a function of the set of actions: a session keeps its steps, and one
that comes out of order has it read again. All of it is bounded; what is forgotten is counted, and
stated on what is said of the session afterwards.
"""

from collections.abc import Iterable, Mapping

import msgspec
import polars as pl
import zstandard

from tachograph.detectors.correlation.bank import END_US, Outcome
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace
from tachograph.detectors.provenance.features import OF_SENTENCES
from tachograph.detectors.provenance.live import Live, Say, Stored
from tachograph.detectors.provenance.model import Model, shipped
from tachograph.detectors.provenance.parts import Step, calls_of, split, steps_of
from tachograph.detectors.provenance.session import MICROS, PAUSE_S, Judged
from tachograph.detectors.provenance.telling import Verdict, blind_spots, signal_of
from tachograph.detectors.sessions.keys import Key, differences
from tachograph.detectors.sessions.store import Store
from tachograph.detectors.sessions.waiting import Waiting, key_text
from tachograph.schemas.alert import Signal

FORMAT = 2
_SWEEP_US = 60 * MICROS


class _State(msgspec.Struct, frozen=True):
    format: int
    version: str
    sessions: list[tuple[Key, Stored]]
    forgotten: list[Key]
    asking: list[Key]
    calls: bytes


class ProvenanceDetector:
    """Whose wish the calls of a partition's sessions were. Not thread-safe, no I/O, no clock; the
    caller gives each action once.
    """

    def __init__(
        self, *, limits: Limits | None = None, model: tuple[Model, str] | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._model, self.version = model or shipped()
        # Whether the model may say something of a call that has nothing from any sentence.
        self._all_calls = not self._model.silent_without(OF_SENTENCES)
        self._sessions: Store[Live, Step] = Store(self._limits, Live)
        self._swept_us = self._forgot_us = 0
        self._waiting_calls = Waiting()
        # Sessions in which something asks: their calls are looked at, as they come.
        self._asking: dict[str, Key] = {}

    def judge(self, actions: pl.DataFrame, revision: int) -> Outcome:
        """Judge actions that were not judged before; their order does not matter.

        `actions`: columns of an action batch, absent ones allowed.
        """
        tell, do = split(actions)
        return self.judge_split(tell.frame, do.frame, revision)

    def judge_split(self, tell: pl.DataFrame, do: pl.DataFrame, revision: int) -> Outcome:
        """As `judge`, of actions that tell something and of those that only do, see `split`."""
        called = self._waiting_calls.push(do, self._asking)
        found = steps_of(tell)
        touched = self._sessions.put(found.steps) | self._made(called)
        return self._judged(touched | self._sessions.untimely(found.untimely), revision)

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> Outcome:
        """Sessions and agents of traces became known: what fell back to the trace moves there."""
        touched: dict[Key, None] = {}
        if links:
            known = self._waiting_calls.relink(links) & self._asking.keys()
            touched |= self._called({text: self._asking[text] for text in known})
        return self._judged(touched | self._sessions.relink(links), revision)

    def advance(self, watermark_us: int, revision: int) -> Outcome:
        """Forget sessions that nothing can be added to without a long pause before it.

        `watermark_us`: observed time that all sources reached.
        """
        del revision
        recent = watermark_us - self._limits.allowed_lateness_us
        floor = recent - PAUSE_S * MICROS
        if recent - self._forgot_us >= MICROS:
            self._forgot_us = recent
            self._waiting_calls.forget(recent)
        if floor - self._swept_us >= _SWEEP_US:
            self._swept_us = floor
            self._gone(self._sessions.forget(floor))
        return Outcome()

    def close(self, revision: int) -> Outcome:
        """Nothing comes any more."""
        return self.advance(END_US, revision)

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        return {
            "provenance_sessions": self._sessions.evicted_sessions,
            "provenance_texts": self._sessions.evicted_texts,
            "provenance_calls": self._waiting_calls.evicted,
        }

    def dump(self) -> bytes:
        """The whole state."""
        sessions = [(key, live.stored()) for key, live in self._sessions.items()]
        state = _State(
            FORMAT,
            self.version,
            sessions,
            self._sessions.forgotten(),
            list(self._asking.values()),
            self._waiting_calls.dump(),
        )
        return zstandard.compress(msgspec.msgpack.encode(state), 1)

    def load(self, state: bytes) -> None:
        """Take up a dump; another model starts empty. Raises ValueError when it is none of ours."""
        try:
            kept = msgspec.msgpack.decode(zstandard.decompress(state), type=_State)
        except (msgspec.MsgspecError, zstandard.ZstdError) as error:
            raise ValueError(f"no state of sessions: {error}") from error
        if kept.format != FORMAT:
            raise ValueError(f"state of sessions of format {kept.format}, not {FORMAT}")
        self.__init__(limits=self._limits, model=(self._model, self.version))  # type: ignore[misc]
        if kept.version != self.version:
            return
        sessions = ((key, Live.of(stored, self._limits)) for key, stored in kept.sessions)
        self._sessions.load(sessions, kept.forgotten)
        self._asking = {key_text(key): key for key in kept.asking}
        self._waiting_calls.load(kept.calls)

    def _judged(self, touched: Iterable[Key], revision: int) -> Outcome:
        """What changed in what is to be said of these sessions; a signal may have moved between
        them.
        """
        before: dict[str, Signal] = {}
        after: dict[str, Signal] = {}
        looked: dict[Key, None] = {}
        todo = list(touched)
        while todo:
            for key in todo:
                if key not in looked:
                    before |= self._sessions[key].said
            looked |= dict.fromkeys(todo)
            # What they did waited for a sentence that asks for something.
            todo = list(self._called(self._opened(todo)))
        for key in looked:
            after |= self._sessions[key].said
            if not self._sessions[key].steps:
                self._sessions.drop(key)
                self._gone([key])
        self._gone(self._sessions.hold_to_limits())
        return Outcome(differences(before, after, revision))

    def _opened(self, keys: Iterable[Key]) -> dict[str, Key]:
        """Read on in these sessions; those in which something asks for the first time."""
        opened: dict[str, Key] = {}
        for key in keys:
            live = self._sessions[key]
            if not live.steps:
                live.said = {}
                continue
            live.judge(self._sayer(live), all_calls=self._all_calls)
            self._sessions.was_read(key)
            text = key_text(key)
            if live.asks and text not in self._asking:
                opened[text] = self._asking[text] = key
        return opened

    def _called(self, asking: Mapping[str, Key]) -> dict[Key, None]:
        """Let the calls of these sessions wait no longer; the sessions that had some."""
        return self._made(self._waiting_calls.take(asking))

    def _made(self, calls: pl.DataFrame | None) -> dict[Key, None]:
        """Put calls into their sessions; those sessions."""
        return {} if calls is None else self._sessions.put(calls_of(calls))

    def _sayer(self, live: Live) -> Say:
        def say(judged: Judged) -> Signal | None:
            features = judged.match.features
            score = self._model.score(features)
            level = self._model.level(score, features)
            if level is None:
                return None
            blind = blind_spots(live.late, shed=live.shed, cut=judged.cut)
            return signal_of(judged, Verdict(score, level, self._model, self.version), blind)

        return say

    def _gone(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._asking.pop(key_text(key), None)
