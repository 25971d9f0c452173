"""The whole pipeline as real processes: Apache Kafka, the embedded ClickHouse and the stages, each
of which may be killed and started again.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import clickhouse_connect
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.kafka.broker import KafkaBroker, free_ports
from tachograph.pipeline.clock import to_us
from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.kafka.groups import unread
from tachograph.pipeline.kafka.reader import SILENT
from tachograph.pipeline.kafka.topics import provision
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.schemas import contracts
from tests.e2e.clocked_normalize import CLOCK, set_clock
from tests.e2e.load import PARTITIONS, RAW_TOPICS, Post
from tests.hung import SHARED_FOLDER
from tests.waiting import WAIT_S
from tests.warehouse import lay_tables

STAGES = ("store", "triage", "detect", "normalize")
OPERATOR_KEY = "5f" * 32
PASSWORD = "writer-of-a-test"
# Beside the shipped pack: rules whose groups lie in several partitions.
RULES = Path(__file__).with_name("across.yml")
# So long the broker waits for one that was killed.
SESSION_S = 5
SETTLE_S = 600.0
# Ticks go out once a second: whoever has nothing to read for longer has nothing under way.
QUIET_S = 2.0
# To ask how far everybody is costs the broker as much as a second of the whole pipeline at rest.
ASK_AGAIN_S = 1.0
CLOCK_STEP_US = 10_000_000
# What is sent at once costs every process a round and the broker a dozen requests, however little
# it is.
STEP_S = 0.4
NO_LIMIT = str(2**63 - 1)

# As `tacho up` starts them, save that the clock of `normalize` is the load's.
CLI = (sys.executable, "-m", "tachograph.pipeline.cli")
_PROGRAMS = {"normalize": (sys.executable, str(Path(__file__).with_name("clocked_normalize.py")))}

Row = dict[str, Any]


class Stage:
    """One stage as a process of its own, its output in a file."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        log: Path,
        program: Sequence[str] | None = None,
    ) -> None:
        """`program`: what runs it, if not `tacho NAME`."""
        self.name, self.log = name, log
        self._program = program or (*CLI, name)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    def start(self) -> None:
        """Start it; it must not run."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as sink:
            self._said_before = sink.tell()
            self._process = subprocess.Popen(
                self._program,
                env={**self._environment, "TACHO_PARENT_PID": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        assert self._process is not None
        self._process.kill()
        code = self._process.wait()
        assert code == -signal.SIGKILL, f"{self.name} had ended by itself: {self.last_words()}"

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """SIGTERM; it must end by itself and say that all went well."""
        self.ask_to_stop()
        self.has_stopped()

    def has_stopped(self) -> None:
        """Wait until it has ended, by itself and well."""
        if self._process is None:
            return
        code = self._process.wait(WAIT_S)
        assert code == 0, f"{self.name} ended with {code}: {self.last_words()}"

    def abandon(self) -> None:
        """End it whatever it does, after a test that failed."""
        if self.running and self._process is not None:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """What it has logged since its last start."""
        return self.log.read_bytes()[self._said_before :].decode("utf-8", errors="replace")

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", errors="replace")[-2_000:]


class Pipeline:
    """Servers and stages of one run. Use as a context manager; `start` starts the stages."""

    def __init__(
        self,
        broker: KafkaBroker,
        folder: Path,
        *,
        partitions: int | None = None,
        policy: str | None = None,
    ) -> None:
        """`partitions`: of our topics, the raw ones apart, where they are not as their contracts
        say. `policy`: of triage, where it is not the usual one.
        """
        self.folder = folder
        self.broker = broker
        folder.mkdir(parents=True)
        self._port = free_ports(1)[0]
        lay_tables(folder / "clickhouse")
        self.clickhouse: EmbeddedClickHouse | None = self._serve()
        url = self.clickhouse.url
        self.settings = Settings(
            kafka=KafkaSettings(bootstrap=broker.bootstrap_servers),
            clickhouse=ClickHouseSettings(
                url=url, user=EmbeddedClickHouse.writer_user, password=PASSWORD
            ),
            home=folder / "home",
        )
        self.clock = folder / "clock"
        self.environment = {
            **without_ours(os.environ),
            CLOCK: str(self.clock),
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "CLICKHOUSE_URL": url,
            "CLICKHOUSE_USER": EmbeddedClickHouse.writer_user,
            "CLICKHOUSE_PASSWORD": PASSWORD,
            "TACHO_HOME": str(self.settings.home),
            "TACHO_OPERATOR_KEY": OPERATOR_KEY,
            "KAFKA_SESSION_S": str(SESSION_S),
            "TACHO_RULES": str(RULES),
        }
        if policy is not None:
            (folder / "policy.toml").write_text(policy, "utf-8")
            self.environment["TACHO_TRIAGE_POLICY"] = str(folder / "policy.toml")
        share_compiled_rules(self.settings.home)
        create_topics(self.settings, partitions)
        self.stages = {name: self.stage(name) for name in STAGES}

    def _serve(self) -> EmbeddedClickHouse:
        return EmbeddedClickHouse(
            self.folder / "clickhouse", port=self._port, writer_password=PASSWORD
        )

    def stage(self, name: str, label: str | None = None) -> Stage:
        """A process of a stage, not started; `label` tells a second one apart."""
        log = self.folder / f"{label or name}.log"
        return Stage(name, self.environment, log, _PROGRAMS.get(name))

    def start(self) -> None:
        """Start all stages."""
        for stage in self.stages.values():
            stage.start()

    def stop(self) -> None:
        """Stop all stages at once; each must end cleanly."""
        for stage in self.stages.values():
            stage.ask_to_stop()
        for stage in self.stages.values():
            stage.has_stopped()

    def stop_clickhouse(self) -> None:
        """ClickHouse goes away; its data stay."""
        assert self.clickhouse is not None
        self.clickhouse.close()
        self.clickhouse = None

    def start_clickhouse(self) -> None:
        """ClickHouse comes back, on the same port and data."""
        self.clickhouse = self._serve()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stage in self.stages.values():
            stage.abandon()
        if self.clickhouse is not None:
            self.clickhouse.close()

    def settle(self, within_s: float = SETTLE_S, *, but: Container[str] = ()) -> None:
        """Wait until every stage has read, and finished, everything there is; `but`: groups that
        are not waited for.
        """
        end = time.monotonic() + within_s
        quiet_since, moved = None, False
        left: Any = None
        while time.monotonic() < end:
            left = self._left(but)
            if left:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= QUIET_S and moved:
                return
            elif time.monotonic() - quiet_since >= QUIET_S:
                # What was read last may not have been ticked: the clock stood still.
                set_clock(self.clock, int(self.clock.read_text()) + CLOCK_STEP_US)
                quiet_since, moved = None, True
            for stage in self.stages.values():
                assert stage.running, f"{stage.name} ended: {stage.last_words()}"
            time.sleep(ASK_AGAIN_S)
        words = "\n".join(f"--- {s.name}\n{s.last_words()}" for s in self.stages.values())
        raise AssertionError(f"not settled within {within_s} s; unread: {left}\n{words}")

    def _left(self, but: Container[str]) -> Any:
        try:
            found = unread(self.settings)
            return {place: count for place, count in found.items() if place[0] not in but}
        except TachoError as error:
            return str(error)

    def query(self, text: str) -> list[Row]:
        """Rows of a query, asked as an analyst asks: without a name."""
        client = clickhouse_connect.get_client(dsn=self.settings.clickhouse.url)
        try:
            return list(client.query(text).named_results())
        finally:
            client.close()


def share_compiled_rules(home: Path) -> None:
    """The rules are the same in every run, so they are compiled in the first."""
    kept = Path(os.environ[SHARED_FOLDER]) / "rules"
    kept.mkdir(exist_ok=True)
    home.mkdir(parents=True)
    (home / "cache").symlink_to(kept)


def without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """What no stage reads."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("TACHO_", "KAFKA_", "CLICKHOUSE_", "PROMETHEUS_"))
    }


def create_topics(settings: Settings, partitions: int | None = None) -> None:
    """Our topics by their contracts, but the raw ones keep the times that the load gives."""
    admin = AdminClient(settings.kafka.client_config())
    clock = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": NO_LIMIT}
    wanted = [
        NewTopic(name, PARTITIONS, 1, config={**contracts.topics()[name].config(), **clock})
        for name in RAW_TOPICS
    ]
    for future in admin.create_topics(wanted).values():
        future.result()
    provision(settings, partitions=partitions)


class Feed:
    """Puts posts into the raw topics, each under its own time, and moves the clock on with them.

    Make it before the stages start.
    """

    def __init__(self, pipeline: Pipeline, start: datetime) -> None:
        self._start, self._clock = start, pipeline.clock
        self._set_clock(0.0)
        self._producer = Producer(
            {
                **pipeline.settings.kafka.client_config(),
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.timeout.ms": 300_000,
                "logger": SILENT,
            }
        )

    def _set_clock(self, at_s: float) -> None:
        set_clock(self._clock, to_us(self._start + timedelta(seconds=at_s)))

    def send(self, posts: Sequence[Post]) -> None:
        """Send posts in the order of their times and wait until all is acknowledged; then, and not
        before, is it as late as the last of them.
        """
        for post in posts:
            at = self._start + timedelta(seconds=post.at_s)
            self._producer.produce(
                post.topic,
                post.value,
                partition=post.partition,
                timestamp=int(at.timestamp() * 1000),
            )
            self._producer.poll(0)
        assert self._producer.flush(300) == 0, "the broker did not take the load"
        self._set_clock(posts[-1].at_s)

    def send_over(
        self,
        posts: Sequence[Post],
        wall_s: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Send in the order given, spread evenly over `wall_s` seconds."""
        steps = max(1, int(wall_s / STEP_S))
        size = -(-len(posts) // steps)
        for begin in range(0, len(posts), size):
            self.send(posts[begin : begin + size])
            sleep(STEP_S)


# What two runs over the same posts must agree on. What tells of alerts without state goes by the
# hour in which an agent did not answer.

_ALERTS = """
SELECT alert_id, status, severity, confidence, risk, risk_category, risk_categories, title, entity,
       entity_type, agent_id, session_id, session_ids, first_seen, last_seen, created_at,
       signal_count, signal_ids, event_ids, frameworks, environment,
       arrayMap(r -> (r.rule_id, r.rule_version, r.severity, r.kind, r.count, r.suppressed), rules)
           AS members,
       arrayMap(r -> r.text, reasons) AS why, blind_spots, state != '' AS captured
FROM tacho.alerts WHERE entity != 'alerts:state'
"""
_SIGNALS = """
SELECT signal_id, rule_id, rule_version, severity, kind, risk_category, confidence, event_time,
       event_ids, event_count, entity, bucket_start, agent_id, session_id, trace_id, `group`,
       reason.text AS why, blind_spots
FROM tacho.signals WHERE entity != 'alerts:state'
"""
_ACTIONS = "SELECT event_id, tenant, partition_key, kind, event_time FROM tacho.actions"


class Outcome:
    """What stands in ClickHouse after a run: each thing once, or `of` fails."""

    def __init__(
        self, alerts: dict[str, Row], signals: dict[str, Row], actions: dict[str, Row]
    ) -> None:
        self.alerts, self.signals, self.actions = alerts, signals, actions

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """Read it by plain SELECTs."""
        return cls(
            _once(pipeline.query(_ALERTS), "alert_id"),
            _once(pipeline.query(_SIGNALS), "signal_id"),
            _once(pipeline.query(_ACTIONS), "event_id"),
        )

    def kinds(self) -> set[str]:
        """Kinds of signals that were found."""
        return {str(signal["kind"]) for signal in self.signals.values()}


def _once(rows: Sequence[Row], key: str) -> dict[str, Row]:
    found = {str(row[key]): row for row in rows}
    assert len(found) == len(rows), f"{len(rows) - len(found)} rows stand more than once by {key}"
    return found


def assert_same(undisturbed: Outcome, disturbed: Outcome) -> None:
    """Every action, signal and alert of the one, as it is there, and no other."""
    for name in ("actions", "signals", "alerts"):
        _same_rows(name, getattr(undisturbed, name), getattr(disturbed, name))


def _same_rows(name: str, expected: dict[str, Row], found: dict[str, Row]) -> None:
    lost = [expected[key] for key in sorted(expected.keys() - found.keys())]
    more = [found[key] for key in sorted(found.keys() - expected.keys())]
    assert not lost, f"{len(lost)} {name} are lost, such as {lost[:2]}"
    assert not more, f"{len(more)} {name} too many, such as {more[:2]}"
    differing = [
        {
            column: (row[column], found[key][column])
            for column in row
            if row[column] != found[key][column]
        }
        for key, row in expected.items()
        if row != found[key]
    ]
    assert not differing, f"{len(differing)} {name} differ (expected, found): {differing[:3]}"
