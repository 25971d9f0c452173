"""Lines written the quick way are those of the common way, to the byte."""

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import build
from tachograph.pipeline.scan.findings import Findings
from tachograph.pipeline.scan.raw_judge import RawJudge
from tachograph.pipeline.scan.raw_lines import RawLines

RULES = """
title: 'Quotes "and" umlauts ä'
id: 6f1c0a52-2a1c-4d5e-9a55-0d6a3f0f2b11
level: high
tags: [attack.t1059]
tacho: {runbook: "read \\"this\\"", confidence: 70}
detection:
  a: {text|contains: a, more|exists: true}
  b: {list: [x, 1]}
  condition: a or b
---
title: Second
detection:
  s: {text|exists: true}
  condition: s
"""
values = st.one_of(
    st.text(max_size=12),
    st.integers(),
    st.lists(st.sampled_from(["x", "y", 1]), max_size=3),
    st.none(),
    st.just("a" * 400),
)
times = st.sampled_from(["2026-11-22T18:00:00Z", "2026-11-22 18:00:00.25", "later", 1795370400])
events = st.fixed_dictionaries(
    {}, optional={"text": values, "more": values, "list": values, "ts": times}
)


@settings(deadline=None, max_examples=60)
@given(st.lists(events, max_size=6))
def test_findings_of_plain_rules_are_the_same_either_way(rows: list[dict[str, Any]]) -> None:
    rules = build(parse(RULES, str(Path("rules.yml"))), fields=RAW)
    frame = RawLines(None, rules.columns).frame([b"\n".join(map(msgspec.json.encode, rows))], 7)
    found = WholeDetector(rules).process(frame, [], revision=0)
    expected = [msgspec.json.encode(one) for one in Findings(raw=True).take(found.signals)]
    judged = list(RawJudge(rules).judge(frame))
    lines = b"".join(part for one in judged for part in one.lines)
    assert lines.splitlines() == expected
    assert sum(one.severities.total() for one in judged) == len(expected)
