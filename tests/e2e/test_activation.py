"""Rules changed under load: every signal is that of the rules that were in force when the action
that made it true was observed, whether the processes learned of the change before or after, and
though one of them is killed meanwhile.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

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
from tests.e2e.load import SPAN_S, Volume, closing, posts, start_time
from tests.e2e.pipeline import RULES, Feed, Outcome, Pipeline

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
        [sys.executable, "-m", "tachograph.pipeline.cli", *arguments],
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


def _expected(
    pipeline: Pipeline, files: list[Path], changes: list[datetime]
) -> dict[str, dict[str, Any]]:
    frame, links = _actions(pipeline)
    found = {}
    for number, rules in enumerate(files):
        for signal in _by_rules(rules, frame, links):
            # What is no rule's (behaviour, told of a window) is the same whatever is in force.
            seen = signal.observed_time
            if seen is None or sum(at <= seen for at in changes) == number:
                found[signal.signal_id] = _told(signal)
    return found


def _until(pipeline: Pipeline, start: datetime, second: float) -> None:
    """Wait until the load is so far."""
    wanted = int((start + timedelta(seconds=second)).timestamp() * 1e6)
    while int(pipeline.clock.read_text()) < wanted:
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_signal_is_that_of_the_rules_in_force_when_it_became_true(
    private_kafka: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    start = start_time()
    load_ = posts(SEED, start, LOAD)
    files = _files(tmp_path)
    changes = [start + timedelta(seconds=second) for second in (FIRST_S, SECOND_S)]
    with Pipeline(private_kafka(), tmp_path / "run") as pipeline:
        other = pipeline.stage("detect", "detect-2")
        feed = Feed(pipeline, start)
        pipeline.start()
        other.start()
        sending = threading.Thread(target=feed.send_over, args=(load_, WALL_S), daemon=True)
        sending.start()
        try:
            for rules, at, said_s in zip(
                files[1:], changes, (FIRST_SAID_S, SECOND_SAID_S), strict=True
            ):
                _until(pipeline, start, said_s)
                done = _tacho(pipeline, "rules", "activate", str(rules), "--at", at.isoformat())
                assert done.returncode == 0, done.stderr
                time.sleep(2.0)
                other.kill()
                other.start()
            bad = tmp_path / "bad.yml"
            bad.write_text("title: x\nlogsource: {product: ai_agent}\ndetection: {s: {a|odd: 1}}\n")
            refused = _tacho(pipeline, "rules", "activate", str(bad))
            assert refused.returncode == 2
            assert "what is in force stays" in refused.stderr
            assert "bad.yml:" in refused.stderr
            shown = _tacho(pipeline, "rules", "active").stdout
            assert len([line for line in shown.splitlines() if " rules " in line]) == 3, shown
            _until(pipeline, start, SPAN_S)
            sending.join()
            feed.send(closing(start))
            pipeline.settle()
            other.stop()
            pipeline.stop()
            expected = _expected(pipeline, files, changes)
            found = Outcome.of(pipeline).signals
        finally:
            other.abandon()
    rules_of = {row["rule_id"] for row in expected.values()}
    assert {"e2e-reading", "e2e-calendar", "e2e-principal-denied"} <= rules_of
    lost = [expected[key] for key in expected.keys() - found.keys()]
    more = [found[key] for key in found.keys() - expected.keys()]
    assert not lost, f"{len(lost)} lost, such as {lost[:2]}"
    assert not more, f"{len(more)} too many, such as {more[:2]}"
    for key, told in expected.items():
        row = found[key] | {"event_time": found[key]["event_time"].astimezone(start.tzinfo)}
        assert {name: row[name] for name in told} == told
