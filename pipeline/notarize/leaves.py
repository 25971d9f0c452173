"""What a leaf says, byte for byte. docs/evidence.md tells strangers the same.

A leaf is a record, or a stretch of offsets that has none: the notary came when it was gone from the
log already, or what stood there was no record of that topic, which `store` refuses as well.
"""

import struct
from typing import Literal, NamedTuple

from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.notarize.merkle import leaf_hash
from tachograph.schemas import codec, contracts

# In this order they are told and shown. Topic → the log that keeps its records in ClickHouse.
LOGS = {
    "agent.alerts": "alerts_log",
    "agent.state": "snapshots_log",
    "agent.control": "directives_log",
    "agent.acks": "acks_log",
    "agent.dispositions": "dispositions_log",
    "agent.audit": "audit_log",
}
Kind = Literal["record", "gone", "refused"]
_CODES: dict[Kind, bytes] = {"record": b"\x01", "gone": b"\x02", "refused": b"\x03"}
_PLACE, _OFFSET = struct.Struct(">I"), struct.Struct(">Q")


class Leaf(NamedTuple):
    """A leaf: the offsets [offset, until) and the hash of what is said of them."""

    kind: Kind
    offset: int
    until: int
    hash: bytes


class Leaves:
    """Makes the leaves of one place."""

    def __init__(self, place: Place) -> None:
        self._type = contracts.topics()[place[0]].records[0].type if place[0] in LOGS else None
        topic = place[0].encode()
        named = struct.pack(">H", len(topic)) + topic + _PLACE.pack(place[1])
        self._begins = {kind: code + named for kind, code in _CODES.items()}

    def of_record(self, offset: int, value: bytes) -> bytes:
        """Hash of the leaf of a record."""
        return leaf_hash(self._begins["record"] + _OFFSET.pack(offset) + value)

    def of_none(self, kind: Kind, offset: int, until: int) -> bytes:
        """Hash of the leaf of offsets without a record."""
        return leaf_hash(self._begins[kind] + _OFFSET.pack(offset) + _OFFSET.pack(until))

    def none(self, kind: Kind, offset: int, until: int) -> Leaf:
        """The leaf of offsets without a record."""
        return Leaf(kind, offset, until, self.of_none(kind, offset, until))

    def read(self, offset: int, value: bytes | None) -> Leaf:
        """The leaf of what was read at an offset."""
        if not value or not self._decodes(value):
            return self.none("refused", offset, offset + 1)
        return Leaf("record", offset, offset + 1, self.of_record(offset, value))

    def _decodes(self, value: bytes) -> bool:
        if self._type is None:
            return False
        try:
            codec.decode(self._type, value)
        except codec.InvalidRecord:
            return False
        return True
