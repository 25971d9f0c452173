from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.detect.judges import RAW_TOPICS
from tachograph.pipeline.detect.ticks import STALLED_AFTER_US, TickBook
from tachograph.pipeline.normalize.stage import SOURCES
from tachograph.schemas.records import Tick

START = datetime(2026, 11, 22, 18, tzinfo=UTC)


def tick(partition: int, second: float, *, topic: str = "otlp_spans", of: int = 2) -> Tick:
    return Tick(
        raw_topic=topic,
        raw_partition=partition,
        raw_partitions=of,
        observed_time=START + timedelta(seconds=second),
    )


def test_a_raw_partition_that_never_ticked_holds_the_watermark() -> None:
    book = TickBook()
    book.note(tick(0, 100))
    assert book.watermark_us() is None
    book.note(tick(1, 40))
    assert book.watermark_us() == to_us(START) + 40_000_000


def test_an_owner_that_knows_of_fewer_partitions_hides_none_of_them() -> None:
    book = TickBook()
    book.note(tick(0, 100, of=3))
    book.note(tick(1, 100, of=2))
    assert book.watermark_us() is None
    book.note(tick(2, 40, of=3))
    book.note(tick(1, 120, of=2))
    assert book.watermark_us() == to_us(START) + 40_000_000


def test_a_raw_topic_that_never_ticked_holds_the_watermark() -> None:
    book = TickBook(["otlp_spans", "agent.raw"])
    book.note(tick(0, 100, of=1))
    assert book.watermark_us() is None
    book.note(tick(0, 40, topic="agent.raw", of=1))
    assert book.watermark_us() == to_us(START) + 40_000_000


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 1000))),
    st.randoms(use_true_random=False),
)
def test_the_watermark_is_the_minimum_of_the_newest_ticks_in_any_order(
    rows: list[tuple[str, int, int]], rng: object
) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    book = TickBook()
    for topic, partition, second in shuffled:
        book.note(tick(partition, second, topic=topic, of=3))
    newest: dict[tuple[str, int], int] = {}
    for topic, partition, second in rows:
        newest[topic, partition] = max(newest.get((topic, partition), 0), second)
    complete = all((t, p) in newest for t in {t for t, _, _ in rows} for p in range(3))
    expected = to_us(START) + min(newest.values()) * 1_000_000 if newest and complete else None
    assert book.watermark_us() == expected


def test_a_partition_far_behind_the_others_is_stalled_and_survives_a_dump() -> None:
    book = TickBook()
    book.note(tick(0, 0))
    book.note(tick(1, STALLED_AFTER_US / 1e6 + 1))
    again = TickBook()
    again.load(book.dump())
    assert again.stalled() == book.stalled() == [("otlp_spans", 0)]
    assert again.watermark_us() == book.watermark_us()


def test_every_topic_that_normalize_reads_is_waited_for() -> None:
    assert set(RAW_TOPICS) == set(SOURCES)
