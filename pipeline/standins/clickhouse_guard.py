"""Memory that the engine's limits for one query do not see: the bytes of a result as text.

A column that holds one value counts once towards `max_result_bytes`, and in JSON becomes as many
copies as there are rows. Formats that come in pieces are counted piece by piece; of the others the
engine hands over the whole text at last, so while it grows this process's own size is watched.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError

LOOK_EVERY_S = 0.02
MEMORY_LIMIT_EXCEEDED = 241
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = 4096


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


class MemoryGuard:
    """Stops the watched statements once the process has grown by `limit_bytes` since the first."""

    def __init__(
        self,
        limit_bytes: int,
        cancel: Callable[[str], None],
        measure: Callable[[], int] = resident_bytes,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._cancel = cancel
        self._measure = measure
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._stopped: set[str] = set()
        self._start_bytes = 0

    @contextmanager
    def watch(self, tag: str) -> Iterator[None]:
        """Watch one statement. Raises ClickHouseError if it was stopped."""
        with self._lock:
            first = not self._watched
            self._watched.add(tag)
            if first:
                self._start_bytes = self._measure()
                threading.Thread(target=self._run, name="memory-guard", daemon=True).start()
        try:
            yield
        except ClickHouseError as error:
            raise self._reason(tag) or error from None
        finally:
            with self._lock:
                self._watched.discard(tag)
                self._stopped.discard(tag)

    def _reason(self, tag: str) -> ClickHouseError | None:
        with self._lock:
            if tag not in self._stopped:
                return None
        text = "Memory limit exceeded: to answer it takes more memory than a reader may use."
        return ClickHouseError(MEMORY_LIMIT_EXCEEDED, text, "MEMORY_LIMIT_EXCEEDED")

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_EVERY_S):
            with self._lock:
                if not self._watched:
                    return
                grown_bytes = self._measure() - self._start_bytes
                over = self._watched - self._stopped if grown_bytes > self._limit_bytes else set()
                self._stopped |= over
            for tag in over:
                self._cancel(tag)
