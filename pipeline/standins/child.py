"""A stand-in as a child process: one JSON line when it is ready; it ends with its parent."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tachograph.pipeline import behind
from tachograph.pipeline.errors import ConfigError, RetryLater

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


class Child:
    """A running child. Ends with `close()`, with the context, or when this process dies.

    Raises ConfigError if the child says why it cannot start, RetryLater if it does not say."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        secrets: Mapping[str, str],
        *,
        stands_behind: bool = False,
    ) -> None:
        self._name = module.rpartition(".")[2]
        # A session of its own: Ctrl-C goes to the parent, which stops its children in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **secrets},
            start_new_session=True,
        )
        if stands_behind:
            behind.put(self._process.pid)
        try:
            self.report = self._await_report()
        except BaseException:
            self.close()
            raise

    def _await_report(self) -> dict[str, Any]:
        line: list[bytes] = []
        pipe = self._process.stdout
        reader = threading.Thread(target=_read_line, args=(pipe, line), daemon=True)
        reader.start()
        reader.join(START_TIMEOUT_S)
        report: dict[str, Any] = json.loads(line[0]) if line and line[0].strip() else {}
        if "error" in report:
            raise ConfigError(str(report["error"]))
        if not report:
            raise RetryLater(f"the embedded {self._name} did not start: {self._unready()}")
        return report

    def _unready(self) -> str:
        """What is known of a child that said nothing."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # its output ends before it does
            code = self._process.wait(1.0)
            return f"it ended with code {code}; its reason is on standard error"
        spent_s = _processor_s(self._process.pid)
        return (
            f"it was waited for {START_TIMEOUT_S:.0f} s and had {spent_s:.1f} s of a processor,"
            " where some 5 are enough: is the machine too busy, or does something not answer?"
        )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the child ended; None while it runs, negative if a signal ended it."""
        return self._process.poll()

    def close(self) -> None:
        """Stop the child, gently at first. May be called twice."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _processor_s(pid: int) -> float:
    """Processor time of a process so far; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def _read_line(pipe: IO[bytes] | None, into: list[bytes]) -> None:
    with contextlib.suppress(ValueError):  # closed meanwhile
        if pipe is not None:
            into.append(pipe.readline())


def report(**values: str) -> None:
    """In the child: the one line that the parent waits for."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def set_at_end_of_input(stop: threading.Event) -> None:
    """In the child: set `stop` once standard input closes, because the parent closed it or died."""

    def watch() -> None:
        # Not through sys.stdin, whose lock a daemon thread would hold while the interpreter ends.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
