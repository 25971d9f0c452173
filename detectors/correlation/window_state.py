"""What a rule holds of its groups at a moment: how far each window has come, and what is missing.

Made for a person who asks; nothing of it is part of the judgement. It is computed by the functions
that judge, over the events that are held.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from tachograph.detectors.correlation.arrays import Ints
from tachograph.detectors.correlation.chains import Chains
from tachograph.detectors.correlation.first_seen import FirstSeenJudge
from tachograph.detectors.correlation.judges import Judge, sweep_of
from tachograph.detectors.correlation.metrics import first_reports
from tachograph.detectors.correlation.stretch import LONG_AGO, Stretch
from tachograph.detectors.correlation.sums import Sums
from tachograph.detectors.facts import Facts, Places
from tachograph.detectors.language.rule import Correlation

# Events named of one window, the newest.
MAX_EVENTS = 10


class WindowState(msgspec.Struct, frozen=True, kw_only=True):
    """The window of one group that ends with its newest event. Times are UTC microseconds."""

    tenant: str
    group: dict[str, str]
    first_us: int
    newest_us: int
    # When the window is over, or its first event leaves it, if nothing comes.
    until_us: int
    # Reports of one action count once.
    events: int
    late: int
    # What is compared: a count, a figure, how many steps or how long a chain; of an absence how
    # many events wait; of first-seen values how many are known.
    value: float
    # Events of each step, by its name.
    steps: dict[str, int]
    # Of a first-seen rule: until when the group is only watched.
    learning_until_us: int | None = None
    # The condition holds as it is now.
    holds: bool
    # Events of the window were forgotten at a limit.
    forgot: bool
    event_ids: list[str]


def window_states(judge: Judge) -> Iterator[WindowState]:
    """The windows of all groups that hold events which are not late, in no order."""
    blocks = judge.memory.blocks
    for slot in blocks.used().tolist():
        begin, end = (int(found[0]) for found in blocks.bounds(np.array([slot])))
        timely = begin + np.flatnonzero(~blocks.rows["blind"][begin:end])
        if len(timely):
            yield _state(judge, slot, timely[_opens(judge.rule, blocks.rows["time"][timely]) :])


def _state(judge: Judge, slot: int, places: Ints) -> WindowState:
    """`places`: of the window's events that are not late."""
    rule, rows = judge.rule, judge.memory.blocks.rows
    window = slice(int(places[0]), int(places[-1]) + 1)
    first_us, newest_us = (int(rows["time"][place]) for place in places[[0, -1]])
    facts = _facts(judge, places[-MAX_EVENTS:])
    value, holds = _value(judge, slot, window)
    steps, by = rows["steps"][places], rule.group_by
    return WindowState(
        tenant=facts[-1].tenant,
        group=dict(zip(by, map(str, facts[-1].group[: len(by)]), strict=True)),
        first_us=first_us,
        newest_us=newest_us,
        until_us=_until(rule, first_us, newest_us),
        events=int(first_reports(rows, window).sum()),
        late=int(rows["blind"][window].sum()),
        value=value,
        steps={one.name: int((steps >> at & 1).sum()) for at, one in enumerate(rule.steps)},
        learning_until_us=_learning(judge, slot),
        holds=holds,
        forgot=judge.memory.cut(slot) > first_us,
        event_ids=[one.event_id for one in facts],
    )


def _facts(judge: Judge, places: Ints) -> list[Facts]:
    rows, voice = judge.memory.blocks.rows, judge.voice
    table, row, leaf = (rows[name][places].astype(np.int64) for name in ("table", "row", "leaf"))
    return voice.store.facts(Places(table, row, leaf), {}, voice.by)


def _opens(rule: Correlation, time: Ints) -> int:
    """Of the times of a group's events, in order, the first that is in the newest window."""
    newest, span_us = int(time[-1]), rule.timespan_us
    match rule.window:
        case "tumbling":
            return int(np.searchsorted(time, newest // span_us * span_us))
        case "session":
            return _sitting(time, rule)
    return int(np.searchsorted(time, newest - span_us, "right"))


def _sitting(time: Ints, rule: Correlation) -> int:
    """Where the last session begins. The first event held begins one: what is judged is let go."""
    start = 0
    for at in range(1, len(time)):
        pause, length = int(time[at] - time[at - 1]), int(time[at] - time[start])
        if pause > rule.gap_us or length > rule.timespan_us:
            start = at
    return start


def _until(rule: Correlation, first_us: int, newest_us: int) -> int:
    match rule.window:
        case "tumbling":
            return (first_us // rule.timespan_us + 1) * rule.timespan_us
        case "session":
            return min(newest_us + rule.gap_us, first_us + rule.timespan_us)
    return first_us + rule.timespan_us


def _value(judge: Judge, slot: int, window: slice) -> tuple[float, bool]:
    """What is compared, over a group's window, and whether it is what the rule looks for."""
    blocks, rule = judge.memory.blocks, judge.rule
    if isinstance(judge, FirstSeenJudge):
        return judge.values_of(slot), False
    sweep = sweep_of(rule)
    if isinstance(sweep, Sums):
        return sweep.metric.shown(blocks.rows, window), sweep.metric.exactly(blocks.rows, window)
    one, begin, end = np.array([slot]), np.array([window.start]), np.array([window.stop])
    if isinstance(sweep, Chains):
        whole = sweep.whole(blocks, one, begin, end)
        return sweep.furthest(blocks, one, begin, end), len(whole.place) > 0
    # An absence: what waits for the time in which nothing may follow.
    stretch = Stretch(one, begin, end, begin, rule.timespan_us, fresh=True, keep=False)
    return len(sweep.run(blocks, stretch).place), False


def _learning(judge: Judge, slot: int) -> int | None:
    if not isinstance(judge, FirstSeenJudge):
        return None
    return int(judge.memory.blocks.groups["began"][slot]) + LONG_AGO + judge.learning_us
