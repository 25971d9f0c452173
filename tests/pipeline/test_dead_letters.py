"""Dead letters: bytes within a limit a source, hash and count above it, and one source never costs
another.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tachograph.pipeline.clock import SECOND_US
from tachograph.pipeline.dead_letters import RECORD_BYTES, TOLD_SOURCES, DeadLetters, Quota
from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.schemas import codec
from tachograph.schemas.records import DeadLetter, Health


def letter(source: str = "agent.raw/0", original: bytes = b"{", **more: Any) -> DeadLetter:
    """A dead letter of a source."""
    facts: dict[str, Any] = {
        "topic": "agent.raw",
        "partition": 0,
        "offset": 1,
        "stage": "normalize",
        "reason": "truncated",
        "detail": "cut off",
        "observed_time": datetime(2026, 11, 22, tzinfo=UTC),
        "sha256": "0" * 64,
        "size_bytes": len(original),
        "original": original,
        "source": source,
        **more,
    }
    return DeadLetter(**facts)


class Outbox:
    """What a stage's writer would have sent; may refuse large records as a broker does."""

    def __init__(self, largest: int = 10**9, *, away: bool = False) -> None:
        self.sent: list[DeadLetter] = []
        self.told: list[Health] = []
        self._largest, self._away = largest, away

    def send(self, topic: str, value: bytes, *, key: bytes, headers: Mapping[str, bytes]) -> None:
        if self._away:
            raise RetryLater("broker away")
        if len(value) > self._largest:
            raise Refused("too large")
        if topic == "agent.health":
            assert headers["tacho-record"] == b"health"
            self.told.append(codec.decode(Health, value))
            return
        assert (topic, headers["tacho-record"]) == ("agent.dead_letters", b"dead_letter")
        self.sent.append(codec.decode(DeadLetter, value))


def letters(outbox: Outbox, quota: Quota | None = None) -> DeadLetters:
    return DeadLetters(outbox, "normalize", quota)  # type: ignore[arg-type]


def test_above_its_limit_a_source_keeps_only_hashes_and_the_others_go_on() -> None:
    outbox = Outbox()
    dead = letters(outbox, Quota(lambda: 0, letters=2))
    for source in ("a", "a", "a", "b"):
        dead.send(letter(source))
    assert [one.original is not None for one in outbox.sent] == [True, True, False, True]
    assert all(one.sha256 for one in outbox.sent)
    assert dead.without_bytes == 1


def test_a_source_above_its_limit_is_told_once_in_a_while_and_no_other() -> None:
    now = [1_795_370_400 * SECOND_US]
    outbox = Outbox()
    dead = letters(outbox, Quota(lambda: now[0], letters=2))
    for source in ("a", "a", "b", "a", "a"):
        dead.send(letter(source, tenant="acme"))
    [told] = outbox.told
    assert (told.component, told.tenant, told.status) == ("flood:a", "acme", "degraded")
    now[0] += 300 * SECOND_US
    for _ in range(3):
        dead.send(letter("a", tenant="acme"))
    assert outbox.told == [told]
    now[0] += 300 * SECOND_US
    for _ in range(3):
        dead.send(letter("a", tenant="acme"))
    assert [one.component for one in outbox.told] == ["flood:a", "flood:a"]


def test_however_many_sources_are_above_their_limit_few_are_told() -> None:
    outbox = Outbox()
    dead = letters(outbox, Quota(lambda: 0, letters=0))
    for n in range(TOLD_SOURCES + 10):
        dead.send(letter(f"s{n}"))
    assert len(outbox.told) == TOLD_SOURCES


def test_bytes_are_limited_as_well_as_letters() -> None:
    outbox = Outbox()
    dead = letters(outbox, Quota(lambda: 0, size_bytes=10))
    dead.send(letter(original=b"x" * 9))
    dead.send(letter(original=b"x" * 9))
    assert [one.original is not None for one in outbox.sent] == [True, False]


def test_the_next_minute_is_a_new_one() -> None:
    now = [0]
    quota = Quota(lambda: now[0], letters=1)
    assert [quota.admits(letter()), quota.admits(letter())] == [True, False]
    now[0] = 60 * SECOND_US
    assert quota.admits(letter())


def test_a_letter_as_large_as_the_largest_record_goes_through_and_a_larger_one_as_a_hash() -> None:
    outbox = Outbox()
    letters(outbox).send(letter(original=b"x" * 4_194_304))
    letters(outbox).send(letter(original=b"x" * RECORD_BYTES))
    assert [one.original is not None for one in outbox.sent] == [True, False]


def test_a_letter_that_the_broker_refuses_for_its_size_goes_as_a_hash() -> None:
    outbox = Outbox(largest=2_000)
    letters(outbox).send(letter(original=b"x" * 4_000))
    assert [one.original for one in outbox.sent] == [None]


def test_a_letter_that_cannot_be_sent_now_stops_the_stage_and_not_the_letter() -> None:
    with pytest.raises(RetryLater):
        letters(Outbox(away=True)).send(letter())
