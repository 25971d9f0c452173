"""What the tests of triage on a broker share: a story of records, a process, what came out."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from tachograph.pipeline.kafka.topics import provision
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.triage.app import ALERTS_TOPIC, CHANGELOG_TOPIC, GROUP, GROUPS_TOPIC
from tachograph.pipeline.triage.desk import Arrival, judge
from tachograph.pipeline.triage.entry import TriageRecord
from tachograph.pipeline.triage.policy import Policy
from tachograph.schemas.alert import Alert, SignalGroup, StateSnapshot
from tachograph.schemas.codec import decode, encode
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import CaptureAnswer, Context, IncidentLink
from tests.pipeline.triage import groups as make
from tests.waiting import WAIT_S

NAMES: dict[type, str] = {
    SignalGroup: "signal_group",
    Context: "context",
    CaptureAnswer: "capture_answer",
    IncidentLink: "incident_link",
}
PROGRAM = "from tachograph.pipeline.runner import run_stage; run_stage('triage')"


def story(seed: int, count: int, agents: int, rules: int = 6) -> list[TriageRecord]:
    """Revisions, retractions, contexts, repeats and disorder of many agents, the same each time."""
    chance = random.Random(seed)
    told: list[TriageRecord] = []
    for number in range(count):
        agent = f"agent-{chance.randrange(agents)}"
        rule = f"rule-{chance.randrange(rules)}"
        group_id = plain_id("group", agent, rule)
        kind = chance.random()
        if told and kind < 0.15:
            told.append(chance.choice(told))
        elif kind < 0.25:
            told.append(make.context(rule, number % 60, entity=agent, group_id=group_id))
        else:
            told.append(_revision(chance, agent, rule, max(0, number - chance.randrange(20))))
    return told


def _revision(chance: random.Random, agent: str, rule: str, revision: int) -> SignalGroup:
    severity = ("low", "medium", "high", "critical")[sum(rule.encode()) % 4]
    count = chance.choice((0, 1, 10, 100))
    return make.group(
        rule,
        severity,  # type: ignore[arg-type]
        revision=revision,
        count=count,
        entity=agent,
        group_id=plain_id("group", agent, rule),
    )


def send(writer: Writer, record: TriageRecord) -> None:
    """Write one record as detect does."""
    writer.send(
        GROUPS_TOPIC,
        encode(record),
        key=f"{record.tenant}/{record.entity}".encode(),
        headers={"tacho-record": NAMES[type(record)].encode()},
    )


def prepare(settings: Settings, partitions: int | None = None) -> Writer:
    """Topics of triage: with `partitions` made as their contracts say, else made by asking."""
    if partitions:
        provision(settings, partitions=partitions)
    writer = Writer(settings)
    for topic in (GROUPS_TOPIC, CHANGELOG_TOPIC, ALERTS_TOPIC):
        writer.partitions(topic)
    return writer


def undisturbed(messages: list[Message]) -> dict[str, Alert]:
    """Final alerts by id, of a run that nothing disturbs: no Kafka, no Faust, one pass."""
    arrivals = [
        Arrival(
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            at_ms=message.timestamp()[1],
            kind=_kind(message),
            payload=message.value() or b"",
        )
        for message in messages
    ]
    return {alert.alert_id: alert for alert in judge(arrivals, lambda _: None, Policy()).alerts}


def _kind(message: Message) -> str:
    headers: Any = message.headers() or []
    return str(dict(headers)["tacho-record"], "ascii")


def _bounds(consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
    """First and next offset; a topic that was only just created has no leader for a moment."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(place, WAIT_S)
        except KafkaException:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return low, high


def _committed(consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
    """Committed offsets; a coordinator that has just moved is asked again."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return consumer.committed(places, timeout=WAIT_S)
        except KafkaException:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def read_all(settings: Settings, topic: str) -> list[Message]:
    """Every record of a topic, in the order of each partition."""
    consumer = Consumer({**settings.kafka.client_config(), "group.id": "tests.read"})
    found: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, WAIT_S).topics[topic].partitions
        for number in partitions:
            place = TopicPartition(topic, number)
            low, high = _bounds(consumer, place)
            consumer.assign([TopicPartition(topic, number, low)])
            while low < high:
                message = consumer.poll(WAIT_S)
                assert message is not None
                assert message.error() is None, message.error()
                found.append(message)
                low = (message.offset() or 0) + 1
    finally:
        consumer.close()
    return found


def alerts_of(settings: Settings) -> list[Alert]:
    """Every alert record there is, decoded."""
    return [decode(Alert, message.value() or b"") for message in read_all(settings, ALERTS_TOPIC)]


def lag(settings: Settings) -> int:
    """Records that the group has not committed yet. What runs beside triage writes some, too, when
    its time has come: links of incidents, answers to captures. So none today may be some tomorrow.
    """
    consumer = Consumer({**settings.kafka.client_config(), "group.id": GROUP})
    try:
        partitions = consumer.list_topics(GROUPS_TOPIC, WAIT_S).topics[GROUPS_TOPIC].partitions
        places = [TopicPartition(GROUPS_TOPIC, number) for number in partitions]
        behind = 0
        for place in _committed(consumer, places):
            low, high = _bounds(consumer, place)
            behind += high - max(low, place.offset)
        return behind
    finally:
        consumer.close()


def uncommitted(settings: Settings) -> list[Message]:
    """The records that the group has not committed yet."""
    found = read_all(settings, GROUPS_TOPIC)
    places = [TopicPartition(GROUPS_TOPIC, n) for n in {one.partition() or 0 for one in found}]
    consumer = Consumer({**settings.kafka.client_config(), "group.id": GROUP})
    try:
        next_of = {place.partition: place.offset for place in _committed(consumer, places)}
    finally:
        consumer.close()
    return [one for one in found if (one.offset() or 0) >= next_of[one.partition() or 0]]


def written(settings: Settings, topic: str) -> int:
    """How many records were ever written to it: nothing is read for that."""
    consumer = Consumer({**settings.kafka.client_config(), "group.id": "tests.count"})
    try:
        return _written(consumer, topic)
    finally:
        consumer.close()


def _written(consumer: Consumer, topic: str) -> int:
    partitions = consumer.list_topics(topic, WAIT_S).topics[topic].partitions
    return sum(_bounds(consumer, TopicPartition(topic, number))[1] for number in partitions)


def wait_until_told(settings: Settings, process: "Process", beyond: int = 0) -> None:
    """Wait until more alert records than `beyond` are written. Fails when the process ends
    before.
    """
    deadline = time.monotonic() + WAIT_S
    consumer = Consumer({**settings.kafka.client_config(), "group.id": "tests.count"})
    try:
        while _written(consumer, ALERTS_TOPIC) <= beyond:
            assert process.running()
            assert time.monotonic() < deadline, "triage says nothing"
            time.sleep(0.3)
    finally:
        consumer.close()


def settled(state: StateSnapshot | None) -> StateSnapshot | None:
    """What was captured, whether or not the agent's time to answer was over by the end."""
    if state is None:
        return None
    missing = [one for one in state.missing if not one.startswith("published state: ")]
    return msgspec.structs.replace(state, missing=missing)


class Process:
    """`tacho triage` as a process of its own, which does not outlive its test (conftest.py)."""

    left: ClassVar[list["Process"]] = []

    def __init__(self, settings: Settings, log: Path) -> None:
        self.left.append(self)
        security = {
            f"KAFKA_{name.replace('.', '_').upper()}": value
            for name, value in settings.kafka.security.items()
        }
        environment = os.environ | security | {
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap,
            "TACHO_HOME": str(settings.home),
            "KAFKA_SESSION_S": "4",
        }  # fmt: skip
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM], env=environment, stdout=out, stderr=out
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it sleep, its heartbeats too."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Wake it."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(WAIT_S)

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._process.wait(WAIT_S)

    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.poll() is None


def wait_until_read(settings: Settings, process: Process) -> None:
    """Wait until everything is committed. Fails when the process ends before."""
    deadline = time.monotonic() + WAIT_S
    while lag(settings):
        assert process.running()
        assert time.monotonic() < deadline, f"{lag(settings)} records are not judged"
        time.sleep(1.0)
