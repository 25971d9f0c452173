"""What matched of correlations: rows of a fact frame, and the columns that are judged of them."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.correlation.arrays import Array, Bools, Ints, Words
from tachograph.detectors.correlation.decimals import decimals
from tachograph.detectors.facts import (
    MAX_SAID_FIELDS,
    SOURCE,
    Rows,
    Wanted,
    group_value,
    number_column,
)
from tachograph.detectors.ids import Hasher, halves
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.rule import (
    Correlation,
    Detection,
    Figure,
    FirstSeen,
    Leaf,
    Values,
)

# Column of a fact frame: the signal that the event made true, where that is the event.
SIGNAL = "signal_id"


class Matched(msgspec.Struct, frozen=True):
    """Rows of a fact frame that are events of one rule.

    `steps`: bit i for each step i that a row is an event of. `leaf`: which of the rule's leaves it
    came by; a row that means different groups by different leaves stands here once for each.
    `late`: it stays out of windows and is only stated. `gone`: it leaves the group that its facts
    name, where it was before; None: all enter.
    """

    rows: Rows
    steps: npt.NDArray[np.int64]
    leaf: npt.NDArray[np.int64]
    late: Bools
    gone: Bools | None = None

    def between(self, begin: int, end: int) -> "Matched | None":
        """The rows from `begin` to before `end` of the frame, counted from `begin`; they ascend.
        None if there are none.
        """
        first, last = np.searchsorted(self.rows, (begin, end)).tolist()
        if first == last:
            return None
        some = slice(first, last)
        gone = None if self.gone is None else self.gone[some]
        rows = self.rows[some] - begin
        return Matched(rows, self.steps[some], self.leaf[some], self.late[some], gone)

    def only(self, wanted: Bools) -> "Matched":
        """Some of the rows."""
        gone = None if self.gone is None else self.gone[wanted]
        return Matched(
            self.rows[wanted], self.steps[wanted], self.leaf[wanted], self.late[wanted], gone
        )


class Matches(msgspec.Struct, frozen=True):
    """What matched of rules that another place judges: a fact frame, and rows of it by rule."""

    facts: pl.DataFrame
    found: list[tuple[Correlation, Matched]]


def shown_fields(detection: Detection) -> list[str]:
    """The fields that a signal shows of an event that matched."""
    return detection.fields[:MAX_SAID_FIELDS]


def wanted_by(rules: Iterable[Correlation], detections: Sequence[Detection] = ()) -> Wanted:
    """What these rules, and those that they rest on, want of a fact frame. `detections`: those
    whose fields are to be shown.
    """
    said: dict[str, None] = {}
    by: dict[str, None] = {}
    numbers: dict[str, None] = {}
    for rule in chain_of(rules):
        for leaf in rule.leaves:
            if detections:
                said |= dict.fromkeys(shown_fields(detections[leaf.detection]))
            by |= dict.fromkeys(leaf.group)
            (numbers if isinstance(rule.asks, Figure) else by).update(dict.fromkeys(leaf.values))
    return Wanted(list(said), list(by), list(numbers))


def chain_of(rules: Iterable[Correlation]) -> list[Correlation]:
    """These rules and all that they rest on, each once and after what it rests on itself."""
    found: dict[str, Correlation] = {}
    for rule in rules:
        inner = chain_of([step.inner for step in rule.steps if step.inner is not None])
        for one in [*inner, rule]:
            found.setdefault(rule_key(one), one)
    return list(found.values())


def rule_key(rule: Correlation) -> str:
    """Names a rule by its id and what it asks."""
    return f"{rule.meta.rule_id}:{rule.meta.version}"


class Leaves:
    """Which conditions the leaves of a rule ask, worked out once."""

    def __init__(self, rule: Correlation) -> None:
        self.rule = rule
        self._meaning = meanings(rule)
        # Condition, step as a bit, and number of each leaf that events come by.
        self._asked: list[tuple[int, int, int]] = []
        number = -1
        for place, step in enumerate(rule.steps):
            for leaf in step.leaves:
                number += 1
                if step.inner is None:
                    self._asked.append((leaf.detection, 1 << place, number))

    def matched(self, found: Mapping[int, Rows], late: npt.NDArray[np.bool_]) -> Matched | None:
        """The rows of a frame that are events of the rule; None if none is.

        `found`: rows by condition, ascending. `late`: which rows of the frame came late.
        """
        here = [(found[at], step, leaf) for at, step, leaf in self._asked if at in found]
        if not here:
            return None
        rows = [own for own, _, _ in here]
        steps = [np.full(len(own), step) for own, step, _ in here]
        leaves = [np.full(len(own), leaf) for own, _, leaf in here]
        if len(here) == 1:
            return Matched(rows[0], steps[0], leaves[0], late[rows[0]])
        return _joined(
            np.concatenate(rows),
            np.concatenate(steps),
            np.concatenate(leaves),
            self._meaning,
            late,
        )


def meanings(rule: Correlation) -> Ints:
    """For each leaf of a rule the first one that means the same fields by the same names."""
    asked = [(tuple(leaf.group), tuple(leaf.values)) for leaf in rule.leaves]
    return np.array([asked.index(one) for one in asked])


def _joined(rows: Rows, steps: Ints, leaf: Ints, meaning: Ints, late: Bools) -> Matched:
    """A row once for each meaning, with all its steps; of alike leaves the first."""
    order = np.lexsort((leaf, meaning[leaf], rows))
    rows, steps, leaf = rows[order], steps[order], leaf[order]
    new = np.ones(len(rows), np.bool_)
    new[1:] = (rows[1:] != rows[:-1]) | (meaning[leaf[1:]] != meaning[leaf[:-1]])
    begins = np.flatnonzero(new)
    rows = rows[begins]
    return Matched(rows, np.bitwise_or.reduceat(steps, begins), leaf[begins], late[rows])


def group_values(
    rule: Correlation, matched: Matched, facts: pl.DataFrame, fields: FieldMap
) -> pl.DataFrame:
    """The values of the rule's group-by for each matched row, as text under the rule's names; null
    where it has none: such a row is in no group.
    """
    meaning = meanings(rule)[matched.leaf]
    parts, order = [], []
    for first in np.unique(meaning).tolist():
        at = np.flatnonzero(meaning == first)
        group = zip(rule.group_by, rule.leaves[first].group, strict=True)
        parts.append(
            facts[matched.rows[at]].select(group_value(f, fields).alias(name) for name, f in group)
        )
        order.append(at)
    if not rule.group_by:
        return pl.DataFrame(height=len(matched.rows))
    whole = pl.concat(parts)
    return whole[np.argsort(np.concatenate(order))]


# A value of events: what tells it from others, and what it is in a fact frame.
Value = tuple[str, pl.Expr]


class Asks:
    """What rules group by and ask of events, as expressions that are made once."""

    def __init__(self, fields: FieldMap) -> None:
        self._fields = fields
        self._grouped: dict[tuple[bool, tuple[str, ...]], list[Value]] = {}
        self._valued: dict[tuple[str, ...], list[Value]] = {}

    def grouped(self, rule: Correlation, leaf: Leaf) -> Sequence[Value]:
        """What makes the group of an event by a leaf."""
        key = rule.across, tuple(leaf.group)
        if key not in self._grouped:
            # Of a place, so that what shares a partition by chance is not one group.
            place = [] if rule.across else [("~place", pl.col("partition_key").fill_null(""))]
            self._grouped[key] = [("~tenant", pl.col("tenant")), *place, *self._of(leaf.group)]
        return self._grouped[key]

    def valued(self, rule: Correlation, leaf: Leaf) -> Sequence[Value]:
        """The values that a rule tells apart."""
        if not isinstance(rule.asks, Values | FirstSeen):
            return ()
        key = tuple(leaf.values)
        if key not in self._valued:
            self._valued[key] = self._of(leaf.values)
        return self._valued[key]

    def _of(self, names: Sequence[str]) -> list[Value]:
        return [(name, group_value(name, self._fields)) for name in names]


class Reading:
    """One fact frame, as columns of numbers. What rules have in common is made once."""

    def __init__(self, facts: pl.DataFrame, number: int, hasher: Hasher, asks: Asks) -> None:
        """`number`: of the frame in its FactStore; its own columns may say where a row lies there
        instead (`table`, `row`).
        """
        self._facts = facts
        self._hasher = hasher
        self._asks = asks
        self._hashed: dict[tuple[object, ...], tuple[Words, Bools]] = {}
        # By the name of a value and its place among others.
        self._cells: dict[tuple[str, int], tuple[Words, Bools]] = {}
        ids = facts["event_id"]
        if SIGNAL in facts.columns:
            ids = facts.select(pl.coalesce(SIGNAL, "event_id")).to_series()
        high, low = halves(ids)
        places = np.arange(facts.height)
        self._shared: dict[str, Array] = {
            "time": facts["event_time"].to_numpy(),
            "high": high,
            "low": low,
            **self._reports(),
            "table": facts["table"].to_numpy() if "table" in facts.columns else
            np.full(facts.height, number),
            "row": facts["row"].to_numpy() if "row" in facts.columns else places,
            "partial": facts["partial"].to_numpy() if "partial" in facts.columns else
            np.zeros(facts.height, np.bool_),
        }  # fmt: skip

    def _reports(self) -> dict[str, Words]:
        """Which action a row reports, and as which source; 0 where nothing says that another may
        report it too.
        """
        twin = self._facts["twin_key"]
        if twin.null_count() == len(twin):
            none = np.zeros(len(twin), np.uint64)
            return {"twin": none, "origin": none}
        hashed = self._hasher.of(twin) | np.uint64(1)
        origin = hashed
        if SOURCE in self._facts.columns:
            source = self._facts[SOURCE].fill_null("")
            origin = (hashed ^ self._hasher.of(source, 1)) | np.uint64(1)
        known = twin.is_not_null().to_numpy()
        return {"twin": np.where(known, hashed, 0), "origin": np.where(known, origin, 0)}

    def ready(self, rules: Iterable[Correlation]) -> None:
        """Hash all that these rules group by and ask, in one question to Polars: another costs as
        much as hundreds of rows.
        """
        asked: dict[tuple[str, int], pl.Expr] = {}
        for rule in rules:
            for leaf in rule.leaves:
                for values in (self._asks.grouped(rule, leaf), self._asks.valued(rule, leaf)):
                    for place, (name, value) in enumerate(values):
                        asked.setdefault((name, place), value)
        self._ask(asked)

    def columns(self, rule: Correlation, matched: Matched) -> tuple[dict[str, Array], Bools]:
        """Columns of the rule's events, with gid; and which matched rows these are: those with all
        values that the rule groups by and asks.
        """
        leaves = rule.leaves
        meaning = meanings(rule)[matched.leaf]
        gid = np.zeros(len(matched.rows), np.uint64)
        asked: dict[str, Array] = {}
        whole = np.ones(len(matched.rows), np.bool_)
        for first in np.unique(meaning).tolist():
            at = np.flatnonzero(meaning == first)
            rows = matched.rows[at]
            groups, complete = self._groups(rule, leaves[first])
            gid[at] = groups[rows]
            whole[at] &= complete[rows]
            values, present = self._values(rule, leaves[first])
            if present is not None:
                whole[at] &= present[rows]
            for name, value in values.items():
                asked.setdefault(name, np.zeros(len(matched.rows), value.dtype))[at] = value[rows]
        rows = matched.rows[whole]
        found = {name: values[rows] for name, values in self._shared.items()}
        found |= {name: values[whole] for name, values in asked.items()}
        found |= {"gid": gid[whole], "steps": matched.steps[whole], "leaf": matched.leaf[whole]}
        return {**found, "blind": matched.late[whole]}, whole

    def _groups(self, rule: Correlation, leaf: Leaf) -> tuple[Words, Bools]:
        """Group of each row by a leaf, and whether it has one: no group value is missing."""
        return self._hash(("group", rule.across, *leaf.group), self._asks.grouped(rule, leaf))

    def _values(self, rule: Correlation, leaf: Leaf) -> tuple[dict[str, Array], Bools | None]:
        """What the rule asks of each row by a leaf, and whether it is there (None: always)."""
        match rule.asks:
            case Values() | FirstSeen():
                value, present = self._hash(("value", *leaf.values), self._asks.valued(rule, leaf))
                return {"value": value | np.uint64(1)}, present
            case Figure():
                whole, part, present = decimals(self._facts[number_column(leaf.values[0])])
                return {"whole": whole, "part": part}, present
        return {}, None

    def _hash(
        self, key: tuple[object, ...], asked: Sequence[tuple[str, pl.Expr]]
    ) -> tuple[Words, Bools]:
        """Hash of some values of each row, and whether all are there."""
        if key not in self._hashed:
            self._ask({(name, place): value for place, (name, value) in enumerate(asked)})
            cells = [self._cells[name, place] for place, (name, _) in enumerate(asked)]
            hashed = self._hasher.joined([cell for cell, _ in cells], self._facts.height)
            present = np.ones(self._facts.height, np.bool_)
            for _, there in cells:
                present &= there
            # 0 stands for no group and no value.
            self._hashed[key] = (np.where(hashed == 0, np.uint64(1), hashed), present)
        return self._hashed[key]

    def _ask(self, asked: Mapping[tuple[str, int], pl.Expr]) -> None:
        """Hashes of values at their places among others, and whether they are there."""
        new = {cell: value for cell, value in asked.items() if cell not in self._cells}
        if not new:
            return
        there = {name: value for (name, _), value in new.items()}
        made = self._facts.select(
            *(self._hasher.asked(value, cell[1]).alias(str(at)) for at, (cell, value)
              in enumerate(new.items())),
            *(value.is_not_null().alias(f"there:{name}") for name, value in there.items()),
        )  # fmt: skip
        present = {name: made.get_column(f"there:{name}").to_numpy() for name in there}
        for at, (name, place) in enumerate(new):
            self._cells[name, place] = made.get_column(str(at)).to_numpy(), present[name]
