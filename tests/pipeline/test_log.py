"""What is logged of a fault nobody expected: where it is, and none of what was in hand."""

import threading
from pathlib import Path

import pytest

from tachograph.pipeline import log
from tachograph.pipeline.forward.stage import keep_alive

PAYLOAD = "token-of-an-agent"


def _fails() -> None:
    raise ValueError(PAYLOAD)


def test_a_fault_is_told_by_kind_and_place_without_its_text() -> None:
    with pytest.raises(ValueError, match=PAYLOAD) as caught:
        _fails()
    assert log.place_of(caught.value).startswith("ValueError at ")
    assert Path(__file__).name in log.place_of(caught.value)
    assert PAYLOAD not in log.place_of(caught.value)


def test_a_destination_that_fails_says_where_and_is_started_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop = threading.Event()

    def body() -> None:
        stop.set()
        _fails()

    keep_alive("siem", body, stop)
    said = capsys.readouterr()
    assert f"ValueError at {__file__}" in said.out + said.err
    assert PAYLOAD not in said.out + said.err
