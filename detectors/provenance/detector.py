"""The detector: sessions of one partition as they come in, each read in the order of its events.

What stands after any calls is a function of the set of actions: a session keeps its steps, and one
that comes out of order has it read again. All of it is bounded; what is forgotten is counted, and
stated on what is said of the session afterwards.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec
import polars as pl
import zstandard

from tachograph.detectors.correlation.bank import END_US, Outcome
from tachograph.detectors.facts import Facts
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace
from tachograph.detectors.provenance.features import OF_SENTENCES
from tachograph.detectors.provenance.following import Key, differences, key_of, linked_facts
from tachograph.detectors.provenance.live import Live, Say, Stored
from tachograph.detectors.provenance.model import Model, shipped
from tachograph.detectors.provenance.parts import Step, calls_of, split, steps_of
from tachograph.detectors.provenance.session import MICROS, PAUSE_S, Judged
from tachograph.detectors.provenance.telling import Verdict, blind_spots, signal_of
from tachograph.detectors.provenance.waiting import Waiting, key_text
from tachograph.schemas.alert import Signal

FORMAT = 2
# Sessions whose words are at hand; the others are read again when something comes.
MAX_READ = 256
MAX_FORGOTTEN = 100_000
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
        self._sessions: OrderedDict[Key, Live] = OrderedDict()
        self._read: OrderedDict[Key, None] = OrderedDict()
        # Sessions with actions whose session or agent may still become known, by trace.
        self._waiting: dict[Trace, set[Key]] = {}
        # Sessions that were given up; they may come back.
        self._forgotten: OrderedDict[Key, None] = OrderedDict()
        self._chars = 0
        self._swept_us = self._forgot_us = 0
        self._waiting_calls = Waiting()
        # Sessions in which something asks: their calls are looked at, as they come.
        self._asking: dict[str, Key] = {}
        self._evicted = {"provenance_sessions": 0, "provenance_texts": 0}

    def judge(self, actions: pl.DataFrame, revision: int) -> Outcome:
        """Judge actions that were not judged before; their order does not matter.

        `actions`: columns of an action batch, absent ones allowed.
        """
        tell, do = split(actions)
        called = self._waiting_calls.push(do, self._asking)
        found = steps_of(tell)
        touched = dict.fromkeys(map(self._add, found.steps)) | self._made(called)
        for facts in found.untimely:
            live = self._sessions.get(key := key_of(facts))
            if live is not None:
                live.late += 1
                live.reread()
                touched[key] = None
        return self._judged(touched, revision)

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> Outcome:
        """Sessions and agents of traces became known: what fell back to the trace moves there."""
        touched: dict[Key, None] = {}
        if links:
            known = self._waiting_calls.relink(links) & self._asking.keys()
            touched |= self._called({text: self._asking[text] for text in known})
        for trace, link in links.items():
            for key in sorted(self._waiting.pop(trace, ())):
                live = self._sessions[key]
                before = live.chars
                moved = live.take_out(trace[2])
                self._chars += live.chars - before
                touched[key] = None
                for step in moved:
                    touched[self._add(Step(linked_facts(step.facts, link), step.parts))] = None
        return self._judged(touched, revision)

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
            for key in [key for key, live in self._sessions.items() if live.last_us < floor]:
                self._drop(key)
        return Outcome()

    def close(self, revision: int) -> Outcome:
        """Nothing comes any more."""
        return self.advance(END_US, revision)

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        return {**self._evicted, "provenance_calls": self._waiting_calls.evicted}

    def dump(self) -> bytes:
        """The whole state."""
        sessions = [(key, live.stored()) for key, live in self._sessions.items()]
        state = _State(
            FORMAT,
            self.version,
            sessions,
            list(self._forgotten),
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
        self._forgotten = OrderedDict.fromkeys(kept.forgotten)
        self._asking = {key_text(key): key for key in kept.asking}
        self._waiting_calls.load(kept.calls)
        for key, stored in kept.sessions:
            live = self._sessions[key] = Live.of(stored, self._limits)
            self._chars += live.chars
            for step in live.steps:
                self._wait(key, step.facts)

    def _add(self, step: Step) -> Key:
        """Put a step into its session; the session."""
        key = key_of(step.facts)
        live = self._sessions.get(key)
        if live is None:
            live = self._sessions[key] = Live(self._limits)
            live.shed = key in self._forgotten
            self._forgotten.pop(key, None)
        else:
            self._sessions.move_to_end(key)
        before, shed = live.chars, live.shed
        live.add(step)
        self._chars += live.chars - before
        self._evicted["provenance_texts"] += live.shed and not shed
        self._wait(key, step.facts)
        return key

    def _wait(self, key: Key, facts: Facts) -> None:
        fell_back = facts.session_id is None or facts.session_id == facts.trace_id
        if facts.trace_id and (fell_back or facts.agent_id is None):
            self._waiting.setdefault((*key[:2], facts.trace_id), set()).add(key)

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
                self._drop(key)
        self._hold_to_limits()
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
            self._read[key] = None
            self._read.move_to_end(key)
            text = key_text(key)
            if live.asks and text not in self._asking:
                opened[text] = self._asking[text] = key
        return opened

    def _called(self, asking: Mapping[str, Key]) -> dict[Key, None]:
        """Let the calls of these sessions wait no longer; the sessions that had some."""
        return self._made(self._waiting_calls.take(asking))

    def _made(self, calls: pl.DataFrame | None) -> dict[Key, None]:
        """Put calls into their sessions; those sessions."""
        return {} if calls is None else dict.fromkeys(map(self._add, calls_of(calls)))

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

    def _hold_to_limits(self) -> None:
        limits = self._limits
        while len(self._read) > MAX_READ:
            key, _ = self._read.popitem(last=False)
            self._sessions[key].reread()
        while self._sessions and (
            len(self._sessions) > limits.live_sessions or self._chars > limits.session_chars
        ):
            key = next(iter(self._sessions))
            self._drop(key)
            self._forgotten[key] = None
            self._evicted["provenance_sessions"] += 1
        while len(self._forgotten) > MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)

    def _drop(self, key: Key) -> None:
        live = self._sessions.pop(key)
        self._read.pop(key, None)
        self._chars -= live.chars
        self._asking.pop(key_text(key), None)
        for step in live.steps:
            trace = (*key[:2], step.facts.trace_id or "")
            keys = self._waiting.get(trace)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._waiting[trace]
