"""The dashboards of infra/grafana, made from a few lines a panel.

    python -m infra.grafana.dashboards

writes alerts.json, agents.json and pipeline.json beside this file, for Grafana's own ClickHouse
data source (`grafana-clickhouse-datasource`) with a read-only account. Queries ask the views that
analysts ask; `$__timeFilter` is the plugin's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

HERE: Final = Path(__file__).parent
TYPE: Final = "grafana-clickhouse-datasource"
SOURCE: Final = {"type": TYPE, "uid": "${source}"}
TABLE, TIMES = 1, 0
WIDTH: Final = 24


class Panel(msgspec.Struct, frozen=True):
    """One panel: what it shows, how, and the question behind it."""

    title: str
    # timeseries, table, stat, barchart
    kind: str
    sql: str
    width: int = 12
    height: int = 8
    unit: str = "short"
    about: str = ""


class Dashboard(msgspec.Struct, frozen=True):
    uid: str
    title: str
    panels: Sequence[Panel]


ALERTS: Final = Dashboard(
    "tacho-alerts",
    "Tachograph: alerts",
    [
        Panel(
            "Open alerts", "stat",
            "SELECT count() AS open FROM tacho.alerts WHERE status NOT IN ('closed', 'retracted')"
            " AND $__timeFilter(last_seen)",
            width=4, height=4,
        ),
        Panel(
            "Open, high or critical", "stat",
            "SELECT count() AS grave FROM tacho.alerts WHERE severity IN ('high', 'critical')"
            " AND status NOT IN ('closed', 'retracted') AND $__timeFilter(last_seen)",
            width=4, height=4,
        ),
        Panel(
            "Agents with alerts", "stat",
            "SELECT uniqExact(agent_id) AS agents FROM tacho.alerts WHERE $__timeFilter(last_seen)",
            width=4, height=4,
        ),
        Panel(
            "Alerts by severity", "timeseries",
            "SELECT $__timeInterval(last_seen) AS time, severity, count() AS alerts"
            " FROM tacho.alerts WHERE $__timeFilter(last_seen)"
            " GROUP BY time, severity ORDER BY time",
            width=12, height=8,
        ),
        Panel(
            "Alerts by kind of risk", "barchart",
            "SELECT risk_category, count() AS alerts FROM tacho.alerts"
            " WHERE $__timeFilter(last_seen) GROUP BY risk_category ORDER BY alerts DESC",
            width=12, height=4,
        ),
        Panel(
            "What waits, gravest first", "table",
            "SELECT last_seen, severity, risk, title, agent_id, principal_id, session_id, status,"
            " assignee, alert_id FROM tacho.alerts WHERE status NOT IN ('closed', 'retracted')"
            " AND $__timeFilter(last_seen) ORDER BY risk DESC LIMIT 100",
            width=24, height=10,
        ),
        Panel(
            "Rules: how often, and how often right", "table",
            "SELECT * FROM tacho.rule_quality ORDER BY alerts DESC LIMIT 100",
            width=24, height=10,
            about="Precision comes from the dispositions that analysts give.",
        ),
    ],
)  # fmt: skip
AGENTS: Final = Dashboard(
    "tacho-agents",
    "Tachograph: agents",
    [
        Panel(
            "Actions by kind", "timeseries",
            "SELECT $__timeInterval(event_time) AS time, kind, count() AS actions"
            " FROM tacho.actions WHERE $__timeFilter(event_time) GROUP BY time, kind ORDER BY time",
        ),
        Panel(
            "Refused and failed", "timeseries",
            "SELECT $__timeInterval(event_time) AS time, outcome, count() AS actions"
            " FROM tacho.actions WHERE $__timeFilter(event_time)"
            " AND outcome IN ('denied', 'failed') GROUP BY time, outcome ORDER BY time",
        ),
        Panel(
            "Busiest agents", "table",
            "SELECT agent_id, any(agent_name) AS name, count() AS actions,"
            " uniqExact(session_id) AS sessions, uniqExact(tool_name) AS tools,"
            " round(countIf(outcome = 'denied') / count(), 3) AS denied, max(event_time) AS last"
            " FROM tacho.actions WHERE $__timeFilter(event_time)"
            " GROUP BY agent_id ORDER BY actions DESC LIMIT 50",
        ),
        Panel(
            "Tools", "table",
            "SELECT tool_name, tool_server, count() AS calls, uniqExact(agent_id) AS agents,"
            " round(countIf(outcome = 'failed') / count(), 3) AS failed"
            " FROM tacho.actions WHERE tool_name != '' AND $__timeFilter(event_time)"
            " GROUP BY tool_name, tool_server ORDER BY calls DESC LIMIT 50",
        ),
        Panel(
            "Models and what they cost", "table",
            "SELECT model_provider, model_name, count() AS calls,"
            " sum(usage_input_tokens) AS tokens_in, sum(usage_output_tokens) AS tokens_out,"
            " round(sum(usage_cost_usd), 4) AS usd FROM tacho.actions"
            " WHERE model_name != '' AND $__timeFilter(event_time)"
            " GROUP BY model_provider, model_name ORDER BY calls DESC LIMIT 50",
        ),
        Panel(
            "Where data goes", "table",
            "SELECT target_domain, count() AS actions, uniqExact(agent_id) AS agents,"
            " sum(tool_bytes_out) AS bytes_out, min(event_time) AS first, max(event_time) AS last"
            " FROM tacho.actions WHERE target_domain != '' AND $__timeFilter(event_time)"
            " GROUP BY target_domain ORDER BY actions DESC LIMIT 50",
        ),
    ],
)  # fmt: skip
PIPELINE: Final = Dashboard(
    "tacho-pipeline",
    "Tachograph: the pipeline itself",
    [
        Panel(
            "Stages now", "table",
            "SELECT component, argMax(status, at) AS status, argMax(lag, at) AS lag,"
            " argMax(watermark, at) AS watermark, argMax(detail, at) AS detail, max(at) AS seen"
            " FROM tacho.health WHERE $__timeFilter(at) GROUP BY component ORDER BY component",
            width=24,
        ),
        Panel(
            "Lag of each stage", "timeseries",
            "SELECT $__timeInterval(at) AS time, component, max(lag) AS records"
            " FROM tacho.health WHERE $__timeFilter(at) AND lag IS NOT NULL"
            " GROUP BY time, component ORDER BY time",
        ),
        Panel(
            "From action to stored", "timeseries",
            "SELECT $__timeInterval(observed_time) AS time,"
            " quantile(0.5)(toUnixTimestamp(stored_at) - toUnixTimestamp(observed_time)) AS median,"
            " quantile(0.99)(toUnixTimestamp(stored_at) - toUnixTimestamp(observed_time)) AS p99"
            " FROM tacho.actions WHERE $__timeFilter(observed_time) GROUP BY time ORDER BY time",
            unit="s",
            about="Stored times are whole seconds.",
        ),
        Panel(
            "Dropped, late or refused", "table",
            "SELECT hour, what, source, count, detail FROM tacho.dropped_or_late"
            " WHERE $__timeFilter(hour) ORDER BY hour DESC, count DESC LIMIT 200",
            width=24,
        ),
        Panel(
            "Dead letters", "table",
            "SELECT observed_time, source, topic, reason, detail FROM tacho.dead_letters"
            " WHERE $__timeFilter(observed_time) ORDER BY observed_time DESC LIMIT 200",
            width=24,
        ),
    ],
)  # fmt: skip
DASHBOARDS: Final = {"alerts": ALERTS, "agents": AGENTS, "pipeline": PIPELINE}


def made(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "__inputs": [
            {"name": "source", "label": "ClickHouse", "type": "datasource", "pluginId": TYPE}
        ],
        "__requires": [
            {"type": "datasource", "id": TYPE, "name": "ClickHouse", "version": "4.0.0"}
        ],
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["tachograph"],
        "timezone": "utc",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": TYPE, "label": "ClickHouse"}]
        },
        "panels": _panels(dashboard.panels),
    }


def _panels(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    found = []
    x = y = row = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDTH:
            x, y, row = 0, y + row, 0
        found.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, row = x + panel.width, max(row, panel.height)
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    over_time = panel.kind == "timeseries"
    return {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "editorType": "sql",
                "queryType": "timeseries" if over_time else "table",
                "format": TIMES if over_time else TABLE,
                "rawSql": panel.sql,
            }
        ],
    }


def main() -> None:
    """Write them."""
    for name, dashboard in DASHBOARDS.items():
        text = msgspec.json.format(msgspec.json.encode(made(dashboard)), indent=2)
        (HERE / f"{name}.json").write_bytes(text + b"\n")


if __name__ == "__main__":
    main()
