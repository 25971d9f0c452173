"""ClickHouse for a first look and for tests: chDB behind a server with ClickHouse's HTTP interface.

`serve` blocks and owns its process; `EmbeddedClickHouse` starts that process and stops it, so that
a crash of the engine never takes the caller along.
"""

import argparse
import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.standins import clickhouse_limits as bounds
from tachograph.pipeline.standins.child import Child, report, set_at_end_of_input
from tachograph.pipeline.standins.clickhouse_engine import Engine
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError
from tachograph.pipeline.standins.clickhouse_held import held, own_verb
from tachograph.pipeline.standins.clickhouse_http import Interface, application
from tachograph.pipeline.standins.clickhouse_limits import Limits, describe
from tachograph.pipeline.standins.clickhouse_request import WRITER_NAME
from tachograph.pipeline.tls import ServerTls

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8123
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")
SECRET_VARIABLE = "TACHO_CLICKHOUSE_WRITER_PASSWORD"  # noqa: S105  (the name, not the secret)
SECRET_FILE = "clickhouse.secret"  # noqa: S105
_PLAIN = ServerTls()


def serve(  # noqa: PLR0913 - an argument for each option
    path: Path,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    writer_password: str,
    limits: Limits | None = None,
    tls: ServerTls = _PLAIN,
    port_option: str = "--clickhouse-port",
    on_ready: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
    held_by: str = "",
) -> None:
    """Serve the database under `path` until `stop` is set or SIGTERM or SIGINT comes.

    Owns the process: changes its working directory and time zone. `on_ready` is called once, with
    the URL. Port 0 takes a free one. `held_by` is the verb that another process is told of, else
    that of this one. Raises ConfigError if the port is in use, another process has the database
    open for longer than a question takes, or `tls` (of absolute paths) cannot be used."""
    tls.check()
    limits = limits or Limits()
    listener = _listen(host, port, port_option)
    home = path.resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(home)
    os.environ["TZ"] = (
        "UTC"  # times of the record are UTC; the engine takes its time zone from here
    )
    time.tzset()
    stop = stop or threading.Event()
    with (
        contextlib.closing(listener),
        held(home, held_by or own_verb()),
        contextlib.closing(_opened(home, limits)) as engine,
    ):
        interface = Interface(engine, limits, writer_password)
        bound_host, bound_port = listener.getsockname()[:2]
        hosts = (*LOOPBACK_NAMES, host, *limits.host_names)
        if host not in LOOPBACK_NAMES and not limits.host_names:
            hosts = ("*",)  # opened to a network on purpose, under names that we cannot know
        url = _url(tls.scheme, bound_host, bound_port)
        server = _Server(_server_config(interface, hosts, tls), url, on_ready, stop)
        threading.Thread(target=_end, args=(stop, interface, server), daemon=True).start()
        try:
            server.run(sockets=[listener])
        finally:
            interface.close()


def _opened(home: Path, limits: Limits) -> Engine:
    try:
        return Engine(home, limits)
    except ClickHouseError as error:
        raise ConfigError(f"ClickHouse cannot open {home}: {error.text}") from error


def _end(stop: threading.Event, interface: Interface, server: uvicorn.Server) -> None:
    stop.wait()
    interface.stop_reads()
    server.should_exit = True


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _server_config(interface: Interface, hosts: tuple[str, ...], tls: ServerTls) -> uvicorn.Config:
    return uvicorn.Config(
        application(interface, hosts),
        # h11 rather than httptools: it alone bounds the request line and the headers.
        http="h11",
        h11_max_incomplete_event_size=bounds.MAX_URL_AND_HEADER_BYTES,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=bounds.MAX_CONNECTIONS,
        timeout_graceful_shutdown=5,
        **tls.uvicorn(),
    )


class _Server(uvicorn.Server):
    """Tells when it listens, and leaves the end to `stop`, so that a signal ends it with code 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        url: str,
        on_ready: Callable[[str], None] | None,
        stop: threading.Event,
    ) -> None:
        super().__init__(config)
        self._url = url
        self._on_ready = on_ready
        self._stop = stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready(self._url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._stop.set()


def _listen(host: str, port: int, port_option: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        text = f"ClickHouse cannot listen on {host}:{port} ({error.strerror}); use {port_option}"
        raise ConfigError(text) from error
    listener.listen(bounds.MAX_CONNECTIONS)
    return listener


class EmbeddedClickHouse(Child):
    """The server as a child process, ready when the constructor returns.

    `url`, `writer_user` and `writer_password` are what a writer needs; a reader needs `url` alone.
    The child ends with `close()`, with the context, or when this process dies. Port 0 takes a free
    one. Raises ConfigError or RetryLater if it does not start."""

    writer_user = WRITER_NAME

    def __init__(
        self,
        path: Path,
        host: str = DEFAULT_HOST,
        port: int = 0,
        *,
        writer_password: str = "",
        port_option: str = "--clickhouse-port",
        tls: ServerTls = _PLAIN,
        stands_behind: bool = False,
    ) -> None:
        """`stands_behind`: others that share the machine come first, see `pipeline/behind.py`."""
        self.limits = describe(Limits())
        self.writer_password = writer_password or secrets.token_urlsafe(24)
        arguments = [
            f"--path={path.resolve()}",
            f"--host={host}",
            f"--port={port}",
            f"--port-option={port_option}",
            f"--held-by={own_verb()}",
            "--parent-pipe",
            *(f"{name}={path.resolve()}" for name, path in tls.options().items()),
        ]
        secret = {SECRET_VARIABLE: self.writer_password}
        super().__init__(__name__, arguments, secret, stands_behind=stands_behind)
        self.url = str(self.report["url"])


def new_secret(path: Path) -> str:
    """A writer's secret for this run, left in a file beside the database that only we can read."""
    secret = secrets.token_urlsafe(24)
    file = path.resolve().parent / SECRET_FILE
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(secret)
    return secret


def main() -> int:
    """The child process: prints one JSON line with `url` or `error`, then serves."""
    parser = argparse.ArgumentParser(description="Embedded ClickHouse over HTTP")
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--port-option", default="--port")
    for name in ("--tls-cert", "--tls-key", "--tls-client-ca"):
        parser.add_argument(name, type=Path, help="a PEM file")
    parser.add_argument("--held-by", default="", help="whose child this is")
    parser.add_argument("--parent-pipe", action="store_true", help="end with standard input")
    options = parser.parse_args()
    stop = threading.Event()
    if options.parent_pipe:
        set_at_end_of_input(stop)
    try:
        serve(
            options.path,
            options.host,
            options.port,
            writer_password=os.environ.get(SECRET_VARIABLE) or new_secret(options.path),
            tls=ServerTls(
                cert=options.tls_cert, key=options.tls_key, client_ca=options.tls_client_ca
            ),
            port_option=options.port_option,
            on_ready=lambda url: report(url=url),
            stop=stop,
            held_by=options.held_by,
        )
    except ConfigError as error:
        report(error=str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
