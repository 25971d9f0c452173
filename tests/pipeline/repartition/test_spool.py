"""What is kept on disk comes back as it was, and what was cut short is refused."""

from pathlib import Path

import pytest

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.repartition.layout import Kept
from tachograph.pipeline.repartition.spool import Plan, Spool

RECORDS = [
    Kept(b"", {}, 0),
    Kept(bytes(range(256)) * 300, {"tacho-record": b"tick", "other": b"\xff"}, 1_764_000_000_000),
]
PLAN = Plan(
    topic="agent.actions",
    cluster="c",
    before=1,
    after=2,
    base=7,
    base_before=0,
    records=2,
    replicas=1,
    config={"retention.ms": "1"},
)


def test_records_come_back_in_their_order_as_often_as_they_are_asked_for(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.plan() is None
    assert spool.keep(0, RECORDS) == len(RECORDS)
    assert spool.keep(1, []) == 0
    assert spool.plan() is None, "nothing is begun before all of it is kept"
    spool.begin(PLAN)
    for _ in range(2):
        assert list(spool.records(0)) == RECORDS
    assert list(spool.records(1)) == []
    assert Spool(tmp_path / "spool").plan() == PLAN
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0, "nobody else reads it"
    spool.end()
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("left", [1, 3, 4, 10])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, left: int) -> None:
    spool = Spool(tmp_path)
    spool.keep(0, RECORDS[1:])
    path = tmp_path / "0.records"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(Refused, match=r"0\.records cannot be read"):
        list(spool.records(0))


def test_a_plan_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(Refused, match=r"plan\.json cannot be read"):
        Spool(tmp_path).plan()
