"""What each kind of correlation says of a whole set of events, by brute force and at leisure."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

SPAN_S = 10
# Which rules on single events a tool is an event of.
TOOLS = ("a", "b", "ab", "c", "d")
RULES_OF = {"a": "a", "b": "b", "ab": "ab", "c": "c", "d": "", "inner": "i"}


@dataclass(frozen=True, order=True)
class Event:
    """An action as the engine gets it; times in seconds."""

    time: int
    id: str
    tool: str
    trace: str
    session: str | None
    twin: str | None = None
    source: str = "sdk"
    late: bool = False
    far: bool = False
    value: str | None = None
    number: float | None = None
    # Of a signal that is an event: the event that made it true, and whether it missed something.
    said: str = ""
    partial: bool = False

    @property
    def shown(self) -> str:
        """Which event a signal names for it."""
        return self.said or self.id

    def row(self) -> dict[str, Any]:
        return {
            "event_id": self.id,
            "event_time": self.time,
            "kind": "tool_call",
            "tool_name": self.tool,
            "trace_id": self.trace,
            "session_id": self.session or self.trace,
            "twin_key": self.twin,
            "source_id": self.source,
            "agent_id": f"agent-{self.session}" if self.session else None,
            "target_resource": self.value,
            "usage_cost_usd": self.number,
            "late": self.late,
            "far": self.far,
        }

    def has(self, rules: str) -> bool:
        """Whether it is an event of any of these rules."""
        return any(rule in RULES_OF[self.tool] for rule in rules)


def one_action(one: Event, other: Event) -> bool:
    """Whether two events report the same action: from two sources, not twice from one."""
    return one.twin is not None and one.twin == other.twin and one.source != other.source


def actions(events: Sequence[Event]) -> list[Event]:
    """The events, without what another source reported before. Of each source only the first
    report is one of the same action as others: whoever repeats a call id makes another call.
    """
    sources: set[tuple[str, str]] = set()
    known: set[str] = set()
    found = []
    for event in events:
        if event.twin is not None and (event.twin, event.source) not in sources:
            sources.add((event.twin, event.source))
            if event.twin in known:
                continue
            known.add(event.twin)
        found.append(event)
    return found


class Saying(NamedTuple):
    """What a signal says: of which group, in which bucket, by which last event; how many events it
    rests on and which first ones, how many late ones were left out; and the value compared.
    """

    group: str
    bucket: str
    last: str
    number: int
    ids: tuple[str, ...]
    missed: int
    value: float

    def rounded(self) -> "Saying":
        return self._replace(value=round(self.value, 9))


# The window up to an event → what it rests on (events, their number, the value), or None.
Judgement = tuple[list[Event], int, float]
Asked = Callable[[list[Event]], Judgement | None]


def grouped(
    stream: Iterable[Event], links: Mapping[str, str], by: str, of: str
) -> dict[str, list[Event]]:
    """Events of some rules by group, in order; those that are far are nowhere."""
    found = defaultdict(list)
    for event in sorted(set(stream)):
        if not event.far and event.has(of):
            session = event.session or links.get(event.trace)
            place = session or event.trace
            if by == "agent":
                place = f"agent-{session}" if session else "place"
            found[place].append(event)
    return found


def window(events: Iterable[Event], end: int, span: int = SPAN_S) -> list[Event]:
    return [event for event in events if end - span < event.time <= end]


def sliding(
    groups: Mapping[str, list[Event]], asked: Asked, span: int = SPAN_S
) -> Iterator[Saying]:
    """One saying a group and bucket: of the first event at which the condition holds."""
    for group, members in groups.items():
        timely = [event for event in members if not event.late]
        late = [event for event in members if event.late]
        said = set()
        for event in timely:
            bucket = event.time // span
            judged = None if bucket in said else asked(upto(timely, event, span))
            if judged is not None:
                said.add(bucket)
                events, count, value = judged
                ids = tuple(one.shown for one in events[:20])
                missed = len(window(late, event.time, span))
                yield Saying(group, str(bucket), event.shown, count, ids, missed, value)


class Window(list[Event]):
    """The events of a window, and the one it belongs to; others may be of the same moment."""

    last: Event
    span: int
    all: list[Event]


def upto(timely: list[Event], event: Event, span: int) -> Window:
    found = Window(window(timely, event.time, span))
    found.last, found.span, found.all = event, span, timely
    return found


# --- what can be asked of a window ----------------------------------------------------------------

Test = Callable[[float], bool]


def counted(test: Test) -> Asked:
    def asked(events: list[Event]) -> Judgement | None:
        found = actions(events)
        return (found, len(found), len(found)) if test(len(found)) else None

    return asked


def different(test: Test) -> Asked:
    """How many values there are; each is shown by its first event."""

    def asked(events: list[Event]) -> Judgement | None:
        first: dict[str, Event] = {}
        for event in events:
            first.setdefault(event.value or "", event)
        return (list(first.values()), len(events), len(first)) if test(len(first)) else None

    return asked


def figure(fold: Callable[[list[Fraction]], Fraction], test: Test) -> Asked:
    def asked(events: list[Event]) -> Judgement | None:
        found = actions(events)
        value = fold([Fraction(event.number or 0) for event in found])
        return (found, len(found), float(value)) if test(value) else None  # type: ignore[arg-type]

    return asked


def percentile(percent: int) -> Callable[[list[Fraction]], Fraction]:
    def fold(numbers: list[Fraction]) -> Fraction:
        ordered = sorted(numbers)
        rank = Fraction((len(ordered) - 1) * percent, 100)
        low = int(rank)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (rank - low) * (ordered[high] - ordered[low])

    return fold


def mean(numbers: list[Fraction]) -> Fraction:
    return sum(numbers, Fraction(0)) / len(numbers)


def together(rules: str, test: Callable[[set[str]], bool]) -> Asked:
    """Which rules have an event in the window; each is shown by its first one."""

    def asked(events: list[Event]) -> Judgement | None:
        seen = {rule for rule in rules if any(event.has(rule) for event in events)}
        if not test(seen):
            return None
        first = {next(event for event in events if event.has(rule)) for rule in seen}
        return sorted(first), len(events), len(seen)

    return asked


class Step(NamedTuple):
    """An event of a rule, and no event of others between it and the one before."""

    rule: str
    without: str = ""


def ordered(paths: Sequence[Sequence[Step]], *, longest: Test | None = None) -> Asked:
    """A chain that ends with the event: of all the one that begins latest, each event of it, from
    the end, the latest. `longest`: what is asked of the length of the longest.
    """

    def asked(events: list[Event]) -> Judgement | None:
        assert isinstance(events, Window)
        found = [chain for path in paths for chain in _chains(events, path)]
        if longest is not None:
            length = max(map(len, found), default=0)
            if not length or not longest(length):
                return None
            found = [chain for chain in found if len(chain) == length]
        if not found:
            return None
        best = max(found, key=lambda chain: (chain[0].time, chain[::-1]))
        return best, len(best), len(best)

    return asked


def _chains(events: Window, path: Sequence[Step]) -> Iterator[list[Event]]:
    last = events.last
    if not last.has(path[-1].rule):
        return
    earlier = [event for event in events if event < last]
    for chosen in itertools.combinations(earlier, len(path) - 1):
        chain = [*chosen, last]
        if _fits(events, chain, path):
            yield chain


def _fits(events: Window, chain: Sequence[Event], path: Sequence[Step]) -> bool:
    if not all(event.has(step.rule) for event, step in zip(chain, path, strict=True)):
        return False
    if any(one_action(one, two) for one, two in itertools.pairwise(chain)):
        return False
    first = chain[0]
    before = [e for e in events.all if first.time - events.span < e.time and e < first]
    gaps = [before, *([e for e in events.all if one < e < two]
                      for one, two in itertools.pairwise(chain))]  # fmt: skip
    return not any(
        event.has(step.without)
        for gap, step in zip(gaps, path, strict=True)
        for event in gap
        if step.without
    )


# --- windows that do not slide, what is not there, what is new ------------------------------------


def tumbling(
    groups: Mapping[str, list[Event]], asked: Asked, *, any_event: bool = False
) -> Iterator[Saying]:
    """One saying a group and bucket, of all of its events; `any_event`: of the first event at which
    it holds for those up to it.
    """
    for group, members in groups.items():
        for bucket, own in itertools.groupby(members, key=lambda event: event.time // SPAN_S):
            yield from _whole(group, str(bucket), list(own), asked, any_event=any_event)


def sessions(
    groups: Mapping[str, list[Event]], asked: Asked, gap: int, *, any_event: bool = False
) -> Iterator[Saying]:
    """Events without a longer pause than the gap, the last within SPAN_S of the first."""
    for group, members in groups.items():
        found: list[list[Event]] = []
        for event in (event for event in members if not event.late):
            last = found[-1] if found else None
            if last and event.time - last[-1].time <= gap and event.time - last[0].time <= SPAN_S:
                last.append(event)
            else:
                found.append([event])
        for own in found:
            begin = own[0].time * 1_000_000
            late = [e for e in members if e.late and own[0] < e < own[-1]]
            yield from _whole(group, str(begin), sorted([*own, *late]), asked, any_event=any_event)


def _whole(
    group: str, bucket: str, own: list[Event], asked: Asked, *, any_event: bool
) -> Iterator[Saying]:
    timely = [event for event in own if not event.late]
    if not timely:
        return
    first, last = own.index(timely[0]), own.index(timely[-1])
    missed = sum(event.late for event in own[first : last + 1])
    for at in range(1, len(timely) + 1) if any_event else [len(timely)]:
        found = Window(timely[:at])
        found.last, found.span, found.all = timely[at - 1], 10**6, timely
        judged = asked(found)
        if judged is not None:
            events, count, value = judged
            ids = tuple(one.shown for one in events[:20])
            yield Saying(group, bucket, found.last.shown, count, ids, missed, value)
            return


def absent(groups: Mapping[str, list[Event]], first: str, second: str) -> Iterator[Saying]:
    """One saying a group and bucket: of the first event that nothing of the second follows."""
    for group, members in groups.items():
        said = set()
        for event in members:
            bucket = event.time // SPAN_S
            if event.late or not event.has(first) or bucket in said:
                continue
            after = [e for e in members if event < e and e.time <= event.time + SPAN_S]
            after = [e for e in after if e.has(second)]
            if any(not e.late and not one_action(event, e) for e in after):
                continue
            said.add(bucket)
            missed = sum(e.late for e in after)
            yield Saying(group, str(bucket), event.id, 1, (event.id,), missed, 1)


def first_seen(groups: Mapping[str, list[Event]], learning: int) -> Iterator[Saying]:
    """One saying a value that the group did not have within SPAN_S before."""
    for group, members in groups.items():
        timely = [event for event in members if not event.late]
        began = last = -(10**6)
        for place, event in enumerate(timely):
            if event.time - last >= SPAN_S:
                began = event.time
            last = event.time
            before = [e for e in timely[:place] if e.value == event.value]
            known = any(event.time - e.time < SPAN_S for e in before)
            if known or event.time - began < learning:
                continue
            missed = sum(
                e.late and e.value == event.value and event.time - SPAN_S < e.time <= event.time
                for e in members
            )
            bucket = str(event.time // SPAN_S)
            yield Saying(group, bucket, event.id, 1, (event.id,), missed, 1)
