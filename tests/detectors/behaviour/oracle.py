"""Behaviour by brute force: every window of the whole set, in plain Python."""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from statistics import mean, pvariance
from typing import Any

import polars as pl

from tachograph.detectors.behaviour import hands
from tachograph.detectors.behaviour.baselines import (
    ALLOWED,
    BELIEVED,
    CLIP,
    EASED,
    EPOCH_PANES,
    LEAST_SPREAD,
    MEMORY,
    MOST_ABOVE,
    MOST_ADDED,
    MOST_DOUBLINGS,
    PRIOR_WINDOWS,
    RAISED,
    UNSURE,
    WARM,
)
from tachograph.detectors.behaviour.calibration import Calibration
from tachograph.detectors.behaviour.features import ADDED_UP, AMOUNTS, FEATURES, PANE_US, SCALES
from tachograph.detectors.behaviour.rows import ACTS, LEAST_SENT_BYTES

HOUR_US = 3_600_000_000
SEED = 0x7AC406
OUT = [feature.name for feature in FEATURES].index("bytes_out")
Said = tuple[str, str, int, int]
# Of each judgement the bars of its features.
Bars = Sequence[Sequence[int]]


def level(amount: int) -> int:
    exponent = (amount + 1).bit_length() - 1
    below: int = 2**exponent
    return exponent * 256 + (amount + 1 - below) * 256 // below


def counted(bits: int) -> int:
    free = max(256 - bits, 0.5)
    return round(-256 * math.log(free / 256))


def counted_new(bits: int, before: int) -> int:
    free = max(256 - before, 64)
    return round(-256 * math.log(max(free - bits, 0.5) / free))


@functools.cache
def bit_of(value: str, called: str | None, words: int) -> tuple[int, int]:
    """Of a value, or of a call with these arguments."""
    one, kind = value if called is None else {"tool_name": value, "args": called}, pl.String()
    call = pl.Struct({"tool_name": pl.String, "args": pl.String})
    hashed = int(pl.Series([one], dtype=kind if called is None else call).hash(SEED)[0])
    return hashed & (words - 1), (hashed >> 8) & 63


def class_of(receiver: tuple[int, int]) -> tuple[int, int]:
    """A quarter of a word of the sketch: what is sent is added up for each."""
    return receiver[0], receiver[1] // 16


class Totals:
    """What is added up in one window."""

    def __init__(self) -> None:
        self.acts = self.failures = self.bytes_out = self.rows = self.tokens = self.needed = 0
        self.calls = 0
        self.calls_at: list[int] = []
        self.last_us = 0
        self.targets: set[tuple[int, int]] = set()
        self.receivers: set[tuple[int, int]] = set()
        self.sent = Counter[tuple[int, int]]()
        self.called: set[tuple[int, int]] = set()
        self.tools: set[tuple[int, int]] = set()

    def add(self, action: dict[str, Any]) -> None:
        self.last_us = max(self.last_us, action["time_us"])
        self.calls_at.append(action["time_us"] // PANE_US)
        act = action["kind"] in ACTS
        self.acts += act
        self.failures += action.get("outcome") in ("failed", "denied")
        self.bytes_out += action.get("tool_bytes_out") or 0
        self.rows += action.get("tool_rows_returned") or 0
        self.tokens += action.get("usage_input_tokens") or 0
        self.needed += hands.CALL_MS if action["kind"] in hands.CALLS else 0
        if not act:
            return
        if action.get("target_domain"):
            target = bit_of(action["target_domain"], None, 4)
            self.targets.add(target)
            if (action.get("tool_bytes_out") or 0) >= LEAST_SENT_BYTES:
                self.receivers.add(target)
                self.sent[class_of(target)] += action["tool_bytes_out"]
        if action.get("tool_name"):
            self.tools.add(bit_of(action["tool_name"], None, 1))
        if action.get("tool_args_hash"):
            self.calls += 1
            self.called.add(bit_of(action["tool_name"], action["tool_args_hash"], 4))

    def amounts(self, met: "Met") -> list[int]:
        once = counted(len(self.called))
        again = max(self.calls - 2 * once, 0) if len(self.called) < 240 else 0
        of = Counter(class_of(one) for one in self.receivers)
        fresh = Counter(class_of(one) for one in self.receivers - met.targets)
        to_new = sum(self.sent[one] // of[one] * many for one, many in fresh.items())
        new = counted_new(len(self.targets - met.targets), len(met.targets))
        return [
            self.acts, self.failures, self.bytes_out, self.rows, self.tokens,
            counted(len(self.targets)), new, len(self.tools), len(self.tools - met.tools), to_new,
            again,
        ]  # fmt: skip


class Met:
    """Targets and tools of an agent, up to an epoch."""

    def __init__(self) -> None:
        self.targets: set[tuple[int, int]] = set()
        self.tools: set[tuple[int, int]] = set()

    def copy(self) -> "Met":
        found = Met()
        found.targets, found.tools = set(self.targets), set(self.tools)
        return found


class Some:
    """An amount in those windows that have any."""

    def __init__(self, centre: int, wander: int) -> None:
        self.centre, self.wander, self.windows = centre * 256, wander * 256, 0

    def spread(self) -> int:
        return max(self.wander * 125 // (100 * 256), LEAST_SPREAD)

    def learn(self, levels: list[int], memory: int) -> None:
        weight = self.windows + PRIOR_WINDOWS + len(levels)
        centre, most = self.centre // 256, CLIP * self.spread()
        moved = [min(max(one - centre, -most), most) for one in levels]
        self.centre += sum(moved) * 256 // weight
        self.wander += (sum(map(abs, moved)) * 256 - len(levels) * self.wander) // weight
        self.windows = min(self.windows + len(levels), memory)


class Cell:
    """What one agent does usually in windows of one length."""

    def __init__(self, calibration: Calibration, scale: int) -> None:
        self.scale = scale
        self.centre = [c * 256 for c in calibration.centre[scale]]
        self.wander = [s * 256 for s in calibration.spread[scale]]
        self.some = {
            at: Some(calibration.some_centre[scale][place], calibration.some_spread[scale][place])
            for place, at in enumerate(AMOUNTS)
        }
        self.highest = [-1] * len(FEATURES)
        self.windows = self.frozen = 0
        self.added = [0] * len(FEATURES)
        self.met_by = self.met_new = 0

    def narrow(self, at: int) -> int:
        return max(self.wander[at] * 125 // (100 * 256), LEAST_SPREAD)

    def spread(self, at: int) -> int:
        return max(self.narrow(at), self.some[at].spread()) if at in self.some else self.narrow(at)

    def busier(self, amounts: list[int], at: int) -> int:
        """How far what comes of acts may be above its centre, for the acts are above theirs."""
        return max(level(amounts[0]) - self.centre[0] // 256, 0) if FEATURES[at].of_acts else 0

    def unsure(self) -> int:
        """How much further a window must be out of line, for little is known."""
        warm = int(WARM[self.scale])
        return max(warm - self.windows, 0) * UNSURE // warm

    def sends(self) -> int:
        return self.centre[OUT] // 256 + 2 * self.spread(OUT)

    def usual(self, at: int) -> int:
        return max(self.centre[at] // 256 + 2 * self.narrow(at), self.highest[at])

    def scores(self, amounts: list[int]) -> list[int | None]:
        found: list[int | None] = []
        for at, feature in enumerate(FEATURES):
            over = level(amounts[at] // feature.grain) - self.usual(at) - self.busier(amounts, at)
            told = amounts[at] >= feature.least[self.scale]
            told = told and (not feature.own or self.windows >= WARM[self.scale])
            if feature.name == "bytes_to_new":
                told = told and level(amounts[OUT] // 4096) >= self.usual(OUT)
            found.append(over * 256 // self.spread(at) if told else None)
        return found

    def add_up(self, amounts: list[int], met: int, bars: Sequence[int]) -> list[int | None]:
        """Each feature, added up, where it reached the bar; so, it begins anew."""
        crossed: list[int | None] = []
        for at, feature in enumerate(FEATURES):
            above = level(amounts[at] // feature.grain) - self.centre[at] // 256
            above -= self.busier(amounts, at)
            step = above * 256 // self.spread(at) - ALLOWED * 256
            if feature.name == "new_targets":
                step = self.novelty(amounts[0], amounts[at], met)
            if feature.name == "bytes_to_new":
                less = level(amounts[OUT] // 4096) < self.sends()
                step = min(step, 0) if less else step
            self.added[at] = max(self.added[at] + min(max(step, -MOST_ADDED), MOST_ADDED), 0)
            over = self.added[at] >= bars[at]
            enough = amounts[at] * 4 >= feature.least[self.scale]
            told = over and enough and self.windows >= 2 * WARM[self.scale]
            crossed.append(self.added[at] if told else None)
            self.added[at] = 0 if over else self.added[at]
        return crossed

    def brings(self, acts: int) -> int:
        return max((self.met_new + 2) * 256 * acts // (self.met_by + 40), 64)

    def novelty(self, acts: int, new: int, met: int) -> int:
        """What so many new targets of so many acts say, for twice as many and one more."""
        usual = self.brings(acts)
        more = 2 * usual + 256
        busy = max(level(acts) - self.centre[0] // 256, 0) // 256
        most = 2 * (2 * self.brings(acts >> busy) + 256) // 256
        self.met_by += acts >> busy
        self.met_new += min(new >> busy, most)
        told = new * (level(more) - level(usual)) * 177 // 256 - (more - usual)
        return told * max(256 - met, 64) // 256

    def learn(self, windows: list[tuple[list[int], bool]]) -> None:
        """Amounts of an epoch's windows, and whether they were suspect."""
        open_ = self.windows < WARM[self.scale] or self.frozen >= BELIEVED[self.scale]
        taken = [amounts for amounts, suspect in windows if open_ or not suspect]
        if not taken:
            self.frozen += len(windows)
            return
        self.frozen = 0
        weight = self.windows + PRIOR_WINDOWS + len(taken)
        for at, feature in enumerate(FEATURES):
            levels = [level(amounts[at] // feature.grain) for amounts in taken]
            centre, spread = self.centre[at] // 256, self.spread(at)
            moved = [min(max(one - centre, -CLIP * spread), CLIP * spread) for one in levels]
            old = self.centre[at]
            self.centre[at] = old + sum(moved) * 256 // weight
            strayed = sum(map(abs, moved)) * 256
            self.wander[at] += (strayed - len(taken) * self.wander[at]) // weight
            highest, top = self.highest[at], max(levels)
            rise = highest + spread // 4 if self.windows >= WARM[self.scale] else top
            faded = highest - max(highest - old // 256, 0) // 2048
            self.highest[at] = max(faded, min(top, max(rise, 0)))
            if at in self.some:
                self.some[at].learn([one for one in levels if one], int(MEMORY[self.scale]))
        self.windows = min(self.windows + len(taken), int(MEMORY[self.scale]))


class Raised:
    """By how much an agent's bars are higher, for what was out of line lately."""

    def __init__(self) -> None:
        self.until: dict[tuple[int, int], int] = {}
        self.coming: dict[tuple[int, int], int] = {}

    def by(self, judgement: int, at: int, epoch: int) -> int:
        return max(self.until.get((judgement, at), 0) - epoch, 0) * EASED

    def crossed(self, judgement: int, at: int, above: int, spread: int, epoch: int) -> None:
        higher = min(above, MOST_ABOVE) + RAISED
        if judgement != ADDED_UP:
            higher = min(higher, MOST_DOUBLINGS * 256 * 256 // spread)
        until = epoch + higher // EASED
        self.coming[judgement, at] = max(self.coming.get((judgement, at), 0), until)

    def fold(self) -> None:
        for key, until in self.coming.items():
            self.until[key] = max(self.until.get(key, 0), until)


def expected(actions: Sequence[dict[str, Any]], calibration: Calibration, bars: Bars) -> set[Said]:
    """(agent, feature or "hand", bucket, time) of each signal that these actions deserve."""
    by_who: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for action in actions:
        person = action.get("agent_kind") == "human"
        by_who[action["agent_id"], action["session_id"] if person else ""].append(action)
    return {
        said
        for (agent, hand), own in by_who.items()
        for said in (_by_hand(agent, own) if hand else _by_agent(agent, own, calibration, bars))
    }


def _windows(own: list[dict[str, Any]], scale: int) -> dict[int, Totals]:
    found: dict[int, Totals] = defaultdict(Totals)
    for action in own:
        found[action["time_us"] // (PANE_US * SCALES[scale].panes)].add(action)
    return found


def _by_hand(agent: str, own: list[dict[str, Any]]) -> set[Said]:
    crossed = []
    for scale, length in enumerate(SCALES):
        for window, totals in _windows(own, scale).items():
            enough = totals.acts >= hands.LEAST_DEEDS[scale]
            there = length.panes * PANE_US // 1000 * hands.FILLS_PERCENT[scale]
            if enough and totals.needed * 100 >= there:
                crossed.append(((window + 1) * length.panes, scale, "hand", totals.last_us))
            counts = Counter(totals.calls_at)
            panes = range(min(counts, default=0), max(counts, default=-1) + 1)
            if len(panes) >= hands.CLOCK_PANES and totals.acts >= hands.CLOCK_ACTS:
                each = [counts[pane] for pane in panes]
                if pvariance(each) <= Fraction(hands.CLOCK_PERCENT, 100) * mean(each):
                    crossed.append(((window + 1) * length.panes, scale, "clock", totals.last_us))
    return _first(agent, crossed)


def _by_agent(
    agent: str, own: list[dict[str, Any]], calibration: Calibration, bars: Bars
) -> set[Said]:
    cells = [Cell(calibration, scale) for scale in range(len(SCALES))]
    met, raised, crossed = Met(), Raised(), []
    hour, of_hour = -1, Met()
    by_epoch: dict[int, list[tuple[int, int, Totals]]] = defaultdict(list)
    for scale, length in enumerate(SCALES):
        for window, totals in _windows(own, scale).items():
            end = (window + 1) * length.panes
            by_epoch[(end - 1) // EPOCH_PANES].append((scale, end, totals))
    for epoch in sorted(by_epoch):
        learned: dict[int, list[tuple[list[int], bool]]] = defaultdict(list)
        fresh = Met()
        if epoch // 6 > hour:
            hour, of_hour = epoch // 6, met.copy()
        for scale, end, totals in by_epoch[epoch]:
            before = of_hour if SCALES[scale].name == "1 h" else met
            amounts = totals.amounts(before)
            scores = cells[scale].scores(amounts)
            suspect = any(
                score is not None and score * 2 >= bar
                for score, bar in zip(scores, bars[scale], strict=True)
            )
            learned[scale].append((amounts, suspect))
            if not scale and (not suspect or cells[0].windows < WARM[0]):
                fresh.targets |= totals.targets
                fresh.tools |= totals.tools
            over = [(scale, at, score) for at, score in enumerate(scores)]
            if scale == len(SCALES) - 1:
                way = scale + 1
                higher = [bar + raised.by(way, at, epoch) for at, bar in enumerate(bars[way])]
                added = cells[scale].add_up(amounts, len(before.targets), higher)
                over += [(way, at, score) for at, score in enumerate(added)]
            for way, at, score in over:
                least = bars[way][at] + raised.by(way, at, epoch) + cells[scale].unsure()
                if score is not None and score >= least:
                    spread = cells[scale].spread(at)
                    raised.crossed(way, at, score - bars[way][at], spread, epoch)
                    crossed.append((end, way, FEATURES[at].name, totals.last_us))
        for scale, windows in learned.items():
            cells[scale].learn(windows)
        raised.fold()
        met.targets |= fresh.targets
        met.tools |= fresh.tools
    return _first(agent, crossed)


def _first(agent: str, crossed: list[tuple[int, int, str, int]]) -> set[Said]:
    found: dict[tuple[str, int], Said] = {}
    for _, _, name, last_us in sorted(crossed):
        bucket = last_us // HOUR_US
        found.setdefault((name, bucket), (agent, name, bucket, last_us))
    return set(found.values())
