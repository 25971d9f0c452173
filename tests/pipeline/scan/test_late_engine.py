"""An engine made late says what one that was there from the beginning says."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import build
from tachograph.pipeline.scan.findings import Findings
from tachograph.pipeline.scan.late_engine import LateEngine
from tachograph.pipeline.scan.raw_lines import RawLines

RULES = """
title: Asked
name: asked
detection: {s: {text|contains: a}, condition: s}
---
title: Denied
name: denied
detection: {s: {text|contains: a}, t: {more: null}, condition: s and t}
---
title: Twice
correlation:
  type: event_count
  rules: [asked]
  group-by: [user]
  timespan: 1h
  condition: {gte: 2}
---
title: Both
correlation: {type: temporal, rules: [asked, denied], timespan: 1h, group-by: [user]}
"""
events = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["a", "b", "ba"]),
        "more": st.just("x"),
        "user": st.sampled_from(["u", "v"]),
        "other": st.just(1),
    },
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(events, max_size=3), max_size=5))
def test_an_engine_made_late_finds_the_same(chunks: list[list[dict[str, Any]]]) -> None:
    rules = build(parse(RULES, "rules.yml"), fields=RAW)
    late, early = LateEngine(rules, None), WholeDetector(rules)
    one, other = Findings(raw=True), Findings(raw=True)
    reader, first = RawLines(None, rules.columns), 0
    at_once: tuple[list[Any], list[Any]] = ([], [])
    for number, rows in enumerate(chunks):
        frame = reader.frame([b"\n".join(json.dumps(row).encode() for row in rows)], first)
        first += len(rows)
        at_once[0].extend(one.take(late.process(frame, [], number)))
        at_once[1].extend(other.take(early.process(frame, [], number).signals))
    at_once[0].extend(one.take(late.close(len(chunks))))
    at_once[1].extend(other.take(early.close(len(chunks)).signals))
    assert at_once[0] == at_once[1]
    assert list(one.rest()) == list(other.rest())
