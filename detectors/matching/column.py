"""All tests of one column: words are looked for once, and what they leave open is asked in full."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import compress
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.language.conditions import (
    Number,
    NumberOp,
    Pattern,
    Test,
    Text,
    TextOp,
)
from tachograph.detectors.matching import bits
from tachograph.detectors.matching.bits import Mask
from tachograph.detectors.matching.distinct import Distinct
from tachograph.detectors.matching.expressions import Bundle, ready
from tachograph.detectors.matching.factors import NON_ASCII
from tachograph.detectors.matching.guards import MIN_WORD_CHARS, guard
from tachograph.detectors.matching.lookaround import exactly
from tachograph.detectors.matching.lowering import EXACT_WHOLE
from tachograph.detectors.matching.question import ValueQuestions
from tachograph.detectors.matching.words import NOTHING, Words

Floats = npt.NDArray[np.float64]
_COMPARE: dict[NumberOp, Callable[[Floats, float], Mask]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "lte": np.less_equal,
    "gt": np.greater,
    "gte": np.greater_equal,
}
Value = TypeVar("Value", str, float)
# Asks a test of values of a column.
Judge = Callable[[pl.Series], Mask]


class ColumnTests:
    """The tests that rules ask of one column, each with a number of its own."""

    def __init__(self, values: ValueQuestions) -> None:
        self._values = values
        self._numbers: dict[str, int] = {}
        self._tests: dict[int, Test] = {}
        # Tests of something within a value, which only their own judge can ask.
        self._judges: dict[int, Judge] = {}
        # Tests that a word's standing in a text, and how it stands there, answers.
        self.told: dict[int, list[tuple[int, TextOp]]] = defaultdict(list)
        # Tests that the whole text answers.
        self.equal: dict[str, list[int]] = defaultdict(list)
        # Tests that the number in the text answers.
        self.number: dict[float, list[int]] = defaultdict(list)
        # Branches, each of groups of words: of one branch each group must have a word in the text
        # for a test to pass. No branches: no saying.
        self.guards: dict[int, list[list[int]]] = {}
        self.groups: list[list[int]] = []
        self._group_numbers: dict[tuple[int, ...], int] = {}
        # Expressions of which words do not say enough: looked for together.
        self.loose: dict[int, str] = {}

    def add(self, number: int, test: Test) -> bool:
        """Take a test in. True: looking for words answers it, it costs next to nothing."""
        self._tests[number] = test
        match test:
            case Text("equals", value, False) if value:
                self.equal[value].append(number)
                return True
            case Text(op, value, False) if len(value) >= MIN_WORD_CHARS:
                self.told[self._word_number(value)].append((number, op))
                return True
            case Number("eq", value) if abs(value) < EXACT_WHOLE:
                self.number[float(value)].append(number)
                return True
        self._guard(number, test, in_json=False)
        return False

    def add_within(self, number: int, test: Test, judge: Judge) -> None:
        """Take in a test of something within JSON text."""
        self._judges[number] = judge
        self._guard(number, test, in_json=True)

    def _guard(self, number: int, test: Test, *, in_json: bool) -> None:
        branches = guard(test, in_json=in_json)
        self.guards[number] = [[self._group_number(words) for words in b] for b in branches]
        if not branches and not in_json and isinstance(test, Pattern) and test.cased:
            self.loose[number] = test.regex

    def _group_number(self, words: Sequence[str]) -> int:
        numbers = tuple(self._word_number(word) for word in words)
        known = self._group_numbers.get(numbers)
        if known is None:
            known = self._group_numbers[numbers] = len(self.groups)
            self.groups.append(list(numbers))
        return known

    def _word_number(self, word: str) -> int:
        return self._numbers.setdefault(word, len(self._numbers))

    @cached_property
    def non_ascii(self) -> int | None:
        """The number of the word that stands for any character beyond ASCII."""
        return self._numbers.get(NON_ASCII)

    @cached_property
    def bundle(self) -> Bundle:
        """The loose expressions as one."""
        return Bundle(self.loose)

    @cached_property
    def groups_of(self) -> dict[int, list[int]]:
        """The groups that a word is in, of each that is in any."""
        found: dict[int, list[int]] = defaultdict(list)
        for group, words in enumerate(self.groups):
            for word in words:
                found[word].append(group)
        return dict(found)

    @cached_property
    def words(self) -> Words | None:
        """The automaton; all tests are known when it is first asked for."""
        return Words(list(self._numbers)) if self._numbers else None

    def judge(
        self, number: int, distinct: Distinct, places: Sequence[int]
    ) -> Sequence[bool] | Mask:
        """Ask a test in full of the values at these places."""
        own = self._judges.get(number)
        if own is not None:
            return own(distinct.values[places])
        test = self._tests[number]
        match test:
            case Text(op, value, cased):
                texts = distinct.texts if cased else distinct.lowered
                return _text_found(op, value, [texts[at] for at in places])
            case Number(op, value) if abs(value) < EXACT_WHOLE:
                numbers = distinct.numbers[places]
                passed: Mask = _COMPARE[op](numbers, value) & ~np.isnan(numbers)
                return passed
            case Pattern(regex, cased, exact):
                texts = distinct.texts if cased else distinct.lowered
                asked = [texts[at] for at in places]
                matched = ready(regex).matches(asked)
                return matched if exact is None else exactly(exact, asked, matched)
        return self._values.mask(test, distinct.values[places])


def _text_found(op: str, value: str, texts: list[str]) -> list[bool]:
    """Python's own search is as quick as any call for one word, and needs no setting up."""
    match op:
        case "equals":
            return [text == value for text in texts]
        case "prefix":
            return [text.startswith(value) for text in texts]
        case "suffix":
            return [text.endswith(value) for text in texts]
    return [value in text for text in texts]


class AskedColumn:
    """The tests of one column, asked of one frame."""

    def __init__(self, tests: ColumnTests, distinct: Distinct) -> None:
        self._tests, self._distinct = tests, distinct
        self._found = tests.words.found(distinct.lowered) if tests.words else NOTHING
        # What told a test: the word and how it stands, or the places of the whole value.
        self._words: dict[int, tuple[int, TextOp]] = {}
        self._wholes: dict[int, list[int]] = defaultdict(list)
        # Sets of values (see `bits`): that a test was asked of, and those of them that passed.
        self._asked: dict[int, tuple[int, int]] = {}
        # That the bundle was asked of, and in which it found each test.
        self._bundled = 0
        self._loose: dict[int, int] = defaultdict(int)

    @property
    def distinct(self) -> Distinct:
        """The values of the column."""
        return self._distinct

    def look(self) -> list[int]:
        """The tests answered by words or by whole values that some value may pass."""
        tests, distinct = self._tests, self._distinct
        for word in self._found.runs:
            for number, op in tests.told.get(word, ()):
                self._words[number] = (word, op)
        if tests.equal:
            self._note(tests.equal, distinct.lowered)
        if tests.number:
            self._note(tests.number, distinct.numbers.tolist())
        return [*self._words, *self._wholes]

    def _note(self, known: Mapping[Value, list[int]], values: Sequence[Value]) -> None:
        for place, numbers in enumerate(map(known.get, values)):
            for number in numbers or ():
                self._wholes[number].append(place)

    def told(self, number: int) -> int:
        """Rows that pass a test that `look` named."""
        if number in self._wholes:
            return self._distinct.where_any(self._wholes[number])
        word, op = self._words[number]
        hits = self._found.hits(word)
        texts = hits.texts
        if op == "prefix":
            texts = texts[hits.begins]
        elif op == "suffix":
            texts = texts[hits.ends]
        return self._distinct.where_any(texts)

    def asked(self, number: int, among: int) -> int:
        """Those of the rows that pass a test that words do not answer."""
        distinct = self._distinct
        branches = self._tests.guards[number]
        wanted = self._guarded(branches) if branches else distinct.everything
        if wanted:
            wanted = distinct.held(wanted, among)
        if wanted and number in self._tests.loose:
            wanted &= self._loosely(number, wanted)
        if not wanted:
            return 0
        return distinct.where(self._passed(number, wanted) & wanted) & among

    def _guarded(self, branches: Sequence[Sequence[int]]) -> int:
        """Values in which, for one of the branches, each group has a word."""
        groups = self._groups
        found = 0
        for branch in branches:
            left = -1
            for group in branch:
                left &= groups.get(group, 0)
                if not left:
                    break
            found |= left
        return found

    @cached_property
    def _groups(self) -> dict[int, int]:
        """Values in which a word of each group stands; none for a group that is not here."""
        groups_of = self._tests.groups_of
        found: dict[int, int] = {}
        standing = list(self._found.sets(groups_of))
        other = self._tests.non_ascii
        if other in groups_of:
            odd = np.logical_not(list(map(str.isascii, self._distinct.texts)))
            standing.append((other, bits.of_mask(odd)))
        for word, values in standing:
            for group in groups_of[word]:
                found[group] = found.get(group, 0) | values
        return found

    def _loosely(self, number: int, wanted: int) -> int:
        """Values in which the bundle finds the expression of a test, of the wanted ones all."""
        new = wanted & ~self._bundled
        self._bundled |= new
        for place in bits.places_of(new, self._distinct.count):
            for found in self._tests.bundle.found_in(self._distinct.texts[place]):
                self._loose[found] |= 1 << place
        return self._loose[number]

    def _passed(self, number: int, wanted: int) -> int:
        """The values that passed so far, the wanted ones among them; each is asked once."""
        asked, passed = self._asked.get(number, (0, 0))
        new = wanted & ~asked
        if new:
            places = bits.places_of(new, self._distinct.count)
            judged = self._tests.judge(number, self._distinct, places)
            passed |= bits.of_places(list(compress(places, judged)), self._distinct.count)
            self._asked[number] = asked | new, passed
        return passed
