"""Most agents of a place out of line in the same way at the same time: a release, a new host, an
order that all of them were given. That is news of the place, and said once, not of each agent.

Where a known agent is seen, a window with more than it is usual and than it ever had goes as a
match row to where all of its tenant meet, and so does what would be said of any agent. There that
is said at once. When so many others have risen in the last while that they are most of the agents
that were at work lately, it is the place that changed: the place is said, what was said of single
agents in that while is taken back, and nothing more is said of those that do no more than the
others. All of it follows from a set of rows, wherever they come from.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.baselines import EPOCH_PANES, PRIOR_WINDOWS, WARM
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.crossing import Crossing
from tachograph.detectors.behaviour.features import ADDED_UP, NAMES, PANE_US, SCALES
from tachograph.detectors.behaviour.levels import OCTAVE
from tachograph.detectors.behaviour.shared import CROWD, CROWD_ROW, travelling
from tachograph.detectors.correlation.travel import GROUP, RULE, VERSION
from tachograph.detectors.signals import across_entity, changed
from tachograph.schemas.alert import Reason, Signal, Witness
from tachograph.schemas.identity import plain_id

CROWD_VERSION: Final = "1"
CROWD_RULE: Final = "5d0e7b1c-93f4-5a28-b6c1-2e8f40a7d9c3"
TITLE: Final = "Most agents out of line in the same way at once"
_RUNBOOK: Final = (
    "Look for what the agents have in common: a release, a new host, a text that all of them read, "
    "one who started them. If nothing explains it, stop them together."
)
# More acts are more different tools, so these go together; all else is alike only in the same
# feature.
_TOGETHER: Final = ("acts", "tools")
_KIND_OF: Final = [NAMES.index("acts" if name in _TOGETHER else name) for name in NAMES]
# So many agents are a crowd, and at least this share of those that are known and were at work
# lately (see company).
LEAST_AGENTS: Final = 5
_OF: Final = 2
# The last while: twenty minutes, two windows of the longer lengths.
_WHILE_PANES: Final = [max(2 * EPOCH_PANES, 2 * scale.panes) for scale in SCALES]
# Hours that are added up are each agent's own: no two begin and end together.
_ALONE: Final = -1
# Two doublings above the middle of the others are more than they do.
_MORE: Final = 2 * OCTAVE
# Agents that are named in words, and beside them.
_TOLD: Final = 5
_NAMED: Final = 100

# How many agents of a tenant are known, and were at work lately, by an epoch.
AtWork = Callable[[str, int], int]
# A tenant and a feature: those that are alike.
_Kind = tuple[str, int]


class Risen(msgspec.Struct, frozen=True, array_like=True, tag="risen"):
    """A window of an agent had more of a feature than it ever had; its level, and the base pane
    that it ends before.
    """

    who: Identity
    feature: int
    scale: int
    end: int
    level: int

    @property
    def kind(self) -> _Kind:
        return self.who.tenant, self.feature

    @property
    def since(self) -> int:
        """The last while of it is of windows that end after this."""
        return self.end - _WHILE_PANES[self.scale]


class Held(msgspec.Struct, frozen=True, array_like=True, tag="held"):
    """What would be said of an agent."""

    risen: Risen
    signal: Signal


_Row = Risen | Held


def risen_now(judged: Judged, agents: Sequence[Identity | None]) -> list[pl.DataFrame]:
    """Match rows of windows with more than their agents ever had. Of whom next to nothing is known
    says nothing of the place: agents can be made up.
    """
    closed = judged.closed
    known = judged.own >= np.minimum(PRIOR_WINDOWS, WARM[closed.scales])
    places, features = np.nonzero((judged.scores > 0) & known[:, None])
    kinds = np.array(_KIND_OF)[features]
    rows = [
        _risen(judged, place, kind, who)
        for place, kind in sorted(set(zip(places.tolist(), kinds.tolist(), strict=True)))
        if (who := agents[int(closed.slots[place])]) is not None
    ]
    return [_sent(rows)] if rows else []


def _risen(judged: Judged, place: int, kind: int, who: Identity) -> Risen:
    closed = judged.closed
    scale, end = int(closed.scales[place]), int(closed.ends[place])
    return Risen(who, kind, scale, end, int(closed.levels[place, kind]))


def held_now(crossing: Crossing, who: Identity, signal: Signal) -> pl.DataFrame:
    """The match row of what would be said of an agent."""
    risen = _risen(crossing.judged, crossing.place, _KIND_OF[crossing.feature], who)
    if crossing.judgement == ADDED_UP:
        risen = msgspec.structs.replace(risen, scale=_ALONE)
    return _sent([Held(risen, signal)])


def _sent(rows: Sequence[_Row]) -> pl.DataFrame:
    """As match rows."""
    who = [row.risen.who if isinstance(row, Held) else row.who for row in rows]
    frame = pl.DataFrame(
        {
            "tenant": [one.tenant for one in who],
            "partition_key": [one.partition_key for one in who],
            CROWD_ROW: [msgspec.json.encode(row).decode() for row in rows],
            GROUP: [""] * len(rows),
        }
    )
    return travelling(frame, CROWD, CROWD_VERSION)


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What was said of a crowd, of how many; the base pane that its newest window ends before."""

    signal: Signal
    agents: int
    end: int


class CrowdState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped."""

    risen: list[Risen]
    held: list[Held]
    alone: list[Held]
    told: list[tuple[str, int, Told]]
    over: int


class _Crowd(NamedTuple):
    """Who has risen, in windows of one length or shorter ones, and the middle of their levels: in
    longer windows there is more, so it asks less of them than it could.
    """

    agents: frozenset[Identity]
    level: int

    def is_less_than(self, risen: Risen) -> bool:
        """Whether a window has much more than they have."""
        return risen.level > self.level + _MORE


class Crowds:
    """All agents of the tenants that meet here. Not thread-safe."""

    def __init__(self, limit: int, at_work: AtWork) -> None:
        """`limit`: windows that are remembered."""
        self._limit, self._at_work = limit, at_work
        # Of each kind the levels of agents' windows, by lengths and ends.
        self._risen: dict[_Kind, dict[tuple[Identity, int, int], int]] = {}
        self._many = 0
        # What waits, and what was said of single agents in the last while; by signal.
        self._held: dict[str, Held] = {}
        self._alone: dict[_Kind, dict[str, Held]] = {}
        # Who had risen in the while before a base pane, as long as that is asked for.
        self._crowds: dict[tuple[_Kind, int, int], _Crowd] = {}
        # The newest crowd of each tenant and feature.
        self._told: dict[_Kind, Told] = {}
        # Windows that end at or before this base pane are judged.
        self._over = 0
        self.evicted = 0

    def take(self, rows: pl.DataFrame) -> None:
        """Take match rows in; one that comes twice counts once, one of a window that is over does
        not count.
        """
        ours = rows.filter((pl.col(RULE) == CROWD) & (pl.col(VERSION) == CROWD_VERSION))
        if CROWD_ROW not in ours.columns:
            return
        for text in ours[CROWD_ROW].drop_nulls().to_list():
            row = msgspec.json.decode(text, type=_Row)
            if (row.risen if isinstance(row, Held) else row).end <= self._over:
                self.evicted += 1
            elif isinstance(row, Held):
                self._held[row.signal.signal_id] = row
            else:
                self._remember(row)

    def _remember(self, row: Risen) -> None:
        came, key = self._risen.setdefault(row.kind, {}), (row.who, row.scale, row.end)
        if key not in came and self._many >= self._limit:
            self.evicted += 1
            return
        self._many += key not in came
        came[key] = row.level

    def close(self, before: int, revision: int) -> list[Signal]:
        """What is said of windows that end at or before a base pane."""
        over = sorted(
            (row for row in self._held.values() if row.risen.end <= before),
            key=lambda row: (row.risen.end, row.signal.signal_id),
        )
        found: dict[str, Signal] = {}
        for row in over:
            del self._held[row.signal.signal_id]
            for signal in self._judged(row, revision):
                self._say(found, signal)
        self._crowds = {}
        was, self._over = self._over, max(self._over, before)
        if self._over // EPOCH_PANES > was // EPOCH_PANES:
            self._forget()
        return list(found.values())

    @staticmethod
    def _say(found: dict[str, Signal], signal: Signal) -> None:
        """One signal is said once at a time, as it is at last."""
        was = found.pop(signal.signal_id, None)
        new = was is not None and was.change == "new"
        if signal.change == "retracted":
            if not new:
                found[signal.signal_id] = signal
        else:
            found[signal.signal_id] = changed(signal, "new", signal.revision) if new else signal

    def _judged(self, row: Held, revision: int) -> Iterable[Signal]:
        """What would be said is, or the place is, with what is taken back."""
        risen = row.risen
        crowd = None if risen.scale == _ALONE else self._crowd(risen)
        if crowd is None or crowd.is_less_than(risen):
            signal = changed(row.signal, "new", revision)
            if risen.scale != _ALONE:
                self._alone.setdefault(risen.kind, {})[signal.signal_id] = Held(risen, signal)
            yield signal
            return
        key, agents = risen.kind, crowd.agents | {risen.who}
        told = self._told.get(key)
        if told is not None and told.end <= risen.since:
            told = None
        if told is None or len(agents) >= 2 * told.agents:
            signal = _of_place(row, agents, told, revision)
            told = Told(changed(signal, "new", revision), len(agents), risen.end)
            yield signal
            yield from self._taken_back(risen, crowd, revision)
        self._told[key] = Told(told.signal, told.agents, risen.end)

    def _taken_back(self, risen: Risen, crowd: _Crowd, revision: int) -> Iterable[Signal]:
        """What was said of single agents that did no more than the crowd."""
        alone = self._alone.get(risen.kind, {})
        for signal_id, row in list(alone.items()):
            if row.risen.end > risen.since and not crowd.is_less_than(row.risen):
                del alone[signal_id]
                yield changed(row.signal, "retracted", revision)

    def _crowd(self, risen: Risen) -> _Crowd | None:
        """None: there are not so many."""
        of = risen.kind, risen.scale, risen.end
        if of not in self._crowds:
            self._crowds[of] = self._risen_beside(risen)
        crowd = self._crowds[of]
        many = len(crowd.agents) + (risen.who not in crowd.agents)
        at_work = self._at_work(risen.who.tenant, (risen.end - 1) // EPOCH_PANES)
        return crowd if many >= LEAST_AGENTS and many * _OF >= at_work else None

    def _risen_beside(self, risen: Risen) -> _Crowd:
        came: dict[Identity, int] = {}
        for (who, scale, end), level in self._risen.get(risen.kind, {}).items():
            if scale <= risen.scale and risen.since < end <= risen.end:
                came[who] = max(came.get(who, 0), level)
        levels = sorted(came.values())
        return _Crowd(frozenset(came), levels[(len(levels) - 1) // 2] if levels else 0)

    def _forget(self) -> None:
        """What no window to come is held against."""
        since = self._over - max(_WHILE_PANES)
        for kind, came in list(self._risen.items()):
            left = {key: level for key, level in came.items() if key[2] > since}
            self._many -= len(came) - len(left)
            self._risen[kind] = left
        self._risen = {kind: came for kind, came in self._risen.items() if came}
        for kind, alone in list(self._alone.items()):
            self._alone[kind] = {key: row for key, row in alone.items() if row.risen.end > since}
        self._alone = {kind: alone for kind, alone in self._alone.items() if alone}
        self._told = {kind: told for kind, told in self._told.items() if told.end > since}

    def state(self) -> CrowdState:
        """All of it."""
        risen = [
            Risen(who, feature, scale, end, level)
            for (_, feature), came in self._risen.items()
            for (who, scale, end), level in came.items()
        ]
        told = [(*key, one) for key, one in self._told.items()]
        alone = [row for rows in self._alone.values() for row in rows.values()]
        return CrowdState(risen, list(self._held.values()), alone, told, self._over)

    def restore(self, state: CrowdState) -> None:
        """Take up a state."""
        self._risen, self._many = {}, 0
        for risen in state.risen:
            self._remember(risen)
        self._held = {row.signal.signal_id: row for row in state.held}
        self._alone = {}
        for row in state.alone:
            self._alone.setdefault(row.risen.kind, {})[row.signal.signal_id] = row
        self._told = {(tenant, feature): told for tenant, feature, told in state.told}
        self._over = state.over


def _of_place(row: Held, agents: frozenset[Identity], told: Told | None, revision: int) -> Signal:
    """What is said of all of them, by what would have been said of one; again of more of them, if
    it was told.
    """
    one, risen, many = row.signal, row.risen, len(agents)
    first = one if told is None else told.signal
    feature, scale = NAMES[risen.feature], SCALES[risen.scale]
    names = sorted(who.agent for who in agents)[:_NAMED]
    named = ", ".join(names[:_TOLD])
    named += f" and {many - _TOLD:,} more" if many > _TOLD else ""
    minutes = _WHILE_PANES[risen.scale] * PANE_US // 60_000_000
    fields = {"feature": feature, "agents": str(many), "agents_named": ", ".join(names)}
    own_id = plain_id(one.tenant, CROWD_RULE, CROWD_VERSION, one.signal_id)
    return msgspec.structs.replace(
        one,
        signal_id=own_id if told is None else first.signal_id,
        revision=revision,
        change="new" if told is None else "revised",
        event_time=first.event_time,
        observed_time=first.observed_time,
        bucket_start=first.bucket_start,
        event_ids=first.event_ids,
        rule_id=CROWD_RULE,
        rule_version=CROWD_VERSION,
        title=TITLE,
        severity="medium",
        entity=across_entity(one.tenant, ""),
        entity_type="tenant",
        agent_id=None,
        agent_name=None,
        partition_key=None,
        principal_id=None,
        session_id=None,
        trace_id=None,
        tool_name=None,
        observables=[],
        group={},
        scores={"agents": float(many)},
        reason=Reason(
            text=f"{TITLE}: more {feature} in {scale.name} than they ever had, {many:,} agents "
            f"within {minutes:,} min: {named}. Of one of them: {one.reason.text}",
            fields=one.reason.fields | fields,
        ),
        witness=Witness(
            events=one.witness.events,
            window=one.witness.window | fields,
            versions=one.witness.versions | {"crowd": CROWD_VERSION},
            partial=True,
        ),
        runbook=_RUNBOOK,
    )
