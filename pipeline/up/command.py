"""`tacho up`: stand-ins where no real server is named, all stages, the demo, the view, and a
clean end.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import msgspec

from tachograph.pipeline import log as logs
from tachograph.pipeline.errors import ConfigError, RetryLater, TachoError
from tachograph.pipeline.kafka.groups import ALL_READERS, unread
from tachograph.pipeline.kafka.topics import provision
from tachograph.pipeline.migrate import apply_migrations
from tachograph.pipeline.settings import (
    BROKER_FILE,
    CLICKHOUSE_FILE,
    DOOR_FILE,
    STANDIN_BROKER,
    Settings,
)
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.tls import ServerTls, door_tls
from tachograph.pipeline.up import demo
from tachograph.pipeline.up.board import Board
from tachograph.pipeline.up.children import Child, stage
from tachograph.pipeline.up.embedded import StandIns, alone, child_environment, need_free, told
from tachograph.pipeline.up.numbers import Meter
from tachograph.pipeline.up.summary import Summary, summarize
from tachograph.pipeline.up.view import Heading, LiveView, PlainView, choose

log = logs.get("up")

# Started in this order: what reads before what writes, so that the first actions are seen at once.
STAGES = ("store", "notarize", "triage", "detect", "normalize", "forward", "serve")
# Stopped in this order: the door, then each stage after those that write for it.
STOP_ORDER = ("serve", "normalize", "detect", "triage", "store", "notarize", "forward")
READY_S = 90.0
REFRESH_S = 0.5
DRAIN_S = 20.0
DRAIN_CHECK_S = 0.3
AT_ONCE_S = 5.0
# Environment of the embedded ClickHouse: TACHO_CLICKHOUSE_TLS_CERT, …
CLICKHOUSE_TLS = "TACHO_CLICKHOUSE_"
FIRST_QUESTION = "SELECT * FROM tacho.alerts LIMIT 5 FORMAT Vertical"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    demo: bool = True
    for_s: int | None = None
    door_port: int | None = None
    clickhouse_port: int = 8123
    plain: bool = False


class Servers(msgspec.Struct, frozen=True):
    """Where the servers are, ours or the operator's."""

    settings: Settings
    environment: dict[str, str]
    standins: StandIns
    embedded: bool


@contextlib.contextmanager
def servers(options: Options) -> Iterator[Servers]:
    """Start the stand-ins that are needed and say where everything is."""
    settings = Settings.from_env()
    door_port = settings.door_port if options.door_port is None else options.door_port
    need_free(settings.door_host, door_port, "--door-port")
    home = settings.home.resolve()
    changes = {"TACHO_DOOR_PORT": str(door_port)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone(home))
        standins = stack.enter_context(contextlib.closing(StandIns()))
        if "CLICKHOUSE_URL" not in os.environ:
            engine = standins.clickhouse(
                home / "clickhouse", options.clickhouse_port, ServerTls.from_env(CLICKHOUSE_TLS)
            )
            changes |= {"CLICKHOUSE_URL": engine.url, "CLICKHOUSE_USER": engine.writer_user}
            changes["CLICKHOUSE_PASSWORD"] = engine.writer_password
            stack.enter_context(told(home / CLICKHOUSE_FILE, engine.url))
        if "KAFKA_BOOTSTRAP_SERVERS" not in os.environ:
            broker = standins.broker()
            changes["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
            changes[STANDIN_BROKER] = "1"
            stack.enter_context(told(home / BROKER_FILE, broker.bootstrap_servers))
        environment = child_environment(os.environ, home, changes)
        embedded = STANDIN_BROKER in changes
        yield Servers(Settings.from_env(environment), environment, standins, embedded)


def _wait_ready(url: str, children: list[Child], stop: threading.Event) -> None:
    """Until the door answers. Raises RetryLater naming the stage that did not come up."""
    end, why = time.monotonic() + READY_S, ""
    tls = door_tls().context()
    while time.monotonic() < end and not stop.is_set():
        for child in children:
            child.revive()
        try:
            if httpx.get(f"{url}/readyz", timeout=2.0, verify=tls).status_code == 200:
                return
        except httpx.HTTPError as error:
            why = str(error)
        stop.wait(0.25)
    if not stop.is_set():
        words = "; ".join(f"{child.name}: {child.last_words()}" for child in children)
        raise RetryLater(f"the door did not get ready within {READY_S:.0f} s ({why}). {words}")


def _start_demo(url: str, stop: threading.Event, length_s: float) -> demo.Replay:
    salt = f"-{int(time.time())}"
    replay = demo.Replay(demo.Door(url, stop), stop, length_s, salt)
    fleet = demo.Fleet(demo.Door(url, stop), stop, seed=int(time.time()))
    for name, run in (("replay", replay.run), ("fleet", fleet.run)):
        threading.Thread(target=run, name=name, daemon=True).start()
    return replay


def _stop_at_once(children: list[Child]) -> None:
    """Nothing can be carried to its end: nobody needs to wait for anybody."""
    for child in children:
        child.ask_to_stop()
    end = time.monotonic() + AT_ONCE_S
    for child in children:
        child.wait(max(0.0, end - time.monotonic()))


def _stop_cleanly(children: list[Child], settings: Settings) -> None:
    """In the order of the flow: a stage is asked to stop once nothing is left for it to read."""
    end = time.monotonic() + DRAIN_S
    for name in STOP_ORDER:
        child = next(child for child in children if child.name == name)
        while time.monotonic() < end and child.running and _behind(settings, f"tacho.{name}"):
            time.sleep(DRAIN_CHECK_S)
        child.ask_to_stop()
        child.wait()


def _behind(settings: Settings, group: str) -> bool:
    try:
        return any(reader == group for reader, _ in unread(settings, ALL_READERS))
    except TachoError as error:
        log.warning("cannot tell what is still under way", error=str(error))
        return True


def run_up(options: Options) -> int:
    """Run until Ctrl-C or for `for_s` seconds; the exit code. Raises ConfigError, RetryLater."""
    logs.configure()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    _say("Starting the servers …")
    with servers(options) as at:
        for limit in at.standins.limits:
            _say(f"note: {limit}")
        if not at.embedded:  # the stand-in creates topics at their first use, and only then
            provision(at.settings)
        apply_migrations(at.settings)
        with told(at.settings.home / DOOR_FILE, _door_of(at)):
            summary = _run_stages(options, at, stop)
    if summary is None:
        return 0
    _say(summary.text())
    return 0 if summary.stored_alerts > 0 or not options.demo else 1


def _door_of(at: Servers) -> str:
    tls = ServerTls.from_env("TACHO_DOOR_", at.environment)
    return f"{tls.scheme}://{at.settings.door_host}:{at.settings.door_port}"


def _run_stages(options: Options, at: Servers, stop: threading.Event) -> Summary | None:
    settings, url = at.settings, _door_of(at)
    children = [stage(name, at.environment, settings.home / "logs") for name in STAGES]
    board, watching = Board(settings), threading.Event()
    replay = None
    try:
        for child in children:
            child.start()
        _say("Starting the stages …")
        _wait_ready(url, children, stop)
        board.start(watching)
        if options.demo and not stop.is_set():
            length_s = min(options.for_s or demo.REPLAY_S, demo.REPLAY_S)
            replay = _start_demo(url, stop, length_s)
        heading = Heading(url, settings.clickhouse.url, settings.kafka.bootstrap, at.embedded)
        with choose(heading, board, plain=options.plain) as view:
            _watch(options, at.standins, view, children, stop)
        stop.set()
        _say("Stopping: what is under way is carried to its end …")
    finally:
        stop.set()
        if at.standins.broker_ended:
            _stop_at_once(children)
        else:
            _stop_cleanly(children, settings)
        watching.set()
    return summarize(settings, replay.sessions if replay else [], url)


def _watch(
    options: Options,
    standins: StandIns,
    view: LiveView | PlainView,
    children: list[Child],
    stop: threading.Event,
) -> None:
    meter = Meter()
    end = time.monotonic() + options.for_s if options.for_s else None
    while not stop.is_set() and (end is None or time.monotonic() < end):
        standins.revive()
        for child in children:
            child.revive()
        view.show(meter.look(), {child.name: child.state for child in children})
        stop.wait(REFRESH_S)


def serve_clickhouse(port: int, tls: ServerTls) -> None:
    """Serve what TACHO_HOME holds until Ctrl-C. What `tls` leaves out is asked of the environment.
    Raises ConfigError when there is nothing to serve.
    """
    found = ServerTls.from_env(CLICKHOUSE_TLS)
    tls = ServerTls(
        cert=tls.cert or found.cert,
        key=tls.key or found.key,
        client_ca=tls.client_ca or found.client_ca,
    )
    path = Settings.from_env().home / "clickhouse"
    if not path.is_dir():
        raise ConfigError(f"{path} is not there: run `tacho up` first, or set TACHO_HOME")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with (
        EmbeddedClickHouse(path, port=port, tls=tls) as engine,
        told(path.parent / CLICKHOUSE_FILE, engine.url),
    ):
        _say(f"ClickHouse on {engine.url}; try, in another terminal:")
        _say(f"curl {engine.url} -d '{FIRST_QUESTION}'")
        while not stop.wait(1.0) and engine.alive():
            pass


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
