"""Dead letters of triage: the refused record with its place, its reason and its bytes."""

import hashlib

import msgspec

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.dead_letters import Quota
from tachograph.pipeline.triage.desk import Refusal
from tachograph.schemas.codec import encode
from tachograph.schemas.records import DeadLetter

_MS_IN_US = 1_000
MAX_DETAIL_CHARS = 500


class Letters:
    """Makes dead letters; above its limit a source's letters keep the hash and lose the bytes."""

    def __init__(self, topic: str, quota: Quota | None = None) -> None:
        self._topic = topic
        self._quota = quota or Quota()
        self.written: dict[str, int] = {}

    def write(self, refusal: Refusal) -> bytes:
        """The dead letter as it goes to Kafka."""
        letter = _letter(refusal, self._topic)
        metrics.DEAD_LETTERS.labels("triage", letter.reason).inc()
        self.written[letter.reason] = self.written.get(letter.reason, 0) + 1
        if not self._quota.admits(letter):
            metrics.DROPPED.labels("triage", "dead_letter_bytes").inc()
            letter = msgspec.structs.replace(letter, original=None)
        return encode(letter)


def _letter(refusal: Refusal, topic: str) -> DeadLetter:
    arrival = refusal.arrival
    return DeadLetter(
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
