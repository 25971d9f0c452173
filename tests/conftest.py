"""Brokers for every test that needs one: Apache Kafka, the stand-in, or each in turn.

Ask for `topic_name` (or call `new_name`) rather than inventing names: the brokers are shared.
"""

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, Protocol

import polars as pl
import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from infra.kafka.broker import KafkaBroker
from infra.kafka.jars import BrokerUnavailableError
from infra.kafka.shared import shared_broker, stop_shared_broker
from tests import alone, compiled, hung
from tests.hung import BEGAN, SHARED_FOLDER

# In CI each run asks the same, so that none fails by chance. Who works here asks something else
# each time. No test asserts a time: a busy machine would fail it.
if alone.in_ci():
    settings.register_profile("ci", settings.get_profile("ci"), max_examples=alone.usual_examples())
    settings.load_profile("ci")
else:
    settings.register_profile("here", deadline=None, max_examples=alone.usual_examples())
    settings.load_profile("here")

ROOT = Path(__file__).resolve().parents[1]
END_TO_END = "tests/e2e/"
# Its whole pipelines take as long as all others together.
DISTURBED = f"{END_TO_END}test_disturbed.py"
# Where slow tests are slow because they wait: for processes that start, sessions that end.
WAITING = "tests/pipeline/"
CHAINS = (DISTURBED, END_TO_END, WAITING)
POLARS_THREADS = "POLARS_MAX_THREADS"
REAL_BROKER_FIXTURES = {"kafka_broker", "private_kafka"}


class Broker(Protocol):
    """What a test may know of a broker."""

    @property
    def bootstrap_servers(self) -> str: ...


class SharedKafka:
    """The Apache Kafka broker of this test run."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder that all workers of this run share, and name its owner."""
    config.pluginmanager.register(hung)
    config.pluginmanager.register(alone)
    config.pluginmanager.register(compiled)
    if hasattr(config, "workerinput"):
        _keep_to_one_thread()
        return
    if config.getoption("numprocesses", default=None):
        os.environ.setdefault(POLARS_THREADS, "1")
    folder = tempfile.mkdtemp(prefix=f"tacho-tests-{os.getpid()}-")
    os.environ[SHARED_FOLDER] = folder
    (Path(folder) / BEGAN).touch()


def _keep_to_one_thread() -> None:
    """There are more workers than cores: more threads would only wait for one another. Processes
    that tests start have as many as they have anywhere.
    """
    pl.thread_pool_size()  # by the first question they are made
    os.environ.pop(POLARS_THREADS, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the shared broker, after every worker has ended."""
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(SHARED_FOLDER))
        stop_shared_broker(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _scope(nodeid: str) -> str:
    """What is run by one worker, in one go: a file, or all files of a chain that waits more than it
    works. Three chains beside each other leave two cores time for a worker that only works; all of
    their files at once would be too much, and one after the other they take too long.
    """
    file = nodeid.partition("::")[0]
    if file.startswith(END_TO_END):
        return DISTURBED if file == DISTURBED else END_TO_END
    return WAITING if file.startswith(WAITING) and _is_slow(file) else file


@cache
def _is_slow(file: str) -> bool:
    """Whether there are slow tests in it. Who hands out the work has names and no tests."""
    return "@pytest.mark.slow" in (ROOT / file).read_text("utf-8")


def _turn(nodeid: str) -> tuple[int, int]:
    """What takes longest comes first, so that no worker waits for it in the end: of two files of
    which nobody says so, that is the larger one more often than not.
    """
    scope, file = _scope(nodeid), nodeid.partition("::")[0]
    if scope in CHAINS:
        return CHAINS.index(scope), 0
    return len(CHAINS) + (not _is_slow(scope)), -_size_bytes(file)


@cache
def _size_bytes(file: str) -> int:
    return (ROOT / file).stat().st_size


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing that is imported and collected is ever garbage: it is not looked through, neither
    now nor while the tests run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which worker gets what."""
    if config.getoption("dist") != "loadfile":
        return None
    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = _scope
    return scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real broker, so that `-m "not kafka"` leaves it out; put all in turn."""
    for item in items:
        if REAL_BROKER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)
    items.sort(key=lambda item: _turn(item.nodeid))


@pytest.fixture(scope="session")
def kafka_broker() -> SharedKafka:
    """Apache Kafka, one node for the whole run: 4 partitions a topic, topics create themselves."""
    folder = Path(os.environ[SHARED_FOLDER])
    owner_pid = int(folder.name.split("-")[2])
    try:
        return SharedKafka(shared_broker(folder, owner_pid))
    except BrokerUnavailableError as error:
        _without_broker(error)


@pytest.fixture
def private_kafka(tmp_path: Path) -> Iterator[Callable[..., KafkaBroker]]:
    """Start brokers of this test alone, which it may kill; takes KafkaBroker's options."""
    made: list[KafkaBroker] = []

    def start(**options: Any) -> KafkaBroker:
        made.append(KafkaBroker(tmp_path / f"kafka-{len(made)}", **options))
        return started(made[-1])

    yield start
    for broker in made:
        broker.kill()


def started(broker: KafkaBroker) -> KafkaBroker:
    """A broker, started; the test is skipped where there can be none."""
    try:
        return broker.start()
    except BrokerUnavailableError as error:
        _without_broker(error)


@pytest.fixture(scope="session")
def mock_broker() -> Iterator[Broker]:
    """The stand-in broker, one for each worker: 4 partitions a topic, topics create themselves."""
    from tachograph.pipeline.standins.broker import MockBroker

    broker = MockBroker(partitions=4)
    yield broker
    broker.close()


@pytest.fixture(params=["standin", pytest.param("kafka", marks=pytest.mark.kafka)])
def any_broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn: what a test claims of this one holds on both."""
    name = "mock_broker" if request.param == "standin" else "kafka_broker"
    broker: Broker = request.getfixturevalue(name)
    return broker


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """Make names of topics and groups that no other test uses."""
    return lambda kind: f"{kind}.{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic_name(new_name: Callable[[str], str]) -> str:
    """Name a topic of this test alone."""
    return new_name("test")


def _without_broker(error: BrokerUnavailableError) -> NoReturn:
    """Skip with the reason, but fail in CI: there a missing broker must not look like a pass."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))
