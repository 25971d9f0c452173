"""`make bench`: events/s and core-µs an event of every stage, on one real broker, in one run."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from infra.bench import (
    analyst,
    atr,
    behaviour,
    correlations,
    formats,
    matching,
    peers,
    provenance,
    watchers,
)
from infra.bench.alone import QUICK, Alone, Sizes
from infra.bench.rig import Rig, StageEndedError
from infra.bench.table import Figure, machine, render
from infra.bench.whole import LIGHT_PER_S, Whole
from infra.kafka.jars import BrokerFailedError, BrokerUnavailableError
from tachograph.detectors.language.ruleset import load
from tachograph.pipeline.errors import TachoError

STAGES: Final = ("limit", "normalize", "detect", "store", "triage", "flood", "whole")
# Without a broker.
ALONE: Final = ("matching",)
# Only where they are asked for.
MORE: Final = (
    "light", "correlations", "behaviour", "provenance", "atr", "formats", "watchers", "analyst",
)  # fmt: skip
EPILOG: Final = (
    "core-µs is the CPU time of the stage's processes an event: the figure to trust where others"
    " share the cores. `of limit` compares events/s with the limit of the same run, `by CPU`"
    " compares core-µs."
)


def figures(rig: Rig, names: Sequence[str], sizes: Sizes) -> Iterator[Figure]:
    """The figures of stages that were asked for, as they are measured."""
    rules = load([], builtin=True)
    alone = Alone(rig, sizes, rules, say)
    if {"limit", "detect", "store"} & set(names):
        yield alone.limit()
    if "detect" in names:
        yield alone.detect()
        yield alone.detect_twice()
    if "store" in names:
        yield alone.store()
    if "normalize" in names:
        yield alone.normalize_native()
        yield alone.normalize_spans("proto")
        yield alone.normalize_spans("json")
    if "triage" in names:
        yield alone.triage()
    if "flood" in names:
        yield alone.flood()
    if "whole" in names:
        say("whole path: starting all stages")
        with Whole(rig, len(rules.rules)) as whole:
            say(f"whole path: {sizes.whole:,} native actions")
            carried = whole.sustained(sizes.whole)
            yield carried
            say(f"latency at half of that, for {sizes.latency_s:.0f} s")
            yield whole.latency(carried.per_s / 2, sizes.latency_s)
            yield _light(whole, sizes)
    elif "light" in names:
        say("light load: starting all stages")
        with Whole(rig, len(rules.rules)) as whole:
            yield _light(whole, sizes)


def _light(whole: Whole, sizes: Sizes) -> Figure:
    say(f"latency at {LIGHT_PER_S:.0f}/s, for {sizes.light_s:.0f} s")
    return whole.light(sizes.light_s)


def measured(names: Sequence[str], sizes: Sizes, asked: argparse.Namespace) -> Iterator[Figure]:
    """The figures, as they are measured; with a broker where one is needed."""
    if "correlations" in names:
        say(f"correlations: {sizes.correlated:,} actions for each type")
        yield from correlations.figures(sizes.correlated)
        yield from peers.figures(sizes.correlated, say)
    if "behaviour" in names:
        say(f"behaviour: {sizes.correlated:,} actions for each fleet")
        yield from behaviour.figures(sizes.correlated)
    if "provenance" in names:
        say(f"provenance: {sizes.followed:,} actions for each length of answers")
        yield from provenance.figures(sizes.followed)
    if "atr" in names:
        yield from atr.figures(sizes.atr, say)
    if "formats" in names:
        yield from formats.figures(sizes.decoded)
    if "watchers" in names:
        say("watchers: starting the broker and the door")
        with Rig() as rig:
            yield watchers.figure(rig, sizes.watched)
    if "analyst" in names:
        actions = asked.actions or sizes.asked
        say(f"analyst: {actions:,} actions")
        yield from analyst.figures(actions, asked.store, ask=not asked.make_only)
    if {*STAGES, "light"} & set(names):
        say("starting the broker and the embedded ClickHouse")
        with Rig() as rig:
            yield from figures(rig, names, sizes)
    if "matching" in names:
        yield from matching.actions(load([], builtin=True), sizes.matched, say)
        say(f"mixed rules: {sizes.matched:,} actions")
        yield matching.many(sizes.matched)
        yield from matching.scans(asked.rules, say)


def say(text: str) -> None:
    """Progress, for a person who waits."""
    print(f"[{time.monotonic() - _BEGIN_S:4.0f} s] {text}", file=sys.stderr, flush=True)


def logging_off() -> None:
    """What topics are made is no news here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the table, say 0; or say what is missing."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, epilog=EPILOG)
    parser.add_argument("--quick", action="store_true", help="smaller sizes: about a minute")
    parser.add_argument(
        "--only", action="append", choices=(*STAGES, *ALONE, *MORE), help="repeatable"
    )
    parser.add_argument("--rules", type=Path, help="matching: rules for raw events")
    parser.add_argument("--actions", type=int, default=0, help="analyst: 100000000 is 7 GB")
    parser.add_argument("--store", type=Path, help="analyst: a folder that keeps the actions")
    parser.add_argument("--make-only", action="store_true", help="analyst: asks nothing yet")
    options = parser.parse_args(argv)
    # Told to end from outside, it leaves nothing behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    busy = machine()
    logging_off()
    found: list[Figure] = []
    problem = ""
    try:
        sizes = QUICK if options.quick else Sizes()
        names = options.only or (*STAGES, *ALONE)
        for figure in measured(names, sizes, options):
            found.append(figure)
            say(f"  {figure.name}: {figure.per_s:,.0f}/s, {figure.core_us:.2f} core-µs")
    except (BrokerUnavailableError, BrokerFailedError) as error:
        print(f"no broker, no bench: {error}", file=sys.stderr)
        return 2
    except (TimeoutError, StageEndedError, TachoError) as error:
        problem = f"not all was measured: {error}"
    except KeyboardInterrupt:
        problem = "stopped: not all was measured"
    print(busy)
    print(render(found))
    print(f"load average {os.getloadavg()[0]:.1f} after the run. {EPILOG}")
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


_BEGIN_S = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
