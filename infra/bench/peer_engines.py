"""Run by the bench in an environment of its own, with the packages `eql` and `bytewax`: the events
of a file through one of them. Prints what it cost as JSON.

    python peer_engines.py eql|bytewax events.ndjson

What is measured is judging alone: the events lie in memory as the engine wants them, and Bytewax is
given only those that its windows count.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Events = list[dict[str, Any]]
SPAN_S = 60
# What counts as many in a window.
MANY = 12
BEGIN = datetime.fromtimestamp(0, UTC)


def eql(events: Events) -> Callable[[], int]:
    """Three steps in order, within a minute, by session."""
    engine_of = importlib.import_module("eql")
    found: list[Any] = []
    steps = " ".join(f'[tool where name == "{name}"]' for name in "abc")
    query = engine_of.parse_query(f"sequence by session with maxspan=60s {steps}")
    engine = engine_of.PythonEngine()
    engine.add_query(query)
    engine.add_output_hook(found.append)
    # Its clock ticks in tenths of microseconds.
    told = [engine_of.Event("tool", event["time_us"] * 10, event) for event in events]

    def run() -> int:
        for event in told:
            engine.stream_event(event)
        engine.finalize()
        return len(found)

    return run


def bytewax(events: Events) -> Callable[[], int]:
    """Counts by session over tumbling minutes: those with many events."""
    op = importlib.import_module("bytewax.operators")
    windowing = importlib.import_module("bytewax.operators.windowing")
    testing = importlib.import_module("bytewax.testing")
    flow = importlib.import_module("bytewax.dataflow").Dataflow("bench")
    told = [
        (event["session"], datetime.fromtimestamp(event["time_us"] / 1e6, UTC))
        for event in events
        if event["name"] in "abc"
    ]
    clock = windowing.EventClock(lambda pair: pair[1], timedelta(seconds=0))
    windower = windowing.TumblingWindower(timedelta(seconds=SPAN_S), BEGIN)
    found: list[Any] = []
    read = op.input("read", flow, testing.TestingSource(told, batch_size=10_000))
    counted = windowing.count_window("count", read, clock, windower, lambda pair: pair[0])
    many = op.filter("many", counted.down, lambda item: item[1][1] >= MANY)
    op.output("found", many, testing.TestingSink(found))

    def run() -> int:
        testing.run_main(flow)
        return len(found)

    return run


def forget_peak() -> None:
    """From now on the peak of memory counts from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Most memory that this process held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (size,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(size) / 1024


def main() -> None:
    """See above."""
    name, path = sys.argv[1:]
    events = [json.loads(line) for line in Path(path).read_bytes().splitlines()]
    made = eql(events) if name == "eql" else bytewax(events)
    forget_peak()
    held_mb = peak_mb()
    begin_s = time.process_time()
    found = made()
    spent_s = time.process_time() - begin_s
    print(json.dumps({"cpu_s": spent_s, "grown_mb": peak_mb() - held_mb, "found": found}))


if __name__ == "__main__":
    main()
