"""The table of entries as recovered from a log in which an older state may follow a newer one."""

from types import SimpleNamespace
from typing import Any

import faust
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.triage.entry import Entry
from tachograph.pipeline.triage.table import JUDGED_HEADER, Entries
from tachograph.schemas.codec import decode, encode
from tests.pipeline.triage.groups import BUCKET

APP = faust.App("tests", store="memory://")


def _table() -> Entries:
    return Entries(APP, name="entries", key_type=bytes)


def _record(key: bytes, judged: int | None, *, gone: bool = False) -> Any:
    """A record of the changelog, as Faust hands it to the table."""
    entry = Entry(tenant="acme", entity="e", bucket_start=BUCKET, last_offset=judged or 0)
    value = None if gone else encode(entry)
    headers = [] if judged is None else [(JUDGED_HEADER, str(judged).encode())]
    message = SimpleNamespace(key=key, value=value, headers=headers, partition=0)
    return SimpleNamespace(message=message, key=key, value=value)


def _held(table: Entries) -> dict[bytes, int]:
    return {key: decode(Entry, value).last_offset for key, value in table.data.items()}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 5)), max_size=12),
    st.integers(1, 4),
)
def test_the_state_that_judged_further_stands_wherever_it_lies_in_the_log(
    log: list[tuple[bytes, int]], batch: int
) -> None:
    table = _table()
    records = [_record(key, judged) for key, judged in log]
    for start in range(0, len(records), batch):
        table.apply_changelog_batch(records[start : start + batch])
    furthest = {key: max(j for k, j in log if k == key) for key, _ in log}
    assert _held(table) == furthest
    last = dict(log)
    assert table.behind == {key for key in last if last[key] < furthest[key]}


def test_an_entry_is_not_removed_by_one_that_knew_less_of_it() -> None:
    table = _table()
    table.apply_changelog_batch([_record(b"a", 7), _record(b"a", 5, gone=True)])
    assert _held(table) == {b"a": 7}
    assert table.behind == {b"a"}
    table.apply_changelog_batch([_record(b"a", 7, gone=True)])
    assert _held(table) == {}
    assert table.behind == set()


def test_a_record_that_does_not_say_how_far_it_judged_is_taken_as_it_lies() -> None:
    table = _table()
    table.apply_changelog_batch([_record(b"a", 7), _record(b"a", None)])
    assert _held(table) == {b"a": 0}
