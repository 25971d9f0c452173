"""Silences: what is known and shall call nobody for a time. Said by an owner, for a reason, with an
end.

A signal that was observed while a silence holds and that it covers goes into a group of its own,
which triage keeps and does not count. So whether a signal is silenced depends on the signal and on
what was in force when it was observed, and one that is not covered is never hidden by those that
are.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from tachograph.schemas.alert import Signal

MAX_SILENCES = 1_000
MAX_LENGTH = timedelta(days=366)

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

# Fields of a signal that tell who acted; others are looked for in what the rule shows of its event.
_OWN = {
    "agent.id": "agent_id",
    "agent.name": "agent_name",
    "session.id": "session_id",
    "principal.id": "principal_id",
    "environment": "environment",
    "trace.id": "trace_id",
    "tool.name": "tool_name",
}


class Silence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Holds for signals observed in [starts, ends) that fit all of its patterns (`*`, `?`)."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
    owner: Text
    reason: Text
    starts: datetime
    ends: datetime
    tenant: Pattern = "*"
    rule: Pattern = "*"
    entity: Pattern = "*"
    fields: Annotated[dict[str, Pattern], msgspec.Meta(max_length=20)] = {}
    # Who ended it before its time.
    ended_by: Text | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for one that is endless or covers everything."""
        if self.starts.tzinfo is None or self.ends.tzinfo is None:
            raise ValueError("write times with Z or an offset")
        if self.ends < self.starts or self.ends - self.starts > MAX_LENGTH:
            raise ValueError(f"a silence ends after it starts, within {MAX_LENGTH.days} days")
        if {self.rule, self.entity, *self.fields.values()} <= {"*"}:
            raise ValueError("a silence names a rule, an entity or the value of a field")

    @property
    def words(self) -> str:
        """What alerts say of it."""
        return f"silenced by {self.owner} ({self.name}): {self.reason}"

    def covers(self, signal: Signal) -> bool:
        """Whether the signal is silenced by this."""
        moment = signal.observed_time or signal.event_time
        return (
            self.starts <= moment < self.ends
            and fnmatchcase(signal.rule_id, self.rule)
            and fnmatchcase(signal.tenant, self.tenant)
            and fnmatchcase(signal.entity, self.entity)
            and all(_fits(signal, field, wanted) for field, wanted in self.fields.items())
        )


def _fits(signal: Signal, field: str, wanted: str) -> bool:
    value = getattr(signal, _OWN[field]) if field in _OWN else signal.reason.fields.get(field)
    if value is None:
        value = signal.group.get(field)
    return value is not None and fnmatchcase(value, wanted)


class Silences:
    """All that were said; of several that cover a signal the first by name holds."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        """Beyond MAX_SILENCES those that end first are left out."""
        kept = sorted(silences, key=lambda one: (one.ends, one.name))[-MAX_SILENCES:]
        self._all = sorted(kept, key=lambda one: one.name)
        # Those that a rule may be silenced by; rules are few, signals many.
        self._of_rule: dict[str, list[Silence]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def of(self, signal: Signal) -> Silence | None:
        """The one that silences a signal; None: it is to be heard."""
        found = self._of_rule.get(signal.rule_id)
        if found is None:
            found = [one for one in self._all if fnmatchcase(signal.rule_id, one.rule)]
            self._of_rule[signal.rule_id] = found
        return next((one for one in found if one.covers(signal)), None)
