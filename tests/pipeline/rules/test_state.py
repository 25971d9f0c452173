"""How far a window has come is read from the checkpoints of those who judge."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from tachograph.detectors.correlation.standing import Stands
from tachograph.detectors.language.bundle import bundle_of
from tachograph.detectors.partition import PartitionDetector
from tachograph.detectors.plan import Plan
from tachograph.detectors.reference.reference import shipped
from tachograph.pipeline.detect.checkpoints import Checkpoints
from tachograph.pipeline.detect.judges import ACTIONS, MATCHES, RAW_TOPICS, ActionJudge, MatchJudge
from tachograph.pipeline.detect.shard import Shard
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.in_force import Content, InForce
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.rules.state import run_state
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas import batch, codec
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Tick
from tests.detectors.made import at, frame
from tests.detectors.made import rules as compiled_of
from tests.pipeline.detect.records import Record

RULES = """
title: A read
name: read
logsource: {product: ai_agent}
detection: {s: {tool.name: read}, condition: s}
---
title: A send
name: send
logsource: {product: ai_agent}
detection: {s: {tool.name: send}, condition: s}
---
title: Many reads of a session
id: many-reads
correlation: {type: event_count, rules: [read], group-by: [session.id], timespan: 10m,
  condition: {gte: 5}}
---
title: Read, then sent, of a principal
id: read-sent
correlation: {type: temporal_ordered, rules: [read, send], group-by: [principal.id], timespan: 1h}
---
title: A lone read
id: lone
logsource: {product: ai_agent}
detection: {s: {tool.name: read}, condition: s}
"""


def log() -> list[Record]:
    rows = [
        {
            "event_id": plain_id(str(n)), "event_time": 1_000 + n, "observed_time": at(1_000 + n),
            "kind": "tool_call", "tool_name": "read", "session_id": "busy" if n < 3 else "calm",
            "principal_id": "alice", "partition_key": "agent",
        }
        for n in range(4)
    ]  # fmt: skip
    ticks = [
        Tick(raw_topic=topic, raw_partition=0, raw_partitions=1, observed_time=at(1_010))
        for topic in RAW_TOPICS
    ]
    values = [(b"action_batch", batch.encode(frame(rows)))]
    values += [(b"tick", codec.encode(tick)) for tick in ticks]
    return [Record(offset, *value) for offset, value in enumerate(values)]


def saved(settings: Settings, writer: Writer, plan: Plan) -> None:
    """Checkpoints as `detect` leaves them: of the first partition of both topics."""
    checkpoints = Checkpoints(settings, "detect", writer)
    shard = Shard((ACTIONS, 0), ActionJudge(plan), start=0, muted_until=0)
    shard.process(log())  # type: ignore[arg-type]
    across = Shard((MATCHES, 0), MatchJudge(plan), start=0, muted_until=0)
    sent = PartitionDetector(plan).process(batch.decode(log()[0].value()), [], 0).matches
    matches = [Record(n, b"match_batch", batch.encode(rows)) for n, rows in enumerate(sent)]
    across.process(matches)  # type: ignore[arg-type]
    for one in (shard, across):
        checkpoints.save(one.place, one.next_offset, "", one.dump(0))
    writer.flush()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker on which rules are in force and some actions were judged."""
    path = tmp_path_factory.mktemp("rules") / "rules.yml"
    path.write_text(RULES)
    content = Content.of(bundle_of([path], builtin=False), shipped())
    with MockBroker() as broker:
        found = Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers})
        writer = Writer(found)
        in_force = InForce(found, writer, content)
        saved(found, writer, in_force.plan)
        in_force.close()
        yield found


@pytest.fixture
def asked(settings: Settings) -> Callable[..., Any]:
    def ask(rule: str, *groups: str, as_json: bool = False) -> Any:
        sink = io.StringIO()
        run_state(rule, groups, settings, as_json=as_json, sink=sink)
        return msgspec.json.decode(sink.getvalue()) if as_json else sink.getvalue()

    return ask


def test_each_group_is_told_with_what_is_missing(asked: Callable[..., Any]) -> None:
    text = asked("many-reads")
    assert "agent.actions/0 at offset 4, watermark 1970-01-01T00:16:50Z: 2 groups" in text
    assert "group session.id=busy of agent, tenant default\n  asked: at least 5 actions" in text
    assert "3 actions   missing: 2 more" in text
    assert "agent.actions/1: no checkpoint yet" in text


def test_one_group_can_be_asked_for(asked: Callable[..., Any]) -> None:
    found = asked("many-reads", "session.id=calm", as_json=True)
    [place] = found["places"]
    assert (place["groups"], place["offset"]) == (1, 4)
    [standing] = place["told"]
    assert (standing["group"], standing["missing"]) == ({"session.id": "calm"}, "4 more")
    assert [event["event_id"] for event in standing["events"]] == [plain_id("3")]


def test_it_stands_as_of_its_newest_event_not_where_it_came_nearest() -> None:
    compiled = compiled_of(RULES)
    [rule] = [one for one in compiled.correlations if one.meta.rule_id == "many-reads"]
    detector = PartitionDetector(compiled)
    rows = [
        {"event_id": plain_id(str(second)), "event_time": second, "tool_name": "read",
         "kind": "tool_call", "session_id": "s", "late": second == 5_001}
        for second in (100, 110, 120, 5_000, 5_001)
    ]  # fmt: skip
    detector.process(frame(rows), [], 1)
    groups = detector.engine.bank.groups(rule)
    assert groups is not None
    [group] = groups
    assert Stands(groups).now(group).missing == "4 more"
    assert Stands(groups).at(group).missing == "2 more"


def test_groups_across_partitions_are_told_where_they_are_judged(asked: Callable[..., Any]) -> None:
    text = asked("read-sent")
    assert "agent.matches/0 at offset" in text
    assert "group principal.id=alice, tenant default" in text
    assert "1 of 2 steps: read at 00:16:43" in text
    assert "missing: " in text


@pytest.mark.parametrize(
    ("rule", "groups", "why"),
    [
        ("lone", [], "looks at single actions"),
        ("many-reads", ["agent.id=x"], "groups by session.id"),
        ("many-reads", ["session.id"], "write it as key=value"),
        ("nothing", [], "no rule nothing"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_reason(
    asked: Callable[..., Any], rule: str, groups: list[str], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        asked(rule, *groups)
