# ruff: noqa: S608 - every value in these statements went through `quoted`
"""Mending stored actions when a link or a second report arrives: statements that write newer
copies.

The newer copy has the same key and a higher row version, so it takes the place of the old one in
every view at once, and a late repetition of the old one changes nothing. Done when written, once,
rather than joined in every question. Each statement may be run again: it finds nothing left to do.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.store.frames import KNOWN_SHIFT
from tachograph.pipeline.store.links import MAX_REPORTS, MAX_TWIN_KEYS, Pair, TraceKey

# A statement names this many keys at most: far below the longest statement a server takes.
KEYS_A_STATEMENT = 1_000
_MASK = (1 << KNOWN_SHIFT) - 1


# After a start, second reports are looked for among the actions of this long.
TWINS_WITHIN_MINUTES = 10
K = TypeVar("K")


def sliced(keys: Sequence[K]) -> Iterator[Sequence[K]]:
    """The keys in slices that fit a statement."""
    for at in range(0, len(keys), KEYS_A_STATEMENT):
        yield keys[at : at + KEYS_A_STATEMENT]


def lookup(keys: Sequence[TraceKey]) -> str:
    """Query for what was said of some traces: rows of (tenant, partition key, trace, *Said)."""
    return (
        "SELECT tenant, partition_key, trace_id, session_id, agent_id, agent_name, principal_id"
        f" FROM tacho.session_links WHERE {_among(keys, 'trace_id')}"
    )


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


def linked(keys: Sequence[TraceKey]) -> str:
    """Statement that gives stored actions of these traces what links say and they lack.

    First the narrow columns say which rows; only those are read whole.
    """
    among = _among(keys, "trace_id")
    news = """
        ((a.session_id = '' OR a.session_id = a.trace_id) AND NOT a.session_linked
            AND l.session_id != '' AND l.session_id != a.session_id) AS new_session,
        (a.agent_id = '' AND l.agent_id != '') AS new_agent,
        (a.agent_name = '' AND l.agent_name != '') AS new_name,
        (a.principal_id = '' AND l.principal_id != '') AS new_principal"""
    return f"""
INSERT INTO tacho.actions_data
WITH news AS
(
    SELECT
        a.tenant AS tenant, a.partition_key AS partition_key, a.event_time AS event_time,
        a.event_id AS event_id,
        l.session_id AS said_session, l.agent_id AS said_agent, l.agent_name AS said_name,
        l.principal_id AS said_principal,{news}
    FROM
    (
        SELECT tenant, partition_key, event_time, event_id, trace_id, session_id, session_linked,
            agent_id, agent_name, principal_id
        FROM tacho.actions_data FINAL WHERE {among}
    ) AS a
    INNER JOIN (SELECT * FROM tacho.session_links WHERE {among}) AS l
        ON a.tenant = l.tenant AND a.partition_key = l.partition_key AND a.trace_id = l.trace_id
    WHERE new_session OR new_agent OR new_name OR new_principal
)
SELECT w.* REPLACE
(
    if(n.new_session, n.said_session, w.session_id) AS session_id,
    if(n.new_agent, n.said_agent, w.agent_id) AS agent_id,
    if(n.new_name, n.said_name, w.agent_name) AS agent_name,
    if(n.new_principal, n.said_principal, w.principal_id) AS principal_id,
    w.session_linked OR n.new_session AS session_linked,
    toUInt8(w.fields_linked + n.new_session + n.new_agent + n.new_name + n.new_principal)
        AS fields_linked,
    {
        _version(
            "w.fields_linked + n.new_session + n.new_agent + n.new_name + n.new_principal",
            "w.twins_known",
        )
    } AS row_version
)
FROM {_whole("news")} AS w
INNER JOIN news AS n
    ON w.tenant = n.tenant AND w.partition_key = n.partition_key
    AND w.event_time = n.event_time AND w.event_id = n.event_id"""


def twinned(pairs: Iterable[Pair]) -> str:
    """Statement that shows the reports of one action as one row:

    the earliest, naming all of them.
    """
    keys = sorted({(pair.tenant, pair.partition_key, pair.twin_key) for pair in pairs})
    among = _among(keys, "twin_key")
    return f"""
INSERT INTO tacho.actions_data
WITH members AS
(
    SELECT tenant, partition_key, twin_key, event_time, event_id, twins_known,
        if(source_id = '', source_kind, source_id) AS source
    FROM tacho.actions_data FINAL
    WHERE {among} AND event_id IN
    (
        SELECT arrayJoin([event_id, same_as]) FROM tacho.same_as_data WHERE {among}
    )
),
grouped AS
(
    SELECT tenant, partition_key, twin_key,
        arraySlice(arraySort(groupArray((event_time, event_id, source))), 1, {MAX_REPORTS}) AS all,
        arrayMap(one -> one.2, all) AS ids,
        arrayMap(one -> one.3, all) AS sources,
        max(twins_known) AS known
    FROM members GROUP BY tenant, partition_key, twin_key
    HAVING length(ids) > known AND length(ids) > 1
)
SELECT w.* REPLACE
(
    if(w.event_id = g.ids[1], '', g.ids[1]) AS twin_of,
    g.ids AS report_ids,
    g.sources AS report_sources,
    toUInt16(length(g.ids)) AS twins_known,
    {_version("w.fields_linked", "length(g.ids)")} AS row_version
)
FROM {_whole("members")} AS w
INNER JOIN grouped AS g
    ON w.tenant = g.tenant AND w.partition_key = g.partition_key AND w.twin_key = g.twin_key
WHERE has(g.ids, w.event_id)"""


def _whole(keys: str) -> str:
    """Whole rows by the sort key; with no keys nothing is read."""
    return f"""
(
    SELECT * FROM tacho.actions_data FINAL
    WHERE (tenant, partition_key, event_time, event_id) IN
        (SELECT tenant, partition_key, event_time, event_id FROM {keys})
)"""


def _version(linked_fields: str, twins: str) -> str:
    """A copy that knows more stands above; among equals the one received first."""
    known = f"toUInt64({linked_fields} + 8 * {twins})"
    return f"bitOr(bitAnd(w.row_version, {_MASK}), bitShiftLeft({known}, {KNOWN_SHIFT}))"


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
