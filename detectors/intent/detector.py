"""The detector: most sessions hold nothing that is worth a look, so their actions only wait, as
columns, until something does. Then all of the session is read in the order of its events.

What stands after any calls is a function of the set of actions; all of it is bounded, and what is
forgotten is counted, and stated on what is said of the session afterwards.
"""

import functools
import operator
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import polars as pl
import zstandard

from tachograph.detectors.correlation.bank import END_US, Outcome
from tachograph.detectors.frames import rows_at
from tachograph.detectors.intent import marks
from tachograph.detectors.intent.course import HELD_US
from tachograph.detectors.intent.live import Live, Stored
from tachograph.detectors.intent.marks import LATE, MARKS
from tachograph.detectors.intent.sent import Sent, of_memory, of_root, rows_of
from tachograph.detectors.intent.steps import Step, steps_of
from tachograph.detectors.intent.verdicts import VERSION
from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace
from tachograph.detectors.prepare import InTime, Preparation
from tachograph.detectors.reference.reference import Reference, shipped
from tachograph.detectors.sessions.keys import Key, differences
from tachograph.detectors.sessions.store import Store
from tachograph.detectors.sessions.together import KEY
from tachograph.detectors.sessions.waiting import Waiting, key_text
from tachograph.schemas.alert import Signal

FORMAT = 2
MAX_MARKED = 100_000
MAX_WAITING_BYTES = 24 * 1024 * 1024
# Bits that wait for each other; one whole set of them and a session is worth a look.
_WORTH_A_LOOK = (
    marks.PRESSES,
    marks.REFUSED,
    marks.OUTSIDE,
    marks.SENSITIVE | marks.SINK,
    marks.KEYS,
    marks.RECALLED,
    marks.CODE | marks.RUN,
)
# Actions without any of these mean nothing by themselves, only after what makes them worth a look.
_LASTING = marks.USER | marks.SENSITIVE | marks.CODE
# Bits that tell of a session whether it is worth a look.
_MEANING = np.uint32(functools.reduce(operator.or_, _WORTH_A_LOOK) | _LASTING)
_SWEEP_US = 60_000_000


class _State(msgspec.Struct, frozen=True):
    format: int
    version: str
    sessions: list[tuple[Key, Stored]]
    forgotten: list[Key]
    marked: list[tuple[str, int]]
    words: bytes
    calls: bytes


class MisuseDetector:
    """Whether the sessions of a partition are put to what they are not for. Not thread-safe, no
    I/O, no clock; the caller gives each action once.
    """

    def __init__(
        self, *, limits: Limits | None = None, known: Sequence[tuple[int, Reference]] = ()
    ) -> None:
        """`known`: reference data, and from which observed time (µs) on each holds."""
        self._limits = limits or Limits()
        self.refer(known)
        self._evicted_marks = 0
        self._begin()

    def _begin(self) -> None:
        self._sessions: Store[Live, Step] = Store(self._limits, Live)
        self._swept_us = 0
        # Actions that count for an hour, and those that count only after something that makes
        # their session worth a look: kept as long as that may still come.
        self._words = Waiting(max_bytes=MAX_WAITING_BYTES, columns=marks.KEPT)
        self._calls = Waiting(max_bytes=MAX_WAITING_BYTES, columns=marks.KEPT)
        # Bits of sessions that are not looked at.
        self._marked: OrderedDict[str, int] = OrderedDict()

    def refer(self, known: Sequence[tuple[int, Reference]]) -> None:
        """Judge by this reference data from now on."""
        known = known or [(0, shipped())]
        if len(known) > 1:
            self._prepared: InTime | Preparation = InTime(marks.NEEDED, ACTIONS, known)
        else:
            self._prepared = Preparation(marks.NEEDED, ACTIONS, known[0][1])

    def judge(self, actions: pl.DataFrame, revision: int) -> Outcome:
        """See Detector."""
        prepared = self._prepared(actions)
        if prepared.is_empty():
            return Outcome()
        return self.judge_marked(marks.marked(prepared).frame, revision)

    def judge_marked(self, found: pl.DataFrame, revision: int) -> Outcome:
        """As `judge`, of what is marked of the actions."""
        if found.is_empty():
            return Outcome()
        late = found.get_column(LATE).to_numpy()
        untimely = rows_at(found, np.flatnonzero(late))
        found = rows_at(found, np.flatnonzero(~late)) if untimely.height else found
        flows = self._flowing(found)
        marked = found.get_column(MARKS).to_numpy()
        lasting = marked & _LASTING > 0
        lasts, passes = (rows_at(found, np.flatnonzero(one)) for one in (lasting, ~lasting))
        here = self._sessions.names
        new = [self._words.push(lasts, here), self._calls.push(passes, here)]
        telling = rows_at(found[[KEY, MARKS]], np.flatnonzero(marked & _MEANING))
        touched = self._taken(*new) | self._opened(marks.by_session(telling))
        touched |= self._sessions.untimely(step.facts for step in steps_of(untimely))
        outcome = self._judged(touched, revision)
        outcome.flows = [*flows, *outcome.flows]
        return outcome

    def _flowing(self, found: pl.DataFrame) -> list[pl.DataFrame]:
        """What these actions by themselves mean for flows of several sessions."""
        part = found.get_column(MARKS).to_numpy() & marks.REMEMBERS > 0
        root = found.get_column("root_session_id", default=None)
        if root is not None and root.null_count() < len(root):
            part |= root.is_not_null().to_numpy()
        if not part.any():
            return []
        steps = steps_of(rows_at(found, np.flatnonzero(part)))
        sent = [*of_root(steps), *of_memory(steps)]
        return [rows_of(sent)] if sent else []

    def _opened(self, bits: Mapping[str, int]) -> dict[Key, None]:
        """Sessions that have become worth a look: what waits of them is read."""
        worth: list[str] = []
        for text, mask in bits.items():
            if text in self._sessions.names:
                continue
            whole = self._marked.pop(text, 0) | mask
            if any(whole & asked == asked for asked in _WORTH_A_LOOK):
                worth.append(text)
            elif whole & (_LASTING | marks.SINK | marks.RUN):
                self._marked[text] = whole
        while len(self._marked) > MAX_MARKED:
            self._marked.popitem(last=False)
            self._evicted_marks += 1
        return self._taken(*(one.take(worth) for one in (self._words, self._calls)))

    def _taken(self, *frames: pl.DataFrame | None) -> dict[Key, None]:
        """Put actions that waited into their sessions."""
        here = [frame for frame in frames if frame is not None]
        if not here:
            return {}
        return self._sessions.put(steps_of(pl.concat(here, how="diagonal")))

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> Outcome:
        """See Detector."""
        if not links:
            return Outcome()
        touched = self._sessions.relink(links)
        both = (self._words, self._calls)
        moved = both[0].relink(links) | both[1].relink(links)
        # What waited for a session that is looked at now, whichever of the two came first.
        here = {key_text(key) for key in touched} | (moved & self._sessions.names.keys())
        touched |= self._taken(*(one.take(here) for one in both))
        bits: dict[str, int] = {}
        for waiting in both if moved else ():
            for text, mask in waiting.marks(moved, MARKS).items():
                bits[text] = bits.get(text, 0) | mask
        return self._judged(touched | self._opened(bits), revision)

    def advance(self, watermark_us: int, revision: int) -> Outcome:
        """See Detector. Forgets what nothing can be held against any more."""
        del revision
        recent = watermark_us - self._limits.allowed_lateness_us
        if recent - self._swept_us >= _SWEEP_US:
            self._swept_us = recent
            self._calls.forget(recent)
            self._words.forget(recent - HELD_US)
            self._sessions.forget(recent - HELD_US)
        return Outcome()

    def close(self, revision: int) -> Outcome:
        """See Detector."""
        return self.advance(END_US, revision)

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        return {
            "intent_sessions": self._sessions.evicted_sessions,
            "intent_texts": self._sessions.evicted_texts,
            "intent_marks": self._evicted_marks,
            "intent_actions": self._words.evicted + self._calls.evicted,
        }

    def dump(self) -> bytes:
        """The whole state."""
        state = _State(
            FORMAT,
            VERSION,
            [(key, live.stored()) for key, live in self._sessions.items()],
            self._sessions.forgotten(),
            list(self._marked.items()),
            self._words.dump(),
            self._calls.dump(),
        )
        return zstandard.compress(msgspec.msgpack.encode(state), 1)

    def load(self, state: bytes) -> None:
        """Take up a dump; another version's starts empty. Raises ValueError when it is none of
        ours.
        """
        try:
            kept = msgspec.msgpack.decode(zstandard.decompress(state), type=_State)
        except (msgspec.MsgspecError, zstandard.ZstdError) as error:
            raise ValueError(f"no state of sessions: {error}") from error
        if kept.format != FORMAT:
            raise ValueError(f"state of sessions of format {kept.format}, not {FORMAT}")
        self._begin()
        if kept.version != VERSION:
            return
        sessions = ((key, Live.of(stored, self._limits)) for key, stored in kept.sessions)
        self._sessions.load(sessions, kept.forgotten)
        self._marked = OrderedDict(kept.marked)
        self._words.load(kept.words)
        self._calls.load(kept.calls)

    def _judged(self, touched: Iterable[Key], revision: int) -> Outcome:
        """What changed in what is to be said of these sessions."""
        before: dict[str, Signal] = {}
        after: dict[str, Signal] = {}
        was: dict[tuple[str, str, str], Sent] = {}
        now: dict[tuple[str, str, str], Sent] = {}
        looked = [key for key in touched if key in self._sessions]
        for key in looked:
            live = self._sessions[key]
            before |= live.said
            was |= live.sent
            if live.steps:
                live.judge()
                self._sessions.was_read(key)
            else:
                live.said, live.sent = {}, {}
        for key in looked:
            after |= self._sessions[key].said
            now |= self._sessions[key].sent
            if not self._sessions[key].steps:
                self._sessions.drop(key)
        self._sessions.hold_to_limits()
        return Outcome(differences(before, after, revision), flows=_moved(was, now))


def _moved(
    was: Mapping[tuple[str, str, str], Sent], now: Mapping[tuple[str, str, str], Sent]
) -> list[pl.DataFrame]:
    """What enters flows and what leaves them."""
    entering = [one for key, one in now.items() if was.get(key) != one]
    leaving = [one for key, one in was.items() if key not in now]
    return [rows_of(entering, leaving)] if entering or leaving else []
