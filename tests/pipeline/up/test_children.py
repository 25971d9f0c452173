import os
import signal
import sys
from pathlib import Path

import pytest

from tachograph.pipeline.up.children import RESTARTS_MAX, Child, StageDied
from tests.waiting import WAIT_S, eventually


def child(code: str, logs: Path) -> Child:
    return Child("test", [sys.executable, "-c", code], dict(os.environ), logs)


def ended(one: Child) -> None:
    eventually(lambda: not one.running, "the child ends")


def test_a_stage_that_dies_is_started_again_and_its_words_are_kept(tmp_path: Path) -> None:
    one = child("import sys; sys.exit('the disk is full')", tmp_path)
    one.start()
    ended(one)
    assert one.state == "down"
    assert one.revive()
    assert one.restarts == 1
    ended(one)
    assert "the disk is full" in one.last_words()


def test_a_stage_that_keeps_dying_stops_everything_with_its_last_words(tmp_path: Path) -> None:
    one = child("import sys; sys.exit('no such rule')", tmp_path)
    one.start()
    for _ in range(RESTARTS_MAX):
        ended(one)
        one.revive()
    ended(one)
    with pytest.raises(StageDied, match="no such rule"):
        one.revive()


def test_asked_to_stop_it_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    one = child(code, tmp_path)
    one.start()
    eventually(lambda: "ready" in one.last_words(), "the child is ready")
    one.ask_to_stop()
    assert one.wait(WAIT_S) == 7


def test_one_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    one = child(code, tmp_path)
    one.start()
    eventually(lambda: "ready" in one.last_words(), "the child is ready")
    one.ask_to_stop()
    assert one.wait(0.3) == -signal.SIGKILL
