"""One event before some rules."""

from typing import Any

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.pipeline.scan.raw_frames import RawFrames


def fired(found: RuleSet, event: dict[str, Any]) -> list[str]:
    """Titles of the rules that a raw event matches."""
    assert found.fields is RAW
    signals = Engine(found).judge(RawFrames().frame([event], ["0" * 32], [0]), 1).signals
    return sorted(signal.title for signal in signals)
