"""Actions that wait to be measured are few, whatever comes."""

import polars as pl
import pytest

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
