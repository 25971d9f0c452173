"""Rows of records that are no actions."""

from datetime import UTC, datetime

from tachograph.pipeline.store.records import Origin, control_record
from tachograph.schemas import codec
from tachograph.schemas.records import SessionLink


def test_the_first_word_on_a_trace_stays_the_first_in_a_later_generation_of_the_topic() -> None:
    link = SessionLink(
        tenant="t",
        partition_key="a",
        trace_id="1",
        session_id="s",
        observed_time=datetime(2026, 11, 1, tzinfo=UTC),
    )
    place, value = ("agent.actions", 1), codec.encode(link)
    offsets = []
    for origin in (Origin(place, 90, value), Origin(place, 3, value, base=100)):
        said, row = control_record("session_link", origin)
        assert said == link
        assert row is not None
        offsets.append(row.values["log_offset"])
    assert offsets == [90, 103]
