"""Windows over the events of a group, in SQL: what is in the window of each event.

No event is looked at more than once: it comes into a window at its time and leaves it a timespan
later, and what is in the window is the sum of what came less what left.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tachograph.detectors.language.rule import MICROS, Correlation

# Adds a part to the query: what it is, its SELECT; gives its name.
Add = Callable[[str, str], str]
ORDER = "ORDER BY at_us, event_id, origin"
BEFORE = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
SO_FAR = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
UPTO = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
AFTER = "ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"


class Windows(Protocol):
    """One kind of windows."""

    # What a rule speaks of once in each group.
    each: str

    def summed(self, events: str, added: Mapping[str, str]) -> str:
        """The events with sums over the window of each: a part."""
        ...

    def different(self, events: str, values: Sequence[str]) -> str:
        """The events with `counted`: how many different values are in the window of each."""
        ...

    def numbers(self, events: str) -> str:
        """The events with `found`: the numbers in the window of each."""
        ...


def each_of(rule: Correlation) -> str:
    """What tells windows of a group apart that do not slide, and stretches in which those that do
    are said once.
    """
    return "opened_us" if rule.window == "session" else f"intDiv(at_us, {rule.timespan_us})"


def sessions(rule: Correlation, events: str, by: str, add: Add) -> str:
    """The events with `opened_us`: when the session of each began. A run has no pause; one that is
    longer than the timespan is cut from its begin on, and each cut moves the next.
    """
    before = f"max(at_us) OVER (PARTITION BY {by} {ORDER} {BEFORE})"
    pause = f"at_us - {before} > {rule.gap_us} AS pause"
    part = add("pauses", f"SELECT *, {pause} FROM {events}")  # noqa: S608 - made here
    number = f"sum(pause) OVER (PARTITION BY {by} {ORDER} {SO_FAR})"
    runs = add("runs", f"SELECT *, {number} AS run FROM {part}")  # noqa: S608 - made here
    cut = (
        f"arrayFold((begins, t) -> if(t - begins[-1] > {rule.timespan_us},"
        " arrayPushBack(begins, t), begins), times, [times[1]])"
    )
    times = (
        f"SELECT {by}, run, arraySort(groupArray(at_us)) AS times FROM {runs} GROUP BY {by}, run"  # noqa: S608
    )
    begins = add("begins", f"SELECT {by}, run, arrayJoin({cut}) AS begin_us FROM ({times})")  # noqa: S608
    known = f"({by}, run, at_us) IN (SELECT {by}, run, begin_us FROM {begins})"  # noqa: S608
    opened = f"max(if({known}, at_us, 0)) OVER (PARTITION BY {by} ORDER BY at_us {UPTO})"
    return add("sessions", f"SELECT *, {opened} AS opened_us FROM {runs}")  # noqa: S608


class Flow:
    """Windows that slide: events as they come into them, and as they leave."""

    def __init__(self, rule: Correlation, by: str, add: Add) -> None:
        self._span_us, self._by, self._add = rule.timespan_us, by, add
        self.each = each_of(rule)

    def summed(self, events: str, added: Mapping[str, str]) -> str:
        """The events with sums over the window of each."""
        signed = {name: f"sign * {what}" for name, what in added.items()}
        return self._windows(self._both(events, "1", "1"), signed)

    def different(self, events: str, values: Sequence[str]) -> str:
        """The events with `counted`: how many different values are in the window of each. A value
        comes with its first event in a while, and leaves with its last.
        """
        alike = f"PARTITION BY {', '.join([self._by, *values])} {ORDER}"
        around = self._add(
            "around",
            f"SELECT *, max(at_us) OVER ({alike} {BEFORE}) AS before_us,"  # noqa: S608 - made here
            f" min(at_us) OVER ({alike} {AFTER}) AS after_us FROM {events}",
        )
        valued = self._add(
            "valued",
            f"SELECT *, at_us - before_us >= {self._span_us} AS first,"  # noqa: S608 - made here
            f" after_us = 0 OR after_us - at_us >= {self._span_us} AS last FROM {around}",
        )
        return self._windows(self._both(valued, "first", "last"), {"counted": "sign"})

    def _both(self, part: str, comes: str, leaves: str) -> str:
        gone = f"* REPLACE (at_us + {self._span_us} AS at_us)"
        return self._add(
            "flow",
            f"SELECT *, true AS came, toInt64({comes}) AS sign FROM {part}"  # noqa: S608 - made here
            f" UNION ALL SELECT {gone}, false, -toInt64({leaves}) FROM {part}",
        )

    def _windows(self, flow: str, added: Mapping[str, str]) -> str:
        columns = ", ".join(f"sum({what}) OVER w AS {name}" for name, what in added.items())
        over = (
            f"SELECT *, {columns} FROM {flow}"  # noqa: S608 - made here
            f" WINDOW w AS (PARTITION BY {self._by} ORDER BY at_us {UPTO})"
        )
        return self._add("windows", f"SELECT * FROM ({over}) WHERE came")  # noqa: S608

    def numbers(self, events: str) -> str:
        """The events with `found`: the numbers in the window of each. Frames go by whole seconds,
        as a timespan does; what is a part of one too old or too new is left out.
        """
        inside = f"one.1 > at_us - {self._span_us} AND one.1 <= at_us"
        held = "groupArray((at_us, value_0)) OVER w"
        frame = f"RANGE BETWEEN {self._span_us // MICROS} PRECEDING AND CURRENT ROW"
        return self._add(
            "windows",
            f"SELECT *, arrayMap(one -> one.2, arrayFilter(one -> {inside}, {held})) AS found"  # noqa: S608
            f" FROM {events} WINDOW w AS (PARTITION BY {self._by}"
            f" ORDER BY intDiv(at_us, {MICROS}) {frame})",
        )


class Whole:
    """Windows one after the other, judged as a whole when they are over: by their last event."""

    def __init__(self, rule: Correlation, by: str, add: Add) -> None:
        self._by, self._add = by, add
        self.each = each_of(rule)

    def summed(self, events: str, added: Mapping[str, str]) -> str:
        """See Windows."""
        return self._whole(events, {name: f"sum({what})" for name, what in added.items()})

    def different(self, events: str, values: Sequence[str]) -> str:
        """See Windows."""
        return self._whole(events, {"counted": f"uniqExact({', '.join(values)})"})

    def numbers(self, events: str) -> str:
        """See Windows."""
        return self._whole(events, {"found": "groupArray(value_0)"})

    def _whole(self, events: str, added: Mapping[str, str]) -> str:
        last = "max((at_us, event_id, origin)) OVER w = (at_us, event_id, origin) AS is_last"
        columns = ", ".join([last, *(f"{what} OVER w AS {name}" for name, what in added.items())])
        over = (
            f"SELECT *, {columns} FROM {events}"  # noqa: S608 - made here
            f" WINDOW w AS (PARTITION BY {self._by}, {self.each})"
        )
        return self._add("windows", f"SELECT * FROM ({over}) WHERE is_last")  # noqa: S608
