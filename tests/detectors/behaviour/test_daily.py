"""What comes each day at the same time is said once; not what is much more, comes at another time,
or comes again after weeks.
"""

import numpy as np
import pytest

from tachograph.detectors.behaviour.daily import Daily, Place
from tachograph.detectors.behaviour.features import ADDED_UP
from tests.detectors.behaviour.test_bars_that_move import (
    DAY_S,
    HOUR_S,
    USUAL_S,
    calls,
    features,
    said,
    usual,
)

DAY = 144
SPREAD = 256
PLACE: Place = (5, 0, 0)
OTHER: Place = (6, 0, 0)


def noted(daily: Daily, epoch: int, spreads: int, *places: Place) -> list[bool]:
    """Which of these, so many spreads above the bar, were expected."""
    slots, ways, features = (np.array(column) for column in zip(*places, strict=True))
    above = np.full(len(places), spreads * SPREAD)
    return daily.note((slots, ways, features), above, epoch).tolist()  # type: ignore[no-any-return]


def expected(*nights: tuple[int, int], place: Place = PLACE) -> list[bool]:
    """Which of these were expected: epochs, and spreads above the bar."""
    daily, found = Daily(), []
    for epoch, spreads in nights:
        found += noted(daily, epoch, spreads, place)
        daily.fold()
        again = Daily()
        again.restore(daily.state())
        daily = again
    return found


def test_a_run_of_each_night_is_said_once() -> None:
    nights = [row for day in range(4) for row in calls(USUAL_S + day * DAY_S + 5, 600, 4)]
    assert features(said([*usual(), *nights])) == [("acts", 0)]


def test_the_same_at_another_time_of_day_is_said() -> None:
    first = calls(USUAL_S + 5, 600, 4)
    again = calls(USUAL_S + DAY_S + 8 * HOUR_S + 5, 600, 4)
    assert features(said([*usual(), *first, *again])) == [("acts", 0), ("acts", 32)]


def test_an_hour_earlier_or_later_is_the_same_time_of_day() -> None:
    assert expected((0, 9), (DAY - 6, 9), (2 * DAY, 9)) == [False, True, True]
    assert expected((0, 9), (DAY + 7, 9)) == [False, False]


def test_what_follows_within_the_hour_is_not_of_another_day() -> None:
    assert expected((0, 9), (3, 9)) == [False, False]


def test_what_is_much_more_is_said_and_nobody_is_led_up_to_it() -> None:
    assert expected((0, 9), (DAY, 12)) == [False, False]
    assert expected((0, 9), (DAY, 11), (2 * DAY, 13)) == [False, True, False]


@pytest.mark.parametrize(("days", "known"), [(7, True), (9, False)])
def test_it_is_known_for_a_week(days: int, known: bool) -> None:
    assert expected((0, 9), (days * DAY, 9)) == [False, known]


def test_what_was_added_up_has_no_time_of_day() -> None:
    assert expected((0, 9), (DAY, 9), place=(5, ADDED_UP, 0)) == [False, False]


def test_what_an_epoch_brings_is_known_from_its_end_on() -> None:
    daily = Daily()
    noted(daily, 0, 9, PLACE)
    daily.fold()
    assert noted(daily, DAY, 20, PLACE) == [False]
    assert noted(daily, DAY, 9, PLACE) == [True]


def test_who_is_forgotten_begins_anew() -> None:
    daily = Daily()
    noted(daily, 0, 9, PLACE, OTHER)
    daily.forget([6])
    daily.fold()
    noted(daily, 1, 9, PLACE)
    daily.forget([5])
    daily.fold()
    assert noted(daily, DAY, 9, PLACE, OTHER) == [False, False]
