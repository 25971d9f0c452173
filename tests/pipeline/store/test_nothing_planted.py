"""Sixty kinds of secrets and personal values stand in every field of an action. None of them leaves
the raw class: not to Kafka's other topics, ClickHouse, the feed, a SIEM, a log or a metric.
"""

import json
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import msgspec
import polars as pl
import pytest
from prometheus_client import generate_latest

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import build
from tachograph.pipeline.forward.formats import formats
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.personal import VARIABLE, redactors
from tachograph.pipeline.normalize.raw import Normalized, RawRecord
from tachograph.pipeline.secrets import operator_key
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.pending import Pending
from tachograph.pipeline.store.records import ACTIONS_TOPIC, Origin
from tachograph.pipeline.store.sink import Sink
from tachograph.pipeline.store.stage import redactor
from tachograph.pipeline.triage.desk import Arrival, Outcome, judge
from tachograph.pipeline.triage.gathering import Gathering
from tachograph.pipeline.triage.policy import Policy
from tachograph.schemas import batch, codec
from tachograph.schemas.action import Action
from tachograph.schemas.fields import Record
from tests.pipeline.store.planted import PLANTED

NOON = "2026-11-22T18:00:00.000000Z"
NOON_US = 1_795_370_400_000_000
# Every action fires, and its signal quotes what it says.
RULES = build(
    parse(
        """
title: everything
id: everything
logsource: {category: any}
detection:
  s:
    tool.args|contains: see
    content.text|contains: see
    tool.result|contains: see
    target.url|contains: see
    agent.id|contains: see
  condition: s
tacho: {risk_category: agent_operation}
level: critical
""",
        "everything.yml",
    )
)


def _closed(hint: Any) -> bool:
    return get_origin(hint) is Literal or any(_closed(one) for one in get_args(hint))


# A word that is none of theirs makes a dead letter: tried apart.
CLOSED = {name for name, hint in typing.get_type_hints(Action).items() if _closed(hint)}


def planted(text: str) -> dict[str, Any]:
    """An action that says it in every field that takes a text."""
    said: dict[str, Any] = {}
    for name, kind in batch.COLUMNS.items():
        if kind == pl.String and name not in CLOSED:
            said[name] = f"see {text} now"
        elif kind == pl.List(pl.String):
            said[name] = [text, f"see {text}"]
    args = json.dumps({"see": text, text: {"deep": [text]}})
    more = {"attributes": {"k": text, text: "v", "api": {"x": [text]}}, "newer": {"deep": [text]}}
    return {**said, "tool_args": args, **more, "kind": "tool_call", "event_time": NOON}


def raw_records() -> Iterator[RawRecord]:
    """Actions, snapshots, spans and what cannot be read, each with one of the values."""
    for number, (text, _) in enumerate(PLANTED.values()):
        snapshot = {
            "snapshot_id": text, "taken_at": NOON, "tenant": "x", "goals": [text],
            "agent_id": f"see {text}", "memory": {text: text}, "last_actions": [{"tool": text}],
        }  # fmt: skip
        values = [
            (planted(text), {}),
            (snapshot, {"tacho-record": b"state_snapshot"}),
            ({**planted(text), "attempt": f"see {text}"}, {"x-from": text.encode()}),
        ]
        for place, (value, headers) in enumerate(values):
            yield RawRecord(
                topic="agent.raw", partition=0, offset=number * 3 + place,
                timestamp_us=NOON_US, value=msgspec.json.encode(value), headers=headers,
            )  # fmt: skip


def spoken(*records: Record | bytes) -> str:
    """Records as they stand in Kafka."""
    return "\n".join(
        (one if isinstance(one, bytes) else codec.encode(one)).decode() for one in records
    )


def triaged(groups: list[Any], contexts: list[Any]) -> Outcome:
    """What triage makes of what detect wrote."""
    told = [("context", one) for one in contexts] + [("signal_group", one) for one in groups]
    return judge(
        [
            Arrival(partition=0, offset=at, at_ms=1, kind=kind, payload=codec.encode(one))
            for at, (kind, one) in enumerate(told)
        ],
        lambda _: None,
        Policy(),
    )


@pytest.fixture
def normalized(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Normalized:
    """All of it, as an operator has it who asked for personal values too."""
    monkeypatch.setenv(VARIABLE, "all,ip")
    secret = operator_key(settings.home)
    core = Normalizer(secret, settings.tenant, redactors=redactors(secret))
    return core.normalize(list(raw_records()))


def test_no_planted_value_leaves_the_raw_class(
    normalized: Normalized,
    settings: Settings,
    sink: Sink,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert len(PLANTED) >= 60
    kinds = len(PLANTED)
    frame = normalized.frame
    assert (frame.height, len(normalized.snapshots), len(normalized.dead)) == (kinds,) * 3
    found = WholeDetector(RULES).process(frame, normalized.links, 1)
    assert len(found.signals) == kinds
    outcome = triaged(found.groups, found.contexts)
    assert not outcome.refusals
    assert len(outcome.alerts) >= kinds - 5, "an agent whose name is one token is one agent"
    gathering = Gathering()
    for offset, member in enumerate(outcome.members):
        gathering.take(member, offset)
    told = gathering.news()

    topics: dict[str, list[Record]] = {
        "agent.signals": [*found.signals],
        "agent.alerts": [*outcome.alerts],
        "agent.state": [*normalized.snapshots],
        "agent.control": [*outcome.directives],
        "agent.incident_members": [*outcome.members],
        "agent.incidents": [*told.incidents],
    }
    seen = {name: spoken(*records) for name, records in topics.items()}
    assert all(seen.values()), [name for name, text in seen.items() if not text]
    seen[ACTIONS_TOPIC] = repr(batch.decode(batch.encode(frame)).to_dicts())
    seen["links"] = spoken(*normalized.links)
    seen["groups"] = spoken(*found.groups, *found.contexts, *told.links)
    for name, form in formats().items():
        seen[name] = spoken(*(form.render(alert) for alert in outcome.alerts))

    _store(sink, settings, {**topics, "agent.dead_letters": [*normalized.dead]}, frame)
    seen |= _tables(settings)
    seen["metrics"] = generate_latest().decode()
    captured = capfd.readouterr()
    seen["logs"] = captured.out + captured.err
    leaked = {
        (place, kind)
        for kind, (_, value) in PLANTED.items()
        for place, text in seen.items()
        if value in text or json.dumps(value)[1:-1] in text
    }
    assert leaked == set()


def _store(
    sink: Sink, settings: Settings, topics: dict[str, list[Record]], frame: pl.DataFrame
) -> None:
    pending = Pending(clock=lambda: 0, redact=redactor(settings), tenant=settings.tenant)
    pending.add(Origin((ACTIONS_TOPIC, 0), 0, batch.encode(frame)), "action_batch", 0.0)
    for topic, records in topics.items():
        for offset, record in enumerate(records):
            pending.add(Origin((topic, 0), offset, codec.encode(record)), "", 0.0)
    assert pending.letters == []
    sink.store(pending)


def _tables(settings: Settings) -> dict[str, str]:
    """All that ClickHouse holds, table by table."""
    with Connection(settings.clickhouse) as connection:
        names = [
            name
            for (name,) in connection.rows(
                "SELECT name FROM system.tables WHERE database = 'tacho' AND total_rows > 0"
            )
        ]
        held = {f"tacho.{name}": repr(connection.rows(f"SELECT * FROM tacho.{name}"))
                for name in names}  # fmt: skip
    wanted = ("actions_data", "signals_data", "alerts_data", "alerts_log", "agent_state_data",
              "snapshots_log", "directives_log", "dead_letters_data", "incidents_data")  # fmt: skip
    assert {f"tacho.{name}" for name in wanted} <= held.keys()
    return held
