"""Actions that wait to be measured are few, whatever comes."""

from datetime import timedelta

import polars as pl
import pytest

from tachograph.detectors.behaviour.features import PANE_US
from tachograph.detectors.behaviour.waiting import MOST_BYTES, MOST_FRAMES, MOST_ROWS, Waiting


@pytest.mark.parametrize(
    ("frame", "most"),
    [
        (pl.DataFrame({"tenant": ["t"]}), MOST_FRAMES),
        (pl.DataFrame({"tenant": ["t"] * (MOST_ROWS // 4)}), 4),
        (pl.DataFrame({"content_text": ["x" * (MOST_BYTES // 4)]}), 4),
    ],
)
def test_it_is_full_at_so_many_frames_rows_or_bytes(frame: pl.DataFrame, most: int) -> None:
    waiting = Waiting()
    for _ in range(most):
        assert not waiting.full
        waiting.add(frame)
    assert waiting.full
    taken = waiting.take()
    assert taken is not None
    assert taken.height == most * frame.height
    assert waiting.take() is None
    assert not waiting.full


def test_frames_of_other_columns_are_put_together_and_what_nobody_asks_for_is_let_go() -> None:
    waiting = Waiting()
    waiting.add(pl.DataFrame({"tenant": ["a"], "raw": [b"much"]}))
    waiting.add(pl.DataFrame({"tenant": ["b"], "kind": ["http"]}))
    taken = waiting.take()
    assert taken is not None
    assert taken.rows() == [("a", None), ("b", "http")]


def test_it_is_taken_for_a_base_pane_only_if_some_may_belong_before_it() -> None:
    waiting = Waiting()
    times = pl.Series("event_time", [2 * PANE_US, 3 * PANE_US], pl.Datetime("us", "UTC"))
    waiting.add(pl.DataFrame([times]))
    assert waiting.take(2) is None
    waiting.add(pl.DataFrame([times - timedelta(microseconds=1)]))
    taken = waiting.take(2)
    assert taken is not None
    assert taken.height == 4
    waiting.add(pl.DataFrame([times]))
    taken = waiting.take(3)
    assert taken is not None
    assert taken.height == 2
