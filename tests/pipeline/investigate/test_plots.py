"""An agent's hours as a picture: bars of what was done, lines of what was usual and most before."""

import re

from tachograph.pipeline.investigate.page import Plot
from tachograph.pipeline.investigate.plots import HOURS, svg

LAST = 495_000


def plot(amounts: list[int], usual: list[float | None], most: list[float | None]) -> str:
    hours = list(range(LAST - len(amounts) + 1, LAST + 1))
    return svg(Plot("acts", "actions", hours, amounts, usual, most))


def test_a_bar_stands_for_each_hour_with_something_in_it_and_is_as_high_as_its_share() -> None:
    drawn = plot([10, 0, 40], [None] * 3, [None] * 3)
    heights = [float(one) for one in re.findall(r'<rect[^>]* height="([0-9.]+)"', drawn)]
    assert len(heights) == 2
    assert abs(heights[1] / heights[0] - 4) < 0.01


def test_an_hour_above_the_most_before_stands_out() -> None:
    drawn = plot([10, 41], [8.0, 9.0], [20.0, 40.0])
    assert drawn.count('class="bar"') == 1
    assert drawn.count('class="bar over"') == 1


def test_what_is_not_known_is_not_drawn() -> None:
    assert "<path" not in plot([3, 4], [None, None], [None, None])
    drawn = plot([3, 4], [None, 2.0], [None, 9.0])
    for kind in ("usual", "most"):
        [steps] = re.findall(rf'class="{kind}" d="([^"]+)"', drawn)
        assert steps.count("M") == 1


def test_nothing_is_drawn_outside_the_picture() -> None:
    amounts = list(range(1, HOURS + 1))
    drawn = plot(amounts, [5.0] * HOURS, [900.0] * HOURS)
    for name, most in (("x", 480), ("y", 120)):
        assert all(0 <= float(at) <= most for at in re.findall(rf' {name}="([0-9.]+)"', drawn))
    assert "900" in drawn


def test_the_picture_says_in_words_what_it_shows() -> None:
    assert 'aria-label="4 in the newest hour; usual are 2.0"' in plot([4], [2.0], [3.0])
    assert "its usual is not known yet" in plot([4], [None], [None])
