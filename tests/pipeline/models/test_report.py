"""`tacho models report`: what is said live, and what would be said, kept apart in ClickHouse."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from tachograph.detectors.behaviour.unlike import UNLIKE
from tachograph.pipeline.models.report import run_report
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.schemas.alert import Reason, Signal
from tachograph.schemas.identity import plain_id
from tests.detectors.made import frame
from tests.pipeline.stored import Ask, Store

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def said(agent: str, hour: int, *, shadow: bool) -> Signal:
    moment = NOW - timedelta(hours=hour)
    return Signal(
        signal_id=plain_id(agent, str(hour), str(shadow)), revision=1, change="new",
        tenant="default", rule_id=UNLIKE.rule_id, rule_version="m2" if shadow else "m1",
        title=UNLIKE.title, severity="medium", kind="anomaly", risk_category="agent_operation",
        event_time=moment, event_ids=[], entity=agent, bucket_start=moment, shadow=shadow,
        reason=Reason(text=f"{agent} at {hour}", fields={}),
    )  # fmt: skip


def test_signals_of_the_shadow_are_counted_and_listed_apart(
    clickhouse: ClickHouseSettings, store: Store, ask: Ask, tmp_path: Path
) -> None:
    agents = [f"agent-{number}" for number in range(4)]
    store(
        frame(
            [
                {"event_id": plain_id(agent), "event_time": NOW.timestamp() - 3600,
                 "agent_id": agent, "kind": "tool_call", "partition_key": agent}
                for agent in agents
            ]
        )
    )  # fmt: skip
    live = [said("agent-0", 1, shadow=False)]
    store([*live, *(said(agent, hour, shadow=True) for agent in agents[:2] for hour in (1, 2))])
    sink = io.StringIO()
    settings = Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:9"), clickhouse=clickhouse, home=tmp_path
    )
    run_report(settings, NOW - timedelta(days=1), NOW, as_json=True, sink=sink)
    found = msgspec.json.decode(sink.getvalue())
    counted = [
        (row["way"], row["model"], row["signals"], row["agents"], row["agent_days"])
        for row in found["models"]
    ]
    assert counted == [("live", "m1", 1, 1, 4), ("shadow", "m2", 4, 2, 4)]
    assert len(found["examples"]) == 5
    assert ask("SELECT count() FROM tacho.signals WHERE rule_version = 'm2'") == [(0,)]
    assert ask("SELECT count() FROM tacho.shadow_signals") == [(4,)]
    text = io.StringIO()
    run_report(settings, NOW - timedelta(days=1), NOW, as_json=False, sink=text)
    assert "1 of 4" in text.getvalue()
    assert "shadow  agent-1  medium  agent-1 at 2" in text.getvalue()
