"""Stages as child processes: started, watched, started again when they die, stopped in order."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tachograph.pipeline import behind
from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.log import get

log = get("up")

RESTARTS_MAX = 5
RESTART_WINDOW_S = 60.0
STOP_GRACE_S = 20.0
LOG_KEEP_BYTES = 10_000_000


class StageDied(TachoError):
    """A stage died again and again; the message names its log."""


class Child:
    """One stage in a process of its own. Its output goes to a log file, one generation is kept."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.log_path = logs / f"{name}.log"
        self._argv, self._env = list(argv), dict(env)
        self._started_s: list[float] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches only the parent."""
        self._started_s.append(time.monotonic())
        with self._open_log() as sink:
            self._process = subprocess.Popen(
                self._argv,
                env={**self._env, "TACHO_PARENT_PID": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self.name in behind.STAGES:
            behind.put(self._process.pid)

    def _open_log(self) -> IO[bytes]:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_KEEP_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        return self.log_path.open("ab")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def restarts(self) -> int:
        return len(self._started_s) - 1

    @property
    def state(self) -> str:
        """In a word or two, for the view."""
        if not self.running:
            return "down"
        return f"up, died {self.restarts}×" if self.restarts else "up"

    def revive(self) -> bool:
        """Start it again if it died; True when it had. Raises StageDied when it keeps dying."""
        if self.running:
            return False
        code = self._process.returncode if self._process else None
        recent = [s for s in self._started_s if s > time.monotonic() - RESTART_WINDOW_S]
        if len(recent) > RESTARTS_MAX:
            raise StageDied(
                f"stage {self.name} died {len(recent)} times in {RESTART_WINDOW_S:.0f} s"
                f" (exit {code}); its last words: {self.last_words()}"
            )
        log.warning("stage died, starting it again", stage=self.name, exit=code)
        self.start()
        return True

    def last_words(self) -> str:
        """The last line of its log, and where the log is."""
        try:
            lines = self.log_path.read_text("utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{lines[-1][:300] if lines else 'none'} (see {self.log_path})"

    def ask_to_stop(self) -> None:
        """SIGTERM: finish what is in hand."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, grace_s: float = STOP_GRACE_S) -> int | None:
        """Wait for it to end; after the grace it is killed. Its exit code."""
        if self._process is None:
            return None
        try:
            return self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            log.warning("stage did not stop in time and is killed", stage=self.name)
            self._process.kill()
            return self._process.wait()


def stage(name: str, env: Mapping[str, str], logs: Path) -> Child:
    """The child that runs `tacho NAME`."""
    return Child(name, [sys.executable, "-m", "tachograph.pipeline.cli", name], env, logs)
