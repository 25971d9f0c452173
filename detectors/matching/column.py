"""All tests of one column: words are looked for once, and what they leave open is asked in full."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
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
from tachograph.detectors.matching.bits import Mask, Rows
from tachograph.detectors.matching.distinct import Distinct
from tachograph.detectors.matching.expressions import Bundle, ready
from tachograph.detectors.matching.factors import NON_ASCII
from tachograph.detectors.matching.guards import MIN_WORD_CHARS, guard
from tachograph.detectors.matching.lookaround import exactly
from tachograph.detectors.matching.lowering import EXACT_WHOLE
from tachograph.detectors.matching.question import ValueQuestions
from tachograph.detectors.matching.words import Hits, Places, Words

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
    def words(self) -> Words | None:
        """The automaton; all tests are known when it is first asked for."""
        return Words(list(self._numbers)) if self._numbers else None

    def judge(self, number: int, distinct: Distinct, places: Places) -> Mask:
        """Ask a test in full of the values at these places."""
        own = self._judges.get(number)
        if own is not None:
            return own(distinct.values[places])
        test = self._tests[number]
        match test:
            case Text(op, value, cased):
                texts = distinct.texts if cased else distinct.lowered
                return _text_mask(op, value, [texts[at] for at in places.tolist()])
            case Number(op, value) if abs(value) < EXACT_WHOLE:
                numbers = distinct.numbers[places]
                passed: Mask = _COMPARE[op](numbers, value) & ~np.isnan(numbers)
                return passed
            case Pattern(regex, cased, exact):
                texts = distinct.texts if cased else distinct.lowered
                asked = [texts[at] for at in places.tolist()]
                matched = ready(regex).matches(asked)
                if exact is not None:
                    matched = exactly(exact, asked, matched)
                return np.array(matched, np.bool_)
        return self._values.mask(test, distinct.values[places])


def _text_mask(op: str, value: str, texts: list[str]) -> Mask:
    """Python's own search is as quick as any call for one word, and needs no setting up."""
    match op:
        case "equals":
            found = [text == value for text in texts]
        case "prefix":
            found = [text.startswith(value) for text in texts]
        case "suffix":
            found = [text.endswith(value) for text in texts]
        case _:
            found = [value in text for text in texts]
    return np.array(found, np.bool_)


class AskedColumn:
    """The tests of one column, asked of one frame."""

    def __init__(self, tests: ColumnTests, distinct: Distinct) -> None:
        self._tests, self._distinct = tests, distinct
        self._hits: Mapping[int, Hits] = tests.words.hits(distinct.lowered) if tests.words else {}
        # What told a test: the word and how it stands, or the places of the whole value.
        self._words: dict[int, tuple[int, TextOp]] = {}
        self._wholes: dict[int, list[int]] = defaultdict(list)
        # Values that a test was asked of, and those of them that passed.
        self._asked: dict[int, tuple[Mask, Mask]] = {}
        # Values (see `bits`) in which a word of a group stands.
        self._grouped: dict[int, int] = {}
        self._standing: dict[int, int] = {}
        # Values that the bundle was asked of, and what it found in them.
        self._bundled = np.zeros(distinct.count, np.bool_)
        self._found: dict[int, int] = defaultdict(int)
        # The rows that were asked for last, and their values.
        self._last: tuple[Rows, Rows, Rows, int] | None = None

    @property
    def distinct(self) -> Distinct:
        """The values of the column."""
        return self._distinct

    def look(self) -> list[int]:
        """The tests answered by words or by whole values that some value may pass."""
        tests, distinct = self._tests, self._distinct
        for word in self._hits:
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
        hits = self._hits[word]
        texts = hits.texts
        if op == "prefix":
            texts = texts[hits.begins]
        elif op == "suffix":
            texts = texts[hits.ends]
        return self._distinct.where_any(texts)

    def asked(self, number: int, among: int, places: Callable[[int], Rows]) -> int:
        """Those of the rows that pass a test that words do not answer. `places`: their numbers,
        which mostly need not be known.
        """
        branches = self._tests.guards[number]
        wanted = self._guarded(branches) if branches else -1
        if not wanted:
            return 0
        codes, rows, held = self._entries(places(among))
        wanted &= held
        if wanted and number in self._tests.loose:
            wanted &= self._loosely(number, wanted)
        if not wanted:
            return 0
        passed = self._passed(number, bits.mask_of(wanted, self._distinct.count))
        return self._distinct.among(rows[passed[codes]])

    def _guarded(self, branches: Sequence[Sequence[int]]) -> int:
        """Values in which, for one of the branches, each group has a word."""
        found = 0
        for branch in branches:
            left = -1
            for group in branch:
                left &= self._group(group)
                if not left:
                    break
            found |= left
        return found

    def _group(self, group: int) -> int:
        """Values in which a word of the group stands."""
        found = self._grouped.get(group)
        if found is None:
            found = 0
            for word in self._tests.groups[group]:
                if word in self._hits or word == self._tests.non_ascii:
                    found |= self._word(word)
            self._grouped[group] = found
        return found

    def _word(self, word: int) -> int:
        """Values in which the word stands."""
        found = self._standing.get(word)
        if found is None:
            mask = np.zeros(self._distinct.count, np.bool_)
            if word == self._tests.non_ascii:
                mask[:] = np.logical_not(list(map(str.isascii, self._distinct.texts)))
            else:
                mask[self._hits[word].texts] = True
            found = self._standing[word] = bits.of_mask(mask)
        return found

    def _entries(self, places: Rows) -> tuple[Rows, Rows, int]:
        """The values that stand in the rows, entry by entry, the rows of the entries, and the
        values as a set.
        """
        if self._last is None or self._last[0] is not places:
            codes, rows = self._distinct.entries(places)
            held = np.zeros(self._distinct.count, np.bool_)
            held[codes] = True
            self._last = places, codes, rows, bits.of_mask(held)
        return self._last[1:]

    def _loosely(self, number: int, wanted: int) -> int:
        """Values in which the bundle finds the expression of a test, of the wanted ones all."""
        mask = bits.mask_of(wanted, self._distinct.count) & ~self._bundled
        places = np.flatnonzero(mask).tolist()
        self._bundled |= mask
        for place in places:
            for found in self._tests.bundle.found_in(self._distinct.texts[place]):
                self._found[found] |= 1 << place
        return self._found[number]

    def _passed(self, number: int, wanted: Mask) -> Mask:
        """The values that passed so far, the wanted ones among them; each is asked once."""
        known = self._asked.get(number)
        if known is None:
            known = self._asked[number] = (np.zeros_like(wanted), np.zeros_like(wanted))
        asked, passed = known
        places = np.flatnonzero(wanted & ~asked)
        if len(places):
            asked[places] = True
            passed[places] = self._tests.judge(number, self._distinct, places)
        return passed
