"""Leaves and heads as rows of ClickHouse and records of Kafka."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.notarize.growing import Placed
from tachograph.pipeline.notarize.heads import HEADS_TOPIC
from tachograph.pipeline.store.catalogue import TABLES
from tachograph.pipeline.store.columns import arrow_schema
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.fields import Record
from tachograph.schemas.records import Deletion, TreeHead

LEAVES_TABLE = "leaves_log"
HEADS_TABLE = "tree_heads_log"


def leaf_rows(cluster: str, leaves: Sequence[Placed]) -> pa.Table:
    """Rows of leaves."""
    columns: dict[str, list[Any]] = {
        "log_cluster": [cluster] * len(leaves),
        "log_topic": [one.place[0] for one in leaves],
        "log_partition": [one.place[1] for one in leaves],
        "leaf_index": [one.number for one in leaves],
        "kind": [one.leaf.kind for one in leaves],
        "log_offset": [one.leaf.offset for one in leaves],
        "log_until": [one.leaf.until for one in leaves],
        "leaf": [one.leaf.hash.hex() for one in leaves],
    }
    return _table(LEAVES_TABLE, columns)


def head_rows(heads: Sequence[TreeHead]) -> pa.Table:
    """Rows of heads."""
    columns: dict[str, list[Any]] = {
        "log_cluster": [head.cluster for head in heads],
        "log_topic": [head.topic for head in heads],
        "log_partition": [head.partition for head in heads],
        "size": [head.size for head in heads],
        "root": [head.root for head in heads],
        "next_offset": [head.next_offset for head in heads],
        "signed_at": [head.signed_at for head in heads],
        "key_id": [head.key_id for head in heads],
        "record": [codec.encode(head).decode() for head in heads],
    }
    return _table(HEADS_TABLE, columns)


def _table(name: str, columns: dict[str, list[Any]]) -> pa.Table:
    schema = arrow_schema(column for column in TABLES[name].columns if column.name in columns)
    return pa.table(columns, schema=schema)


def send(writer: Writer, kind: str, record: TreeHead | Deletion) -> None:
    """Send a signed record to the topic of tree heads."""
    _send(writer, kind, f"{record.topic}/{record.partition}", record)


def _send(writer: Writer, kind: str, key: str, record: Record) -> None:
    headers = {RECORD_HEADER: kind.encode(), VERSION_HEADER: b"1"}
    writer.send(HEADS_TOPIC, codec.encode(record), key=key.encode(), partition=0, headers=headers)
