"""How far the steps of an ordered rule have come in one group: which chain of events there is up to
an event, and what is missing.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tachograph.detectors.language.bounds import described, satisfies
from tachograph.detectors.language.rule import MICROS, Correlation, Link, Ordered

# An event: its time and the steps that it is one of; none of a late one.
Seen = tuple[int, frozenset[int]]


class Progress(NamedTuple):
    """The chain that comes furthest: places of its events, how many it needs, and why it does not
    go on (None: it is whole).
    """

    chain: tuple[int, ...]
    needed: int
    missing: str | None


class _Walk:
    """Chains along one path, event by event: of those that have come equally far the one that began
    last.
    """

    def __init__(self, path: Sequence[Link], span_us: int, events: Sequence[Seen]) -> None:
        self._path, self._span_us, self._events = path, span_us, events
        self.chains: list[tuple[int, ...]] = [()] * len(path)
        # The event that came between, where a chain may not go on.
        self.broken: dict[int, int] = {}

    def take(self, at: int) -> None:
        """The next event."""
        steps = self._events[at][1]
        before = list(self.chains)
        for place, link in enumerate(self._path):
            if place and not steps.isdisjoint(link.without) and self.chains[place - 1]:
                self.chains[place - 1] = ()
                self.broken[place] = at
        for place, link in enumerate(self._path):
            if link.step not in steps:
                continue
            if place == 0:
                self._longer(0, () if self._forbidden(at, link) else (at,))
            elif before[place - 1]:
                self._longer(place, (*before[place - 1], at))

    def _longer(self, place: int, chain: tuple[int, ...]) -> None:
        if not chain:
            return
        self.broken.pop(place + 1, None)
        old = self.chains[place]
        if not old or self._events[chain[0]][0] >= self._events[old[0]][0]:
            self.chains[place] = chain

    def _forbidden(self, at: int, link: Link) -> bool:
        """Whether something stands in the window before the first event that may not."""
        begin_us = self._events[at][0] - self._span_us
        return any(
            time > begin_us and not steps.isdisjoint(link.without)
            for time, steps in self._events[:at]
        )


def progress(rule: Correlation, asks: Ordered, events: Sequence[Seen], upto: int) -> Progress:
    """How far it is at the event at place `upto`; events after it are not looked at."""
    if not asks.paths:
        return _longest(rule, asks, events, upto)
    found = [_along(rule, path, events, upto) for path in asks.paths]
    return max(found, key=lambda one: (one.missing is None, len(one.chain) / one.needed))


def _along(rule: Correlation, path: Sequence[Link], events: Sequence[Seen], upto: int) -> Progress:
    walk = _Walk(path, rule.timespan_us, events)
    for at in range(upto + 1):
        walk.take(at)
    names = [step.name for step in rule.steps]
    since = events[upto][0] - rule.timespan_us
    reached = [chain for chain in walk.chains if chain and events[chain[0]][0] > since]
    whole = walk.chains[-1]
    if whole and whole[-1] == upto and whole in reached:
        return Progress(whole, len(path), None)
    best = max(reached, key=len, default=())
    if whole and whole[-1] == upto:
        took_s = (events[upto][0] - events[whole[0]][0]) / MICROS
        missing = f"it took {took_s:g} s, less than {rule.timespan_us // MICROS} s are asked"
    elif len(best) == len(path):
        missing = f"it was whole before this event, with {names[path[-1].step]}"
    elif len(best) + 1 in walk.broken:
        bad = _between(rule, path[len(best) + 1], events[walk.broken[len(best) + 1]])
        missing = f"{bad} came between, and no {names[path[len(best)].step]} since"
    else:
        wanted = names[path[len(best)].step]
        missing = f"no {wanted} after that" if best else f"no {wanted} in the window"
    return Progress(best, len(path), missing)


def _between(rule: Correlation, link: Link, event: Seen) -> str:
    return " and ".join(rule.steps[step].name for step in link.without if step in event[1])


def _longest(rule: Correlation, asks: Ordered, events: Sequence[Seen], upto: int) -> Progress:
    """Any of the steps, in their order: the longest chain that ends with the event."""
    since = events[upto][0] - rule.timespan_us
    inside = [at for at in range(upto + 1) if events[at][0] > since]
    best: dict[int, tuple[int, ...]] = {}
    ending: tuple[int, ...] = ()
    for at in inside:
        before = dict(best)
        for step in events[at][1]:
            chain = max((c for s, c in before.items() if s < step), key=len, default=())
            longer = (*chain, at)
            if at == upto:
                ending = max(ending, longer, key=len)
            if len(longer) >= len(best.get(step, ())):
                best[step] = longer
    missing = None if _enough(asks, len(ending)) else f"asked for {described(asks.bounds)} in order"
    return Progress(ending, len(rule.steps), missing)


def _enough(asks: Ordered, length: int) -> bool:
    return bool(length) and satisfies(asks.bounds, length)
