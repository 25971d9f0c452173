"""Alerts joined into incidents by what they share. Pure, and a function of the set of alerts: their
order changes nothing.

Two alerts are joined by a value that both rest on (the agent, a text that came to both, a secret, a
credential, a target …), when they are near each other in time. Against merging the whole fleet:

- a value that is usual is no reason: of the agents that touched it, three quarters must have an
  alert that rests on it, unless they are very few;
- an incident takes at most so many alerts: a join that would pass the limit is not made, strongest
  joins first, and is told.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

MAX_ALERTS = 1_000
GAP_US = 3_600_000_000
FEW_AGENTS = 3
# Strongest first: in this order joins are made.
KINDS = (
    "agent", "value", "content", "secret", "credential", "target", "delegation", "principal",
)  # fmt: skip
# An agent is itself; a value that only brought-in text named was judged so by its detector.
_ALWAYS = frozenset({"agent", "value"})

Key = tuple[str, str]


class Alerted(msgspec.Struct, frozen=True):
    """An alert, as far as joining goes. Times in microseconds."""

    alert_id: str
    agent_id: str
    first_us: int
    last_us: int


class Join(msgspec.Struct, frozen=True, order=True):
    """A value that joins, or would have joined, alerts of one incident."""

    kind: str
    value: str
    alerts: int
    agents: int
    touched_by: int
    refused: str = ""


class Incident(msgspec.Struct, frozen=True):
    """Alerts that belong together; the earliest gives the id."""

    incident_id: str
    alerts: list[Alerted]
    joins: list[Join]

    @property
    def agents(self) -> list[str]:
        """Its agents, each once."""
        return sorted({one.agent_id for one in self.alerts})


def joined(
    alerts: Iterable[Alerted],
    keys: Mapping[str, Iterable[Key]],
    touched_by: Mapping[Key, int],
    *,
    most: int = MAX_ALERTS,
) -> list[Incident]:
    """All incidents, those of one alert too, by the time of their first alert. `keys`: by alert id;
    `touched_by`: how many agents touched a value, with an alert or without.
    """
    known = {one.alert_id: one for one in sorted(alerts, key=_order)}
    holders: dict[Key, list[Alerted]] = defaultdict(list)
    for one in known.values():
        for key in sorted(set(keys.get(one.alert_id, ())) | {("agent", one.agent_id)}):
            holders[key].append(one)
    groups = _Groups(known, most)
    shared = (key for key, held in holders.items() if len(held) > 1)
    ordered = sorted(shared, key=lambda key: (KINDS.index(key[0]), key[1]))
    found = [_join(key, holders[key], touched_by, groups) for key in ordered]
    return _incidents(known, groups, found)


def _order(one: Alerted) -> tuple[int, str]:
    return one.first_us, one.alert_id


def _join(
    key: Key, held: list[Alerted], touched_by: Mapping[Key, int], groups: "_Groups"
) -> tuple[Join, list[Alerted]]:
    """Make the joins of one value, or say why not."""
    agents = len({one.agent_id for one in held})
    touched = max(agents, touched_by.get(key, agents))
    refused = ""
    if key[0] not in _ALWAYS and touched > FEW_AGENTS and agents * 4 < touched * 3:
        refused = "too usual"
    else:
        last_us = held[0].last_us
        for earlier, later in itertools.pairwise(held):
            last_us = max(last_us, earlier.last_us)
            if later.first_us - last_us <= GAP_US and not groups.join(earlier, later):
                refused = "the incident would become too large"
    return Join(*key, len(held), agents, touched, refused), held


def _incidents(
    known: Mapping[str, Alerted], groups: "_Groups", found: list[tuple[Join, list[Alerted]]]
) -> list[Incident]:
    members: dict[str, list[Alerted]] = defaultdict(list)
    for one in known.values():
        members[groups.root(one.alert_id)].append(one)
    joins: dict[str, list[Join]] = defaultdict(list)
    for join, held in found:
        by_root = defaultdict(list)
        for one in held:
            by_root[groups.root(one.alert_id)].append(one)
        for root, some in by_root.items():
            if len(some) > 1 or join.refused:
                agents = len({one.agent_id for one in some})
                told = msgspec.structs.replace(join, alerts=len(some), agents=agents)
                joins[root].append(told)
    incidents = [Incident(some[0].alert_id, some, joins[root]) for root, some in members.items()]
    return sorted(incidents, key=lambda one: _order(one.alerts[0]))


class _Groups:
    """Sets of alerts that grow together, none beyond a size."""

    def __init__(self, names: Iterable[str], most: int) -> None:
        self._parent = {name: name for name in names}
        self._size = dict.fromkeys(self._parent, 1)
        self._most = most

    def root(self, name: str) -> str:
        while (parent := self._parent[name]) != name:
            self._parent[name] = self._parent[parent]
            name = parent
        return name

    def join(self, one: Alerted, other: Alerted) -> bool:
        """Whether they are in one set now."""
        first, second = self.root(one.alert_id), self.root(other.alert_id)
        if first == second:
            return True
        if self._size[first] + self._size[second] > self._most:
            return False
        self._parent[second] = first
        self._size[first] += self._size[second]
        return True
