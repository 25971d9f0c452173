"""`forward`: alerts to every configured destination, and the monitor of our own health.

Each destination is a thread with a consumer group, a connection and a ledger of its own: one that
is dead or slow delays no other. The monitor is a thread beside them, also when there are none.
"""

import threading
import time
from collections.abc import Callable, Sequence

from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.forward.config import Configured, load
from tachograph.pipeline.forward.ledger import Ledger
from tachograph.pipeline.forward.monitor import Overview
from tachograph.pipeline.forward.outbox import Outbox
from tachograph.pipeline.forward.watch import Watch
from tachograph.pipeline.forward.worker import (
    ALERTS,
    MAX_READ_RECORDS,
    QUEUED_KB,
    Backoff,
    Worker,
)
from tachograph.pipeline.health import HealthReporter
from tachograph.pipeline.kafka.reader import Reader
from tachograph.pipeline.kafka.topics import cluster_id
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get, place_of
from tachograph.pipeline.settings import Settings

# How many calls to a destination one read may cause, so that the membership outlives the slowest.
CALLS_A_READ = 8
RESTART = Backoff(base_s=1.0, most_s=30.0)
# A call to a destination may take 25 s; then the thread notices.
STOP_S = 30.0

log = get("forward")


def run(settings: Settings, stop: threading.Event) -> None:
    """Until `stop`. Raises ConfigError, with every problem, when their file cannot be used."""
    configured = load(settings)
    overview = Overview()
    threads = [_monitor(settings, overview, stop)]
    threads += [_destination(settings, one, overview, stop) for one in configured]
    log.info("destinations", names=[one.route.name for one in configured])
    for thread in threads:
        thread.start()
    stop.wait()
    _join(threads)


def _monitor(settings: Settings, overview: Overview, stop: threading.Event) -> threading.Thread:
    def body() -> None:
        Watch(settings, overview).run(stop)

    return _thread("monitor", body, stop)


def _destination(
    settings: Settings, configured: Configured, overview: Overview, stop: threading.Event
) -> threading.Thread:
    def body() -> None:
        make_worker(settings, configured, overview).run(stop)

    return _thread(configured.route.name, body, stop)


def make_worker(settings: Settings, configured: Configured, overview: Overview) -> Worker:
    """All the wiring of one destination. Raises RetryLater while Kafka is away."""
    name = configured.route.name
    ledger = Ledger(settings.home / "forward" / f"{name}.sqlite", cluster_id(settings))
    destination = configured.type.open(configured.options, configured.secret)
    reader = Reader(
        settings,
        f"tacho.forward.{name}",
        [ALERTS],
        overrides={"queued.max.messages.kbytes": QUEUED_KB},
    )
    return Worker(
        name,
        reader,
        Writer(settings),
        Outbox(configured, destination, ledger, tenant=settings.tenant),
        HealthReporter(settings, f"forward.{name}"),
        read_records=min(MAX_READ_RECORDS, CALLS_A_READ * destination.batch_records),
        greeting=overview.greeting(settings.tenant, configured.route.health_every_s),
    )


def _thread(name: str, body: Callable[[], None], stop: threading.Event) -> threading.Thread:
    return threading.Thread(
        target=keep_alive, args=(name, body, stop), name=f"forward-{name}", daemon=True
    )


def keep_alive(name: str, body: Callable[[], None], stop: threading.Event) -> None:
    """Run `body` until it returns; after an error, start it afresh from what is committed.

    The one place where any error is caught: a fault in one destination's code must not end the
    others. It shows as a component that no longer beats, which is an alert.
    """
    tries = 0
    while not stop.is_set():
        started_s = time.monotonic()
        try:
            body()
            return
        except TachoError as error:
            log.warning("starts again", of=name, error=str(error))
        except Exception as error:  # noqa: BLE001 - said with its place, and started again
            log.error(  # noqa: TRY400 - a traceback may quote a payload
                "starts again after a fault of ours", of=name, fault=place_of(error)
            )
        tries = 0 if time.monotonic() - started_s > RESTART.most_s else tries + 1
        stop.wait(RESTART.wait_s(tries))


def _join(threads: Sequence[threading.Thread]) -> None:
    end = time.monotonic() + STOP_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            log.warning("did not stop in time; unconfirmed alerts go out again", of=thread.name)
