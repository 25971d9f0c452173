"""Ticks: never beyond what was produced, by the clock only at the end of a log, never back."""

from collections.abc import Iterable

from tachograph.pipeline.clock import SECOND_US, to_us
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.normalize.limits import DOOR_HOLD_US, FAR_FUTURE_US
from tachograph.pipeline.normalize.ticks import Ticks

PLACE: Place = ("agent.raw", 0)


class Log:
    """One raw partition as the reader sees it: (first, next) offset, and where the reader is."""

    def __init__(self) -> None:
        self.low, self.high = 0, 0
        self.at: int | None = None
        self.done: dict[Place, int] = {}
        self.away = self.leaderless = False
        self.places, self.questions = [PLACE], 0

    def assignment(self) -> list[Place]:
        return self.places

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        self.questions += 1
        if self.away:
            raise RetryLater("no broker")
        return {} if self.leaderless else dict.fromkeys(places, self.high)

    def starts(self, places: Iterable[Place]) -> dict[Place, int]:
        asked = list(places)
        self.questions += bool(asked)
        return dict.fromkeys(asked, self.low)

    def position(self, place: Place) -> int | None:
        return self.at

    def committed(self, places: Iterable[Place]) -> dict[Place, int]:
        self.questions += 1
        return self.done


class Turned:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.us = 1_000_000 * SECOND_US

    def __call__(self) -> int:
        return self.us


def ticks() -> tuple[Log, Turned, Ticks]:
    log, clock = Log(), Turned()
    return log, clock, Ticks(log, lambda topic: 4, clock)  # type: ignore[arg-type]


def told(found: Ticks) -> list[tuple[int, bool]]:
    return [(to_us(tick.observed_time), tick.by_clock) for tick in found.due()]


def test_a_partition_with_records_to_read_ticks_with_its_records() -> None:
    log, clock, found = ticks()
    log.high, log.at = 10, 5
    assert told(found) == []
    clock.us += SECOND_US
    found.reached({PLACE: 77 * SECOND_US})
    assert told(found) == [(77 * SECOND_US - DOOR_HOLD_US, False)]


def test_at_the_end_of_a_quiet_log_the_clock_ticks() -> None:
    log, clock, found = ticks()
    log.high = log.at = 10
    assert told(found) == [(clock.us - DOOR_HOLD_US, True)]


def test_at_the_end_of_a_log_whose_clock_is_ahead_the_log_ticks() -> None:
    log, clock, found = ticks()
    log.high = log.at = 10
    ahead_us = clock.us + 40 * SECOND_US
    found.reached({PLACE: ahead_us})
    assert told(found) == [(ahead_us - DOOR_HOLD_US, False)]
    clock.us += 2 * SECOND_US
    assert told(found) == []


def test_an_empty_partition_that_was_never_read_is_quiet_and_one_with_records_is_not() -> None:
    log, clock, found = ticks()
    log.low = log.high = 4  # everything expired
    assert told(found) == [(clock.us - DOOR_HOLD_US, True)]
    log, clock, found = ticks()
    log.high = 4
    assert told(found) == []
    clock.us += SECOND_US
    log.done = {PLACE: 4}  # read by the owner before
    assert told(found) == [(clock.us - DOOR_HOLD_US, True)]


def test_a_leader_that_does_not_answer_is_stalled_and_not_quiet() -> None:
    log, clock, found = ticks()
    log.high = log.at = 10
    log.away = True
    assert told(found) == []
    clock.us += SECOND_US
    log.away, log.leaderless = False, True
    assert told(found) == []
    clock.us += SECOND_US
    log.leaderless = False
    assert told(found) == [(clock.us - DOOR_HOLD_US, True)]


def test_all_places_are_asked_for_in_one_question() -> None:
    log, clock, found = ticks()
    log.low = log.high = 7
    log.places = [("agent.raw", 0), ("agent.raw", 1), ("otlp_spans", 0)]
    log.done = {log.places[1]: 3}
    assert [(tick.raw_topic, tick.raw_partition) for tick in found.due()] == [
        log.places[0],
        log.places[2],
    ]
    assert log.questions == 3  # ends, what was committed, starts
    clock.us += SECOND_US
    log.at = 7
    assert len(found.due()) == 3
    assert log.questions == 4


def test_ticks_come_once_a_second_and_never_go_back() -> None:
    log, clock, found = ticks()
    log.high = log.at = 10
    assert len(told(found)) == 1
    clock.us += SECOND_US // 2
    assert told(found) == []
    clock.us += SECOND_US
    log.high = 11
    found.reached({PLACE: 5 * SECOND_US})
    assert told(found) == []
    clock.us += SECOND_US
    log.at = 11
    assert told(found) == [(clock.us - DOOR_HOLD_US, True)]


def test_a_lost_partition_is_forgotten() -> None:
    log, clock, found = ticks()
    log.high = log.at = 1
    told(found)
    assert found.watermark_us() == clock.us - DOOR_HOLD_US
    found.lost([PLACE])
    assert found.watermark_us() is None


def test_a_record_that_claims_a_far_future_does_not_close_the_windows_to_come() -> None:
    log, clock, found = ticks()
    log.high = log.at = 10
    found.reached({PLACE: clock.us + 4 * 365 * 86_400 * SECOND_US})
    assert told(found) == [(clock.us + FAR_FUTURE_US - DOOR_HOLD_US, False)]
    clock.us += SECOND_US
    assert told(found) == [(clock.us + FAR_FUTURE_US - DOOR_HOLD_US, False)]
