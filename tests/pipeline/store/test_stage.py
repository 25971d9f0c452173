"""The stage as a whole, on a consumer group: nothing lost, nothing doubled, on bad days too."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import clickhouse_connect
import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.kafka.broker import free_ports
from tachograph.pipeline import metrics
from tachograph.pipeline.kafka.generations import Generation
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.records import TOPICS
from tachograph.pipeline.store.rollups import FIRST
from tachograph.pipeline.store.sink import Sink
from tachograph.pipeline.store.stage import GROUP, Store
from tachograph.schemas import batch, codec, contracts
from tachograph.schemas.contracts import RECORD_HEADER
from tests.pipeline.store.conftest import Ask
from tests.pipeline.store.samples import action, at, frame, link
from tests.pipeline.store.wire import Relay
from tests.waiting import WAIT_S, eventually
from tests.warehouse import lay_tables, writer_of

PARTITIONS = 2


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    with MockBroker(PARTITIONS, TOPICS) as found:
        yield found


@pytest.fixture
def live(settings: Settings, broker: MockBroker) -> Settings:
    """Settings with a broker of this test."""
    return msgspec.structs.replace(
        settings, kafka=KafkaSettings(bootstrap=broker.bootstrap_servers)
    )


@contextmanager
def running(settings: Settings, url: str = "") -> Iterator[Store]:
    """The stage in a thread; ended cleanly. Impatient where the `url` is of one that fails."""
    stop = threading.Event()
    reached = msgspec.structs.replace(settings.clickhouse, url=url or settings.clickhouse.url)
    patience_s = 1 if url else 30
    sink = Sink(
        settings,
        stop.is_set,
        connect=lambda: Connection(
            reached, connect_timeout_s=patience_s, answer_timeout_s=patience_s
        ),
        sleep=lambda _: time.sleep(0.05),
        shared=lambda: store.shared,
    )
    store = Store(settings, stop, sink=sink, actions=Generation(PARTITIONS))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                store.round()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)
        finally:
            store.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield store
    finally:
        stop.set()
        thread.join()
    assert failures == []


def send(settings: Settings, count: int, start: int = 0, a_record: int = 50) -> None:
    """Actions in batches, an agent in one partition."""
    writer = Writer(settings)
    for first in range(start, start + count, a_record):
        rows = [
            action(settings.tenant, f"{settings.tenant}-{i}", event_time=at(i), trace_id="t1",
                   session_id="t1")
            for i in range(first, min(first + a_record, start + count))
        ]  # fmt: skip
        writer.send(
            "agent.actions", batch.encode(frame(rows)), partition=0,
            headers={RECORD_HEADER: b"action_batch"},
        )  # fmt: skip
    writer.flush()


def counted(ask: Ask, tenant: str) -> tuple[int, int]:
    """(rows, different actions) that an analyst sees."""
    [(rows, different)] = ask(
        f"SELECT count(), uniqExact(event_id) FROM tacho.actions WHERE tenant = '{tenant}'"
    )
    return int(rows), int(different)


def committed(settings: Settings, topic: str) -> int:
    """Sum of the committed next offsets of a topic."""
    onlooker = Consumer({**settings.kafka.client_config(), "group.id": GROUP})
    try:
        places = onlooker.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], 10)
        return sum(place.offset for place in places if place.offset > 0)
    finally:
        onlooker.close()


def test_everything_arrives_and_is_committed_after_it_is_stored(
    live: Settings, ask: Ask, tenant: str
) -> None:
    send(live, 500)
    writer = Writer(live)
    told = link(tenant, "t1", "conv")
    writer.send(
        "agent.actions", codec.encode(told), partition=0, headers={RECORD_HEADER: b"session_link"}
    )
    writer.send("agent.actions", b"{}", partition=1, headers={RECORD_HEADER: b"tick"})
    alert = {**msgspec.json.decode(contracts.examples("alert").valid["retracted"])}
    alert |= {"tenant": tenant, "status": "open"}
    writer.send("agent.alerts", msgspec.json.encode(alert))
    writer.flush()
    with running(live):
        eventually(lambda: counted(ask, tenant) == (500, 500), "500 actions")
        query = f"SELECT count() FROM tacho.alerts WHERE tenant = '{tenant}'"
        eventually(lambda: ask(query) == [(1,)], "the alert")
        query = f"SELECT DISTINCT session_id FROM tacho.actions WHERE tenant = '{tenant}'"
        eventually(lambda: ask(query) == [("conv",)], "the conversation")
        eventually(lambda: committed(live, "agent.actions") == 12, "all committed, ticks too")
        eventually(lambda: committed(live, "agent.alerts") == 1, "the alert is committed")


def test_what_is_read_and_not_stored_counts_as_lag(live: Settings) -> None:
    def lag() -> float | None:
        labels = {"stage": "store", "topic": "agent.actions"}
        return metrics.registry().get_sample_value("tacho_lag_records", labels)

    send(live, 200)
    with running(live, "http://127.0.0.1:9"):
        eventually(lambda: lag() == 4, "four records wait for ClickHouse")


def test_what_cannot_be_stored_is_a_dead_letter_and_the_rest_goes_on(
    live: Settings, ask: Ask, tenant: str
) -> None:
    writer = Writer(live)
    nameless = frame([action(tenant, "a"), {**action(tenant, "b"), "event_id": None}])
    writer.send("agent.actions", batch.encode(nameless), partition=0)
    writer.send("agent.actions", b"no arrow at all", partition=0)
    writer.send("agent.actions", batch.encode(nameless)[:200], partition=0)
    writer.send("agent.signals", b'{"signal_id": 7}')
    writer.flush()
    send(live, 1, start=1000)
    query = (
        "SELECT topic, ifNull(`index`, -1), stage FROM tacho.dead_letters"
        f" WHERE tenant = '{tenant}' ORDER BY topic, offset"
    )
    with running(live):
        eventually(lambda: len(ask(query)) == 4, "dead letters come round")
        eventually(lambda: counted(ask, tenant) == (2, 2), "the good ones")
    assert ask(query) == [
        ("agent.actions", 0, "store"),
        ("agent.actions", -1, "store"),
        ("agent.actions", -1, "store"),
        ("agent.signals", -1, "store"),
    ]


def test_a_server_that_accepts_and_never_answers_costs_nothing_but_time(
    live: Settings, server: EmbeddedClickHouse, ask: Ask, tenant: str
) -> None:
    send(live, 300)
    with Relay(server.url, "swallow") as relay, running(live, relay.url):
        eventually(lambda: relay.connections >= 3, "fresh connections are tried")
        assert committed(live, "agent.actions") == 0
        relay.mode = "pass"
        eventually(lambda: counted(ask, tenant) == (300, 300), "all of it")
        eventually(lambda: committed(live, "agent.actions") == 6, "committed")


def test_answers_that_are_lost_double_nothing(
    live: Settings, server: EmbeddedClickHouse, ask: Ask, tenant: str
) -> None:
    send(live, 300)
    with Relay(server.url) as relay, running(live, relay.url):
        eventually(lambda: counted(ask, tenant)[0] > 0, "the first ones")
        relay.mode = "deaf"
        send(live, 300, start=300)
        seen = relay.connections
        eventually(lambda: relay.connections >= seen + 2, "tried again")
        relay.mode = "pass"
        eventually(lambda: committed(live, "agent.actions") == 12, "committed")
    assert counted(ask, tenant) == (600, 600)


@pytest.mark.slow
def test_clickhouse_may_be_away_and_come_back(live: Settings, tmp_path: Path, tenant: str) -> None:
    home = tmp_path / "data"
    [port] = free_ports(1)
    lay_tables(home)
    first = EmbeddedClickHouse(home, port=port)
    here = msgspec.structs.replace(live, clickhouse=writer_of(first))
    with running(here):
        send(here, 200)
        eventually(lambda: committed(here, "agent.actions") == 4, "the first ones")
        os.kill(first.pid, signal.SIGKILL)
        first.close()
        send(here, 200, start=200)
        time.sleep(1)
        again = EmbeddedClickHouse(home, port=port, writer_password=first.writer_password)
        eventually(lambda: committed(here, "agent.actions") == 8, "the rest")
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    query = f"SELECT count(), uniqExact(event_id) FROM tacho.actions WHERE tenant = '{tenant}'"
    assert client.query(query).result_rows == [(400, 400)]
    client.close()
    again.close()


def child(settings: Settings, url: str) -> "subprocess.Popen[bytes]":
    """The stage as a process, as `tacho store` starts it."""
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap,
        "CLICKHOUSE_URL": url,
        "CLICKHOUSE_USER": settings.clickhouse.user,
        "CLICKHOUSE_PASSWORD": settings.clickhouse.password,
        "TACHO_HOME": str(settings.home),
        "TACHO_TENANT": settings.tenant,
    }
    code = "from tachograph.pipeline.runner import run_stage; run_stage('store')"
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


@pytest.mark.slow
def test_sigterm_in_mid_batch_is_clean_and_loses_nothing(
    live: Settings, server: EmbeddedClickHouse, ask: Ask, tenant: str
) -> None:
    send(live, 300)
    with Relay(server.url, "swallow") as relay:
        process = child(live, relay.url)
        eventually(lambda: relay.connections > 0, "a batch is on its way")
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert committed(live, "agent.actions") == 0
    with running(live):
        eventually(lambda: counted(ask, tenant) == (300, 300), "all of it")


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_and_doubles_nothing(
    live: Settings, server: EmbeddedClickHouse, ask: Ask, tenant: str
) -> None:
    send(live, 3000)
    process = child(live, server.url)
    eventually(lambda: counted(ask, tenant)[0] > 0, "it stores")
    process.kill()
    process.wait()
    send(live, 300, start=3000)
    with running(live):
        eventually(lambda: committed(live, "agent.actions") == 66, "all committed")
    assert counted(ask, tenant) == (3300, 3300)


@pytest.mark.slow
def test_a_second_member_takes_partitions_over_without_loss(
    live: Settings, ask: Ask, tenant: str
) -> None:
    send(live, 500)
    with running(live):
        eventually(lambda: counted(ask, tenant)[0] > 0, "the first member works")
        with running(live):
            send(live, 500, start=500)
            eventually(lambda: counted(ask, tenant) == (1000, 1000), "both halves")
            eventually(lambda: committed(live, "agent.actions") == 20, "committed")


@pytest.mark.slow
def test_reports_of_one_action_that_two_processes_read_are_one_row(
    live: Settings, ask: Ask, tenant: str
) -> None:
    with running(live) as one:
        eventually(lambda: one.owns(FIRST) and not one.shared, "one reads all")
        with running(live) as other:
            eventually(lambda: one.shared and other.shared, "each reads some")
            eventually(lambda: one.owns(FIRST) != other.owns(FIRST), "and not the same")
            writer = Writer(live)
            for partition, source in enumerate(("sdk", "gateway")):
                rows = [
                    action(tenant, f"{source}-{i}", event_time=at(i), twin_key=f"{tenant}-{i}",
                           source_id=source, partition_key=source)
                    for i in range(20)
                ]  # fmt: skip
                writer.send(
                    "agent.actions", batch.encode(frame(rows)), partition=partition,
                    headers={RECORD_HEADER: b"action_batch"},
                )  # fmt: skip
            writer.flush()
            both = f"tenant = '{tenant}' AND length(report_sources) = 2"
            eventually(
                lambda: ask(f"SELECT count() FROM tacho.actions WHERE {both}") == [(20,)],
                "both sources of each",
            )
            assert counted(ask, tenant) == (20, 20)
