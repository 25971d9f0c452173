"""A real Apache Kafka broker without Docker: one KRaft node on loopback, from Maven and Java.

By hand: `make kafka`, or `python -m infra.kafka.broker --port 9092 --data FOLDER`; Ctrl-C ends it.
In tests: `KafkaBroker`, which can also be killed and started again on the same data and ports.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.kafka.archive import archive_options
from infra.kafka.formatted import lay_formatted, new_id
from infra.kafka.jars import CACHE, HERE, BrokerFailedError, BrokerUnavailableError, ensure_jars
from infra.kafka.properties import HOST, TimestampType, render, server_properties
from infra.kafka.security import Credentials, keep_credentials

DEFAULT_PORT = 9092
DEFAULT_HEAP_MB = 320
# As many as the stand-in gives a topic that appears at first use.
DEFAULT_PARTITIONS = 4
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
_STARTED = b"Kafka Server started"
_POLL_S = 0.05
_FIRST_PORT = 15_000
_PORT_TRIES = 50


class KafkaBroker:
    """One node with its data in one folder; its ports stay the same over restarts.

    Not thread-safe. `start` blocks until clients are served and raises BrokerUnavailableError when
    Java or the jars are missing, BrokerFailedError when the node ends before it is ready. Its
    process ends with the one that started it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        secure: bool = False,
        partitions: int = DEFAULT_PARTITIONS,
        timestamp_type: TimestampType = "CreateTime",
        heap_mb: int = DEFAULT_HEAP_MB,
        quick_start: bool = True,
        authorized: bool = False,
    ) -> None:
        """`port` 0 takes a free one; `quick_start` starts sooner and peaks lower (no bench): the
        first such start on a machine makes an archive of the classes, which takes seconds.
        `authorized`: who logs in may do what ACLs say, and nothing else.
        """
        self._root = data_dir.resolve()
        self._heap_mb = heap_mb
        self._quick_start = quick_start
        self._partitions = partitions
        self._authorized = authorized
        self._timestamp_type: TimestampType = timestamp_type
        free = free_ports(3)
        self.port = port or free[0]
        self._controller_port = free[1]
        self._secure_port = free[2] if secure else None
        self._credentials: Credentials | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._speed: list[str] = []
        self.log_path = self._root / "broker.log"

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the listener without authentication."""
        return f"{HOST}:{self.port}"

    @property
    def secure_bootstrap_servers(self) -> str:
        """host:port of the SASL_SSL listener."""
        if self._secure_port is None:
            raise ValueError("this broker was made without secure=True")
        return f"{HOST}:{self._secure_port}"

    @property
    def credentials(self) -> Credentials:
        """How to log in to the SASL_SSL listener; there after the first start."""
        if self._credentials is None:
            raise ValueError("only a started broker made with secure=True has credentials")
        return self._credentials

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        if self._process is None:
            raise ValueError("the broker is not running")
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the node's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the node on its data, formatting the folder the first time."""
        if self._process is not None:
            raise ValueError("the broker is running already")
        jars = ensure_jars()
        if self._quick_start and not self._speed:
            self._speed = ["-XX:TieredStopAtLevel=1", *archive_options(jars, _train)]
        self._root.mkdir(parents=True, exist_ok=True)
        config = self._write_config()
        data = self._root / "data"
        if not (data / "meta.properties").exists():
            if self._quick_start and self._credentials is None:
                lay_formatted(jars, data, _format_plainly)
            else:
                self._format(jars, config)
        with self.log_path.open("ab") as log:
            seen_bytes = log.tell()
            self._process = subprocess.Popen(
                [*_dies_with_parent(), *self._java(jars), "kafka.Kafka", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the one who started us; the node is stopped by `stop`, in order.
                start_new_session=True,
            )
        self._wait_until_started(seen_bytes)
        return self

    def stop(self) -> None:
        """Stop the node cleanly; its data stays. Does nothing when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop the node as a power cut would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _write_config(self) -> Path:
        if self._secure_port is not None and self._credentials is None:
            self._credentials = keep_credentials(self._root / "secrets")
        path = self._root / "server.properties"
        properties = server_properties(
            data_dir=self._root / "data",
            port=self.port,
            controller_port=self._controller_port,
            secure_port=self._secure_port,
            credentials=self._credentials,
            partitions=self._partitions,
            timestamp_type=self._timestamp_type,
            authorized=self._authorized,
        )
        path.touch(mode=0o600)
        path.write_text(render(properties))
        return path

    def _format(self, jars: Path, config: Path) -> None:
        tool = [
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={new_id()}",  # one word, as an id may begin with a dash
            "--config",
            str(config),
        ]
        if self._credentials is not None:
            # StorageTool has no other way in; the password is random and this data folder's alone.
            login = f"name={self._credentials.username},password={self._credentials.password}"
            tool += ["--add-scram", f"SCRAM-SHA-512=[{login}]"]
        answer = subprocess.run([*self._java(jars), *tool], capture_output=True, check=False)
        if answer.returncode != 0:
            problem = (answer.stderr or answer.stdout).decode(errors="replace").strip()
            raise BrokerFailedError(f"StorageTool could not format {self._root}: {problem}")

    def _java(self, jars: Path) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
        heap = [f"-Xms{self._heap_mb // 2}m", f"-Xmx{self._heap_mb}m", "-XX:+UseSerialGC"]
        options = [*heap, *self._speed, "-XX:+ExitOnOutOfMemoryError", logging]
        return ["java", *options, "-cp", f"{jars}/*"]

    def _wait_until_started(self, seen_bytes: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            text = self._log_after(seen_bytes)
            if _STARTED in text:
                return
            if self._process is None or self._process.poll() is not None:
                self._process = None
                raise BrokerFailedError(f"Kafka ended while starting: {_reason(text)}")
            time.sleep(_POLL_S)
        self.kill()
        raise BrokerFailedError(
            f"Kafka was not ready within {START_TIMEOUT_S:.0f} s: see {self.log_path}"
        )

    def _log_after(self, seen_bytes: int) -> bytes:
        with self.log_path.open("rb") as log:
            log.seek(seen_bytes)
            return log.read()


def _format_plainly(jars: Path, folder: Path) -> Path:
    """Format the folder of a node without logins; where its data lie."""
    node = KafkaBroker(folder)
    folder.mkdir(parents=True, exist_ok=True)
    node._format(jars, node._write_config())  # noqa: SLF001 - a node of ours
    return folder / "data"


def _train(archive: Path) -> None:
    """Run a node that writes an archive of its classes as it ends."""
    with tempfile.TemporaryDirectory() as folder:
        node = KafkaBroker(Path(folder))
        node._speed = [f"-XX:ArchiveClassesAtExit={archive}"]  # noqa: SLF001 - a node of ours
        with node:
            pass


def free_ports(count: int) -> list[int]:
    """Return that many different TCP ports of loopback that nobody listens on just now.

    They lie below those that the system gives to whoever asks for any, connections too: nobody is
    given one before its server listens, or while that is away and comes back.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_bound()) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _bound() -> socket.socket:
    below = _first_given_out() - _FIRST_PORT
    # Not `random`: whoever seeds it, as tests do, would get the same ports in each process.
    tries = (_FIRST_PORT + secrets.randbelow(below) for _ in range(_PORT_TRIES if below > 0 else 0))
    for port in (*tries, 0):
        found = socket.socket()
        try:
            found.bind((HOST, port))
        except OSError:
            found.close()
            continue
        return found
    raise OSError(f"no port of {HOST} is free")


def _first_given_out() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:  # not Linux
        return 0


def has_ended(pid: int) -> bool:
    """Whether no such process runs; one that waits for its parent to notice has ended, too."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def _dies_with_parent() -> list[str]:
    """Linux ends a child with its parent, even one that was killed; elsewhere call `stop`."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _reason(log: bytes) -> str:
    """Return the line that tells most: the first exception with a message, else the last line."""
    lines = log.decode(errors="replace").splitlines() or ["it said nothing"]
    return next((line for line in lines if "Exception: " in line), lines[-1]).strip()


def main(arguments: list[str] | None = None) -> int:
    """Run one node until SIGINT or SIGTERM, or until the process named by --with-pid has gone."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    broker = KafkaBroker(
        options.data,
        port=options.port,
        partitions=options.partitions,
        timestamp_type=options.timestamp_type,
        heap_mb=options.heap_mb,
        secure=options.secure,
        quick_start=options.quick_start,
    )
    print("Starting Apache Kafka (the first time it is fetched, 43 MB) …", flush=True)
    try:
        broker.start()
    except (BrokerUnavailableError, BrokerFailedError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap_servers}", flush=True)
    if options.secure:
        _print_login(broker)
    print(f"Data and broker.log are in {options.data}. Ctrl-C stops it.", flush=True)
    while not stop.wait(0.5):
        if options.with_pid is not None and has_ended(options.with_pid):
            break
        if not broker.is_running():
            print(f"Kafka ended by itself: see {broker.log_path}", file=sys.stderr)
            return 1
    broker.stop()
    return 0


def _print_login(broker: KafkaBroker) -> None:
    login = broker.credentials
    print("\nOr, with TLS and a password:")
    print(f"KAFKA_BOOTSTRAP_SERVERS={broker.secure_bootstrap_servers}")
    print("KAFKA_SECURITY_PROTOCOL=SASL_SSL\nKAFKA_SASL_MECHANISM=SCRAM-SHA-512")
    print(f"KAFKA_SASL_USERNAME={login.username}\nKAFKA_SASL_PASSWORD_FILE={login.password_path}")
    print(f"KAFKA_SSL_CA_LOCATION={login.ca_path}\n", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="infra.kafka.broker", description=main.__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument("--data", type=Path, default=CACHE / "data")
    parser.add_argument(
        "--partitions", type=int, default=DEFAULT_PARTITIONS, help="of topics created by themselves"
    )
    parser.add_argument("--heap-mb", type=int, default=DEFAULT_HEAP_MB)
    parser.add_argument(
        "--timestamp-type", choices=["CreateTime", "LogAppendTime"], default="CreateTime"
    )
    parser.add_argument("--quick-start", action="store_true", help="starts sooner, peaks lower")
    parser.add_argument("--secure", action="store_true", help="a SASL_SSL listener beside it")
    parser.add_argument("--with-pid", type=int, help="stop when that process has gone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
