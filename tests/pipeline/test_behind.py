"""Who steps back where several processes share a machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tachograph.pipeline import behind
from tachograph.pipeline.up.children import Child
from tests.waiting import WAIT_S


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    yield process
    process.communicate(timeout=WAIT_S)


def test_a_child_put_behind_has_a_higher_niceness(child: subprocess.Popen[bytes]) -> None:
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    behind.put(child.pid)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(mine + behind.STEP, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


def test_where_the_system_refuses_the_child_stays_where_it_is() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(WAIT_S)
    behind.put(gone.pid)


@pytest.mark.parametrize(("name", "steps_back"), [("store", True), ("detect", False)])
def test_what_stores_stands_behind_what_warns(name: str, steps_back: bool, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    one = Child(name, argv, {}, tmp_path)
    one.start()
    try:
        assert one._process is not None
        nice = os.getpriority(os.PRIO_PROCESS, one._process.pid)
    finally:
        one.ask_to_stop()
        one.wait()
    assert (nice > os.getpriority(os.PRIO_PROCESS, 0)) == steps_back
