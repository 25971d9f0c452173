"""The samples inside rule files: actions that a rule must find, and actions that it must leave
alone.

A sample is an action as flat fields, or a list of them for rules over time. Beside fields of Action
an entry may say `at_s` (seconds after the first), and `repeat` with `every_s` to stand for several.
What a sample leaves out is filled with one tenant, agent and session.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.schemas.batch import COLUMNS

MAX_EVENTS = 10_000
_START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
_USUAL = {
    "tenant": "default",
    "partition_key": "sample",
    "agent_id": "sample-agent",
    "session_id": "sample-session",
}


class Case(msgspec.Struct, frozen=True):
    """One sample of one rule, and what came of it."""

    rule_id: str
    title: str
    case: str
    wanted: bool
    passed: bool
    reason: str = ""


def frame_of(sample: Any) -> pl.DataFrame:
    """The actions of a sample. Raises ValueError for a field that Action does not have."""
    entries = sample if isinstance(sample, Sequence) else [sample]
    rows = [row for entry in entries for row in _rows(entry)]
    if len(rows) > MAX_EVENTS:
        raise ValueError(f"a sample has at most {MAX_EVENTS} actions")
    names = {name for row in rows for name in row}
    unknown = sorted(names - set(COLUMNS))
    if unknown:
        raise ValueError(f"no field of an action: {', '.join(unknown)}")
    numbered = [{**row, "event_id": f"{place:032x}"} for place, row in enumerate(rows)]
    return pl.DataFrame(
        numbered, schema={name: COLUMNS[name] for name in sorted(names | {"event_id"})}
    )


def _rows(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    fields = dict(entry)
    first_s, times = fields.pop("at_s", 0), int(fields.pop("repeat", 1))
    every_s = fields.pop("every_s", 0)
    for place in range(times):
        moment = _START + timedelta(seconds=first_s + place * every_s)
        yield {**_USUAL, "event_time": moment, "observed_time": moment, **fields}


def cases(rules: RuleSet) -> Iterator[Case]:
    """Every sample of every rule, judged by that rule alone."""
    for rule in rules.rules:
        alone = rules.only([rule])
        samples = rule.meta.tacho.samples
        for wanted, name in ((True, "match"), (False, "no_match")):
            for place, sample in enumerate(getattr(samples, name)):
                yield _case(rule, alone, sample, f"{name}[{place}]", wanted=wanted)


def _case(rule: Rule, rules: RuleSet, sample: Any, name: str, *, wanted: bool) -> Case:
    meta = rule.meta
    try:
        found = bool(Engine(rules).judge(frame_of(sample), 1))
    except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
        return Case(
            meta.rule_id, meta.title, name, wanted, passed=False, reason=f"broken sample: {error}"
        )
    reason = "" if found == wanted else ("fired" if found else "did not fire")
    return Case(meta.rule_id, meta.title, name, wanted, found == wanted, reason)
