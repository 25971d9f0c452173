"""The bench: its traffic is what it says, its counting is right, its table has its shape."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import msgspec
import polars as pl
import pytest

from infra.bench import analyst, correlations, fills, mixed
from infra.bench.alone import _flood
from infra.bench.gauge import Fill, Measured, cpu_s, follow
from infra.bench.matching import MIXED_RULES, _raw_lines
from infra.bench.spans import SPANS, Exporters
from infra.bench.table import HEADER, Figure, render
from infra.bench.traffic import AGENTS, MATCHING_EVERY, Fleet
from tachograph.detectors.language.fields import ACTIONS, RAW, FieldMap
from tachograph.detectors.language.rule import Asks
from tachograph.detectors.language.ruleset import load
from tachograph.detectors.matching.matcher import Matcher
from tachograph.detectors.partition import PartitionDetector
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.scan.raw_lines import RawLines
from tachograph.schemas import batch
from tests.waiting import WAIT_S

NOW_US = int(time.time() * 1e6)


def record(value: bytes, topic: str) -> RawRecord:
    return RawRecord(topic, 0, 0, value, {}, NOW_US)


def test_the_same_seed_gives_the_same_traffic() -> None:
    one, other = (list(Fleet(5).posts(500, NOW_US, 1_000.0)) for _ in range(2))
    assert one == other
    assert one != list(Fleet(6).posts(500, NOW_US, 1_000.0))


def test_native_traffic_is_what_a_fleet_sends() -> None:
    posts = [post for _, post in Fleet(5).posts(20_000, NOW_US - 500_000, 40_000.0)]
    values = [record(post.value, post.topic) for post in posts]
    found = Normalizer(bytes(32), "default").normalize(values)
    frame = found.frame
    assert not found.dead
    assert frame.height == sum(post.events for post in posts)
    assert frame["event_id"].n_unique() == frame.height
    assert frame["agent_id"].n_unique() > AGENTS * 0.6
    assert frame["tool_name"].drop_nulls().n_unique() > 55
    sizes = frame["tool_args"].drop_nulls().str.len_bytes()
    assert 100 <= sizes.mean() <= 400  # type: ignore[operator]
    texts = frame["content_text"].drop_nulls().len() + frame["tool_result"].drop_nulls().len()
    assert 0.02 < texts / frame.height < 0.08


@pytest.mark.parametrize(("of", "fields"), [(mixed.ACTIONS, ACTIONS), (mixed.PROCESSES, RAW)])
def test_mixed_rules_are_all_asked_and_some_match(
    tmp_path: Path, of: mixed.Vocabulary, fields: FieldMap
) -> None:
    mixed.write(tmp_path, of, MIXED_RULES)
    rules = load([tmp_path], builtin=False, fields=fields)
    assert len(rules.rules) == MIXED_RULES
    if fields is RAW:
        frame = RawLines(None).frame([b"".join(_raw_lines(2_000)).rstrip()], 0)
    else:
        records = (made for _, made in fills.rounds(Fleet(5), 5_000))
        frame = pl.concat(
            [batch.decode(made.value) for posted in records for made in posted], how="diagonal"
        )
    found = Matcher([one.condition for one in rules.detections], fields).match(frame)
    assert 0 < len(found) < MIXED_RULES // 2


def test_one_action_in_a_few_hundred_matches_a_shipped_rule() -> None:
    frames = [
        batch.decode(made.value)
        for _, records in fills.rounds(Fleet(5), 10_000)
        for made in records
    ]
    detector = PartitionDetector(load([], builtin=True))
    signals = [s for n, frame in enumerate(frames) for s in detector.process(frame, [], n).signals]
    # Each agent is noted once, when it first writes or sends.
    found = [signal for signal in signals if signal.severity != "informational"]
    assert 0.5 / MATCHING_EVERY < len(found) / 10_000 < 4 / MATCHING_EVERY


@pytest.mark.parametrize("encoding", ["proto", "json"])
def test_every_span_becomes_an_action_of_its_own(encoding: str) -> None:
    posts = Exporters(5, encoding).posts(70 * SPANS, NOW_US)  # type: ignore[arg-type]
    values = [record(post.value, post.topic) for post in posts]
    found = Normalizer(bytes(32), "default").normalize(values)
    assert not found.dead
    assert found.frame["event_id"].n_unique() == 70 * SPANS == sum(p.events for p in posts)
    each = sum(len(post.value) for post in posts) / (70 * SPANS)
    assert 700 < each < 1_700


def test_a_flood_repeats_few_groups_and_no_signal() -> None:
    signals = [signal for _, made in _flood(1) for signal in made]
    assert len({signal.signal_id for signal in signals}) == len(signals) == 100_000
    assert len({(signal.entity, signal.rule_id) for signal in signals}) == 16_000


def test_every_kind_of_correlation_is_measured() -> None:
    asked = {type(rule.asks) for kind in correlations.KINDS for rule in kind.rules().correlations}
    assert asked == set(get_args(Asks))


def test_correlations_say_the_same_whatever_the_size_of_batches() -> None:
    events = correlations.traffic(3_000)
    for kind in (correlations.SEQUENCE, correlations.TUMBLING):
        found = {
            correlations.run(kind.rules(), events, height, close=True)[1] for height in (100, 3_000)
        }
        assert len(found) == 1
        assert found != {0}


def test_offsets_count_as_the_events_before_them() -> None:
    fill = Fill()
    for events in (5, 0, 7):
        fill.add(("t", 0), events, 10)
    fill.add(("t", 1), 3, 10)
    assert fill.reached({}) == 0
    assert fill.reached({("t", 0): 2}) == 5
    assert fill.reached({("t", 0): 99, ("t", 1): 1}) == fill.events == 15


def test_start_up_counts_nowhere() -> None:
    reached = iter([0, 0, 40, 90, 100])
    found = follow(lambda: next(reached), 100, [os.getpid()], check=lambda: None, timeout_s=WAIT_S)
    assert found.events == 60


def test_what_is_done_between_two_looks_is_no_figure() -> None:
    with pytest.raises(TimeoutError):
        follow(lambda: 100, 100, [os.getpid()], check=lambda: None, timeout_s=WAIT_S)


def test_cpu_time_of_a_child_counts_as_its_parents() -> None:
    spin = "import time\nwhile time.process_time() < 0.3: pass"
    before = cpu_s(os.getpid())
    subprocess.run([sys.executable, "-c", spin], check=True)
    assert cpu_s(os.getpid()) - before >= 0.25


def test_the_table_gives_every_figure_its_ratio_to_the_limit() -> None:
    limit = Figure(name="limit", per_s=200_000, core_us=2, bytes_each=90)
    detect = Figure(name="detect", per_s=50_000, core_us=8, bytes_each=90, rules=28, note="n")
    head, *rows = render([limit, detect]).splitlines()
    assert re.split(r"\s{2,}", head) == list(HEADER)
    assert re.split(r"\s{2,}", rows[1]) == [
        "detect", "50,000", "8.00", "90", "28", "25.0%", "25.0%", "n",
    ]  # fmt: skip


def test_a_figure_without_a_limit_stands_without_a_ratio() -> None:
    assert "%" not in render([Figure(name="flood", per_s=5, core_us=2, bytes_each=0)])


def test_rates_are_by_the_clock_and_costs_by_the_cpu() -> None:
    found = Measured(*msgspec.json.decode(b"[1000, 2.0, 0.5]"))
    assert (found.per_s, found.core_us) == (500.0, 500.0)


def test_a_store_for_analysts_is_made_rolled_up_and_answers_every_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What indexes and feeds of the table read must be among the columns that it is made with."""
    monkeypatch.setattr(analyst, "ASKED", 1)
    found = {one.name: one.note for one in analyst.figures(2_000, tmp_path)}
    assert list(found)[:2] == ["at rest", "rolled up"]
    assert list(found)[2:] == [asked.name for asked in analyst.QUESTIONS]
    read = {name: int(re.findall(r"read ([\d,]+) rows", note)[0].replace(",", ""))
            for name, note in list(found.items())[2:]}  # fmt: skip
    assert read["blast-radius"] > 0
    assert read["blast-radius of the busiest principals"] > 0
    assert not [name for name, note in found.items() if "inf s" in note]
