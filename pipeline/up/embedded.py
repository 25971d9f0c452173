"""The stand-ins `tacho up` starts when no real server is named: a broker and a ClickHouse on
loopback.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from tachograph.pipeline.errors import ConfigError, RetryLater

READY_S = 60.0


class BrokerProcess(AbstractContextManager["BrokerProcess"]):
    """The stand-in broker in a process of its own; it ends with ours."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tachograph.pipeline.standins.broker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise RetryLater(f"the stand-in broker did not start (exit {self._process.wait()})")
        told = json.loads(line)
        self.bootstrap_servers: str = told["bootstrap_servers"]
        self.limits: list[str] = told.get("limits", [])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def need_free(host: str, port: int, option: str) -> None:
    """Raises ConfigError naming the option when the port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} is in use ({error.strerror}); choose another port with {option}"
            ) from error


def child_environment(
    base: Mapping[str, str], home: Path, changes: Mapping[str, str]
) -> dict[str, str]:
    """Environment of the stages: ours, where the servers are, and a fresh folder for shared
    metrics.
    """
    folder = home / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.db"):
        old.unlink(missing_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    return {**base, "TACHO_HOME": str(home), "PROMETHEUS_MULTIPROC_DIR": str(folder), **changes}
