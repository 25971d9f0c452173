"""What the stages of `tacho up` find: free ports, the topics of the broker, their environment."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.settings import BROKER_FILE
from tachograph.pipeline.standins.broker import EmbeddedBroker
from tachograph.schemas import contracts


def embedded_broker() -> EmbeddedBroker:
    """The stand-in broker with the topics of the contracts, in a process of its own."""
    topics = {name: topic.partitions for name, topic in contracts.topics().items()}
    return EmbeddedBroker(topics=topics)


@contextlib.contextmanager
def told(home: Path, bootstrap_servers: str) -> Iterator[None]:
    """While inside, `tacho tail` and `tacho replay` on the same home find the broker."""
    place = home / BROKER_FILE
    place.write_text(bootstrap_servers + "\n", "ascii")
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
