"""`tacho` as a person runs it: in a folder of its own, with nothing else running."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Far more than it takes: a loaded machine must not fail this.
WITHIN_S = 600.0
# A line of numbers with an alert among them: without any, it ends with another code.
ALERTED = re.compile(r'"alerts": \{[^}]*[1-9]')


def _clean() -> dict[str, str]:
    ours = ("TACHO_", "KAFKA_", "CLICKHOUSE_", "PROMETHEUS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@contextmanager
def tacho(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`tacho …` in a folder, its output in the file `out` there."""
    with (folder / "out").open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "tachograph.pipeline.cli", *arguments],
            cwd=folder,
            env=_clean(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def said(folder: Path) -> str:
    """What it has said until now."""
    return (folder / "out").read_text()


def wait_for(folder: Path, words: re.Pattern[str], process: "subprocess.Popen[str]") -> None:
    """Wait until it says them; it must not end before."""
    end = time.monotonic() + WITHIN_S
    while not words.search(said(folder)):
        assert process.poll() is None, said(folder)[-3_000:]
        assert time.monotonic() < end, f"no {words.pattern!r} in {said(folder)[-3_000:]}"
        time.sleep(0.2)


def _left_over(folder: Path) -> list[str]:
    """Command lines of processes that still work in the folder."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            environment = (place / "environ").read_bytes()
            command = (place / "cmdline").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if f"TACHO_HOME={folder}".encode() in environment or str(folder).encode() in command:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def ended(folder: Path) -> None:
    """No child of it is left; one that is just ending gets a moment."""
    end = time.monotonic() + WITHIN_S
    while (left := _left_over(folder)) and time.monotonic() < end:
        time.sleep(0.2)
    assert left == []


def ended_cleanly(folder: Path) -> None:
    """No child of `tacho up` is left, and nothing went wrong that nobody saw to."""
    assert "Traceback" not in said(folder)
    for log in (folder / ".tacho" / "logs").glob("*.log"):
        assert "Traceback" not in log.read_text(errors="replace"), log.name
    ended(folder)
