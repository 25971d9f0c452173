"""A loop on a thread of its own beside a stage: it ends with the stage, and the stage with it."""

import threading
from collections.abc import Callable
from typing import Final, Self

from tachograph.pipeline import log as logs
from tachograph.pipeline.errors import RetryLater, TachoError

STOP_WITHIN_S: Final = 15.0

log = logs.get("beside")


class Beside:
    """Runs `loop(stop)` from the beginning of a block to its end."""

    def __init__(self, loop: Callable[[threading.Event], None], name: str) -> None:
        self._loop, self._stop = loop, threading.Event()
        self._failure: TachoError | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        try:
            self._loop(self._stop)
        except TachoError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - the boundary of a thread: its stage is told
            self._failure = RetryLater(f"{self._thread.name}: {logs.place_of(error)}")

    def check(self) -> None:
        """Raise what ended the loop."""
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_WITHIN_S)
        if self._thread.is_alive():
            log.warning("a loop did not stop in time", name=self._thread.name)
