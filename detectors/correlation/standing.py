"""How a group of a rule stands at an event: what is in its window, what is asked, what is missing.

For a person who asks why a rule spoke, or why it did not. Whether it speaks is asked of what the
engine asks.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from tachograph.detectors.correlation.asking import MAX_VALUES, asked, folded, plain, span_words
from tachograph.detectors.correlation.held import Events, Group, HeldGroups
from tachograph.detectors.correlation.metrics import metric_of
from tachograph.detectors.correlation.progress import Progress, Seen, progress
from tachograph.detectors.correlation.stretch import LONG_AGO
from tachograph.detectors.language.bounds import described
from tachograph.detectors.language.rule import (
    Absent,
    Bound,
    Correlation,
    Count,
    Figure,
    FirstSeen,
    Ordered,
    Together,
    Values,
)
from tachograph.detectors.signals import at as moment

WindowKind = Literal["sliding", "tumbling", "session"]

# Events shown of one window, the newest.
MAX_EVENTS = 20
# Events that are looked at to find the one at which a rule comes nearest, the newest.
MAX_LOOKED_AT = 200


class Shown(msgspec.Struct, frozen=True):
    """One event of a window: what it is, the steps it is one of, and the value asked of it."""

    event_id: str
    event_time: str
    what: str
    steps: list[str]
    value: str = ""
    late: bool = False


class Standing(msgspec.Struct, frozen=True):
    """How a group stands at an event. `missing`: what keeps the rule from speaking of it."""

    tenant: str
    partition_key: str
    group: dict[str, str]
    held: int
    event_id: str
    # Of a sliding window the begin is no part of it, of a tumbling one the end.
    window: WindowKind
    since: str
    until: str
    asked: str
    found: str
    missing: str | None
    events: list[Shown]
    # Events of the window that are not shown.
    more: int = 0


class Stands:
    """Tells how the groups of one rule stand."""

    def __init__(self, groups: HeldGroups) -> None:
        self._groups, self._rule = groups, groups.rule
        self._read: tuple[int, Events] | None = None

    def at(self, group: Group, event_id: str | None = None) -> Standing:
        """How it stands at an event; without one that is held, where it comes nearest."""
        events = self._events(group)
        place = events.find(event_id) if event_id is not None else None
        if place is None:
            place = self._nearest(group, events)
        window = self._window(events, place)
        found, missing = self._judged(group, events, place, window)
        inside = range(window.start, window.stop)
        return Standing(
            tenant=group.tenant,
            partition_key=group.place,
            group=group.values,
            held=group.size,
            event_id=events.facts[place].event_id,
            window=self._rule.window,
            since=_time(self._since_us(events, window, place)),
            until=_time(self._until_us(events, window, place)),
            asked=asked(self._rule),
            found=found,
            missing=missing,
            events=[self._shown(events, at) for at in inside[-MAX_EVENTS:]],
            more=max(0, len(inside) - MAX_EVENTS),
        )

    def now(self, group: Group) -> Standing:
        """How it stands at its newest event that is not late; where something is missed, at what
        it comes nearest to.
        """
        events = self._events(group)
        timely = np.flatnonzero(~events.rows["blind"])
        if isinstance(self._rule.asks, Absent) or not len(timely):
            return self.at(group)
        return self.at(group, events.facts[timely[-1]].event_id)

    def _events(self, group: Group) -> Events:
        if self._read is None or self._read[0] != group.slot:
            self._read = group.slot, self._groups.events(group)
        return self._read[1]

    # --- windows ----------------------------------------------------------------------------------

    def _window(self, events: Events, place: int) -> slice:
        """The places of the window that an event is judged by."""
        time, span_us = events.rows["time"], self._rule.timespan_us
        now = int(time[place])
        match self._rule.asks, self._rule.window:
            case Absent(), _:
                return slice(place, int(np.searchsorted(time, now + span_us, "right")))
            case _, "tumbling":
                begin = now // span_us * span_us
                return slice(*map(int, np.searchsorted(time, [begin, begin + span_us])))
            case _, "session":
                return self._session(events, place)
            case Ordered(), _:
                return slice(int(np.searchsorted(time, now - span_us, "right")), place + 1)
        return slice(*map(int, np.searchsorted(time, [now - span_us, now], "right")))

    def _session(self, events: Events, place: int) -> slice:
        time, blind = events.rows["time"], events.rows["blind"]
        begin, last, first = 0, LONG_AGO, LONG_AGO
        for at in np.flatnonzero(~blind).tolist():
            now = int(time[at])
            if now - last > self._rule.gap_us or now - first > self._rule.timespan_us:
                if at > place:
                    return slice(begin, at)
                begin, first = at, now
            last = now
        return slice(begin, len(time))

    def _since_us(self, events: Events, window: slice, place: int) -> int:
        now, span_us = int(events.rows["time"][place]), self._rule.timespan_us
        match self._rule.window:
            case "tumbling":
                return now // span_us * span_us
            case "session":
                return int(events.rows["time"][window.start])
        return now if isinstance(self._rule.asks, Absent) else now - span_us

    def _until_us(self, events: Events, window: slice, place: int) -> int:
        now, span_us = int(events.rows["time"][place]), self._rule.timespan_us
        match self._rule.window:
            case "tumbling":
                return (now // span_us + 1) * span_us
            case "session":
                first, last = (int(events.rows["time"][n]) for n in (window.start, window.stop - 1))
                return min(last + self._rule.gap_us, first + span_us)
        return now + span_us if isinstance(self._rule.asks, Absent) else now

    def _nearest(self, group: Group, events: Events) -> int:
        """The event at which the rule comes nearest to speaking; of equal ones the last."""
        timely = np.flatnonzero(~events.rows["blind"])[-MAX_LOOKED_AT:].tolist()
        if not timely:
            return len(events.facts) - 1
        nearest: int = max(timely, key=lambda at: (self._nearness(group, events, at), at))
        return nearest

    def _nearness(self, group: Group, events: Events, place: int) -> float:
        rule, window = self._rule, self._window(events, place)
        match rule.asks:
            case Ordered():
                far = self._progress(group, events, place, window)
                return (far.missing is None) + len(far.chain) / far.needed
            case Absent():
                alone = _absent(rule, events, place, window)[1] is None
                return float(alone) + float(events.rows["steps"][place] & 1)
            case FirstSeen():
                return 0.0
            case Count() | Values() | Figure() | Together() as asks:
                metric = metric_of(asks, len(rule.steps))
                value = metric.shown(events.rows, window)
                upward = all(bound.op in {"gt", "gte"} for bound in rule.bounds)
                holds = metric.exactly(events.rows, window)
                return float("inf") if holds else value if upward else 0.0
        raise AssertionError(rule.asks)

    # --- what is found, and what is missing -------------------------------------------------------

    def _judged(
        self, group: Group, events: Events, place: int, window: slice
    ) -> tuple[str, str | None]:
        rule = self._rule
        if events.rows["blind"][place]:
            return "a late event", "late events stay out of windows"
        match rule.asks:
            case Ordered():
                far = self._progress(group, events, place, window)
                return _chain(rule, events, far), far.missing
            case Absent():
                return _absent(rule, events, place, window)
            case FirstSeen() as asks:
                return self._first_seen(asks, group, events, place)
            case Together() as asks:
                return _together(rule, asks, events, window)
            case Count() | Values() | Figure() as asks:
                metric = metric_of(asks, len(rule.steps))
                value = metric.shown(events.rows, window)
                holds = metric.exactly(events.rows, window)
                return _found(asks, events, window, value), (
                    None if holds else _lacking(asks.bounds, value, rule)
                )
        raise AssertionError(rule.asks)

    def _progress(self, group: Group, events: Events, place: int, window: slice) -> Progress:
        asks = self._rule.asks
        if not isinstance(asks, Ordered):
            raise TypeError("a rule without an order")
        chain = self._groups.chain(group, place, window)
        if chain is not None:
            needed = max(map(len, asks.paths), default=len(self._rule.steps))
            return Progress(tuple(chain), needed, None)
        begin = window.start
        if self._rule.window == "sliding":
            # What may not stand before a chain may be a timespan before it.
            reach_us = events.rows["time"][place] - 2 * self._rule.timespan_us
            begin = int(np.searchsorted(events.rows["time"], reach_us, "right"))
        else:
            place = window.stop - 1
        found = progress(self._rule, asks, _seen(events, slice(begin, window.stop)), place - begin)
        missing = found.missing or "two reports of one action are one step"
        return Progress(tuple(at + begin for at in found.chain), found.needed, missing)

    def _first_seen(
        self, asks: FirstSeen, group: Group, events: Events, place: int
    ) -> tuple[str, str | None]:
        had, began = self._groups.history(group, place)
        now, value = int(events.rows["time"][place]), events.values[place]
        found = f"{', '.join(asks.fields)}: '{plain(value)}'"
        if now - had < self._rule.timespan_us:
            return found, f"the group had it at {_time(had)}, {span_words(now - had)} before"
        if now - began < asks.learning_us:
            return found, (
                f"the group is watched since {_time(began)}, {span_words(now - began)};"
                f" it learns for {span_words(asks.learning_us)}"
            )
        return found, None

    def _shown(self, events: Events, place: int) -> Shown:
        facts, steps = events.facts[place], int(events.rows["steps"][place])
        return Shown(
            event_id=facts.event_id,
            event_time=_time(int(events.rows["time"][place])),
            what=facts.tool_name or facts.kind or "",
            steps=_names(self._rule, steps),
            value=events.values[place],
            late=bool(events.rows["blind"][place]),
        )


def _seen(events: Events, window: slice) -> list[Seen]:
    rows = events.rows
    steps = np.where(rows["blind"][window], 0, rows["steps"][window]).tolist()
    times = rows["time"][window].tolist()
    return [(time, _bits(own)) for time, own in zip(times, steps, strict=True)]


def _bits(steps: int) -> frozenset[int]:
    return frozenset(place for place in range(steps.bit_length()) if steps >> place & 1)


def _names(rule: Correlation, steps: int) -> list[str]:
    return [rule.steps[place].name for place in sorted(_bits(steps))]


def _time(time_us: int) -> str:
    return moment(time_us).isoformat()


def _found(asks: Count | Values | Figure, events: Events, window: slice, value: float) -> str:
    timely = np.flatnonzero(~events.rows["blind"][window]) + window.start
    match asks:
        case Count():
            return f"{value:g} action{'' if value == 1 else 's'}"
        case Values(fields=fields):
            different = list(dict.fromkeys(events.values[at] for at in timely.tolist()))
            shown = ", ".join(f"'{plain(one)}'" for one in different[:MAX_VALUES])
            more = ", …" if len(different) > MAX_VALUES else ""
            named = ", ".join(fields)
            return f"{value:g} value{'' if value == 1 else 's'} of {named}: {shown}{more}"
        case Figure(field=field):
            return f"{folded(asks)} of {field} is {value:.15g}, of {len(timely)} actions"


def _lacking(bounds: Sequence[Bound], value: float, rule: Correlation) -> str:
    """What keeps a value from being within bounds."""
    if not isinstance(rule.asks, Figure) and len(bounds) == 1:
        [bound] = bounds
        least = bound.number + (bound.op == "gt")
        if bound.op in {"gt", "gte"}:
            return f"{least - value:g} more"
    return f"asked for {described(bounds)}"


def _together(
    rule: Correlation, asks: Together, events: Events, window: slice
) -> tuple[str, str | None]:
    metric = metric_of(asks, len(rule.steps))
    timely = ~events.rows["blind"][window]
    bits = int(np.bitwise_or.reduce(events.rows["steps"][window][timely], initial=0))
    seen = _names(rule, bits)
    unseen = [step.name for step in rule.steps if step.name not in seen]
    found = f"{', '.join(seen) or 'none'}; not {', '.join(unseen)}" if unseen else ", ".join(seen)
    if metric.exactly(events.rows, window):
        return found, None
    if asks.expression is None and described(asks.bounds) == f"at least {len(rule.steps)}":
        return found, f"no {' and no '.join(unseen)}"
    return found, f"asked for {asked(rule)}"


def _chain(rule: Correlation, events: Events, far: Progress) -> str:
    words = [
        f"{'/'.join(_names(rule, int(events.rows['steps'][at])))}"
        f" at {moment(int(events.rows['time'][at])):%H:%M:%S}"
        for at in far.chain
    ]
    return f"{len(far.chain)} of {far.needed} steps{': ' if words else ''}{', '.join(words)}"


def _absent(rule: Correlation, events: Events, place: int, window: slice) -> tuple[str, str | None]:
    first, second = (step.name for step in rule.steps)
    rows = events.rows
    if not rows["steps"][place] & 1:
        return f"no {first}", f"it is no {first}, after which {second} is waited for"
    for at in range(place + 1, window.stop):
        itself = (
            rows["twin"][at] == rows["twin"][place] != 0
            and rows["origin"][at] != rows["origin"][place]
        )
        if rows["steps"][at] & 2 and not rows["blind"][at] and not itself:
            after = span_words(int(rows["time"][at] - rows["time"][place]))
            return f"{first}, and {second} {after} later", f"{second} followed"
    return f"{first}, and no {second} so far", None
