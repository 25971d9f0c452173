"""One engine, two feeders: a file gives the signals that the stream gives, signal for signal."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.kafka.broker import KafkaBroker
from tests.e2e.load import Post, Volume, closing, posts, start_time
from tests.e2e.pipeline import OPERATOR_KEY, RULES, Feed, Outcome, Pipeline

SEED = 20261125
# A file has no first hop that could see a record come late.
LOAD = Volume(agents=20, ordinary=3_000, stories=45, late=False)

Facts = dict[str, Any]


def _scan(folder: Path, load: list[Post], topic: str, kind: str) -> dict[str, Facts]:
    """Signals by id that `tacho scan` finds in the posts of a topic, a record's lines as lines."""
    file, out = folder / f"{kind}.ndjson", folder / f"{kind}.found.ndjson"
    file.write_bytes(b"\n".join(post.value for post in load if post.topic == topic))
    options = ["--format", kind, "--out", str(out), "--rules", str(RULES)]
    scan = subprocess.run(
        [sys.executable, "-m", "tachograph.pipeline.cli", "scan", str(file), *options],
        env={**os.environ, "TACHO_OPERATOR_KEY": OPERATOR_KEY, "TACHO_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert scan.returncode == 0, scan.stderr
    rows = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    found = {row["signal_id"]: _of_scan(row) for row in rows}
    assert len(found) == len(rows), "a signal is told twice"
    return found


def _of_scan(row: Facts) -> Facts:
    names = ("rule_id", "severity", "kind", "event_ids", "event_count", "risk_category", "reason")
    optional = ("session_id", "trace_id", "agent_id")
    time = row["event_time"].removesuffix("Z")
    return {
        **{name: row[name] for name in names},
        **{name: row[name] or "" for name in optional},
        "event_time": time if "." in time else f"{time}.000000",
    }


def _of_stream(row: Facts) -> Facts:
    names = ("rule_id", "severity", "kind", "event_ids", "event_count", "risk_category")
    return {
        **{name: row[name] for name in (*names, "session_id", "trace_id", "agent_id")},
        "reason": row["why"],
        "event_time": row["event_time"].strftime("%Y-%m-%dT%H:%M:%S.%f"),
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_file_gives_the_signals_that_the_stream_gives(
    private_kafka: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    start = start_time()
    load = posts(SEED, start, LOAD)
    with Pipeline(private_kafka(), tmp_path / "stream") as pipeline:
        feed = Feed(pipeline, start)
        pipeline.start()
        feed.send_over(load, 5.0)
        feed.send(closing(start))
        pipeline.settle()
        pipeline.stop()
        stream = {key: _of_stream(row) for key, row in Outcome.of(pipeline).signals.items()}

    scanned = _scan(tmp_path, load, "agent.raw", "actions")
    scanned |= _scan(tmp_path, load, "otlp_spans", "otlp")
    assert {"stateless", "window", "sequence"} <= {row["kind"] for row in scanned.values()}
    assert scanned.keys() - stream.keys() == set(), "only the file has these"
    assert stream.keys() - scanned.keys() == set(), "only the stream has these"
    differing = {key: (row, stream[key]) for key, row in scanned.items() if row != stream[key]}
    assert differing == {}
