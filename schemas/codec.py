"""Records to bytes and back: JSON between stages, canonical bytes where they are hashed."""

from functools import cache
from typing import Any, TypeVar

import msgspec

from tachograph.schemas.fields import Record

R = TypeVar("R", bound=Record)


class InvalidRecord(ValueError):
    """Bytes that are no record of the type asked for; the message says where and why."""


@cache
def _decoder(kind: type[R]) -> "msgspec.json.Decoder[R]":
    return msgspec.json.Decoder(kind)


_ENCODER = msgspec.json.Encoder()
_CANONICAL = msgspec.json.Encoder(order="sorted")


def decode(kind: type[R], payload: bytes) -> R:
    """Decode one JSON record. Raises InvalidRecord."""
    try:
        value: R = _decoder(kind).decode(payload)
        return value
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise InvalidRecord(str(error)) from error


def encode(record: Record) -> bytes:
    """Encode one record as JSON, leaving out fields at their default."""
    return _ENCODER.encode(record)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys: the same value gives the same bytes."""
    return _CANONICAL.encode(value)
