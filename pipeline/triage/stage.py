"""Triage as a stage: checks its topics, runs Faust in this process, commits, stops cleanly."""

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from tachograph.pipeline import log as logs
from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US, to_datetime
from tachograph.pipeline.control import answers
from tachograph.pipeline.control.beside import Beside
from tachograph.pipeline.control.keys import signer
from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.health import HealthReporter
from tachograph.pipeline.kafka.generations import Generations
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.triage import app as faust_app
from tachograph.pipeline.triage import incidents
from tachograph.pipeline.triage.policy import PATH_VARIABLE, Policy, load
from tachograph.pipeline.triage.quiet import hush

COMMIT_EVERY_S = 1.0
LOOK_EVERY_S = 0.1
STOP_WITHIN_S = 10.0
# No longer than Faust's request timeout.
MAX_SESSION_S = 40.0

log = logs.get("triage")


def run(settings: Settings, stop: threading.Event) -> None:
    """Judge signal groups until `stop`; returns after the last batch is committed.

    Raises RetryLater when Kafka is away, Refused or ConfigError when it never will work.
    """
    hush()
    policy = policy_of(os.environ.get(PATH_VARIABLE))
    partitions = matching_partitions(settings)
    placed = (faust_app.GROUPS_TOPIC, faust_app.CHANGELOG_TOPIC)
    generations = Generations(settings, "triage", Writer(settings), placed)
    _make_home(settings.home)
    adapter_of = functools.partial(
        faust_app.Adapter,
        settings,
        policy,
        signer(settings.home),
        partitions=partitions,
        session_s=min(settings.kafka.session_s, MAX_SESSION_S),
    )
    with (
        Beside(functools.partial(answers.run, settings), "capture-answers") as asked,
        Beside(functools.partial(incidents.run, settings), "incidents") as joining,
    ):
        health = HealthReporter(settings, "triage")
        asyncio.run(_serve(adapter_of, stop, health, generations, (asked, joining)))


def _make_home(home: Path) -> None:
    """Faust makes its folder there, but not the folders above it."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"TACHO_HOME: cannot create {home}: {error.strerror}") from error


def policy_of(path: str | None) -> Policy:
    """The operator's policy, or the built-in one. Raises ConfigError."""
    return load(Path(path)) if path else Policy()


def matching_partitions(settings: Settings) -> int:
    """Partitions of the input and of the table alike. Raises ConfigError when they differ."""
    writer = Writer(settings)
    names = (faust_app.GROUPS_TOPIC, faust_app.CHANGELOG_TOPIC)
    counts = {name: writer.partitions(name) for name in names}
    for name in faust_app.WRITTEN:
        writer.partitions(name)
    if len(set(counts.values())) != 1:
        said = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ConfigError(f"triage needs equal partition counts: {said}")
    return counts[faust_app.GROUPS_TOPIC]


async def _serve(
    adapter_of: Callable[[], faust_app.Adapter],
    stop: threading.Event,
    health: HealthReporter,
    generations: Generations,
    beside: Iterable[Beside],
) -> None:
    adapter = adapter_of()
    starting = asyncio.create_task(adapter.app.start())
    committing = asyncio.create_task(_commit_regularly(adapter, health, generations))
    try:
        while not stop.is_set():
            for loop in beside:
                loop.check()
            _raise_for(adapter, starting, committing)
            await asyncio.sleep(LOOK_EVERY_S)
        if adapter.failure is None:
            await adapter.commit()
    finally:
        committing.cancel()
        await _stopped(adapter, starting)
        health.close()


async def _commit_regularly(
    adapter: faust_app.Adapter, health: HealthReporter, generations: Generations
) -> None:
    """Commit what is finished and say how we are."""
    while True:
        await asyncio.sleep(COMMIT_EVERY_S)
        await adapter.commit()
        await asyncio.to_thread(generations.check)
        lag, reached = adapter.lag(), adapter.watermark
        metrics.LAG.labels("triage", faust_app.GROUPS_TOPIC).set(lag)
        if reached is not None:
            metrics.WATERMARK.labels("triage").set(reached)
        health.beat(
            lag=lag,
            watermark=to_datetime(int(reached * SECOND_US)) if reached is not None else None,
            drops=adapter.letters.written,
        )


def _raise_for(
    adapter: faust_app.Adapter, starting: "asyncio.Task[None]", committing: "asyncio.Task[None]"
) -> None:
    """Raise what went wrong since the last look, as an error of ours."""
    if adapter.failure:
        raise adapter.failure
    for task in (starting, committing):
        if task.done() and (error := task.exception()):
            raise RetryLater(f"triage: {logs.place_of(error)}")
    if adapter.app.crashed:
        raise RetryLater(f"Faust stopped: {adapter.app.crash_reason!r}")


async def _stopped(adapter: faust_app.Adapter, starting: "asyncio.Task[None]") -> None:
    """Leave the group; a broker that never answers must not keep the process."""
    starting.cancel()
    try:
        await asyncio.wait_for(adapter.app.stop(), STOP_WITHIN_S)
    except TimeoutError:
        log.warning("Faust did not stop in time", waited_s=STOP_WITHIN_S)
    finally:
        await adapter.left()
