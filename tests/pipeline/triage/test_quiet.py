"""What the libraries say goes through our log, and the same line not in floods."""

import logging

from structlog.testing import capture_logs

from tachograph.pipeline import log as logs
from tachograph.pipeline.triage.quiet import MAX_CHARS, SAME_EVERY_S, Relay


def said(times_s: list[float], text: str = "broker %s is away") -> list[dict[str, object]]:
    clock = iter(times_s)
    relay = Relay(lambda: next(clock))
    # Logging is set up with the first line after `configure`, which another test may have called:
    # that line must not be the captured one.
    logs.get("test").debug("set up")
    with capture_logs() as lines:
        for number in range(len(times_s)):
            relay.handle(
                logging.LogRecord("aiokafka", logging.ERROR, "f", 1, text, (number,), None)
            )
    return [dict(line) for line in lines]


def test_the_same_line_is_said_once_in_a_while_and_counts_what_it_stands_for() -> None:
    lines = said([0.0, 0.1, 0.2, SAME_EVERY_S])
    assert [line["text"] for line in lines] == ["broker 0 is away", "broker 3 is away"]
    assert [line["not_repeated"] for line in lines] == [0, 2]


def test_a_long_line_is_cut() -> None:
    [line] = said([0.0], "x" * 5_000 + "%s")
    assert len(str(line["text"])) == MAX_CHARS


def test_the_memory_of_what_was_said_is_bounded() -> None:
    relay = Relay(lambda: 0.0)
    with capture_logs():
        for number in range(1_000):
            relay.handle(logging.LogRecord("a", logging.ERROR, "f", 1, str(number), (), None))
    assert len(relay._said) <= 256
