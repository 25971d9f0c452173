"""Alerts joined into incidents by what they share. Pure, and a function of the set of alerts: their
order changes nothing.

Two alerts are joined by a value that both rest on, when they are near each other in time. How much
a value says depends on how many agents' alerts rest on it:

- few agents: it is rare. Some kinds are reason enough alone: the agent, a text or a value that came
  to both, a secret. Others (a credential, a target, whom an agent acts for) join only alerts on
  which the same rule fired;
- many agents: it is common, and joins only where one rule fired on at least half of them, as in a
  swarm with one cause. A host or a file that many use for things of their own joins nobody. And an
  incident has one common value at most, so that a fleet does not hang together by a chain of them.

Against merging the whole fleet further:

- a value on which alerts have rested in many hours is usual, and joins no more;
- an incident takes at most so many alerts and lasts at most so long.

A join that is not made is told, with the reason. Rare values come before common ones, stronger
kinds before weaker ones, and of common values of a kind that of more agents.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from tachograph.pipeline.clock import SECOND_US, to_us
from tachograph.schemas.records import IncidentJoin, IncidentMember

MAX_ALERTS = 1_000
MAX_SPAN_US = 24 * 3_600 * SECOND_US
GAP_US = 3_600 * SECOND_US
USUAL_HOURS = 6
# A value of more agents is common.
FEW_AGENTS = 5
# Strongest first.
KINDS = (
    "agent", "value", "content", "secret", "credential", "target", "delegation", "principal",
)  # fmt: skip
# Reason enough alone, where the value is rare.
STRONG = frozenset({"agent", "value", "content", "secret"})
# An agent is itself; a value that only brought-in text named was judged so by its detector.
_ALWAYS = frozenset({"agent", "value"})

_HOUR_US = 3_600 * SECOND_US

TOO_COMMON = "many agents with other alerts rest on it"
OTHER_CAUSE = "another value that many agents share joined some of them already"
TOO_USUAL = "too usual"
TOO_LARGE = "the incident would become too large"
TOO_LONG = "the incident would last too long"

# Kind, value, and the rule where the value is not reason enough alone.
Key = tuple[str, str, str]
# Kind and value.
Cause = tuple[str, str]


class Joined(msgspec.Struct, frozen=True):
    """Alerts that belong together, the earliest first: it gives the id."""

    members: list[IncidentMember]
    joins: list[IncidentJoin]
    # By alert: what joins it to others, strongest first.
    reasons: dict[str, list[str]]

    @property
    def incident_id(self) -> str:
        """Id of its earliest alert."""
        return self.members[0].alert_id


class _Shared(msgspec.Struct):
    """Who rests on one value, by time, and what came of it."""

    key: Key
    held: list[IncidentMember]
    agents: int
    is_common: bool = False
    refused: str = ""
    joined: set[str] = set()

    @property
    def rank(self) -> tuple[bool, int, int, Key]:
        """In this order joins are made."""
        kind = KINDS.index(self.key[0])
        return self.is_common, kind, -self.agents if self.is_common else 0, self.key


def joined(
    members: Iterable[IncidentMember],
    *,
    most: int = MAX_ALERTS,
    span_us: int = MAX_SPAN_US,
    few: int = FEW_AGENTS,
) -> list[Joined]:
    """All incidents of some alerts of one tenant, those of one alert too, by the time of their
    first alert. Of members of the same alert the last counts.
    """
    newest = {one.alert_id: one for one in members}
    known = sorted(newest.values(), key=_order)
    holders: dict[Cause, list[IncidentMember]] = defaultdict(list)
    for one in known:
        for cause in causes_of(one):
            holders[cause].append(one)
    groups = _Groups(known, most, span_us)
    shared = [
        one
        for cause, held in holders.items()
        if len(held) > 1
        for one in _weighed(cause, held, few)
    ]
    shared.sort(key=lambda one: one.rank)
    for one_value in shared:
        if not one_value.refused:
            _join(one_value, groups)
    return _incidents(known, groups, shared)


def causes_of(member: IncidentMember) -> list[Cause]:
    """What may join an alert to others, each once."""
    found = {(one.kind, one.value) for one in member.shared if one.kind in KINDS}
    return sorted({("agent", member.agent_id), *found})


def _weighed(cause: Cause, held: list[IncidentMember], few: int) -> list[_Shared]:
    """The value as reasons to join: alone, or by rule; of a common one those that are none too."""
    kind, value = cause
    agents = _agents(held)
    is_common = agents > few
    if kind in STRONG and not is_common:
        return [_Shared((kind, value, ""), held, agents)]
    by_rule: dict[str, list[IncidentMember]] = defaultdict(list)
    for one in held:
        for rule in one.rule_ids:
            by_rule[rule].append(one)
    found = [
        _Shared((kind, value, rule), some, _agents(some), is_common)
        for rule, some in by_rule.items()
        if len(some) > 1
    ]
    if not is_common:
        return found
    one_cause = [one for one in found if 2 * one.agents >= agents]
    return one_cause or [_Shared((kind, value, ""), held, agents, is_common, TOO_COMMON)]


def _agents(some: Iterable[IncidentMember]) -> int:
    return len({one.agent_id for one in some})


def _order(one: IncidentMember) -> tuple[int, str]:
    return to_us(one.first_seen), one.alert_id


def _join(shared: _Shared, groups: "_Groups") -> None:
    """Make the joins of one value, or note why not."""
    cause = shared.key[:2] if shared.is_common else None
    # Those that are together by another value share this one too: it joins no more, nor is refused.
    together = len({groups.root(one.alert_id) for one in shared.held}) == 1
    held = [one for one in shared.held if together or groups.admits(one, cause)]
    if len(held) < len(shared.held):
        shared.refused = OTHER_CAUSE
    last_us, hours = 0, set()
    for earlier, later in itertools.pairwise(held):
        last_us = max(last_us, to_us(earlier.last_seen))
        hours.add(to_us(earlier.first_seen) // _HOUR_US)
        if to_us(later.first_seen) - last_us > GAP_US:
            continue
        if shared.key[0] not in _ALWAYS and len(hours) > USUAL_HOURS:
            shared.refused = TOO_USUAL
            return
        refused = groups.join(earlier, later, cause)
        shared.refused = refused or shared.refused
        if not refused:
            shared.joined |= {earlier.alert_id, later.alert_id}


def _incidents(
    known: list[IncidentMember], groups: "_Groups", shared: list[_Shared]
) -> list[Joined]:
    members: dict[str, list[IncidentMember]] = defaultdict(list)
    for one in known:
        members[groups.root(one.alert_id)].append(one)
    joins: dict[str, list[IncidentJoin]] = defaultdict(list)
    reasons: dict[str, list[str]] = defaultdict(list)
    for value in shared:
        for root, some in _by_root(value, groups).items():
            together = [one for one in some if one.alert_id in value.joined]
            if len(together) > 1:
                joins[root].append(_told(value, together))
            if value.refused:
                joins[root].append(_told(value, some, value.refused))
        for alert_id in sorted(value.joined):
            reasons[alert_id].append(_reason(value.key))
    return [
        Joined(some, joins[root], {one.alert_id: reasons[one.alert_id] for one in some})
        for root, some in members.items()
    ]


def _by_root(value: _Shared, groups: "_Groups") -> Mapping[str, list[IncidentMember]]:
    found: dict[str, list[IncidentMember]] = defaultdict(list)
    for one in value.held:
        found[groups.root(one.alert_id)].append(one)
    return found


def _told(value: _Shared, some: list[IncidentMember], refused: str = "") -> IncidentJoin:
    kind, text, rule = value.key
    return IncidentJoin(
        kind=kind,
        value=text,
        rule_id=rule,
        alerts=len(some),
        agents=_agents(some),
        refused=refused,
    )


def _reason(key: Key) -> str:
    kind, value, rule = key
    return f"{kind} {value}" + (f" ({rule})" if rule else "")


class _Groups:
    """Sets of alerts that grow together, none beyond a size and a length of time, each by one
    common value at most.
    """

    def __init__(self, known: Iterable[IncidentMember], most: int, span_us: int) -> None:
        self._most, self._span_us = most, span_us
        self._parent: dict[str, str] = {}
        # By root: number of alerts, first and last time.
        self._extent: dict[str, tuple[int, int, int]] = {}
        self._cause: dict[str, Cause] = {}
        for one in known:
            self._parent[one.alert_id] = one.alert_id
            self._extent[one.alert_id] = (1, to_us(one.first_seen), to_us(one.last_seen))

    def root(self, name: str) -> str:
        while (parent := self._parent[name]) != name:
            self._parent[name] = self._parent[parent]
            name = parent
        return name

    def admits(self, one: IncidentMember, cause: Cause | None) -> bool:
        """Whether its set may grow by this common value; a rare one has no say."""
        return cause is None or self._cause.get(self.root(one.alert_id), cause) == cause

    def join(self, one: IncidentMember, other: IncidentMember, cause: Cause | None) -> str:
        """Make one set of theirs, by a common value where there is one; why not, else empty."""
        first, second = self.root(one.alert_id), self.root(other.alert_id)
        if first == second:
            return ""
        sizes, starts, ends = zip(self._extent[first], self._extent[second], strict=True)
        whole = (sum(sizes), min(starts), max(ends))
        if whole[0] > self._most:
            return TOO_LARGE
        if whole[2] - whole[1] > self._span_us:
            return TOO_LONG
        self._parent[second] = first
        self._extent[first] = whole
        if cause is not None:
            self._cause[first] = cause
        return ""
