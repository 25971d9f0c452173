"""Who has a database open: a lock in its folder, with a note of who holds it.

The engine itself only says that its folder is in use. A question of a moment ends soon, so whoever
comes next waits a little before it says who is in its way.
"""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tachograph.pipeline.errors import ConfigError

HELD_FILE = "held"
WAIT_S = 10.0
LOOK_EVERY_S = 0.1
_MAX_NOTE_BYTES = 200


def verb_of(argv: list[str]) -> str:
    """How a person knows this process: `tacho VERB`, never what it was asked."""
    verb = argv[1] if len(argv) > 1 and Path(argv[0]).name == "tacho" else ""
    return f"tacho {verb}" if verb.isalpha() else "another program"


@contextlib.contextmanager
def held(
    home: Path,
    by: str,
    *,
    wait_s: float = WAIT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold a database; it is let go when the process ends, however it ends. Raises ConfigError,
    with who holds it, once it was waited for.
    """
    descriptor = os.open(home / HELD_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        last_s = clock() + wait_s
        while not _locked(descriptor):
            if clock() >= last_s:
                raise ConfigError(_told(home, descriptor, wait_s))
            sleep(LOOK_EVERY_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{by}, process {os.getpid()}".encode()[:_MAX_NOTE_BYTES], 0)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _told(home: Path, descriptor: int, wait_s: float) -> str:
    note = os.pread(descriptor, _MAX_NOTE_BYTES, 0).decode("utf-8", "replace")
    who = "".join(c if c.isprintable() else "·" for c in note) or "another process"
    return (
        f"{home} is open in another process ({who}), still after {wait_s:.0f} s: only one at a time"
        " may serve it. A question that was asked before is answered soon; `tacho clickhouse` and"
        " `tacho up` serve until they are stopped, and answer questions meanwhile"
    )


def own_verb() -> str:
    """The verb of this process."""
    return verb_of(sys.argv)
