"""What the stages of `tacho up` find: a home of its own, the stand-ins, free ports, their
environment.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.log import get
from tachograph.pipeline.standins.broker import EmbeddedBroker
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.tls import ServerTls
from tachograph.schemas import contracts

log = get("up")

LOCK_FILE = "up.lock"
_PLAIN = ServerTls()


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """While inside, no other `tacho up` works on this home, which is made if it is not there.
    Raises ConfigError when one does, or when the home cannot be written.
    """
    with _lock_file(home) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ConfigError(
                f"{home} is in use by another `tacho up` (process {file.read().strip()}):"
                " stop that one, or set TACHO_HOME to another folder"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock_file(home: Path) -> TextIO:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (home / LOCK_FILE).open("a+")
    except OSError as error:
        raise ConfigError(
            f"TACHO_HOME: {home} cannot be written ({error.strerror}); set another folder"
        ) from error


class StandIns:
    """The stand-ins of this run, as far as they are ours. Used by one thread."""

    def __init__(self) -> None:
        self.limits: list[str] = []
        self._clickhouse: EmbeddedClickHouse | None = None
        self._broker: EmbeddedBroker | None = None
        self._path, self._tls = Path(), ServerTls()

    def clickhouse(self, path: Path, port: int, tls: ServerTls = _PLAIN) -> EmbeddedClickHouse:
        """Start ClickHouse. Raises ConfigError, RetryLater."""
        self._path, self._tls = path, tls
        self._clickhouse = EmbeddedClickHouse(path, port=port, tls=tls, stands_behind=True)
        self.limits += self._clickhouse.limits
        return self._clickhouse

    def broker(self) -> EmbeddedBroker:
        """Start the broker with the topics of the contracts. Raises ConfigError, RetryLater."""
        topics = {name: topic.partitions for name, topic in contracts.topics().items()}
        self._broker = EmbeddedBroker(topics=topics)
        self.limits += self._broker.limits
        return self._broker

    @property
    def broker_ended(self) -> bool:
        """Whether the broker was ours and is gone: nothing can be carried to its end any more."""
        return self._broker is not None and not self._broker.alive()

    def revive(self) -> None:
        """Start ClickHouse again when it ended: what it has stored is on disk. Raises RetryLater
        when it does not come back, or when the broker ended: then there is nothing to go on with.
        """
        if self._broker is not None and self.broker_ended:
            raise RetryLater(
                f"the embedded broker ended (exit {self._broker.exit_code}), and what was in it is"
                " gone: what is stored stays, start `tacho up` again"
            )
        engine = self._clickhouse
        if engine is None or engine.alive():
            return
        log.warning("ClickHouse ended, starting it again", exit=engine.exit_code)
        engine.close()
        port = int(engine.url.rsplit(":", 1)[1])
        self._clickhouse = EmbeddedClickHouse(
            self._path,
            port=port,
            writer_password=engine.writer_password,
            tls=self._tls,
            stands_behind=True,
        )

    def close(self) -> None:
        """Stop them. May be called twice."""
        for child in (self._broker, self._clickhouse):
            if child is not None:
                child.close()


@contextlib.contextmanager
def told(place: Path, address: str) -> Iterator[None]:
    """While inside, a file says to other verbs on the same home where a server of ours listens."""
    place.write_text(address + "\n", "ascii")
    try:
        yield
    finally:
        place.unlink(missing_ok=True)


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
    """Environment of the stages: ours, where the servers are, and a fresh folder for the metrics
    that they share.
    """
    folder = home / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.db"):
        old.unlink(missing_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    return {**base, "TACHO_HOME": str(home), "PROMETHEUS_MULTIPROC_DIR": str(folder), **changes}
