"""The door as a stage: everything it is made of, put together in one place."""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from tachograph.pipeline import secrets
from tachograph.pipeline.clock import system_us
from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.health import TURNED_AWAY, HealthReporter
from tachograph.pipeline.log import get
from tachograph.pipeline.normalize.sources import Sources
from tachograph.pipeline.serve.app import Parts, Views, application
from tachograph.pipeline.serve.archive import Archive
from tachograph.pipeline.serve.asking import Asking
from tachograph.pipeline.serve.audit import Audit
from tachograph.pipeline.serve.backlog import Backlog, backlog_of
from tachograph.pipeline.serve.console.entrance import Entrance
from tachograph.pipeline.serve.console.sessions import Sessions
from tachograph.pipeline.serve.console.views import Console
from tachograph.pipeline.serve.control import Directives
from tachograph.pipeline.serve.door import Door
from tachograph.pipeline.serve.feed import Feed
from tachograph.pipeline.serve.gate import Gate
from tachograph.pipeline.serve.oidc import Oidc
from tachograph.pipeline.serve.options import DoorOptions, bound_socket
from tachograph.pipeline.serve.protocol import SocketProtocol, guarded
from tachograph.pipeline.serve.publisher import Publisher
from tachograph.pipeline.serve.rate import RateLimit
from tachograph.pipeline.serve.saying import Saying
from tachograph.pipeline.serve.socket import Sockets
from tachograph.pipeline.serve.tokens import Tokens
from tachograph.pipeline.serve.watch import Desk
from tachograph.pipeline.settings import Settings

log = get("serve")

WATCH_S: Final = 0.05
TOKENS_AGE_S: Final = 5.0
DRAIN_S: Final = 10
FLUSH_S: Final = 8.0
# A watcher has nothing to say.
_SAID_BYTES: Final = 4_096


def run(
    settings: Settings,
    stop: threading.Event,
    *,
    options: DoorOptions | None = None,
    backlog: Backlog | None = None,
    opened: Callable[[str], None] | None = None,
) -> None:
    """Serve until `stop`. `opened` is told the door's URL once it listens.

    Raises ConfigError before anything is served (port in use, no tokens where they are needed),
    RetryLater when the connection to Kafka can no longer be used.
    """
    options = options or DoorOptions.from_env(settings)
    options.check()
    tokens = Tokens(options.tokens_file) if options.tokens_file else None
    key = secrets.operator_key(settings.home)
    listener = bound_socket(options.host, options.port)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would quote requests
    with contextlib.closing(listener), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(
            _serve(
                settings, options, stop,
                listener=listener, tokens=tokens, key=key,
                backlog=backlog or backlog_of(settings), opened=opened or _log_url,
            )
        )  # fmt: skip


def _log_url(url: str) -> None:
    log.info("door open", url=url)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on every system; the standard loop is only slower
        return None
    return uvloop.new_event_loop


class _House:
    """All that the door is made of, and what has to be closed. Made on the event loop."""

    def __init__(
        self,
        settings: Settings,
        options: DoorOptions,
        *,
        tokens: Tokens | None,
        key: bytes,
        backlog: Backlog,
    ) -> None:
        limits = options.limits
        self.oidc = Oidc(options.oidc) if options.oidc else None
        self.backlog = backlog
        self.publisher = Publisher(settings, limits)
        self.feed = Feed(settings, limits)
        rate = RateLimit(limits.requests_per_s, limits.burst_requests, limits.clients)
        self.gate = Gate(tokens, rate, self.oidc)
        self.door = Door(
            self.gate, self.publisher, limits,
            key=key, tenant=settings.tenant, backlog=backlog, clock_us=system_us,
            formats=Sources.from_env(os.environ).formats,
        )  # fmt: skip
        self.directives = Directives(settings, limits, system_us)
        # People do not wait for scripts, nor scripts for people.
        self.asking = Asking(settings.clickhouse)
        self.console_asking = Asking(settings.clickhouse, at_once=4)
        self.parts = self._parts(settings, Desk(settings, self.feed, limits), tokens)

    def _parts(self, settings: Settings, desk: Desk, tokens: Tokens | None) -> Parts:
        audit = Audit(self.publisher, settings.tenant, system_us)

        def saying(asking: Asking) -> Saying:
            within_s = desk.limits.stored_within_s
            return Saying(asking, self.publisher, audit, system_us, stored_within_s=within_s)

        console = Console(
            Entrance(self.gate, Sessions(system_us)), self.console_asking, desk,
            saying(self.console_asking),
            audit=audit, tokens=tokens, oidc=self.oidc,
        )  # fmt: skip
        return Parts(
            self.door,
            Views(self.gate, self.publisher, desk, self.directives, settings),
            Archive(self.gate, self.asking, audit, saying(self.asking)),
            Sockets(self.gate, desk),
            console,
        )

    def dismiss(self) -> None:
        """Watchers leave, or the server would wait for them."""
        self.feed.close()
        self.directives.close()

    async def close(self) -> int:
        """Let Kafka and ClickHouse go; how many records nobody acknowledged."""
        left = await asyncio.to_thread(self.publisher.close, FLUSH_S)
        await asyncio.to_thread(self.backlog.close)
        self.asking.close()
        self.console_asking.close()
        return left


async def _serve(
    settings: Settings,
    options: DoorOptions,
    stop: threading.Event,
    *,
    listener: socket.socket,
    tokens: Tokens | None,
    key: bytes,
    backlog: Backlog,
    opened: Callable[[str], None],
) -> None:
    house = _House(settings, options, tokens=tokens, key=key, backlog=backlog)
    publisher = house.publisher
    health = HealthReporter(settings, "serve")
    server = _Server(_config(options, application(house.parts)))
    keeping_up = [asyncio.create_task(_reload(tokens))]
    if house.oidc:
        keeping_up.append(asyncio.create_task(house.oidc.follow()))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        # Neither the server nor a thread's event can be awaited: both are looked at.
        while not (server.started or serving.done()):  # noqa: ASYNC110
            await asyncio.sleep(WATCH_S / 10)
        opened(_url(options, listener))
        while not (stop.is_set() or serving.done() or publisher.fatal):
            await asyncio.sleep(WATCH_S)
            await asyncio.to_thread(health.beat, drops={TURNED_AWAY: house.door.turned_away})
    finally:
        house.dismiss()
        server.should_exit = True
        for task in keeping_up:
            task.cancel()
        await serving
        await asyncio.to_thread(health.close)
        log.info("door closed", unacknowledged=await house.close())
    if publisher.fatal:
        raise RetryLater(f"the producer cannot go on: {publisher.fatal}")


def _config(options: DoorOptions, app: Callable[..., object]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=guarded(options.limits),
        ws=SocketProtocol,
        ws_max_size=_SAID_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who connects is who connects: a header may say anything
        limit_concurrency=options.limits.connections,
        timeout_graceful_shutdown=DRAIN_S,
        **options.tls.uvicorn(),
    )


def _url(options: DoorOptions, listener: socket.socket) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{options.tls.scheme}://{host}:{listener.getsockname()[1]}"


async def _reload(tokens: Tokens | None) -> None:
    """A token taken out of the file is refused a few seconds later; a broken file changes
    nothing.
    """
    while tokens is not None:
        await asyncio.sleep(TOKENS_AGE_S)
        try:
            if tokens.reload():
                log.info("tokens read again")
        except ConfigError as error:
            log.warning("tokens not read again; the known ones hold", error=str(error))


class _Server(uvicorn.Server):
    """Signals belong to whoever runs the stage."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
