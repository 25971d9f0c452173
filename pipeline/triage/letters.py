"""Dead letters of triage: the refused record with its place, its reason and its bytes."""

import hashlib

from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.triage.desk import Refusal
from tachograph.schemas.codec import encode
from tachograph.schemas.records import DeadLetter

_MS_IN_US = 1_000
MAX_DETAIL_CHARS = 500


def letter_of(refusal: Refusal, topic: str) -> bytes:
    """The dead letter as it is written to Kafka."""
    arrival = refusal.arrival
    return encode(
        DeadLetter(
            topic=topic,
            partition=arrival.partition,
            offset=arrival.offset,
            stage="triage",
            reason=refusal.reason,
            detail=refusal.detail[:MAX_DETAIL_CHARS],
            observed_time=to_datetime(arrival.at_ms * _MS_IN_US),
            sha256=hashlib.sha256(arrival.payload).hexdigest(),
            size_bytes=len(arrival.payload),
            original=arrival.payload,
            headers={"tacho-record": arrival.kind},
        )
    )
