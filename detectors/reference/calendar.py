"""What holds for a time: standing approvals, and freezes in which nothing is to be changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from tachograph.detectors.reference.entries import Approval, Content, Freeze
from tachograph.detectors.reference.joins import ByValue, Join, Joiner, Values
from tachograph.detectors.reference.names import allowed

_PLACES = pl.List(pl.Int64)
_ACTION = ("tenant", "register_id", "agent_id", "agent_name", "tool_name", "target_env",
           "environment", "target_resource", "target_repo", "target_host")  # fmt: skip


class _Scope:
    """Where an approval or a freeze holds, whenever it does."""

    def __init__(self, entry: Approval | Freeze) -> None:
        self._tenant = entry.tenant
        self._targets, self._environments = allowed(entry.targets), allowed(entry.environments)
        self._agents = allowed(entry.agents if isinstance(entry, Approval) else None)
        self._excepted = allowed(entry.except_agents if isinstance(entry, Freeze) else None)
        self._tools = allowed(entry.tools if isinstance(entry, Approval) else None)
        self._asked = (
            isinstance(entry, Approval) and entry.agents is not None,
            isinstance(entry, Approval) and entry.tools is not None,
            entry.environments is not None,
            entry.targets is not None,
        )

    def covers(
        self,
        tenant: str | None,
        agents: Sequence[str | None],
        tool: str | None,
        environment: str | None,
        targets: Sequence[str | None],
    ) -> bool:
        """What it names must be there and must match; what it does not name is open."""
        if self._tenant not in (None, tenant) or any(self._excepted(one) for one in agents):
            return False
        found = (
            any(self._agents(one) for one in agents),
            self._tools(tool),
            self._environments(environment),
            any(self._targets(one) for one in targets),
        )
        return all(bool(answer) for answer, asked in zip(found, self._asked, strict=True) if asked)


def _covering(entries: Sequence[Approval | Freeze]) -> Callable[..., Values]:
    scopes = [_Scope(entry) for entry in entries]

    def covering(tenant: str | None, *facts: str | None) -> Values:
        agents, (tool, target_env, environment), targets = facts[:3], facts[3:6], facts[6:]
        where = target_env or environment
        places = [
            at for at, one in enumerate(scopes) if one.covers(tenant, agents, tool, where, targets)
        ]
        return (places or None,)

    return covering


@dataclass(frozen=True)
class _InForce:
    """The first entry that covers the action at its time, by id."""

    column: str
    places: str
    entries: Callable[[Content], Sequence[Approval | Freeze]]

    @property
    def gives(self) -> Mapping[str, pl.DataType]:
        """See Join."""
        return {self.column: pl.String()}

    @property
    def reads(self) -> tuple[str, ...]:
        """See Join."""
        return self.places, "event_time"

    def bind(self, content: Content) -> Joiner | None:
        """See Join."""
        entries = self.entries(content)
        spans = [(one.id, _us(one.valid_from), _us(one.valid_until)) for one in entries]
        return (lambda frame: self._joined(frame, spans)) if entries else None

    def _joined(
        self, frame: pl.DataFrame, spans: Sequence[tuple[str, int | None, int | None]]
    ) -> pl.DataFrame:
        found = pl.Series(self.column, [None], pl.String).new_from_index(0, frame.height)
        covered = frame[self.places].explode().unique().drop_nulls().sort(descending=True)
        times = frame["event_time"].to_physical().to_numpy()
        for place in covered:
            name, begin, end = spans[place]
            here = frame[self.places].list.contains(place).fill_null(value=False).to_numpy()
            here = here & (begin is None or times >= begin) & (end is None or times < end)
            found = found.scatter(np.flatnonzero(here), name)
        return frame.with_columns(found)


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1_000_000)


def _joins(
    column: str, places: str, entries: Callable[[Content], Sequence[Approval | Freeze]]
) -> tuple[Join, Join]:
    def make(content: Content) -> Callable[..., Values] | None:
        return _covering(entries(content)) if entries(content) else None

    return ByValue({places: _PLACES}, _ACTION, make), _InForce(column, places, entries)


JOINS: tuple[Join, ...] = (
    *_joins("approval_standing", "~approvals", lambda content: content.approvals),
    *_joins("freeze_active", "~freezes", lambda content: content.freezes),
)
