"""A Kafka broker for a first look and for tests: librdkafka's own in-process cluster.

It is reached through librdkafka's C interface, because only there can a topic be given its number
of partitions and a group its short first rebalance. Any Kafka client on this machine can use it.
"""

import argparse
import ctypes
import signal
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import cimpl

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.standins.child import Child, report, set_at_end_of_input

# What librdkafka's cluster has built in: the log of one partition holds no more than this.
MAX_PARTITION_BYTES = 5 * 1024 * 1024
MAX_PARTITION_BATCHES = 100_000
AUTO_PARTITIONS = 4
# Kafka's default of three seconds would be most of a test's time, and of a first look.
FIRST_REBALANCE_DELAY_MS = 200

LIMITS = (
    "Kafka is an in-memory stand-in on this machine: everything in it ends with this process.",
    f"Each partition keeps its newest {MAX_PARTITION_BYTES // 2**20} MiB or "
    f"{MAX_PARTITION_BATCHES:,} batches, in compacted topics too; intake slows down before "
    "unread records are cut off.",
    "Aborted transactions stay visible, and a search by time answers with the end of the log.",
)

_PRODUCER = 0
_ANY_BROKER = -1
_ERROR_TEXT_BYTES = 512


class MockBroker:
    """The cluster inside this process. Closing it drops every record.

    `partitions` is the number for each of `topics`; a topic that appears at first use always has
    AUTO_PARTITIONS. Raises ConfigError where librdkafka has no such cluster."""

    limits = LIMITS

    def __init__(
        self,
        partitions: int = AUTO_PARTITIONS,
        topics: Mapping[str, int] | tuple[str, ...] = (),
    ) -> None:
        self._library = _library()
        self._client = _new_client(self._library)
        self._cluster = self._library.rd_kafka_handle_mock_cluster(self._client)
        raw = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        self.bootstrap_servers = str(raw.decode())
        self.partitions = partitions
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(
            self._cluster, FIRST_REBALANCE_DELAY_MS
        )
        counts = topics if isinstance(topics, Mapping) else dict.fromkeys(topics, partitions)
        for name, count in counts.items():
            self.create_topic(name, count)

    def create_topic(self, name: str, partitions: int | None = None) -> None:
        """Create a topic with its own number of partitions. Raises ConfigError if it is there."""
        count = self.partitions if partitions is None else partitions
        code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), count, 1)
        if code:
            reason = self._library.rd_kafka_err2str(code).decode()
            raise ConfigError(f"the embedded broker cannot create topic {name!r}: {reason}")

    def answer_after(self, delay_ms: int) -> None:
        """Answer every request so much later, as a broker far away would."""
        self._library.rd_kafka_mock_broker_set_rtt(self._cluster, _ANY_BROKER, delay_ms)

    def close(self) -> None:
        """End the cluster and everything in it. May be called twice."""
        client, self._client = self._client, None
        if client:
            self._library.rd_kafka_destroy(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class EmbeddedBroker(Child):
    """The same cluster as a child process, for those who must survive its end."""

    limits = LIMITS

    def __init__(
        self, partitions: int = AUTO_PARTITIONS, topics: Mapping[str, int] | None = None
    ) -> None:
        named = [f"--topic={name}:{count}" for name, count in (topics or {}).items()]
        super().__init__(__name__, [f"--partitions={partitions}", *named], {})
        self.bootstrap_servers = str(self.report["bootstrap_servers"])
        self.partitions = partitions


def _library() -> Any:
    """The librdkafka that confluent-kafka brought, with the types of what we call."""
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "rd_kafka_conf_new": (pointer, ()),
        "rd_kafka_conf_set": (number, (pointer, text, text, text, ctypes.c_size_t)),
        "rd_kafka_new": (pointer, (number, pointer, text, ctypes.c_size_t)),
        "rd_kafka_destroy": (None, (pointer,)),
        "rd_kafka_err2str": (text, (number,)),
        "rd_kafka_handle_mock_cluster": (pointer, (pointer,)),
        "rd_kafka_mock_cluster_bootstraps": (text, (pointer,)),
        "rd_kafka_mock_topic_create": (number, (pointer, text, number, number)),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (pointer, ctypes.c_int32)),
        "rd_kafka_mock_broker_set_rtt": (number, (pointer, ctypes.c_int32, number)),
    }
    for name, (result, arguments) in signatures.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            reason = "this confluent-kafka has no embedded broker; set KAFKA_BOOTSTRAP_SERVERS"
            raise ConfigError(reason) from None
        function.restype, function.argtypes = result, arguments
    return library


def _new_client(library: Any) -> Any:
    """A client whose only work is to own the cluster. Raises ConfigError."""
    why = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
    conf = library.rd_kafka_conf_new()
    for name, value in ((b"test.mock.num.brokers", b"1"), (b"log_level", b"2")):
        if library.rd_kafka_conf_set(conf, name, value, why, len(why)):
            raise ConfigError(f"the embedded broker does not start: {why.value.decode()}")
    client = library.rd_kafka_new(_PRODUCER, conf, why, len(why))
    if not client:
        raise ConfigError(f"the embedded broker does not start: {why.value.decode()}")
    return client


def main() -> int:
    """The child: prints the bootstrap servers as a JSON line; ends on SIGTERM or with its input."""
    parser = argparse.ArgumentParser(description="Embedded Kafka broker")
    parser.add_argument("--partitions", type=int, default=AUTO_PARTITIONS)
    parser.add_argument("--topic", action="append", default=[], metavar="NAME:PARTITIONS")
    options = parser.parse_args()
    pairs = (item.rpartition(":") for item in options.topic)
    topics = {name: int(count) for name, _, count in pairs}
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    set_at_end_of_input(stop)
    try:
        broker = MockBroker(options.partitions, topics)
    except ConfigError as error:
        report(error=str(error))
        return 2
    with broker:
        report(bootstrap_servers=broker.bootstrap_servers)
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
