"""What a rule over several actions holds of its groups, and what it says of them."""

from collections.abc import Mapping, Sequence

import msgspec

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.correlation.held import Group
from tachograph.detectors.correlation.standing import Standing, Stands
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.rule import Correlation
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.scan.feed import Fed
from tachograph.schemas.alert import Signal

# Groups told of when none is named: those of which something was said, then the largest.
FEW_GROUPS = 3
# Groups told of that are named, and signals of one.
MAX_GROUPS = 20
MAX_SIGNALS = 5


class Told(msgspec.Struct, frozen=True):
    """A group: how it stands, and what the rule says of it. `more`: signals that are not shown."""

    standing: Standing
    signals: list[str] = []
    more: int = 0


class Windows(msgspec.Struct, frozen=True):
    """Groups that were asked for. `groups`, `signals`: how many there are in all. `none`: why none
    is told of.
    """

    groups: int
    signals: int
    told: list[Told]
    none: str | None = None


def wanted_groups(pairs: Sequence[str]) -> dict[str, str]:
    """`key=value` words. Raises ConfigError."""
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--group {pair!r}: write it as key=value")
    return dict(pair.split("=", 1) for pair in pairs)


class Watched:
    """Runs one rule over events, batch by batch, and tells how its groups stand."""

    def __init__(self, rule: Correlation, rules: RuleSet) -> None:
        """`rules`: with this rule alone."""
        self._rule, self._rules = rule, rules
        self._detector = WholeDetector(rules)
        self._signals: dict[str, Signal] = {}

    def take(self, fed: Fed) -> None:
        """Judge a batch."""
        self._note(self._detector.process(fed.frame, fed.links, 1).signals)

    def _note(self, signals: Sequence[Signal]) -> None:
        for signal in signals:
            if signal.change == "retracted":
                self._signals.pop(signal.signal_id, None)
            elif signal.rule_id == self._rule.meta.rule_id:
                self._signals[signal.signal_id] = signal

    def told(self, wanted: Mapping[str, str], event_ids: Sequence[str] = ()) -> Windows:
        """How groups stand, and what is said of them when no event comes any more: of those with
        these values, or with these events (at the event), or of a few.
        """
        # What waits for the end is said by a copy: closed, it holds nothing any more.
        ended = WholeDetector(self._rules)
        ended.load(self._detector.dump())
        self._note(ended.close(2).signals)
        held = self._detector.groups(self._rule)
        groups = [group for group in held if chosen(group, wanted)]
        asked: list[tuple[Group, str | None]] = []
        if event_ids:
            asked = [
                (group, event_id)
                for event_id in event_ids
                for group in held.of(event_id)
                if chosen(group, wanted)
            ]
        else:
            spoken = {self._key(signal) for signal in self._signals.values()}
            groups.sort(key=lambda one: (_key(one) not in spoken, -one.size))
            few = groups[: MAX_GROUPS if wanted else FEW_GROUPS]
            asked = [(group, self._spoke_at(group)) for group in few]
        stands = Stands(held)
        told = [self._told(group, stands.at(group, at)) for group, at in asked[:MAX_GROUPS]]
        none = None
        if not told and event_ids:
            none = "no group has it: no step asks for it, or it has no value that is grouped by"
        elif not told and wanted:
            none = "no group has these values"
        return Windows(len(groups), len(self._signals), told, none)

    def _told(self, group: Group, standing: Standing) -> Told:
        said = self._of(group)
        words = [f"{one.event_time.isoformat()}: {one.reason.text}" for one in said]
        return Told(standing, words[:MAX_SIGNALS], max(0, len(words) - MAX_SIGNALS))

    def _of(self, group: Group) -> list[Signal]:
        """What is said of a group, in the order of time."""
        found = [one for one in self._signals.values() if self._key(one) == _key(group)]
        return sorted(found, key=lambda signal: signal.event_time)

    def _spoke_at(self, group: Group) -> str | None:
        """The event by which something was said of a group first."""
        said = self._of(group)
        return said[0].witness.window["last"] if said else None

    def _key(self, signal: Signal) -> tuple[str, ...]:
        place = "" if self._rule.across else signal.partition_key or ""
        return (signal.tenant, place, *signal.group.values())


def _key(group: Group) -> tuple[str, ...]:
    return (group.tenant, group.place, *group.values.values())


def chosen(group: Group, wanted: Mapping[str, str]) -> bool:
    """Whether a group has these values."""
    return all(group.values.get(name) == value for name, value in wanted.items())


def check_names(rule: Correlation, wanted: Mapping[str, str]) -> None:
    """Raises ConfigError for names that the rule does not group by."""
    for name in wanted:
        if name not in rule.group_by:
            known = ", ".join(rule.group_by) or "nothing"
            raise ConfigError(f"--group {name}: {rule.meta.title} groups by {known}")
