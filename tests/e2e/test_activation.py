"""Rules changed under load: every signal is that of the rules that were in force when the action
that made it true was observed, whether the processes learned of the change before or after, and
though one of them is killed meanwhile. And what the stream says, a file says: one engine, two
feeders.
"""

import os
import subprocess
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.kafka.broker import KafkaBroker
from tachograph.detectors.across import WholeDetector
from tachograph.detectors.language.ruleset import load
from tachograph.pipeline.kafka.reader import headers_of
from tachograph.schemas import batch, codec
from tachograph.schemas.alert import Signal
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.records import SessionLink
from tests.conftest import started
from tests.e2e.load import SPAN_S, Post, Volume, closing, posts, start_time
from tests.e2e.pipeline import CLI, OPERATOR_KEY, RULES, Feed, Outcome, Pipeline, Stage

SEED = 20261127
# A file has no first hop that could see a record come late.
LOAD = Volume(agents=25, ordinary=4_000, stories=96, late=False)
WALL_S = 40.0
# The second change is said when much of what it holds for was judged already.
FIRST_S, SECOND_S = 450, 600
FIRST_SAID_S, SECOND_SAID_S = 250, 720

CHANGED = [
    # A threshold: another version of the rule, which has to know what came before.
    ("condition: {gte: 8}", "condition: {gte: 5}"),
    # Words: the same version.
    ("title: One agent of a principal reads", "title: Relay - one agent of a principal reads"),
    ("level: high", "level: critical"),
]
MORE = """
---
title: Ordinary reading is counted
id: e2e-reading
level: informational
correlation: {type: event_count, rules: [e2e_read], group-by: [agent.id], timespan: 3m,
  condition: {gte: 8}}
---
title: A document is read
name: e2e_read
logsource: {product: ai_agent}
detection: {read: {tool.name: read_document}, condition: read}
"""
BAD = "title: x\nlogsource: {product: ai_agent}\ndetection: {s: {a|odd: 1}}\n"
ALONE = """
---
title: A calendar is looked into
id: e2e-calendar
level: low
logsource: {product: ai_agent}
detection: {look: {tool.name: list_calendar_events}, condition: look}
"""


def _files(folder: Path) -> list[Path]:
    """The rules from the start, from the first change, and from the second on."""
    first = RULES.read_text()
    second = first
    for old, new in CHANGED:
        assert old in second
        second = second.replace(old, new)
    third = first.replace("id: e2e-tool-denied", "id: e2e-tool-denied-anew") + ALONE
    found = [RULES]
    for number, text in ((2, second + MORE), (3, third)):
        found.append(folder / f"rules-{number}.yml")
        found[-1].write_text(text)
    return found


def _tacho(pipeline: Pipeline, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CLI, *arguments],
        env={**os.environ, **pipeline.environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _actions(pipeline: Pipeline) -> tuple[pl.DataFrame, list[SessionLink]]:
    """What `normalize` made of the load."""
    consumer = Consumer({**pipeline.settings.kafka.client_config(), "group.id": "tests.read"})
    frames, links = [], []
    count = len(consumer.list_topics("agent.actions", 30).topics["agent.actions"].partitions)
    for partition in range(count):
        _, end = consumer.get_watermark_offsets(TopicPartition("agent.actions", partition), 30)
        consumer.assign([TopicPartition("agent.actions", partition, 0)])
        at = 0
        while at < end:
            for message in consumer.consume(500, 1.0):
                at = (message.offset() or 0) + 1
                match headers_of(message)[RECORD_HEADER]:
                    case b"action_batch":
                        frames.append(batch.decode(message.value() or b""))
                    case b"session_link":
                        links.append(codec.decode(SessionLink, message.value() or b""))
    consumer.close()
    return pl.concat(frames, how="diagonal"), links


def _by_rules(rules: Path, frame: pl.DataFrame, links: list[SessionLink]) -> list[Signal]:
    """What one set of rules by itself says of everything, once nothing comes any more."""
    detector = WholeDetector(load([rules], builtin=True))
    said = [detector.process(frame, links, 0), detector.close(1)]
    newest = {signal.signal_id: signal for found in said for signal in found.signals}
    return [signal for signal in newest.values() if signal.change != "retracted"]


def _told(signal: Signal) -> dict[str, Any]:
    return {
        "rule_id": signal.rule_id,
        "rule_version": signal.rule_version,
        "severity": signal.severity,
        "event_time": signal.event_time,
        "event_ids": signal.event_ids,
        "event_count": signal.event_count,
        "entity": signal.entity,
        "why": signal.reason.text,
    }


class Ran(NamedTuple):
    """What a run was given, what it said, and what the engine says by itself of its actions."""

    start: datetime
    load: list[Post]
    changes: list[datetime]
    found: dict[str, dict[str, Any]]
    # By each of the sets of rules, as if it had been in force from the start.
    said: list[list[Signal]]
    refused: "subprocess.CompletedProcess[str]"
    active: str

    def in_force(self, number: int) -> list[Signal]:
        """What that set of rules says of what was observed while it was in force."""
        return [
            signal
            for signal in self.said[number]
            # What is no rule's (behaviour, told of a window) is the same whatever is in force.
            if (seen := signal.observed_time) is None
            or sum(at <= seen for at in self.changes) == number
        ]


def _until(pipeline: Pipeline, start: datetime, second: int) -> None:
    """Wait until the load is so far."""
    wanted = int((start + timedelta(seconds=second)).timestamp() * 1e6)
    while int(pipeline.clock.read_text()) < wanted:
        time.sleep(0.1)


def _change(
    pipeline: Pipeline, other: Stage, start: datetime, changed: list[tuple[Path, datetime, int]]
) -> None:
    """Each set of rules is told of, and after each of them a process is killed."""
    for rules, at, said_s in changed:
        _until(pipeline, start, said_s)
        done = _tacho(pipeline, "rules", "activate", str(rules), "--at", at.isoformat())
        assert done.returncode == 0, done.stderr
        time.sleep(2.0)
        other.kill()
        other.start()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("activation")
    start = start_time()
    load_ = posts(SEED, start, LOAD)
    files = _files(folder)
    changes = [start + timedelta(seconds=second) for second in (FIRST_S, SECOND_S)]
    changed = list(zip(files[1:], changes, (FIRST_SAID_S, SECOND_SAID_S), strict=True))
    broker = started(KafkaBroker(folder / "kafka"))
    try:
        with Pipeline(broker, folder / "run") as pipeline:
            other = pipeline.stage("detect", "detect-2")
            feed = Feed(pipeline, start)
            pipeline.start()
            other.start()
            sending = threading.Thread(target=feed.send_over, args=(load_, WALL_S), daemon=True)
            sending.start()
            try:
                _change(pipeline, other, start, changed)
                bad = folder / "bad.yml"
                bad.write_text(BAD)
                refused = _tacho(pipeline, "rules", "activate", str(bad))
                active = _tacho(pipeline, "rules", "active").stdout
                _until(pipeline, start, SPAN_S)
                sending.join()
                feed.send(closing(start))
                pipeline.settle()
                other.stop()
                pipeline.stop()
                actions = _actions(pipeline)
                found = Outcome.of(pipeline).signals
            finally:
                other.abandon()
    finally:
        broker.kill()
    said = [_by_rules(rules, *actions) for rules in files]
    return Ran(start, load_, changes, found, said, refused, active)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_signal_is_that_of_the_rules_in_force_when_it_became_true(ran: Ran) -> None:
    sets = range(len(ran.said))
    expected = {one.signal_id: _told(one) for number in sets for one in ran.in_force(number)}
    found = ran.found
    rules_of = {row["rule_id"] for row in expected.values()}
    assert {"e2e-reading", "e2e-calendar", "e2e-principal-denied"} <= rules_of
    lost = [expected[key] for key in expected.keys() - found.keys()]
    more = [found[key] for key in found.keys() - expected.keys()]
    assert not lost, f"{len(lost)} lost, such as {lost[:2]}"
    assert not more, f"{len(more)} too many, such as {more[:2]}"
    for key, told in expected.items():
        row = found[key] | {"event_time": found[key]["event_time"].astimezone(ran.start.tzinfo)}
        assert {name: row[name] for name in told} == told


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_rules_that_cannot_be_read_are_refused_and_what_is_in_force_stays(ran: Ran) -> None:
    assert ran.refused.returncode == 2
    assert "what is in force stays" in ran.refused.stderr
    assert "bad.yml:" in ran.refused.stderr
    active = [line for line in ran.active.splitlines() if " rules " in line]
    assert len(active) == 3, ran.active


def _scan(folder: Path, load: list[Post], topic: str, kind: str) -> dict[str, dict[str, Any]]:
    """Signals by id that `tacho scan` finds in the posts of a topic, a record's lines as lines."""
    file, out = folder / f"{kind}.ndjson", folder / f"{kind}.found.ndjson"
    file.write_bytes(b"\n".join(post.value for post in load if post.topic == topic))
    options = ["--format", kind, "--out", str(out), "--rules", str(RULES)]
    scan = subprocess.run(
        [*CLI, "scan", str(file), *options],
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


_NAMES = ("rule_id", "severity", "kind", "event_ids", "event_count", "risk_category")
_OPTIONAL = ("session_id", "trace_id", "agent_id")


def _of_scan(row: dict[str, Any]) -> dict[str, Any]:
    at = row["event_time"].removesuffix("Z")
    return {
        **{name: row[name] for name in _NAMES},
        **{name: row[name] or "" for name in _OPTIONAL},
        "reason": row["reason"],
        "event_time": at if "." in at else f"{at}.000000",
    }


def _of_stream(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in (*_NAMES, *_OPTIONAL)},
        "reason": row["why"],
        "event_time": _stamp(row["event_time"]),
    }


def _of_engine(signal: Signal) -> dict[str, Any]:
    return {
        **{name: getattr(signal, name) for name in _NAMES},
        **{name: getattr(signal, name) or "" for name in _OPTIONAL},
        "reason": signal.reason.text,
        "event_time": _stamp(signal.event_time),
    }


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_file_gives_the_signals_that_the_stream_gives(ran: Ran, tmp_path: Path) -> None:
    """What was in force from the start is asked of a file: of all signals while it was, and of
    those that the engine says by it of the stream's actions after that.
    """
    scanned = _scan(tmp_path, ran.load, "agent.raw", "actions")
    scanned |= _scan(tmp_path, ran.load, "otlp_spans", "otlp")
    assert {"stateless", "window", "sequence"} <= {row["kind"] for row in scanned.values()}
    stream = {one.signal_id: _of_engine(one) for one in ran.said[0]}
    in_force = [one.signal_id for one in ran.in_force(0)]
    assert len(in_force) >= 100
    stream |= {key: _of_stream(ran.found[key]) for key in in_force}
    assert scanned.keys() - stream.keys() == set(), "only the file has these"
    assert stream.keys() - scanned.keys() == set(), "only the stream has these"
    differing = {key: (row, stream[key]) for key, row in scanned.items() if row != stream[key]}
    assert differing == {}
