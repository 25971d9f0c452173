"""Conditions as trees of functions over sets of rows, and the tests at their leaves, by column."""

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from tachograph.detectors.language.conditions import And, Leaf, Node, Not, Or, Present, SameAs, Text
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.matching.column import ColumnTests
from tachograph.detectors.matching.question import Question, ValueQuestions
from tachograph.detectors.matching.run import Run

# How dear a part is to ask, cheapest first: words told it; values are asked, those that hold some
# word, or all of them; rows are asked.
TOLD, GUARDED, VALUES, ROWS = range(4)
# What a lone wildcard asks: some value, whatever it is.
ANY_TEXT = Text("contains", "")
# Those of the given rows (see `bits`) that match.
Ask = Callable[[Run, int], int]
Part = tuple[Ask, int]


class Trees:
    """Compiles conditions; the tests they ask are in `columns` and `keywords`."""

    def __init__(self, fields: FieldMap) -> None:
        self.fields = fields
        self.columns: dict[str, ColumnTests] = {}
        # Tests of any text of an event.
        self.keywords: ColumnTests | None = None
        self._values = ValueQuestions()
        self._leaves: dict[Leaf, Part] = {}
        # Functions that only say what words told, and of which test.
        self._told: dict[Ask, int] = {}
        self._numbers = 0

    def condition(self, node: Node) -> tuple[list[Ask], list[Ask]]:
        """The parts that must all hold: the cheap ones, and the others, cheapest first."""
        parts = _by_cost([self._part(part) for part in _flat(node, And)])
        cheap = [ask for ask, cost in parts if cost == TOLD]
        return cheap, [ask for ask, cost in parts if cost > TOLD]

    def _part(self, node: Node) -> Part:
        match node:
            case And():
                return _all_of([self._part(part) for part in _flat(node, And)])
            case Or():
                return self._any([self._part(part) for part in _flat(node, Or)])
            case Not(part):
                ask, cost = self._part(part)
                return (lambda run, rows: rows ^ ask(run, rows)), cost
            case Leaf():
                known = self._leaves.get(node)
                if known is None:
                    known = self._leaves[node] = self._leaf(node)
                return known

    def _any(self, parts: Sequence[Part]) -> Part:
        """Alternatives; all that words tell are asked in one go."""
        told = [self._told[ask] for ask, _ in parts if ask in self._told]
        rest = [part for part in parts if part[0] not in self._told]
        if told:
            rest.append(((lambda run, rows: run.any_told(told) & rows), TOLD))
        return _any_of(rest)

    def _leaf(self, leaf: Leaf) -> Part:
        if leaf.field is None:
            if self.keywords is None:
                self.keywords = ColumnTests(self._values)
            return self._test(self.keywords, leaf, ROWS, _keyword)
        source = self.fields.source(leaf.field)
        if isinstance(leaf.test, SameAs) or source.attribute is not None:
            return self._row_by_row(leaf)
        if isinstance(leaf.test, Present):
            if source.path is not None:
                return self._row_by_row(leaf)
            return _present(source.column, value=leaf.test.value), TOLD
        column = source.column
        if leaf.test == ANY_TEXT and source.whole:
            return (lambda run, rows: run.held(column) & rows), TOLD
        tests = self.columns.get(column)
        if tests is None:
            tests = self.columns[column] = ColumnTests(self._values)
        if source.path is None:
            return self._test(tests, leaf, VALUES, lambda number: _asked(column, number))
        number = self._number()
        question = Question(leaf, {column: pl.String()}, self.fields)
        tests.add_within(number, leaf.test, lambda values: question.mask(values.to_frame()))
        return _asked(column, number), ROWS

    def _test(self, tests: ColumnTests, leaf: Leaf, cost: int, asked: Callable[[int], Ask]) -> Part:
        number = self._number()
        if not tests.add(number, leaf.test):
            guarded = cost == VALUES and tests.guards[number]
            return asked(number), GUARDED if guarded else cost
        ask = _told(number)
        self._told[ask] = number
        return ask, TOLD

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _row_by_row(self, leaf: Leaf) -> Part:
        names = [leaf.field or "", *([leaf.test.field] if isinstance(leaf.test, SameAs) else [])]
        columns = sorted({self.fields.source(name).column for name in names})
        known: dict[tuple[pl.DataType | None, ...], Question] = {}

        def ask(run: Run, rows: int) -> int:
            kinds = tuple(run.schema.get(column) for column in columns)
            question = known.get(kinds)
            if question is None:
                schema = {column: kind for column, kind in zip(columns, kinds, strict=True) if kind}
                question = known[kinds] = Question(leaf, schema, self.fields)
            return run.row_by_row(question, rows)

        return ask, ROWS


def _flat(node: Node, kind: type[And] | type[Or]) -> Iterator[Node]:
    """The parts of nested conjunctions, or alternatives, as of one."""
    if isinstance(node, kind):
        for part in node.parts:
            yield from _flat(part, kind)
    else:
        yield node


def _by_cost(parts: Sequence[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: part[1])


def _all_of(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    asks = [ask for ask, _ in _by_cost(parts)]

    def ask(run: Run, rows: int) -> int:
        for part in asks:
            rows = part(run, rows)
            if not rows:
                return 0
        return rows

    return ask, max(cost for _, cost in parts)


def _any_of(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    asks = [ask for ask, _ in _by_cost(parts)]

    def ask(run: Run, rows: int) -> int:
        found, left = 0, rows
        for part in asks:
            more = part(run, left)
            found |= more
            left ^= more
            if not left:
                break
        return found

    return ask, max(cost for _, cost in parts)


def _told(number: int) -> Ask:
    return lambda run, rows: run.told(number) & rows


def _asked(column: str, number: int) -> Ask:
    return lambda run, rows: run.asked(column, number, rows)


def _keyword(number: int) -> Ask:
    return lambda run, rows: run.keyword(number, rows)


def _present(column: str, *, value: bool) -> Ask:
    if value:
        return lambda run, rows: run.present(column) & rows
    return lambda run, rows: rows & ~run.present(column)
