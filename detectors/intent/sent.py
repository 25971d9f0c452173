"""What is known of a session in one place and needed in another: who was told what, who did it, who
wished it. No content travels, only fingerprints; it goes the way of all matches.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
import polars as pl

from tachograph.detectors.correlation.travel import (
    GONE,
    GROUP,
    LATE,
    LEAF,
    RULE,
    STEPS,
    VERSION,
)
from tachograph.detectors.facts import FACT_COLUMNS, Facts
from tachograph.detectors.intent import marks, prints
from tachograph.detectors.intent.steps import Step, user_words

FLOWS = "intent.flows"
FLOWS_VERSION = "1"
# A flow of agents that work for one root session.
ROOT = "root "
Role = Literal["told", "did", "wished"]
_OF, _ROLE, _PRINTS, _GRAVE = "flow_of", "flow_role", "flow_prints", "flow_grave"
_FACTS = (
    *("event_id", "event_time", "tenant", "agent_id", "agent_name", "principal_id", "session_id"),
    *("trace_id", "partition_key", "environment", "tool_name", "synthetic", "replay"),
    "observed_time",
)
_SCHEMA: dict[str, pl.DataType] = {
    **{name: FACT_COLUMNS[name] for name in _FACTS},
    "event_time": pl.Int64(),
    **dict.fromkeys((RULE, VERSION, GROUP, _OF, _ROLE), pl.String()),
    **dict.fromkeys((STEPS, LEAF), pl.Int64()),
    **dict.fromkeys((LATE, GONE, _GRAVE), pl.Boolean()),
    _PRINTS: pl.List(pl.String()),
}
# Columns that only these rows have.
OWN = (_OF, _ROLE, _PRINTS, _GRAVE)


class Sent(msgspec.Struct, frozen=True):
    """One thing that an action did to a flow. `of`: the flow, the same wherever it is seen."""

    of: str
    role: Role
    prints: list[str]
    facts: Facts
    # A call that sends or destroys something.
    grave: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Tells it apart from all others."""
        return self.of, self.role, self.facts.event_id

    @property
    def actor(self) -> tuple[str, str]:
        """Who acted: the session of a service."""
        facts = self.facts
        return facts.partition_key or "", facts.session_id or facts.trace_id or ""


def of_root(steps: Iterable[Step]) -> list[Sent]:
    """What actions of agents that work for one root session did to it: brought in what asks for
    something, did something, or are its user's own words.
    """
    found: list[Sent] = []
    for step in steps:
        root = step.notes.get("root_session_id")
        if not root:
            continue
        of = f"{ROOT}{root}"
        if step.marks & marks.TOLD:
            found += _sent_if("told", of, prints.asked_of(step.brought), step)
        if step.marks & marks.USER and step.facts.session_id == root:
            said = " ".join(user_words(step.user))
            found += _sent_if("wished", of, prints.named(said), step)
        if step.marks & marks.CALL and step.risk not in ("read", ""):
            found += _sent_if("did", of, prints.given(step.args), step)
    return found


def of_memory(steps: Iterable[Step]) -> list[Sent]:
    """What was put into memory under low trust and asks for something."""
    found: list[Sent] = []
    for step in steps:
        if step.marks & marks.REMEMBERS:
            found += memory_flows("told", prints.asked_of(step.brought), step)
    return found


def memory_flows(role: Role, names: Iterable[str], step: Step) -> list[Sent]:
    """A part in the flow of each of these names through memory."""
    found: list[Sent] = []
    for one in prints.prints(prints.MEMORY, names):
        found += [Sent(f"{prints.MEMORY}{one}", role, [one], step.facts, _grave(step))]
    return found


def _sent_if(role: Role, of: str, names: Iterable[str], step: Step) -> list[Sent]:
    found = prints.prints(of, names)
    return [Sent(of, role, found, step.facts, _grave(step))] if found else []


def _grave(step: Step) -> bool:
    return bool(step.marks & marks.SINK) or step.risk in ("egress", "destructive", "execute")


def rows_of(entering: Iterable[Sent], leaving: Iterable[Sent] = ()) -> pl.DataFrame:
    """Match rows of what enters flows and of what leaves them."""
    rows = [_row(one, gone=False) for one in entering] + [_row(one, gone=True) for one in leaving]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _row(sent: Sent, *, gone: bool) -> tuple[object, ...]:
    facts, said = sent.facts, msgspec.structs.asdict(sent.facts)
    here = {name: said[name] for name in _FACTS if name != "event_time"}
    row = {
        **here,
        "event_time": facts.time_us,
        RULE: FLOWS,
        VERSION: FLOWS_VERSION,
        GROUP: sent.of,
        _OF: sent.of,
        _ROLE: sent.role,
        STEPS: 1,
        LEAF: 0,
        LATE: False,
        GONE: gone,
        _GRAVE: sent.grave,
        _PRINTS: sent.prints,
    }
    return tuple(row[name] for name in _SCHEMA)


def split(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match rows of rules, and of flows."""
    if rows.is_empty() or _OF not in rows.columns:
        return rows, rows.clear()
    mine = rows.get_column(RULE) == FLOWS
    return rows.filter(~mine).drop(OWN), rows.filter(mine)


def sent_of(rows: pl.DataFrame) -> list[tuple[Sent, bool]]:
    """What rows of flows say, and whether it leaves. Rows of another version are left out."""
    if rows.is_empty():
        return []
    ours = rows.filter(pl.col(VERSION) == FLOWS_VERSION)
    absent = [name for name in _SCHEMA if name not in ours.columns and name != GROUP]
    whole = ours.with_columns(pl.lit(None, _SCHEMA[name]).alias(name) for name in absent)
    return [(_sent(row), bool(row[GONE])) for row in whole.iter_rows(named=True)]


def _sent(row: dict[str, object]) -> Sent:
    known = {name: row[name] for name in _FACTS if name not in ("event_time", "tenant")}
    facts = Facts(time_us=row["event_time"], tenant=row["tenant"] or "default", **known)  # type: ignore[arg-type]
    prints: Sequence[str] = row[_PRINTS] or []  # type: ignore[assignment]
    return Sent(str(row[_OF]), row[_ROLE], list(prints), facts, bool(row[_GRAVE]))  # type: ignore[arg-type]
