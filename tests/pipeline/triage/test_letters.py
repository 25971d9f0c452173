"""Dead letters of triage keep the bytes within their source's limit, and the hash beyond it."""

import hashlib

from tachograph.pipeline.dead_letters import Quota
from tachograph.pipeline.triage.desk import Arrival, Refusal
from tachograph.pipeline.triage.letters import MAX_DETAIL_CHARS, Letters
from tachograph.schemas.codec import decode
from tachograph.schemas.records import DeadLetter

BYTES = b"\xff not json"
ARRIVAL = Arrival(partition=2, offset=7, at_ms=1_795_370_400_123, kind="x" * 9, payload=BYTES)


def test_a_letter_says_where_why_and_what() -> None:
    letter = decode(DeadLetter, Letters("agent.signal_groups").write(Refusal(ARRIVAL, "r", "d")))
    assert (letter.topic, letter.partition, letter.offset) == ("agent.signal_groups", 2, 7)
    assert (letter.reason, letter.detail, letter.original) == ("r", "d", BYTES)
    assert letter.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert letter.observed_time.isoformat() == "2026-11-22T18:00:00.123000+00:00"


def test_above_the_limit_the_hash_stays_and_the_loss_is_counted() -> None:
    letters = Letters("t", Quota(lambda: 0, letters=2))
    made = [decode(DeadLetter, letters.write(Refusal(ARRIVAL, "r", "d"))) for _ in range(3)]
    assert [letter.original for letter in made] == [BYTES, BYTES, None]
    assert made[2].sha256 == made[0].sha256
    assert letters.written == {"r": 3}


def test_a_long_detail_is_cut() -> None:
    letter = decode(DeadLetter, Letters("t").write(Refusal(ARRIVAL, "r", "d" * 10_000)))
    assert len(letter.detail) == MAX_DETAIL_CHARS
