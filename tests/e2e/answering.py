"""Agents that answer what they are asked, and what has to be true of an alert's captured state
whatever was killed in the middle of its capture.
"""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, Producer, TopicPartition

from tachograph.pipeline.kafka.reader import SILENT
from tachograph.schemas import contracts
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.codec import decode, encode
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Directive
from tests.e2e.pipeline import Pipeline

# Every agent with an alert is asked, and stopped; nobody is late on a slow machine.
POLICY = """
[capture]
min_severity = "low"
answer_within_s = 3600

[[respond]]
kind = "quarantine"
reason = "Stopped until somebody has looked."
min_severity = "low"
session_only = false
"""
_GOAL = "said when it was asked"


class Agents:
    """All agents of a pipeline: each answers every capture request that it hears, once."""

    def __init__(self, pipeline: Pipeline) -> None:
        config = {**pipeline.settings.kafka.client_config(), "logger": SILENT}
        hashing = {"partitioner": "murmur2_random"}
        self._consumer = Consumer({**config, "group.id": "agents", "enable.auto.commit": False})
        self._producer = Producer(config | hashing)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        # Every directive as it came, in the order of its partition.
        self.heard: list[Directive] = []

    def __enter__(self) -> Self:
        count = contracts.topics()["agent.control"].partitions
        places = [TopicPartition("agent.control", part, 0) for part in range(count)]
        self._consumer.assign(places)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for directive in self._news():
                self._answer(directive)
            self._producer.flush(1)

    def _news(self) -> Iterator[Directive]:
        known = {one.directive_id for one in self.heard}
        for message in self._consumer.consume(100, 0.2):
            if message.error() is not None:
                continue  # the broker may be away
            directive = decode(Directive, message.value() or b"")
            self.heard.append(directive)
            if directive.kind == "capture" and directive.directive_id not in known:
                known.add(directive.directive_id)
                yield directive

    def _answer(self, directive: Directive) -> None:
        snapshot = StateSnapshot(
            snapshot_id=plain_id("answer", directive.directive_id),
            tenant=directive.tenant,
            taken_at=datetime.now(UTC),
            agent_id=directive.agent_id,
            directive_id=directive.directive_id,
            goals=[_GOAL],
        )
        self._producer.produce(
            "agent.state",
            encode(snapshot),
            f"{directive.tenant}/{directive.agent_id}".encode(),
            headers={RECORD_HEADER: b"state_snapshot"},
        )


def assert_captured(pipeline: Pipeline, agents: Agents) -> None:
    """No alert without its snapshot or a reason, each that asked is answered, and nobody was told
    a second thing for the same alert.
    """
    bare = pipeline.query(
        "SELECT alert_id FROM tacho.alerts_log WHERE record != ''"
        " AND (JSONExtractRaw(record, 'state') IN ('', 'null'))"
        " = (JSONExtractString(record, 'state_missing') = '')"
    )
    assert not bare, f"alerts without a snapshot or a reason: {bare[:3]}"
    asked = {one.alert_id for one in agents.heard if one.kind == "capture"}
    assert asked, pipeline.query("SELECT kind, count() FROM tacho.directives_log GROUP BY kind")
    rows = pipeline.query("SELECT alert_id, stage, status, state FROM tacho.alerts")
    open_ = [row for row in rows if row["alert_id"] in asked and row["status"] == "open"]
    assert open_
    unanswered = [row for row in open_ if row["stage"] != "answered"]
    assert not unanswered, f"{len(unanswered)} of {len(open_)} are not answered: {unanswered[:2]}"
    told: dict[tuple[str | None, str | None, str], set[str]] = {}
    for one in agents.heard:
        told.setdefault((one.alert_id, one.agent_id, one.kind), set()).add(one.directive_id)
    twice = {key: found for key, found in told.items() if len(found) > 1}
    assert not twice, f"{len(twice)} were told two things: {list(twice.items())[:2]}"
