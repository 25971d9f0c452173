"""Raw events before some rules."""

from typing import Any

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rule import MICROS
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.pipeline.scan.raw_frames import RawFrames
from tachograph.schemas.alert import Signal


def fired(found: RuleSet, *events: dict[str, Any]) -> list[str]:
    """Titles of the rules that raw events, a second apart, match."""
    return sorted(signal.title for signal in signals(found, *events))


def signals(found: RuleSet, *events: dict[str, Any]) -> list[Signal]:
    """What is said of raw events, a second apart."""
    assert found.fields is RAW
    numbers = range(len(events))
    ids = [f"{number:032x}" for number in numbers]
    times = [number * MICROS for number in numbers]
    return Engine(found).judge(RawFrames().frame(list(events), ids, times), 1).signals
