"""The tables of incidents: which alerts belong together, why, and the risk of who they share."""

import pyarrow as pa

from tachograph.pipeline.store.columns import TIME_TYPE, Column, columns_of
from tachograph.pipeline.store.ddl import PLACE, STORED_AT, Table, View
from tachograph.schemas.records import Incident, IncidentMember


def _column(name: str, kind: str, comment: str) -> Column:
    return Column(name, kind, pa.null(), "", comment)


INCIDENT = columns_of(Incident)
MEMBER = columns_of(IncidentMember)

INCIDENTS_DATA = Table(
    "incidents_data",
    """Every revision of an incident until it is merged away; read tacho.incidents instead.""",
    [*INCIDENT, *PLACE, STORED_AT],
    "ReplacingMergeTree(revision)",
    "(tenant, incident_id)",
    indexes=(
        "by_last_seen last_seen TYPE minmax GRANULARITY 1",
        "by_alert_ids alert_ids TYPE bloom_filter(0.01) GRANULARITY 1",
    ),
)
INCIDENTS = View(
    "incidents",
    """Alerts of one or many agents that belong together, and what joins them: each incident once.
Those that grew together with another, or whose alerts were taken back, are not shown.""",
    [*INCIDENT, STORED_AT],
    "FROM tacho.incidents_data FINAL\nWHERE status = 'open'",
)
INCIDENT_MEMBERS_DATA = Table(
    "incident_members_data",
    """What each alert rests on, at every revision until merged; read tacho.incident_members.""",
    [*MEMBER, *PLACE, STORED_AT],
    "ReplacingMergeTree(revision)",
    "(tenant, alert_id)",
    indexes=("by_last_seen last_seen TYPE minmax GRANULARITY 1",),
)
INCIDENT_MEMBERS = View(
    "incident_members",
    "What each alert rests on, and the incident it is in: each alert once.",
    [*MEMBER, STORED_AT],
    "FROM tacho.incident_members_data FINAL\nWHERE status != 'retracted'",
)
ENTITY_RISK = View(
    "entity_risk",
    """Risk of agents, principals and credentials: that of their open alerts, halving with age.""",
    [
        _column("tenant", "String", "whose data this is"),
        _column("entity_type", "String", "agent, principal or credential"),
        _column("entity", "String", "who; a credential by its fingerprint"),
        _column("risk", "Int64", "risk at last_seen [thousandths]"),
        _column("risk_now", "Int64", "risk as it has decayed until now [thousandths]"),
        _column("alerts", "UInt64", "open alerts"),
        _column("agents", "UInt64", "agents of those alerts"),
        _column("incidents", "UInt64", "incidents of those alerts"),
        _column("first_seen", TIME_TYPE, "earliest judged event [UTC]"),
        _column("last_seen", TIME_TYPE, "latest judged event [UTC]"),
    ],
    """FROM
(
    SELECT tenant, who.1 AS entity_type, who.2 AS entity, count() AS alerts,
        uniqExact(agent_id) AS agents, uniqExact(incident_id) AS incidents,
        min(m.first_seen) AS first_seen, max(m.last_seen) AS last_seen,
        groupArray((m.risk, m.last_seen, m.half_life_s)) AS risks,
        arraySum(one -> floor(one.1 * exp2(-dateDiff('microsecond', one.2, last_seen)
            / (one.3 * 1000000))), risks) AS risk,
        arraySum(one -> floor(one.1 * exp2(-greatest(0, dateDiff('microsecond', one.2, now64(6)))
            / (one.3 * 1000000))), risks) AS risk_now
    FROM tacho.incident_members AS m
    ARRAY JOIN arrayFilter(one -> one.2 != '', arrayConcat([('agent', agent_id),
        ('principal', principal_id)], arrayMap(one -> ('credential', one.value),
        arrayFilter(one -> one.kind = 'credential', shared)))) AS who
    WHERE (tenant, alert_id) IN (SELECT tenant, alert_id FROM tacho.alerts WHERE status = 'open')
    GROUP BY tenant, entity_type, entity
)""",
    {"risk": "toInt64(risk)", "risk_now": "toInt64(risk_now)"},
)
