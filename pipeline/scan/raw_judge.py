"""Raw events against rules on single events, straight to lines of output.

Correlations, and rules whose severity depends on the event, go the common way.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rule import Stateless
from tachograph.detectors.matching.matcher import Matcher
from tachograph.pipeline.scan.raw_findings import Events, FindingLines

# Findings made at a time: bounded memory, whatever matches.
MAX_LINES = 20_000


class Judged(NamedTuple):
    """Some findings: how many of each severity, and their lines."""

    severities: Counter[str]
    lines: Iterator[bytes]


def is_plain(rule: object) -> bool:
    """Whether a rule's findings can be written this way."""
    return isinstance(rule, Stateless) and not rule.meta.tacho.severity_by


class RawJudge:
    """Judges frames of raw events by the plain rules of a set."""

    def __init__(self, rules: RuleSet) -> None:
        own = rules.only([rule for rule in rules.rules if is_plain(rule)])
        self._rules = [rule for rule in own.rules if isinstance(rule, Stateless)]
        self._matcher = Matcher([d.condition for d in own.detections], RAW)
        self._lines = FindingLines(self._rules, own)

    def judge(self, frame: pl.DataFrame) -> Iterator[Judged]:
        """The findings of a frame, rule by rule."""
        matched, run = self._matcher.ask(frame)
        found = [
            (number, rows)
            for number, rule in enumerate(self._rules)
            if (rows := matched.get(rule.detection)) is not None
        ]
        if not found:
            return
        rules = np.repeat([number for number, _ in found], [len(rows) for _, rows in found])
        rows = np.concatenate([rows for _, rows in found])
        used = np.zeros(frame.height, np.bool_)
        used[rows] = True
        events = Events(frame, np.flatnonzero(used), run)
        places = (np.cumsum(used) - 1)[rows]
        for start in range(0, len(rules), MAX_LINES):
            some = rules[start : start + MAX_LINES]
            lines = self._lines.lines(events, some, places[start : start + MAX_LINES])
            yield Judged(self._severities(some.tolist()), lines)

    def _severities(self, numbers: list[int]) -> Counter[str]:
        counted = Counter[str]()
        for number, count in Counter(numbers).items():
            counted[self._rules[number].meta.severity] += count
        return counted
