"""A real OpenSearch without Docker: one node on loopback, from Maven and Java, for tests.

`python -m infra.opensearch.node` fetches its jars (53 MB), once; the tests that need a node are
skipped until somebody has. No security plugin is among them: it speaks plain HTTP, without users.
"""

import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from infra.kafka.broker import free_ports
from infra.kafka.jars import BrokerFailedError, ensure_jars, folder_of
from infra.kafka.jars import BrokerUnavailableError as UnavailableError

HERE = Path(__file__).resolve().parent
_HEAP_MB = 512
_STOP_TIMEOUT_S = 30.0


def missing() -> str | None:
    """Why no node can run here, in one line; None when one can."""
    if shutil.which("java") is None:
        return "OpenSearch needs Java 17 or newer: no `java` on PATH"
    if not folder_of(HERE).is_dir():
        return "OpenSearch is not there (python -m infra.opensearch.node fetches it by Maven)"
    return None


class OpenSearch:
    """One node with its data in one folder. `ready` says whether it answers."""

    def __init__(self, folder: Path) -> None:
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = folder / "node.log"
        jars = ensure_jars(HERE)
        heap = [f"-Xms{_HEAP_MB}m", f"-Xmx{_HEAP_MB}m", "-XX:+UseSerialGC"]
        # It asks for a security manager, which Java does not give by itself any more.
        options = [*heap, "-XX:TieredStopAtLevel=1", "-Djava.security.manager=allow"]
        node = [str(HERE / "Node.java"), str(folder / "data"), str(port)]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                ["java", *options, "-cp", f"{jars}/*", *node],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ready(self) -> bool:
        """Whether the node answers. Raises BrokerFailedError when it has ended."""
        if self._process.poll() is not None:
            raise BrokerFailedError(f"OpenSearch ended while starting: see {self.log_path}")
        try:
            return httpx.get(self.url, timeout=5.0).is_success
        except httpx.HTTPError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


if __name__ == "__main__":
    try:
        print(ensure_jars(HERE))
    except (UnavailableError, BrokerFailedError) as error:
        raise SystemExit(f"opensearch: {error}") from None
