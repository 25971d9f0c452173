"""Signed tree heads: made, kept in a file outside ClickHouse, and found again after a restart.

The newest head of a tree holds all that is needed to go on: the tree's right edge and the next
offset. So a notary starts from the file, or, on another machine, from the topic.
"""

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.kafka.reader import SILENT, Place, headers_of, mapped
from tachograph.pipeline.kafka.whole import bounds
from tachograph.pipeline.log import get
from tachograph.pipeline.notarize.files import read_lines
from tachograph.pipeline.notarize.keys import UNSIGNED, Ring, SigningKey
from tachograph.pipeline.notarize.merkle import BadEdge, Edge
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.records import TreeHead

HEADS_TOPIC = "agent.tree_heads"
HEADS_FILE = "tree_heads.ndjson"
ENVIRONMENT = "TACHO_TREE_HEADS_FILE"
# The newest heads of the topic. Every tree has one among them: the quiet ones are signed anew each
# hour.
LAST_HEADS = 50_000
_READ_AT_ONCE = 1_000
_READ_WAIT_S = 0.1
_READ_TRIES = 300

log = get("notarize.heads")


def heads_file(home: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Where the heads are kept outside ClickHouse: TACHO_TREE_HEADS_FILE, else in TACHO_HOME."""
    named = (os.environ if environ is None else environ).get(ENVIRONMENT)
    return Path(named) if named else home / HEADS_FILE


def place_of(head: TreeHead) -> Place:
    """The place whose tree it is the head of."""
    return head.topic, head.partition


def edge_of(head: TreeHead) -> Edge:
    """The right edge that a head tells. Raises BadEdge when it does not make the head's root."""
    try:
        edge = Edge(head.size, [bytes.fromhex(found) for found in head.edge])
    except ValueError as error:
        raise BadEdge(str(error)) from error
    if edge.root().hex() != head.root:
        raise BadEdge("the edge is that of another root")
    return edge


def sign_head(
    key: SigningKey, cluster: str, place: Place, edge: Edge, *, next_offset: int, at: datetime
) -> TreeHead:
    """The head of a tree as it is now."""
    head: TreeHead = key.signed(
        TreeHead(
            cluster=cluster,
            topic=place[0],
            partition=place[1],
            size=edge.size,
            root=edge.root().hex(),
            next_offset=next_offset,
            edge=[found.hex() for found in edge.hashes],
            signed_at=at,
            key_id=key.key_id,
            signature=UNSIGNED,
        )
    )
    return head


def read_head(line: bytes) -> TreeHead | None:
    """The head that a line tells, or None."""
    try:
        return codec.decode(TreeHead, line)
    except codec.InvalidRecord:
        return None


def newest(heads: Iterable[TreeHead], cluster: str, ring: Ring) -> dict[Place, TreeHead]:
    """The largest head of each tree of a cluster. Raises ConfigError when it is not signed by us:
    nothing may be built on it.
    """
    found: dict[Place, TreeHead] = {}
    for head in heads:
        known = found.get(place_of(head))
        if head.cluster == cluster and (known is None or head.size > known.size):
            found[place_of(head)] = head
    for place, head in found.items():
        if not ring.holds(head):
            raise ConfigError(
                f"the newest head of {place[0]}/{place[1]} is not signed by a key of ours: tree"
                " heads were forged, or the notary's keys were lost; nothing is signed until then"
            )
    return found


def heads_in_file(path: Path) -> Iterable[TreeHead]:
    """Every head of the file. Raises OSError."""
    return (head for line in read_lines(path) if (head := read_head(line)) is not None)


def heads_in_topic(settings: Settings, *, last: int = LAST_HEADS) -> list[TreeHead]:
    """The newest heads of the topic. Blocks. Raises RetryLater, Refused."""
    consumer = Consumer(
        {
            **settings.kafka.client_config(),
            "group.id": "tacho.notarize.heads",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "logger": SILENT,
        }
    )
    at = TopicPartition(HEADS_TOPIC, 0)
    try:
        low, high = bounds(consumer, at)
        at.offset = max(low, high - last)
        if at.offset >= high:
            return []
        consumer.assign([at])
        return _read_until(consumer, at, high)
    except KafkaException as error:
        raise mapped(error.args[0], f"read {HEADS_TOPIC}") from error
    finally:
        consumer.close()


def _read_until(consumer: Consumer, at: TopicPartition, end: int) -> list[TreeHead]:
    found: list[TreeHead] = []
    silent = 0
    while consumer.position([at])[0].offset < end:
        messages = [m for m in consumer.consume(_READ_AT_ONCE, _READ_WAIT_S) if m.error() is None]
        silent = 0 if messages else silent + 1
        if silent > _READ_TRIES:
            raise RetryLater(f"{HEADS_TOPIC} cannot be read to its end")
        for message in messages:
            if headers_of(message).get(RECORD_HEADER, b"tree_head") == b"tree_head":
                head = read_head(message.value() or b"")
                found += [head] if head is not None else []
    return found
