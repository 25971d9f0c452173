"""Running one stage as a process: signals set `stop`, what may go through later is tried again."""

import importlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from tachograph.pipeline import log as logs
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.settings import Settings

StageRun = Callable[[Settings, threading.Event], None]
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
# A run this long was a good one: what ends it is a new trouble, not the old one going on.
GOOD_S = 60.0
PARENT_CHECK_S = 1.0


def _stop_on_signals(stop: threading.Event) -> None:
    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)


def _stop_with_parent(stop: threading.Event) -> None:
    """A stage started by `tacho up` ends when that process is gone, however it went."""
    parent = os.environ.get("TACHO_PARENT_PID")
    if not parent:
        return

    def watch() -> None:
        while not stop.wait(PARENT_CHECK_S):
            if os.getppid() != int(parent):
                stop.set()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def keep_running(
    name: str,
    run: StageRun,
    settings: Settings,
    stop: threading.Event,
    *,
    now_s: Callable[[], float] = time.monotonic,
) -> None:
    """Run until `stop`; after RetryLater the stage starts afresh, from what is committed, each time
    a little later, but soon again after a good run.
    """
    log = logs.get(name)
    tries = 0
    while not stop.is_set():
        began_s = now_s()
        try:
            run(settings, stop)
            return
        except RetryLater as error:
            if now_s() - began_s >= GOOD_S:
                tries = 0
            wait_s = BACKOFF_S[min(tries, len(BACKOFF_S) - 1)]
            tries += 1
            log.warning("starting again from the committed offset", error=str(error), wait_s=wait_s)
            stop.wait(wait_s)


def run_process(name: str, run: StageRun, settings: Settings | None = None) -> None:
    """Run a stage in this process until SIGTERM, SIGINT or its parent's end."""
    logs.configure()
    stop = threading.Event()
    _stop_on_signals(stop)
    _stop_with_parent(stop)
    log = logs.get(name)
    log.info("started")
    keep_running(name, run, settings or Settings.from_env(), stop)
    log.info("stopped")


def run_stage(name: str) -> None:
    """Import `tachograph.pipeline.NAME.stage` and run it in this process until it is told to
    stop.
    """
    run_process(name, importlib.import_module(f"tachograph.pipeline.{name}.stage").run)
