# ruff: noqa: S608 - every value in these statements went through `quoted`
"""Mending stored actions when a link or a second report arrives: queries and statements.

First a narrow query says which rows know less than they could; only those are written again, whole,
with what was learned and a higher row version. The newer copy has the same key, so it takes the
place of the old one in every view at once, and a late repetition of the old one changes nothing.
Done once, when it is learned, rather than joined in every question. Run again, it finds nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.store.frames import KNOWN_SHIFT
from tachograph.pipeline.store.links import FILLED, NOTHING, Said, TraceKey
from tachograph.pipeline.store.twins import MAX_REPORTS, MAX_TWIN_KEYS

# A statement names this many keys at most: far below the longest statement a server takes.
KEYS_A_STATEMENT = 1_000
ROWS_A_STATEMENT = 500
TWINS_A_STATEMENT = KEYS_A_STATEMENT // MAX_REPORTS
# After a start, second reports are looked for among the actions stored last, this long back.
TWINS_WITHIN_MINUTES = 10
_FIRST_RECEIVED = (1 << KNOWN_SHIFT) - 1
_TWINS_UNIT = 8  # above the four fields that links fill in

K = TypeVar("K")
Found = Iterable[tuple[Any, ...]]


class Change(NamedTuple):
    """A row to write again: its sort key, and column → new value as a literal."""

    tenant: str
    partition_key: str
    event_time_us: int
    event_id: str
    new: Mapping[str, str]


def sliced(keys: Sequence[K], size: int = KEYS_A_STATEMENT) -> Iterator[Sequence[K]]:
    """The keys in slices that fit a statement."""
    for at in range(0, len(keys), size):
        yield keys[at : at + size]


def lookup(keys: Sequence[TraceKey]) -> str:
    """Query for what was said of some traces: rows of (tenant, partition key, trace, *Said)."""
    return (
        "SELECT tenant, partition_key, trace_id, session_id, agent_id, agent_name, principal_id"
        f" FROM tacho.session_links WHERE {_among(keys, 'trace_id')}"
    )


def lacking(said: Mapping[TraceKey, Said]) -> str:
    """Query for stored actions of these traces that lack something which was said."""
    offered = [name for at, name in enumerate(FILLED) if any(one[at] for one in said.values())]
    absent = [
        "((session_id = '' OR session_id = trace_id) AND NOT session_linked)"
        if name == "session_id"
        else f"{name} = ''"
        for name in offered
    ]
    return f"""
SELECT tenant, partition_key, toUnixTimestamp64Micro(event_time), event_id, trace_id, session_id,
    agent_id, agent_name, principal_id, session_linked, fields_linked, twins_known, row_version
FROM tacho.actions_data FINAL
WHERE {_among(list(said), "trace_id")} AND ({" OR ".join(absent)})"""


def linked(found: Found, said: Mapping[TraceKey, Said]) -> Iterator[Change]:
    """What changes in the rows of `lacking`."""
    for tenant, place, time_us, event_id, trace, *rest in found:
        has = Said(*rest[:4])
        session_linked, fields_linked, twins_known, version = rest[4:]
        offered = said.get((tenant, place, trace), NOTHING)
        new = {
            name: quoted(theirs)
            for name, mine, theirs in zip(FILLED, has, offered, strict=True)
            if theirs and theirs != mine and _may_fill(name, mine, trace, linked=session_linked)
        }
        if not new:
            continue
        fields = fields_linked + len(new)
        yield Change(tenant, place, time_us, event_id, {
            **{name: new.get(name, quoted(mine)) for name, mine in zip(FILLED, has, strict=True)},
            "session_linked": "true" if session_linked or "session_id" in new else "false",
            "fields_linked": str(fields),
            "row_version": _version(version, fields, twins_known),
        })  # fmt: skip


def _may_fill(name: str, mine: str, trace: str, *, linked: bool) -> bool:
    if name == "session_id":
        return not linked and mine in ("", trace)
    return not mine


def recent_reports() -> str:
    """Query for what was stored last and may have twins: (tenant, place, twin key, event, source).

    Last by the newest row rather than by the clock: a stage may have been away for a day.
    """
    return f"""
SELECT DISTINCT tenant, partition_key, twin_key, event_id,
    if(source_id = '', source_kind, source_id) AS source
FROM tacho.actions_data
WHERE twin_key != '' AND stored_at >=
    (SELECT max(stored_at) - INTERVAL {TWINS_WITHIN_MINUTES} MINUTE FROM tacho.actions_data)
ORDER BY event_time DESC, event_id LIMIT {MAX_TWIN_KEYS}"""


def reported(keys: Sequence[tuple[str, str]]) -> str:
    """Query for what any process reported under some (tenant, twin key): of each source the first,
    as `recent_reports` has it.
    """
    tuples = ", ".join(f"({quoted(tenant)}, {quoted(twin_key)})" for tenant, twin_key in keys)
    return f"""
SELECT tenant, argMin(partition_key, (stored_at, event_id)), twin_key,
    argMin(event_id, (stored_at, event_id)), source
FROM tacho.twin_reports_data
WHERE (tenant, twin_key) IN ({tuples})
GROUP BY tenant, twin_key, source
ORDER BY min(stored_at), source LIMIT {MAX_REPORTS} BY tenant, twin_key"""


def reports(keys: Sequence[TraceKey]) -> str:
    """Query for the stored reports of some twin keys, in the order in which they are shown: first
    whose sender is proved, so that nobody puts his word in the place of another's; then who tells
    what was said or done, as a server's span seldom does; then the earliest.
    """
    among = _among(keys, "twin_key")
    return f"""
SELECT tenant, partition_key, twin_key, toUnixTimestamp64Micro(event_time) AS time_us, event_id,
    if(source_id = '', source_kind, source_id), fields_linked, twins_known, row_version
FROM tacho.actions_data FINAL
WHERE {among} AND event_id IN
    (SELECT arrayJoin([event_id, same_as]) FROM tacho.same_as_data WHERE {among})
ORDER BY tenant, twin_key, transform(assurance, ['authenticated', 'acl'], [0, 1], 2),
    tool_args = '' AND content_text = '' AND output_messages = '', time_us, event_id"""


def twinned(found: Found) -> Iterator[Change]:
    """What changes in the rows of `reports`: the first shows the action and names them all."""
    for _, group in groupby(found, key=lambda row: (row[0], row[2])):
        rows = list(group)[:MAX_REPORTS]
        if len(rows) < 2 or all(row[7] >= len(rows) for row in rows):
            continue
        ids = _array(str(row[4]) for row in rows)
        sources = _array(str(row[5]) for row in rows)
        for tenant, place, _key, time_us, event_id, _source, fields, _known, version in rows:
            first = event_id == rows[0][4]
            yield Change(tenant, place, time_us, event_id, {
                "twin_of": "''" if first else quoted(rows[0][4]),
                "report_ids": ids,
                "report_sources": sources,
                "twins_known": str(len(rows)),
                "row_version": _version(version, fields, len(rows)),
            })  # fmt: skip


def rewritten(changes: Sequence[Change]) -> str:
    """Statement that writes these rows again with what is new in them, the same columns in all."""
    ids = _array(change.event_id for change in changes)
    new = ",\n    ".join(
        f"[{', '.join(change.new[name] for change in changes)}][indexOf({ids}, event_id)] AS {name}"
        for name in changes[0].new
    )
    keys = ", ".join(
        f"({quoted(change.tenant)}, {quoted(change.partition_key)},"
        f" fromUnixTimestamp64Micro({change.event_time_us}, 'UTC'), {quoted(change.event_id)})"
        for change in changes
    )
    return f"""
INSERT INTO tacho.actions_data
SELECT * REPLACE
(
    {new}
)
FROM tacho.actions_data FINAL
WHERE (tenant, partition_key, event_time, event_id) IN ({keys})"""


def _version(old: int, fields_linked: int, twins: int) -> str:
    """A copy that knows more stands above; among equals the one received first."""
    known = fields_linked + _TWINS_UNIT * twins
    return f"toUInt64({(old & _FIRST_RECEIVED) | known << KNOWN_SHIFT})"


def _among(keys: Sequence[TraceKey], third: str) -> str:
    """Condition on the three columns; the columns one by one too, for primary key and indexes."""
    tenants, places, names = (_listed({key[at] for key in keys}) for at in range(3))
    tuples = ", ".join(f"({', '.join(quoted(part) for part in key)})" for key in keys)
    return (
        f"tenant IN ({tenants}) AND partition_key IN ({places}) AND {third} IN ({names})"
        f" AND (tenant, partition_key, {third}) IN ({tuples})"
    )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(quoted(value) for value in sorted(values))


def _array(values: Iterable[str]) -> str:
    return f"[{', '.join(quoted(value) for value in values)}]"
