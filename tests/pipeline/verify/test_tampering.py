"""Whatever somebody with every right does to the tables is seen, and told where."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachograph.pipeline.notarize.keys import Keys, SigningKey
from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.sink import insert
from tachograph.pipeline.verify.check import Sources
from tachograph.pipeline.verify.findings import text_of
from tests.pipeline.notarize.evidence import record
from tests.pipeline.verify.world import (
    PLACE,
    Notarized,
    Rows,
    forged_leaves,
    judged,
    key_of,
    notarized,
    outside,
    put,
    stored,
    told,
    values,
    verified,
)

quickly = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
OTHER = SigningKey(b"\7" * 32)


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[bytes | None], list[int]]:
    """Records, some gone before the notary came, some that are none, and where heads are."""
    size = draw(st.integers(4, 24))
    found: list[bytes | None] = list(values(size))
    for at in draw(st.sets(st.integers(0, size - 2), max_size=2)):
        found[at] = draw(st.sampled_from([None, b"{}"]))
    return found, draw(st.lists(st.integers(1, size), max_size=4))


@st.composite
def tampered(draw: st.DrawFn, rows: Rows) -> tuple[Rows, set[tuple[str, int]]]:
    """Rows after one act, and what has to be told of it."""
    at = draw(st.integers(0, len(rows) - 1))
    offset, value = rows[at]
    match draw(st.sampled_from(["change", "remove", "copy", "exchange"])):
        case "change":
            return [*rows[:at], (offset, record(PLACE[0], 99)), *rows[at + 1 :]], {
                ("changed", offset)
            }
        case "remove":
            return rows[:at] + rows[at + 1 :], {("removed", offset)}
        case "copy":
            return [*rows, (offset, record(PLACE[0], 77))], {("changed", offset)}
        case _:
            other = draw(st.integers(0, len(rows) - 1).filter(lambda n: n != at))
            there, else_ = rows[other]
            kept = [row for n, row in enumerate(rows) if n not in (at, other)]
            return [*kept, (offset, else_), (there, value)], {("moved", offset), ("moved", there)}


def world(home: Path, log: tuple[list[bytes | None], list[int]]) -> tuple[Notarized, Sources]:
    found = notarized(key_of(home), *log)
    return found, outside(home, found.heads)


@quickly
@given(log=logs())
def test_what_nobody_touched_holds(tmp_path: Path, log: Any) -> None:
    found, sources = world(tmp_path, log)
    report = judged(sources, found.rows, found.leaves, found.heads)
    assert report.verdict == "holds", text_of(report)
    assert report.rows == len(found.rows)


@quickly
@given(log=logs(), data=st.data())
def test_a_row_that_was_changed_removed_added_or_moved_is_told_by_its_offset(
    tmp_path: Path, log: Any, data: st.DataObject
) -> None:
    found, sources = world(tmp_path, log)
    rows, expected = data.draw(tampered(found.rows))
    report = judged(sources, rows, found.leaves, found.heads)
    assert report.verdict == "broken"
    assert told(report) == expected


CHANGES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"until": 2}, {"offset": 1}, {"hash": b"x" * 32}, {"kind": "gone"}]
)


@quickly
@given(log=logs(), data=st.data())
def test_judged_at_once_or_leaf_by_leaf_the_same_is_told(
    tmp_path: Path, log: Any, data: st.DataObject
) -> None:
    found, sources = world(tmp_path, log)
    rows = data.draw(st.one_of(st.just(found.rows), tampered(found.rows).map(lambda two: two[0])))
    leaves = list(found.leaves)
    at = data.draw(st.integers(0, len(leaves) - 1))
    changed = leaves[at].leaf._replace(**data.draw(CHANGES))
    leaves[at] = leaves[at]._replace(leaf=changed)
    one, other = (judged(sources, rows, leaves, found.heads, most) for most in (0, 10_000))
    assert (one.findings, one.rows, one.verdict) == (other.findings, other.rows, other.verdict)


@quickly
@given(log=logs(), data=st.data())
def test_forged_leaves_and_heads_hide_nothing(
    tmp_path: Path, log: Any, data: st.DataObject
) -> None:
    whole = [value for value in log[0] if value not in (None, b"{}")]
    found, sources = world(tmp_path, (whole, log[1]))
    rows, expected = data.draw(tampered(found.rows))
    leaves = forged_leaves(sorted(rows), len(rows))
    forged = [OTHER.signed(msgspec.structs.replace(head, root="00" * 32)) for head in found.heads]
    # Swept away, as they were, or forged as well.
    heads = data.draw(st.sampled_from([[], found.heads, forged]))
    report = judged(sources, rows, leaves, heads)
    assert report.verdict == "broken"
    for _, offset in expected:
        assert any(one.first <= offset <= one.last for one in report.findings), text_of(report)


def test_the_same_is_seen_in_a_real_clickhouse(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    log: list[bytes | None] = list(values(12))
    log[2], log[7] = None, b"{}"
    found, sources = world(tmp_path, (log, [4, 9]))
    put(owner, found.rows, found.leaves, found.heads)
    report = verified(reader, sources)
    assert (report.verdict, report.rows) == ("holds", 10), text_of(report)
    table = f"tacho.{LOGS[PLACE[0]]}"
    owner.command(f"ALTER TABLE {table} DELETE WHERE log_offset = 4 SETTINGS mutations_sync = 2")
    owner.command(
        f"ALTER TABLE {table} UPDATE record = replaceAll(record, 'number 5', 'number 6')"
        " WHERE log_offset = 5 SETTINGS mutations_sync = 2"
    )
    insert(owner, LOGS[PLACE[0]], stored([(7, record(PLACE[0], 7)), (8, record(PLACE[0], 80))]))
    report = verified(reader, sources)
    assert told(report) == {("removed", 4), ("changed", 5), ("added", 7), ("changed", 8)}
    assert report.verdict == "broken"


@pytest.mark.parametrize("forged", ["changed", "gone", "kind", "offset"])
def test_forged_leaves_alone_are_told_as_such_and_the_rows_are_not_blamed(
    owner: Connection, reader: Connection, tmp_path: Path, forged: str
) -> None:
    found, sources = world(tmp_path, (list(values(12)), [4, 9]))
    leaf = found.leaves[5]
    others = {
        "changed": [leaf._replace(leaf=leaf.leaf._replace(hash=b"\1" * 32))],
        "gone": [],
        "kind": [leaf._replace(leaf=leaf.leaf._replace(kind="refused"))],
        "offset": [leaf._replace(leaf=leaf.leaf._replace(offset=50, until=51))],
    }[forged]
    put(owner, found.rows, [*found.leaves[:5], *others, *found.leaves[6:]], found.heads)
    report = verified(reader, sources)
    assert report.verdict == "broken"
    assert {one.kind for one in report.findings} <= {"leaf", "added"}
    assert 5 in {one.first for one in report.findings}


def test_rows_beyond_the_newest_head_are_not_taken_for_proved(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    found, sources = world(tmp_path, (list(values(5)), []))
    put(owner, [*found.rows, (40, record(PLACE[0], 40))], found.leaves, found.heads)
    report = verified(reader, sources)
    assert (report.verdict, told(report)) == ("unchecked", {("unproved", 40)})


@pytest.mark.parametrize(
    ("cluster", "partition"), [("another", 1), ("cluster-one", 3), ("cluster-one", -1)]
)
def test_rows_that_claim_a_log_without_a_tree_are_not_taken_for_proved(
    owner: Connection, reader: Connection, tmp_path: Path, cluster: str, partition: int
) -> None:
    found, sources = world(tmp_path, (list(values(5)), []))
    put(owner, found.rows, found.leaves, found.heads)
    rows = stored([(0, record(PLACE[0], 1))], cluster, (PLACE[0], partition))
    insert(owner, LOGS[PLACE[0]], rows)
    report = verified(reader, sources)
    assert (report.verdict, told(report)) == ("unchecked", {("unproved", 0)})


def test_without_a_head_from_outside_nothing_is_proved(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    found, sources = world(tmp_path, (list(values(5)), []))
    put(owner, found.rows, found.leaves, found.heads)
    sources.heads.unlink()
    assert verified(reader, sources).verdict == "unchecked"
    put(owner, [], [], [])
    assert verified(reader, sources).verdict == "unchecked"


def test_a_tree_that_was_cut_back_with_its_heads_is_missed(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    found, sources = world(tmp_path, (list(values(9)), [6]))
    put(owner, found.rows[:6], found.leaves[:6], found.heads[:1])
    report = verified(reader, sources)
    assert {("removed", offset) for offset in (6, 7, 8)} <= told(report)


def test_a_head_of_an_older_key_holds_and_one_of_a_stranger_in_the_file_does_not(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    first = notarized(key_of(tmp_path), values(3), [])
    Keys(tmp_path, {}).rotate()
    both = notarized(key_of(tmp_path), values(7), [3])
    heads = [*first.heads, *both.heads[1:]]
    assert len({head.key_id for head in heads}) == 2
    put(owner, both.rows, both.leaves, heads)
    assert verified(reader, outside(tmp_path, heads)).verdict == "holds"
    theirs = OTHER.signed(msgspec.structs.replace(heads[-1], key_id=OTHER.key_id))
    report = verified(reader, outside(tmp_path, [heads[0], theirs]))
    assert report.verdict == "broken"
    assert "not signed by us" in text_of(report)


def test_two_histories_signed_by_the_same_key_are_told(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    found, _ = world(tmp_path, (list(values(4)), []))
    other = notarized(key_of(tmp_path), values(4, 50), [])
    put(owner, found.rows, found.leaves, found.heads)
    report = verified(reader, outside(tmp_path, [*found.heads, *other.heads]))
    assert "two signed heads of 4 leaves differ" in text_of(report)
    assert report.verdict == "broken"


def test_rows_of_one_topic_in_the_table_of_another_are_told(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    found, sources = world(tmp_path, (list(values(4)), []))
    put(owner, found.rows, found.leaves, found.heads)
    owner.command(
        "INSERT INTO tacho.acks_log (log_topic, log_partition, log_offset, record, log_cluster)"
        " VALUES ('agent.dispositions', 1, 0, '{}', 'cluster-one')"
    )
    report = verified(reader, sources)
    assert [(one.kind, one.table) for one in report.findings] == [("added", "acks_log")]
