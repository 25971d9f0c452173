"""One broker for all processes of a test run: the first to ask starts it, its end stops it."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.kafka.jars import FETCH_TIMEOUT_S, BrokerFailedError, ensure_jars

_READY = "KAFKA_BOOTSTRAP_SERVERS="
_POLL_S = 0.1


def shared_broker(folder: Path, owner_pid: int) -> str:
    """Return host:port of the broker kept in `folder`, which lives as long as process `owner_pid`.

    Blocks while it starts. Raises BrokerUnavailableError when this machine cannot
    run one, BrokerFailedError when it should and does not.
    """
    ensure_jars()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "pid").exists():
            (folder / "pid").write_text(str(_spawn(folder, owner_pid)))
        return _wait_until_ready(folder)


def stop_shared_broker(folder: Path) -> None:
    """Stop the broker of `folder` when there is one, and wait until it has gone."""
    if not (folder / "pid").exists():
        return
    pid = int((folder / "pid").read_text())
    if _is_ours(pid):
        os.kill(pid, signal.SIGTERM)
    while _is_ours(pid):
        time.sleep(_POLL_S)


def _spawn(folder: Path, owner_pid: int) -> int:
    node = [
        sys.executable,
        "-m",
        "infra.kafka.broker",
        "--port",
        "0",
        "--data",
        str(folder / "node"),
    ]
    node += ["--quick-start", "--with-pid", str(owner_pid)]
    # The shell leaves it to init: the process that asks first may be the first one to end.
    answer = subprocess.run(
        ["sh", "-c", '"$@" >"$0" 2>&1 & echo $!', str(folder / "out"), *node],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
        start_new_session=True,
    )
    return int(answer.stdout)


def _wait_until_ready(folder: Path) -> str:
    pid = int((folder / "pid").read_text())
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    while time.monotonic() < deadline:
        lines = (folder / "out").read_text().splitlines(keepends=True)
        ready = [line for line in lines if line.startswith(_READY) and line.endswith("\n")]
        if not _is_ours(pid):
            raise BrokerFailedError(lines[-1].strip() if lines else "the broker said nothing")
        if ready:
            return ready[0].removeprefix(_READY).strip()
        time.sleep(_POLL_S)
    raise BrokerFailedError(f"the shared broker was not ready within {FETCH_TIMEOUT_S} s")


def _is_ours(pid: int) -> bool:
    """Whether that process is still the broker we started (ids of ended processes come again)."""
    command = ["ps", "-o", "command=", "-p", str(pid)]
    return (
        "infra.kafka.broker"
        in subprocess.run(command, capture_output=True, text=True, check=False).stdout
    )
