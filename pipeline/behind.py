"""Who steps back where several processes share a small machine: what is stored, sealed and asked of
may come a moment later, what warns may not. It costs nothing where processors are free.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

# Stages that nobody waits for.
STAGES: Final = frozenset({"store", "notarize"})
# To three times as much for who stands in front.
STEP: Final = 5
_LAST: Final = 19


def put(pid: int) -> None:
    """Put a child behind this process: one that has just been started, in a session of its own, as
    threads take over what the one that starts them has. Where the system allows none of it, the
    child stays where it is.
    """
    nice = min(os.getpriority(os.PRIO_PROCESS, 0) + STEP, _LAST)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    # Linux often shares out by session first, and niceness counts within one only.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")
