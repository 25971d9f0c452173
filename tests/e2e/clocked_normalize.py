"""`normalize` as a process whose clock is a file: the load moves it on with what it has posted."""

import os
import threading
from pathlib import Path

from tachograph.pipeline.normalize.stage import Normalize
from tachograph.pipeline.runner import run_process
from tachograph.pipeline.settings import Settings

CLOCK = "E2E_CLOCK"


def set_clock(path: Path, now_us: int) -> None:
    """Move the clock; who reads it meanwhile sees the old time or the new one, never half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(str(now_us))
    fresh.replace(path)


def run(settings: Settings, stop: threading.Event) -> None:
    """The stage's own rounds, with this clock."""
    path = Path(os.environ[CLOCK])
    stage = Normalize(settings, clock=lambda: int(path.read_text()))
    try:
        while not stop.is_set():
            stage.round()
    finally:
        stage.close()


if __name__ == "__main__":
    run_process("normalize", run)
