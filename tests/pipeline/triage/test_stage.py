"""Triage as a stage: on both brokers, over TLS, with company, and when it must not go on."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import aiokafka
import msgspec
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from mode.threads import WorkerThread

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.triage import app, desk, incomplete, stage
from tachograph.pipeline.triage.desk import Outcome
from tachograph.pipeline.triage.entry import Entry, TriageRecord
from tachograph.schemas import contracts
from tachograph.schemas.alert import Alert
from tachograph.schemas.codec import decode, encode
from tachograph.schemas.records import DeadLetter
from tests.pipeline.triage import groups as make
from tests.pipeline.triage import kafka
from tests.waiting import WAIT_S

TOPICS = (app.GROUPS_TOPIC, app.CHANGELOG_TOPIC, app.ALERTS_TOPIC, app.LETTERS_TOPIC)
SettingsFor = Callable[[str], Settings]


def quick(settings: Settings) -> Settings:
    """With a broker that soon gives up one that is not heard of."""
    kafka_settings = msgspec.structs.replace(settings.kafka, session_s=4.0)
    return msgspec.structs.replace(settings, kafka=kafka_settings)


class Running:
    """The stage on a thread of this process; leaving the block stops it and raises what it did."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.error: Exception | None = None

    def _run(self) -> None:
        try:
            stage.run(self._settings, self._stop)
        except (ConfigError, RetryLater) as error:
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the stage does not stop"
        if self.error:
            raise self.error

    def until_read(self) -> None:
        """Wait until everything there is has been judged and committed."""
        deadline = time.monotonic() + WAIT_S
        while kafka.lag(self._settings):
            assert self._thread.is_alive(), self.error
            assert time.monotonic() < deadline
            time.sleep(0.3)

    def until_failed(self) -> None:
        """Wait until the stage gives up."""
        self._thread.join(WAIT_S)


def newest(alerts: list[Alert]) -> dict[str, Alert]:
    """The newest revision of each alert."""
    return {alert.alert_id: alert for alert in sorted(alerts, key=lambda alert: alert.revision)}


def plain(alerts: dict[str, Alert]) -> dict[str, Alert]:
    """Alerts without the stamp of the record that happened to be the last of its batch, and without
    what the loops beside may have said more of when the stage was stopped: incidents, answers, and
    what follows of agents that did not answer.
    """
    bare: dict[str, Any] = {
        "revision": 0, "incident_id": None, "incident_reasons": [], "stage": "initial"
    }  # fmt: skip
    return {
        key: msgspec.structs.replace(
            a, **bare, updated_at=a.created_at, state=kafka.settled(a.state)
        )
        for key, a in alerts.items()
        if a.entity != incomplete.ENTITY
    }


def test_the_example_groups_become_the_example_alert_on_a_broker(
    settings_for: SettingsFor,
) -> None:
    with MockBroker(partitions=3, topics=TOPICS) as broker:
        settings = settings_for(broker.bootstrap_servers)
        writer = kafka.prepare(settings)
        for kind, names in {
            "signal_group": ("secret_then_egress", "instruction_in_tool_result", "credential_file"),
            "context": ("session_before_the_egress",),
        }.items():
            for name in names:
                writer.send(
                    app.GROUPS_TOPIC,
                    contracts.examples(kind).valid[name],
                    key=b"acme/billing-helper",
                    headers={"tacho-record": kind.encode()},
                )
        writer.flush()
        with Running(settings) as running:
            running.until_read()
        example = decode(Alert, contracts.examples("alert").valid["secret_sent_outside"])
        said = newest(kafka.alerts_of(settings))
        assert plain(said) == plain({example.alert_id: example})
        [record, *_] = kafka.read_all(settings, app.ALERTS_TOPIC)
        assert record.key() == b"acme/billing-helper"
        assert ("tacho-record", b"alert") in (record.headers() or [])


def test_a_restart_goes_on_where_it_stopped_and_repeats_nothing(
    settings_for: SettingsFor,
) -> None:
    # The stand-in lets a member join again only after a whole session.
    with MockBroker(partitions=3, topics=TOPICS) as broker:
        settings = quick(settings_for(broker.bootstrap_servers))
        writer = kafka.prepare(settings)
        records = kafka.story(7, 300, agents=9)
        for half in (records[:150], records[150:]):
            for record in half:
                kafka.send(writer, record)
            writer.flush()
            with Running(settings) as running:
                running.until_read()
        said = kafka.alerts_of(settings)
        assert len({(alert.alert_id, alert.revision) for alert in said}) == len(said)
        expected = kafka.undisturbed(kafka.read_all(settings, app.GROUPS_TOPIC))
        assert plain(newest(said)) == plain(expected)


async def _waits(_consumer: aiokafka.AIOKafkaConsumer) -> None:
    """As where the broker is away."""
    await asyncio.Event().wait()


async def _waits_on(_consumer: aiokafka.AIOKafkaConsumer) -> None:
    """Deaf to being cancelled, too."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("leaving", [_waits, _waits_on])
def test_a_consumer_that_does_not_stop_in_time_is_no_member_any_more(
    settings_for: SettingsFor,
    monkeypatch: pytest.MonkeyPatch,
    leaving: Callable[[aiokafka.AIOKafkaConsumer], Awaitable[None]],
) -> None:
    """It would be given partitions once the broker is back, and judge nothing of them."""
    with MockBroker(partitions=3, topics=TOPICS) as broker:
        settings = quick(settings_for(broker.bootstrap_servers))
        writer = kafka.prepare(settings)
        records = kafka.story(7, 60, agents=9)
        _send_all(writer, records[:30])
        with monkeypatch.context() as patched:
            patched.setattr(stage, "STOP_WITHIN_S", 1.0)
            patched.setattr(aiokafka.AIOKafkaConsumer, "stop", leaving)
            with Running(settings) as running:
                running.until_read()
        assert not [one for one in threading.enumerate() if isinstance(one, WorkerThread)]
        _send_all(writer, records[30:])
        with Running(settings) as running:
            running.until_read()
        expected = kafka.undisturbed(kafka.read_all(settings, app.GROUPS_TOPIC))
        assert plain(newest(kafka.alerts_of(settings))) == plain(expected)


@pytest.mark.slow
def test_a_broker_that_answers_slowly_costs_no_record_at_a_restart(
    settings_for: SettingsFor,
) -> None:
    # Faust reads on while it seeks to the committed offsets; the slower that is, the more it reads.
    with MockBroker(partitions=3, topics=TOPICS) as broker:
        settings = quick(settings_for(broker.bootstrap_servers))
        writer = kafka.prepare(settings)
        records = kafka.story(3, 1_500, agents=30, rules=20)
        _send_all(writer, records[:100])
        with Running(settings) as running:
            running.until_read()
        broker.answer_after(150)
        with Running(settings) as running:
            _send_all(writer, records[100:], pause_s=0.05)
            running.until_read()
        expected = kafka.undisturbed(kafka.read_all(settings, app.GROUPS_TOPIC))
        assert plain(newest(kafka.alerts_of(settings))) == plain(expected)


def test_a_table_that_was_left_without_a_commit_loses_no_record_either(
    settings_for: SettingsFor,
) -> None:
    with MockBroker(partitions=3, topics=TOPICS) as broker:
        settings = settings_for(broker.bootstrap_servers)
        writer = kafka.prepare(settings)
        for partition in range(3):
            entry = Entry(tenant="acme", entity="left", bucket_start=make.BUCKET)
            left = encode(msgspec.structs.replace(entry, partition=partition))
            writer.send(app.CHANGELOG_TOPIC, left, key=b"%d" % partition, partition=partition)
        _send_all(writer, kafka.story(3, 300, agents=30, rules=20))
        with Running(settings) as running:
            running.until_read()
        expected = kafka.undisturbed(kafka.read_all(settings, app.GROUPS_TOPIC))
        assert plain(newest(kafka.alerts_of(settings))) == plain(expected)


def test_a_fault_in_mid_batch_stops_the_stage_before_it_commits_past_the_batch(
    settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MockBroker(partitions=1, topics=TOPICS) as broker:
        settings = quick(settings_for(broker.bootstrap_servers))
        writer = kafka.prepare(settings)
        whole = desk.judge

        def once(*args: Any) -> Outcome:
            monkeypatch.setattr(app, "judge", whole)
            kafka.send(writer, make.group("b"))
            writer.flush()
            raise OSError("a fault of ours")

        monkeypatch.setattr(app, "judge", once)
        kafka.send(writer, make.group("a"))
        writer.flush()
        with (
            pytest.raises(RetryLater, match=r"finished: OSError at .*test_stage"),
            Running(settings) as running,
        ):
            running.until_failed()
        with Running(settings) as running:
            running.until_read()
        expected = kafka.undisturbed(kafka.read_all(settings, app.GROUPS_TOPIC))
        assert plain(newest(kafka.alerts_of(settings))) == plain(expected)


def test_what_cannot_be_read_is_a_dead_letter_with_its_bytes(settings_for: SettingsFor) -> None:
    with MockBroker(partitions=3, topics=TOPICS) as broker:
        settings = settings_for(broker.bootstrap_servers)
        writer = kafka.prepare(settings)
        rubbish = b'{"group_id": "cut off in the mid'
        writer.send(app.GROUPS_TOPIC, rubbish, key=b"k", headers={"tacho-record": b"signal_group"})
        writer.send(app.GROUPS_TOPIC, b"", key=b"k")
        kafka.send(writer, make.group("a"))
        writer.flush()
        with Running(settings) as running:
            running.until_read()
        letters = [
            decode(DeadLetter, message.value() or b"")
            for message in kafka.read_all(settings, app.LETTERS_TOPIC)
        ]
        assert rubbish in {letter.original for letter in letters}
        assert {letter.stage for letter in letters} == {"triage"}
        assert len(letters) == 2
        assert len(newest(kafka.alerts_of(settings))) == 1


def test_unequal_partition_counts_are_a_clear_error(settings_for: SettingsFor) -> None:
    with MockBroker(partitions=3, topics=TOPICS[:1]) as broker:
        broker.create_topic(app.CHANGELOG_TOPIC, 2)
        with pytest.raises(ConfigError, match=r"signal_groups has 3, .*changelog has 2"):
            stage.matching_partitions(settings_for(broker.bootstrap_servers))


def test_a_home_that_cannot_be_made_is_refused_by_name(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file where a folder belongs")
    with MockBroker(partitions=1, topics=TOPICS) as broker:
        settings = settings_for(broker.bootstrap_servers)
        with pytest.raises(ConfigError, match="TACHO_HOME"):
            stage.run(settings, threading.Event())


def test_a_broker_that_is_away_is_tried_again_later(settings_for: SettingsFor) -> None:
    with pytest.raises(RetryLater):
        stage.run(settings_for("127.0.0.1:9"), threading.Event())


@pytest.mark.slow
def test_a_broker_that_dies_and_comes_back_costs_nothing_and_a_refusal_commits_nothing(
    private_kafka: Callable[..., KafkaBroker], settings_for: SettingsFor, tmp_path: Path
) -> None:
    broker = private_kafka()
    settings = settings_for(broker.bootstrap_servers)
    writer = kafka.prepare(settings, 3)
    records = kafka.story(5, 600, agents=20)
    process = kafka.Process(settings, tmp_path / "triage.log")
    _send_all(writer, records[:300])
    kafka.wait_until_told(settings, process)
    broker.kill()
    time.sleep(3)
    broker.start()
    _send_all(writer, records[300:])
    kafka.wait_until_read(settings, process)
    expected = kafka.undisturbed(kafka.read_all(settings, app.GROUPS_TOPIC))
    assert plain(newest(kafka.alerts_of(settings))) == plain(expected)

    _limit_alerts(settings, max_bytes=10)
    kafka.send(writer, make.group("never-told", entity="someone-new"))
    writer.flush()
    assert process.wait() != 0
    assert b"acme/someone-new" in {one.key() for one in kafka.uncommitted(settings)}


def _limit_alerts(settings: Settings, max_bytes: int) -> None:
    """Make the broker refuse every alert for its size."""
    admin = AdminClient(settings.kafka.client_config())
    entry = ConfigEntry(
        "max.message.bytes", str(max_bytes), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(
        ConfigResource.Type.TOPIC, app.ALERTS_TOPIC, incremental_configs=[entry]
    )
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(WAIT_S)


@pytest.mark.slow
def test_two_processes_share_the_work_over_tls_and_one_survives_the_other(
    private_kafka: Callable[..., KafkaBroker], settings_for: SettingsFor, tmp_path: Path
) -> None:
    broker = private_kafka(secure=True)
    settings = settings_for(broker.bootstrap_servers)
    writer = kafka.prepare(settings, 3)
    secure = msgspec.structs.replace(settings, kafka=_secure(broker))
    records = kafka.story(11, 1_500, agents=30)
    log = tmp_path / "triage.log"
    _send_all(writer, records[:500])
    first = kafka.Process(secure, log)
    kafka.wait_until_read(settings, first)
    second = kafka.Process(settings, log)
    _send_all(writer, records[500:1_000], pause_s=0.3)
    kafka.wait_until_read(settings, second)
    _send_all(writer, records[1_000:])
    first.kill()
    kafka.wait_until_read(settings, second)
    assert second.stop() == 0
    expected = kafka.undisturbed(kafka.read_all(settings, app.GROUPS_TOPIC))
    said = kafka.alerts_of(settings)
    assert plain(newest(said)) == plain(expected)
    text = log.read_text()
    assert broker.credentials.password not in text
    assert "Title of rule" not in text


def _secure(broker: KafkaBroker) -> KafkaSettings:
    config = broker.credentials.client_config()
    return KafkaSettings(bootstrap=broker.secure_bootstrap_servers, security=config)


def _send_all(writer: Writer, records: list[TriageRecord], pause_s: float = 0.0) -> None:
    for start in range(0, len(records), 50):
        for record in records[start : start + 50]:
            kafka.send(writer, record)
        writer.flush()
        time.sleep(pause_s)
