"""Rules by the time at which they are in force: all that a place needs, judged at once.

A place judges the rules of every set that is in force for some of what it still sees. Each event
meets all of them; what is said is what was in force when the event that made it true was observed.
So a rule that is new has seen what came before it, and nothing depends on when a process learned of
a change.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

import msgspec

from tachograph.detectors.correlation.matched import chain_of, rule_key
from tachograph.detectors.in_force import LONG_AGO_US, Period, Timeline
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.rule import MICROS, Correlation, Meta
from tachograph.detectors.reference.reference import Reference
from tachograph.detectors.signals import changed, micros, told_as
from tachograph.schemas import contracts
from tachograph.schemas.alert import Signal

# Signals of windows that are not in force, remembered because they may become so.
MAX_ASLEEP = 100_000
# Nothing older than the log itself can be judged again.
_KEPT_US = (contracts.topics()["agent.actions"].retention_hours or 0) * 3600 * MICROS
# What a window rests on: its bucket, the window before that, and one more that tells whether an
# event repeats an earlier report.
_WINDOWS = 3

RuleKey = tuple[str, str]


def key_of(meta: Meta) -> RuleKey:
    """A rule by its id and by what it asks."""
    return meta.rule_id, meta.version


class Plan:
    """The sets of a timeline's periods, and the rules of all of them in one."""

    def __init__(self, timeline: Timeline, sets: Mapping[Period, RuleSet]) -> None:
        """`sets`: the compiled rules of every period of the timeline."""
        self.timeline = timeline
        self.sets = [sets[period] for period in timeline.periods]

    @classmethod
    def of(cls, rules: RuleSet) -> "Plan":
        """These rules, always."""
        period = Period(LONG_AGO_US, rules.rules_hash, rules.reference.version)
        return cls(Timeline([period]), {period: rules})

    @cached_property
    def rules(self) -> RuleSet:
        """The rules of all sets: as the newest set words them."""
        whole = self.sets[-1]
        for older in reversed(self.sets[:-1]):
            whole = whole.joined(older)
        return msgspec.structs.replace(whole, known_since=self.references)

    @cached_property
    def since(self) -> dict[str, int]:
        """Windowed rules and what they rest on, by key, and the first of the changes that brought
        each.
        """
        found: dict[str, int] = {}
        for period, rules in zip(self.timeline.periods, self.sets, strict=True):
            for key in map(rule_key, chain_of(rules.correlations)):
                found[key] = min(period.order, found.get(key, period.order))
        return found

    @cached_property
    def titles(self) -> dict[str, str]:
        """Of all rules by id, those too that are only a step of another."""
        steps = {rule.meta.rule_id: rule.meta.title for rule in chain_of(self.rules.correlations)}
        return steps | {rule.meta.rule_id: rule.meta.title for rule in self.rules.rules}

    @cached_property
    def remembered_us(self) -> int:
        """What happened so long before all that can still come is in no window that changes."""
        spans = (2 * rule.timespan_us for rule in self.rules.correlations)
        return min(max(spans, default=0), _KEPT_US)

    @cached_property
    def references(self) -> list[tuple[int, Reference]]:
        """Reference data, and from which observed time on each holds."""
        found: list[tuple[int, Reference]] = []
        for period, rules in zip(self.timeline.periods, self.sets, strict=True):
            if not found or found[-1][1].version != rules.reference.version:
                found.append((period.from_us, rules.reference))
        return found

    def at(self, observed_us: int) -> tuple[dict[RuleKey, Meta], str]:
        """The rules in force at an observed time, and the version of what was known."""
        place = self.timeline.periods.index(self.timeline.at(observed_us))
        rules = self.sets[place]
        return {key_of(rule.meta): rule.meta for rule in rules.rules}, rules.reference.version

    def without(self, other: "Plan") -> list[Correlation]:
        """Windowed rules that the other plan has not."""
        known = {key_of(rule.meta) for rule in other.rules.correlations}
        return [rule for rule in self.rules.correlations if key_of(rule.meta) not in known]

    def only(self, keys: Collection[RuleKey]) -> "Plan":
        """With just these rules."""
        sets = [one.only([r for r in one.rules if key_of(r.meta) in keys]) for one in self.sets]
        return Plan(self.timeline, dict(zip(self.timeline.periods, sets, strict=True)))

    def words(self) -> list[dict[RuleKey, Meta]]:
        """For each period its rules."""
        return [{key_of(rule.meta): rule.meta for rule in rules.rules} for rules in self.sets]


def affected(one: Plan, other: Plan, since_us: int) -> set[RuleKey]:
    """Rules that two plans do not have in the same words, or do not ask of the same facts, at some
    observed time since the one given.
    """
    found: set[RuleKey] = set()
    times = {*one.timeline.starts_us, *other.timeline.starts_us, since_us}
    for at_us in sorted(time for time in times if time >= since_us):
        (mine, my_facts), (its, its_facts) = one.at(at_us), other.at(at_us)
        every = mine.keys() | its.keys()
        found |= {key for key in every if mine.get(key) != its.get(key) or my_facts != its_facts}
    return found


def reach_us(rule: Correlation) -> int:
    """How far back of an event that makes it true a rule may look."""
    inner = [reach_us(step.inner) for step in rule.steps if step.inner is not None]
    return _WINDOWS * rule.timespan_us + max(inner, default=0)


class Gate:
    """Lets through what was in force when it was observed, in the words of then."""

    def __init__(self, plan: Plan) -> None:
        self._timeline = plan.timeline
        self._remembered_us = plan.remembered_us
        self._periods = {period: at for at, period in enumerate(plan.timeline.periods)}
        self._words = plan.words()
        self._newest = {key_of(rule.meta): rule.meta for rule in plan.rules.rules}
        self._versions = [rules.versions for rules in plan.sets]
        # Signals of windows that stand but are not in force, by the time of their event.
        self._asleep: OrderedDict[str, int] = OrderedDict()
        self.evicted = 0

    def passed(self, signals: Iterable[Signal]) -> list[Signal]:
        """Those that are to be said, and how."""
        if len(self._words) == 1 and not self._asleep:
            return list(signals)
        return [told for signal in signals if (told := self._told(signal)) is not None]

    def _told(self, signal: Signal) -> Signal | None:
        if signal.kind in ("anomaly", "provenance"):
            # No rule of a set says it.
            return signal
        place = self._place(signal)
        meta = self._words[place].get((signal.rule_id, signal.rule_version))
        if signal.kind == "stateless":
            # Its one event never changes, and so neither does this verdict.
            return None if meta is None else self._worded(signal, place, meta)
        was_asleep = self._asleep.pop(signal.signal_id, None) is not None
        if signal.change == "retracted":
            return None if was_asleep else signal
        if meta is None:
            self._sleep(signal)
            if was_asleep or signal.change == "new":
                return None
            return changed(signal, "retracted", signal.revision)
        told = self._worded(signal, place, meta)
        return changed(told, "new", told.revision) if was_asleep else told

    def _place(self, signal: Signal) -> int:
        moment = signal.observed_time or signal.event_time
        return self._periods[self._timeline.at(micros(moment))]

    def _worded(self, signal: Signal, place: int, meta: Meta) -> Signal:
        if meta is self._newest[key_of(meta)] and place == len(self._words) - 1:
            return signal
        return told_as(signal, meta, self._versions[place])

    def _sleep(self, signal: Signal) -> None:
        self._asleep[signal.signal_id] = micros(signal.event_time)
        while len(self._asleep) > MAX_ASLEEP:
            self._asleep.popitem(last=False)
            self.evicted += 1

    def forget(self, floor_us: int) -> None:
        """No event before this time can come any more."""
        before_us = floor_us - self._remembered_us
        for name in [name for name, at_us in self._asleep.items() if at_us < before_us]:
            del self._asleep[name]

    def state(self) -> dict[str, int]:
        """What is to be remembered over a restart."""
        return dict(self._asleep)

    def restore(self, asleep: Mapping[str, int]) -> None:
        """Take up a state."""
        self._asleep = OrderedDict(asleep)
