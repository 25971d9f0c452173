"""One real broker, the embedded ClickHouse, and stages as processes of their own, for one run."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.kafka.broker import KafkaBroker, free_ports
from tachograph.pipeline import behind
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import SILENT
from tachograph.pipeline.kafka.topics import provision
from tachograph.pipeline.migrate import apply_migrations
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.schemas import contracts

HEAP_MB: Final = 1_024
STOP_S: Final = 30.0
RESET_S: Final = 60.0
CALL_S: Final = 10.0
OPERATOR_KEY: Final = "b3" * 32
OURS: Final = ("TACHO_", "KAFKA_", "CLICKHOUSE_", "PROMETHEUS_")


class StageEndedError(RuntimeError):
    """A stage ended while it was measured."""


class Stage:
    """`tacho NAME` as a process; its output goes to a file."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name, self._log = name, log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tachograph.pipeline.cli", name],
                env={**environment, "TACHO_PARENT_PID": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if name in behind.STAGES:
            behind.put(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raises StageEndedError with its last words when it has ended."""
        if self._process.poll() is not None:
            words = self._log.read_text("utf-8", errors="replace")[-1_500:]
            raise StageEndedError(f"{self.name} ended ({self._process.returncode}): {words}")

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait for its end; after the grace it is killed."""
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ask_to_stop()
        self.wait()


class Rig:
    """Servers of one run. Everything lives in one folder that goes at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._number = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="tacho-bench-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            broker = KafkaBroker(self.folder / "kafka", heap_mb=HEAP_MB, quick_start=False)
            self.broker = stack.enter_context(broker)
            clickhouse = EmbeddedClickHouse(
                self.folder / "clickhouse", port=free_ports(1)[0], stands_behind=True
            )
            self.clickhouse = stack.enter_context(clickhouse)
            self.settings = self._settings()
            self.admin = AdminClient(
                {**self.settings.kafka.client_config(), "logger": SILENT}  # type: ignore[dict-item]
            )
            provision(self.settings)
            apply_migrations(self.settings)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _settings(self) -> Settings:
        return Settings(
            kafka=KafkaSettings(bootstrap=self.broker.bootstrap_servers),
            clickhouse=ClickHouseSettings(
                url=self.clickhouse.url,
                user=EmbeddedClickHouse.writer_user,
                password=self.clickhouse.writer_password,
            ),
            home=self.folder / "home",
        )

    def environment(self) -> dict[str, str]:
        """What a stage is told, and nothing of ours that the caller's shell says."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return kept | {
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka.bootstrap,
            "CLICKHOUSE_URL": self.settings.clickhouse.url,
            "CLICKHOUSE_USER": self.settings.clickhouse.user,
            "CLICKHOUSE_PASSWORD": self.settings.clickhouse.password,
            "TACHO_HOME": str(self.settings.home),
            "TACHO_OPERATOR_KEY": OPERATOR_KEY,
            "TACHO_DOOR_PORT": str(free_ports(1)[0]),
        }

    def stage(self, name: str) -> Stage:
        """Start a stage."""
        self._number += 1
        self.settings.home.mkdir(parents=True, exist_ok=True)
        return Stage(name, self.environment(), self.folder / f"{name}-{self._number}.log")

    def reset(self) -> None:
        """Empty topics and no groups, as at the first start.

        Raises RetryLater when the broker does not let go of the old ones.
        """
        groups = [group.group_id for group in self.admin.list_consumer_groups().result().valid]
        if groups:
            for gone in self.admin.delete_consumer_groups(groups).values():
                gone.result(CALL_S)
        topics = list(contracts.topics())
        for gone in self.admin.delete_topics(topics, operation_timeout=CALL_S).values():
            gone.exception(CALL_S)
        end = time.monotonic() + RESET_S
        while time.monotonic() < end:
            try:
                provision(self.settings)
                if self._all_led():
                    return
            except (RetryLater, KafkaException):
                pass
            time.sleep(0.2)
        raise RetryLater("topics could not be emptied")

    def _all_led(self) -> bool:
        present = self.admin.list_topics(timeout=CALL_S).topics
        return all(
            name in present and all(part.leader >= 0 for part in present[name].partitions.values())
            for name in contracts.topics()
        )
