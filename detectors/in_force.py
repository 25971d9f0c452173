"""What was in force when: rule sets and reference data by observed time.

Everybody who reads the same activations has the same timeline. A rule of a set is the rule with its
id and its semantic hash: it is in force while a set has it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

LONG_AGO_US = -(2**62)
FOR_EVER_US = 2**62

Subject = Literal["rules", "reference"]


class Change(msgspec.Struct, frozen=True, order=True):
    """From an observed time on, this content holds; of several from one time, the one said last."""

    from_us: int
    order: int
    subject: Subject
    content: str


class Period(msgspec.Struct, frozen=True):
    """A stretch of observed time with one rule set and one reference: their hashes. `order`: of
    the change that brought the rules; -1: they were there from the beginning.
    """

    from_us: int
    rules: str
    reference: str
    order: int = -1


class Timeline(msgspec.Struct, frozen=True):
    """Periods in order; the first has no beginning. Of what was over before `known_us` nothing is
    said.
    """

    periods: list[Period]
    known_us: int = LONG_AGO_US

    @classmethod
    def of(cls, changes: Iterable[Change], start: Period) -> "Timeline":
        """`start`: what holds before the first change of each subject."""
        periods = [msgspec.structs.replace(start, from_us=LONG_AGO_US)]
        for change in sorted(changes):
            last = periods[-1]
            if getattr(last, change.subject) == change.content:
                continue
            order = change.order if change.subject == "rules" else last.order
            now = msgspec.structs.replace(
                last, from_us=change.from_us, order=order, **{change.subject: change.content}
            )
            if change.from_us == last.from_us:
                periods.pop()
            periods.append(now)
        return cls(periods)

    @property
    def starts_us(self) -> list[int]:
        """When each period begins, ascending."""
        return [period.from_us for period in self.periods]

    def at(self, observed_us: int) -> Period:
        """What is in force at an observed time."""
        return self.periods[max(0, bisect_right(self.starts_us, observed_us) - 1)]

    def since(self, observed_us: int) -> "Timeline":
        """The timeline without what was over before an observed time."""
        kept = [p for p in self.periods if p.from_us > observed_us]
        first = msgspec.structs.replace(self.at(observed_us), from_us=LONG_AGO_US)
        return Timeline([first, *kept], max(self.known_us, observed_us))

    def parts_us(self, other: "Timeline") -> int:
        """From when on two timelines do not agree, as far as both know; FOR_EVER_US: never."""
        known_us = max(self.known_us, other.known_us)
        for at_us in sorted({known_us, *self.starts_us, *other.starts_us}):
            mine, its = self.at(at_us), other.at(at_us)
            same = (mine.rules, mine.reference) == (its.rules, its.reference)
            if at_us >= known_us and not same:
                return at_us
        return FOR_EVER_US


def spans(timeline: Timeline, holds: Sequence[bool]) -> list[tuple[int, int]]:
    """[from, until) of observed time in which something holds. `holds`: for each period."""
    ends = [*timeline.starts_us[1:], FOR_EVER_US]
    found: list[tuple[int, int]] = []
    for begin, end, there in zip(timeline.starts_us, ends, holds, strict=True):
        if not there:
            continue
        if found and found[-1][1] == begin:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found
