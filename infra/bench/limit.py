"""The limit: read agent.actions and decode every batch, and nothing else. Prints what it took."""

import os
import sys
import time
from typing import Final

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from infra.bench.gauge import Measured
from tachograph.pipeline.kafka.reader import SILENT, headers_of
from tachograph.schemas import batch
from tachograph.schemas.contracts import RECORD_HEADER

# The topic is read so often: once would be over too soon to be a figure.
PASSES: Final = 5
WARM_EVENTS: Final = 20_000
READ_RECORDS: Final = 64


def measure(bootstrap: str, partitions: int, total: int) -> Measured:
    """Read the topic of `total` actions over and over; the first of them are warming up."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"bench.limit.{os.getpid()}",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 65_536,
            "logger": SILENT,
        }
    )
    events, first = 0, (0, 0.0, 0.0)
    for turn in range(1, PASSES + 1):
        consumer.assign([TopicPartition("agent.actions", part, 0) for part in range(partitions)])
        while events < total * turn:
            events += sum(_decoded(message) for message in consumer.consume(READ_RECORDS, 0.2))
            if not first[0] and events >= min(WARM_EVENTS, total // 4):
                first = events, time.monotonic(), time.process_time()
    done = Measured(events - first[0], time.monotonic() - first[1], time.process_time() - first[2])
    consumer.close()
    return done


def _decoded(message: Message) -> int:
    """Actions in a record; ticks hold none."""
    if headers_of(message).get(RECORD_HEADER) != b"action_batch":
        return 0
    return batch.decode(message.value() or b"").height


if __name__ == "__main__":
    found = measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(msgspec.json.encode(list(found)).decode() + "\n")
