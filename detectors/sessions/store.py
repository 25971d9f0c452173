"""The sessions of a partition that a detector follows. Those that nothing was added to for longest
go first when there are too many; that is counted, and known of them when they come back.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from tachograph.detectors.facts import Facts
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace
from tachograph.detectors.sessions.followed import Followed, StepT
from tachograph.detectors.sessions.keys import Key, key_of, linked_facts
from tachograph.detectors.sessions.waiting import key_text

# What the sessions weigh whose reading is at hand; the others are read again when something comes.
MAX_READ_CHARS = 20_000_000
MAX_FORGOTTEN = 100_000
LiveT = TypeVar("LiveT", bound=Followed[Any])


class Store(Generic[LiveT, StepT]):
    """Not thread-safe. `names`: the sessions by their text, as it stands in frames."""

    def __init__(self, limits: Limits, made: Callable[[Limits], LiveT]) -> None:
        """`made`: a session without steps."""
        self._limits, self._made = limits, made
        self._kept: OrderedDict[Key, LiveT] = OrderedDict()
        self.names: dict[str, Key] = {}
        # Sessions that were read, and what they weighed then; the one read last is the last.
        self._read: OrderedDict[Key, int] = OrderedDict()
        self._read_chars = 0
        # Sessions with steps whose session or agent may still become known, by trace.
        self._waiting: dict[Trace, set[Key]] = {}
        # Sessions that were given up; they may come back.
        self._forgotten: OrderedDict[Key, None] = OrderedDict()
        self._chars = 0
        # Given up at a limit: sessions, and those that had to forget texts.
        self.evicted_sessions = self.evicted_texts = 0

    def __getitem__(self, key: Key) -> LiveT:
        """A session that is kept."""
        return self._kept[key]

    def __contains__(self, key: Key) -> bool:
        """Whether a session is kept."""
        return key in self._kept

    def items(self) -> Iterable[tuple[Key, LiveT]]:
        """All that are kept; the first goes first."""
        return self._kept.items()

    def put(self, steps: Iterable[StepT]) -> dict[Key, None]:
        """Put steps into their sessions; those sessions."""
        by_session: dict[Key, list[StepT]] = {}
        for step in steps:
            by_session.setdefault(key_of(step.facts), []).append(step)
        for key, added in by_session.items():
            live = self._live(key)
            before, shed = live.chars, live.shed
            live.add(added)
            self._chars += live.chars - before
            self.evicted_texts += live.shed and not shed
            for step in added:
                self._wait(key, step.facts)
        return dict.fromkeys(by_session)

    def _live(self, key: Key) -> LiveT:
        live = self._kept.get(key)
        if live is None:
            live = self._kept[key] = self._made(self._limits)
            self.names[key_text(key)] = key
            live.shed = key in self._forgotten
            self._forgotten.pop(key, None)
        else:
            self._kept.move_to_end(key)
        return live

    def _wait(self, key: Key, facts: Facts) -> None:
        fell_back = facts.session_id is None or facts.session_id == facts.trace_id
        if facts.trace_id and (fell_back or facts.agent_id is None):
            self._waiting.setdefault((*key[:2], facts.trace_id), set()).add(key)

    def untimely(self, late: Iterable[Facts]) -> dict[Key, None]:
        """Actions that came too late for their sessions are only counted; those sessions."""
        touched: dict[Key, None] = {}
        for facts in late:
            live = self._kept.get(key := key_of(facts))
            if live is not None:
                live.late += 1
                live.reread()
                touched[key] = None
        return touched

    def relink(self, links: Mapping[Trace, Linked]) -> dict[Key, None]:
        """Sessions and agents of traces became known: what fell back to the trace moves there.
        The sessions that it left, and those that it came to.
        """
        touched: dict[Key, None] = {}
        for trace, link in links.items():
            for key in sorted(self._waiting.pop(trace, ())):
                live = self._kept[key]
                before = live.chars
                moved: list[Any] = live.take_out(trace[2])
                self._chars += live.chars - before
                touched[key] = None
                touched |= self.put(
                    msgspec.structs.replace(step, facts=linked_facts(step.facts, link))
                    for step in moved
                )
        return touched

    def was_read(self, key: Key) -> None:
        """A session was read just now."""
        self._unread(key)
        self._read[key] = chars = self._kept[key].chars
        self._read_chars += chars

    def _unread(self, key: Key) -> None:
        self._read_chars -= self._read.pop(key, 0)

    def hold_to_limits(self) -> list[Key]:
        """Give up what is too much; the sessions that are no longer kept."""
        limits, gone = self._limits, list[Key]()
        while self._read_chars > MAX_READ_CHARS:
            key = next(iter(self._read))
            self._unread(key)
            self._kept[key].reread()
        while self._kept and (
            len(self._kept) > limits.live_sessions or self._chars > limits.session_chars
        ):
            key = next(iter(self._kept))
            self.drop(key)
            gone.append(key)
            self._forgotten[key] = None
            self.evicted_sessions += 1
        while len(self._forgotten) > MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)
        return gone

    def forget(self, before_us: int) -> list[Key]:
        """Drop sessions whose last step is older; those sessions."""
        gone = [key for key, live in self._kept.items() if live.last_us < before_us]
        for key in gone:
            self.drop(key)
        return gone

    def drop(self, key: Key) -> None:
        """Keep a session no longer."""
        live = self._kept.pop(key)
        del self.names[key_text(key)]
        self._unread(key)
        self._chars -= live.chars
        for step in live.steps:
            trace = (*key[:2], step.facts.trace_id or "")
            keys = self._waiting.get(trace)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._waiting[trace]

    def forgotten(self) -> list[Key]:
        """Those that were given up, as `load` takes them."""
        return list(self._forgotten)

    def load(self, kept: Iterable[tuple[Key, LiveT]], forgotten: Iterable[Key]) -> None:
        """Take up what a dump held, into an empty store."""
        self._forgotten = OrderedDict.fromkeys(forgotten)
        for key, live in kept:
            self._kept[key] = live
            self.names[key_text(key)] = key
            self._chars += live.chars
            for step in live.steps:
                self._wait(key, step.facts)
