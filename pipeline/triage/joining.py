"""Alerts joined into incidents by what they share. Pure, and a function of the set of alerts: their
order changes nothing.

Two alerts are joined by a value that both rest on, when they are near each other in time. Some
values are reason enough alone: the agent, a text or a value that came to both, a secret. Others are
shared by many who have nothing to do with each other (a credential, a target, whom an agent acts
for): they join only alerts on which the same rule fired. And against merging the whole fleet:

- a value on which alerts have rested in many hours is usual, and joins no more;
- an incident takes at most so many alerts and lasts at most so long: a join that would pass a limit
  is not made, strongest joins first, and is told.
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
# Strongest first: in this order joins are made.
KINDS = (
    "agent", "value", "content", "secret", "credential", "target", "delegation", "principal",
)  # fmt: skip
# Reason enough alone.
STRONG = frozenset({"agent", "value", "content", "secret"})
# An agent is itself; a value that only brought-in text named was judged so by its detector.
_ALWAYS = frozenset({"agent", "value"})

_HOUR_US = 3_600 * SECOND_US

TOO_USUAL = "too usual"
TOO_LARGE = "the incident would become too large"
TOO_LONG = "the incident would last too long"

# Kind, value, and the rule where the value is not reason enough alone.
Key = tuple[str, str, str]


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
    refused: str = ""
    joined: set[str] = set()


def joined(
    members: Iterable[IncidentMember], *, most: int = MAX_ALERTS, span_us: int = MAX_SPAN_US
) -> list[Joined]:
    """All incidents of some alerts of one tenant, those of one alert too, by the time of their
    first alert. Of members of the same alert the last counts.
    """
    newest = {one.alert_id: one for one in members}
    known = sorted(newest.values(), key=_order)
    holders: dict[Key, list[IncidentMember]] = defaultdict(list)
    for one in known:
        for key in keys_of(one):
            holders[key].append(one)
    groups = _Groups(known, most, span_us)
    shared = [_Shared(key, held) for key, held in holders.items() if len(held) > 1]
    shared.sort(key=lambda one: (KINDS.index(one.key[0]), one.key))
    for one_value in shared:
        _join(one_value, groups)
    return _incidents(known, groups, shared)


def keys_of(member: IncidentMember) -> list[Key]:
    """What joins an alert to others, each once."""
    found: set[Key] = {("agent", member.agent_id, "")}
    for one in member.shared:
        if one.kind in STRONG:
            found.add((one.kind, one.value, ""))
        elif one.kind in KINDS:
            found.update((one.kind, one.value, rule) for rule in member.rule_ids)
    return sorted(found)


def _order(one: IncidentMember) -> tuple[int, str]:
    return to_us(one.first_seen), one.alert_id


def _join(shared: _Shared, groups: "_Groups") -> None:
    """Make the joins of one value, or note why not."""
    last_us, hours = 0, set()
    for earlier, later in itertools.pairwise(shared.held):
        last_us = max(last_us, to_us(earlier.last_seen))
        hours.add(to_us(earlier.first_seen) // _HOUR_US)
        if to_us(later.first_seen) - last_us > GAP_US:
            continue
        if shared.key[0] not in _ALWAYS and len(hours) > USUAL_HOURS:
            shared.refused = TOO_USUAL
            return
        refused = groups.join(earlier, later)
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
            if len(some) > 1 or value.refused:
                joins[root].append(_told(value, some))
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


def _told(value: _Shared, some: list[IncidentMember]) -> IncidentJoin:
    kind, text, rule = value.key
    return IncidentJoin(
        kind=kind,
        value=text,
        rule_id=rule,
        alerts=len(some),
        agents=len({one.agent_id for one in some}),
        refused=value.refused,
    )


def _reason(key: Key) -> str:
    kind, value, rule = key
    return f"{kind} {value}" + (f" ({rule})" if rule else "")


class _Groups:
    """Sets of alerts that grow together, none beyond a size and a length of time."""

    def __init__(self, known: Iterable[IncidentMember], most: int, span_us: int) -> None:
        self._most, self._span_us = most, span_us
        self._parent: dict[str, str] = {}
        # By root: number of alerts, first and last time.
        self._extent: dict[str, tuple[int, int, int]] = {}
        for one in known:
            self._parent[one.alert_id] = one.alert_id
            self._extent[one.alert_id] = (1, to_us(one.first_seen), to_us(one.last_seen))

    def root(self, name: str) -> str:
        while (parent := self._parent[name]) != name:
            self._parent[name] = self._parent[parent]
            name = parent
        return name

    def join(self, one: IncidentMember, other: IncidentMember) -> str:
        """Make one set of theirs; why not, else empty."""
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
        return ""
