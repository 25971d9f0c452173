"""Why an event matched a condition, or why not: every part of it, asked of the engine's own
matcher.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.facts import Wanted, fact_frame, said_column
from tachograph.detectors.language.conditions import And, Leaf, Node, Not, Or, fields_of
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.wording import ANY_TEXT, worded
from tachograph.detectors.matching.matcher import Matcher, Rows

Shares = npt.NDArray[np.float64]

# Parts shown of one that has more.
MAX_PARTS = 8


class Part(msgspec.Struct, frozen=True):
    """One part of a condition in words, whether it holds for the event, and the value found in the
    field it asks (None: no value, or it asks more than one field).
    """

    asked: str
    holds: bool
    field: str | None = None
    found: str | None = None
    parts: list["Part"] = []
    # Parts like those shown that are not.
    more: int = 0


class Explainer:
    """Explains conditions over one frame, which is prepared as the engine's is."""

    def __init__(self, frame: pl.DataFrame, conditions: Sequence[Node], fields: FieldMap) -> None:
        self._nodes = list(dict.fromkeys(n for node in conditions for n in _nodes(node)))
        self._truth = {node: np.zeros(frame.height, np.bool_) for node in self._nodes}
        for at, rows in Matcher(self._nodes, fields).match(frame).items():
            self._truth[self._nodes[at]][rows] = True
        self._frame, self._fields = frame, fields
        self._names = sorted({name for node in conditions for name in fields_of(node)})

    def matches(self, node: Node) -> Rows:
        """Rows for which a condition holds."""
        return np.flatnonzero(self._truth[node])

    def nearness(self, node: Node) -> Shares:
        """How much of a condition holds for each row, from 0 to 1: of parts that must all hold the
        mean, of alternatives the best.
        """
        match node:
            case And(parts):
                shares: Shares = np.mean([self.nearness(part) for part in parts], axis=0)
            case Or(parts):
                shares = np.max([self.nearness(part) for part in parts], axis=0)
            case _:
                shares = self._truth[node].astype(np.float64)
        return shares

    @cached_property
    def _values(self) -> dict[str, dict[int, str]]:
        return _values(self._frame, self._names, self._fields)

    def why(self, node: Node, row: int) -> Part:
        """What came of a condition for the event in this row: where it holds what makes it hold,
        where it does not what stands in the way.
        """
        holds = bool(self._truth[node][row])
        match node:
            case Not(Leaf() as leaf):
                return Part(worded(node), holds, leaf.field, self._found(leaf, row))
            case Leaf():
                return Part(worded(node), holds, node.field or ANY_TEXT, self._found(node, row))
            case Not(part):
                return self._whole(node, [part], row, holds=holds)
            case Or(parts) if len({_asks(part) for part in parts}) == 1 and _asks(parts[0]):
                # Alternatives for one field: which of them hold, or that none does.
                return self._alternatives(node, parts, row, holds=holds)
            case And(parts) | Or(parts):
                telling = [part for part in parts if bool(self._truth[part][row]) is holds]
                return self._whole(node, telling, row, holds=holds)

    def _whole(self, node: Node, telling: Sequence[Node], row: int, *, holds: bool) -> Part:
        shown = [self.why(part, row) for part in telling[:MAX_PARTS]]
        more = max(0, len(telling) - MAX_PARTS)
        return Part(worded(node), holds, parts=shown, more=more)

    def _alternatives(self, node: Node, parts: Sequence[Node], row: int, *, holds: bool) -> Part:
        holding = [part for part in parts if self._truth[part][row]]
        asked = worded(Or(tuple(holding)) if len(holding) > 1 else holding[0]) if holds else None
        [field] = {_asks(part) for part in parts}
        return Part(asked or worded(node), holds, field, self._values.get(field or "", {}).get(row))

    def _found(self, leaf: Leaf, row: int) -> str | None:
        return self._values.get(leaf.field or "", {}).get(row)


def _asks(node: Node) -> str | None:
    return node.field if isinstance(node, Leaf) else None


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _nodes(part)
        case Not(part):
            yield from _nodes(part)


def _values(
    frame: pl.DataFrame, names: Sequence[str], fields: FieldMap
) -> dict[str, dict[int, str]]:
    """What each row says in each field, cut short; only where it says something."""
    facts = fact_frame(frame, np.arange(frame.height), fields, Wanted(said=list(names)))
    found: dict[str, dict[int, str]] = {}
    for name in names:
        column = said_column(name)
        if column in facts.columns:
            texts = enumerate(facts[column].to_list())
            found[name] = {row: text for row, text in texts if text is not None}
    return found
