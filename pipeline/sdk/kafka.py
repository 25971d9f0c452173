"""Straight to Kafka: records of one agent in one partition, so that its order holds."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tachograph.pipeline.sdk.buffer import Kind, Queued
from tachograph.pipeline.sdk.transport import Outcome

TOPIC: Final = "agent.raw"
ACKS: Final = "agent.acks"
JOINED_BYTES: Final = 65_536
# A handle of librdkafka that was forked can be neither used nor freed: its threads are elsewhere.
_ABANDONED: Final[list[Any]] = []
_NEVER: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})


class _Silent:
    """librdkafka's own log lines do not belong on an agent's terminal."""

    def log(self, *_args: object, **_kwargs: object) -> None:
        """Say nothing."""

    debug = info = warning = error = critical = log


SILENT: Final = _Silent()


class KafkaTransport:
    """Writes to agent.raw. Raises ValueError at construction for settings that librdkafka
    refuses.
    """

    def __init__(self, config: Mapping[str, Any], tenant: str, timeout_s: float) -> None:
        self._tenant, self._timeout_s = tenant, timeout_s
        self._config = {
            "client.id": "tacho.sdk",
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            # Java's and aiokafka's hash: the door writes an agent's records to the same partition.
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "delivery.timeout.ms": int(timeout_s * 1000),
            "logger": SILENT,
            **config,
        }
        try:
            self._producer: Producer | None = Producer(self._config)
        except KafkaException as error:
            raise ValueError(f"kafka: {error.args[0].str()}") from error

    def send(self, kind: Kind, records: Sequence[Queued]) -> Outcome:
        """Write a batch and wait until it is acknowledged; what was not is to be sent again."""
        failed: list[tuple[int, KafkaError]] = []
        acks = kind == "directive_ack"
        # Answers are read one a record.
        groups = [[record] for record in records] if acks else list(_joined(records))
        try:
            producer = self._producer = self._producer or Producer(self._config)
            for number, group in enumerate(groups):
                producer.produce(
                    ACKS if acks else TOPIC,
                    b"\n".join(record.payload for record in group),
                    f"{self._tenant}/{group[0].agent}".encode(),
                    headers={"tacho-record": kind.encode(), "content-type": b"application/json"},
                    on_delivery=_reporter(number, failed),
                )
            left = producer.flush(self._timeout_s + 1)
        except (KafkaException, BufferError) as error:
            self._replace()
            return Outcome(0, again=records, problem=str(error))
        if left:
            self._replace()  # what is still on its way there must not overtake what is sent again
            return Outcome(0, again=records, problem=f"{left} records were not acknowledged")
        return self._judged(groups, dict(failed))

    def _judged(self, groups: list[list[Queued]], failed: Mapping[int, KafkaError]) -> Outcome:
        sent, refused, again = 0, 0, list[Queued]()
        problem = None
        for number, group in enumerate(groups):
            error = failed.get(number)
            if error is None:
                sent += len(group)
                continue
            problem = error.str()
            if error.fatal():
                self._replace()
            if error.code() in _NEVER and len(group) == 1:
                refused += 1
            else:
                again += group
        return Outcome(sent, refused, again, problem=problem)

    def _replace(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0)
            self._producer = None

    def close(self) -> None:
        """Let the producer go; everything it had is acknowledged or to be sent again."""
        self._replace()

    def abandon(self) -> None:
        """Leave the producer to the process it belongs to."""
        if self._producer is not None:
            _ABANDONED.append(self._producer)
            self._producer = None


def _reporter(number: int, failed: list[tuple[int, KafkaError]]) -> Any:
    def report(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append((number, error))

    return report


def _joined(records: Sequence[Queued]) -> "list[list[Queued]]":
    """Neighbours of one agent as the lines of one Kafka record, up to its size."""
    groups: list[list[Queued]] = []
    for _, run in groupby(records, key=lambda record: record.agent):
        size_bytes = JOINED_BYTES
        for record in run:
            size_bytes += len(record.payload)
            if size_bytes > JOINED_BYTES:
                groups.append([])
                size_bytes = len(record.payload)
            groups[-1].append(record)
    return groups
