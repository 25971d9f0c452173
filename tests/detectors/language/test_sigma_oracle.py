"""The engine finds what a plain reading of the specification finds, rule for rule and event for
event.
"""

import random

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import build
from tachograph.pipeline.scan.raw_frames import RawFrames
from tests.detectors.language import sigma_made, sigma_oracle

RULES, EVENTS = 40, 30


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_the_engine_finds_what_the_specification_says(seed: int) -> None:
    rng = random.Random(seed)
    rules = [sigma_made.rule(rng, number) for number in range(RULES)]
    events = [sigma_made.event(rng) for _ in range(EVENTS)]
    loaded = build(parse(yaml.safe_dump_all(rules, allow_unicode=True), "made.yml"), fields=RAW)
    frame = RawFrames().frame(events, [f"{at:032x}" for at in range(EVENTS)], [0] * EVENTS)
    signals = Engine(loaded).judge(frame, 1).signals
    found = {(signal.title, int(signal.event_ids[0], 16)) for signal in signals}
    assert found == {
        (rule["title"], at)
        for rule in rules
        for at, event in enumerate(events)
        if sigma_oracle.matches(rule, event)
    }
