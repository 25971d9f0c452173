"""Expressions as sets of positions (Glushkov's automaton), each set one whole number.

A position stands for a character, or for a place between characters (an anchor or a look) whose
truth is given. The last position stands for the end: where it is reached, a match ends.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tachograph.detectors.matching.expressions import ready
from tachograph.detectors.matching.regex_tree import Alt, Anchor, Cat, Chars, Look, Repeat, Tree

# With all repetitions written out, an expression has at most so many positions, and so many
# joints between parts: what one character of a text may cost.
MAX_POSITIONS = 8_000
MAX_JOINTS = 1_000
# Steps and characters remembered of one expression, before they are forgotten and learned anew.
MAX_STEPS = 4_000
MAX_CHARS = 4_096


@dataclass(frozen=True, slots=True)
class Truth:
    """Of each place of a text whether something holds there: `usual`, but for the `others`."""

    usual: bool
    others: Sequence[int]


Truths = Mapping[Tree, Truth]


class TooLarge(ValueError):
    """An expression with too many positions."""


@dataclass
class _Edges:
    """Which positions may follow which: the next one (`chain`), or any of `then` after any of
    `after`.
    """

    chain: int = 0
    pairs: list[tuple[int, int]] = field(default_factory=list)

    def add(self, after: int, then: int) -> None:
        if not after or not then:
            return
        if after << 1 == then and after.bit_count() == 1:
            self.chain |= after
        else:
            self.pairs.append((after, then))
            if len(self.pairs) > MAX_JOINTS:
                raise TooLarge(f"more than {MAX_JOINTS} joints with all repetitions written out")

    def step(self, positions: int) -> int:
        """All that may follow any of the positions."""
        following = (positions & self.chain) << 1
        for after, then in self.pairs:
            if positions & after:
                following |= then
        return following


@dataclass(frozen=True)
class _Part:
    """Positions a part of the expression may begin and end with; `empty`: it may be nothing."""

    first: int
    last: int
    empty: bool


_EMPTY = _Part(0, 0, empty=True)


class _State:
    """Positions reached, and where each character leads (with its guards, if any are unusual)."""

    __slots__ = ("ended", "next", "positions")

    def __init__(self, positions: int, *, ended: bool) -> None:
        self.positions = positions
        self.ended = ended
        self.next: dict[str | tuple[int, str], _State] = {}


class _Members:
    """The characters that a source stands for, each found out once."""

    def __init__(self, source: str) -> None:
        self._expression = ready(f"\\A(?:{source})\\z")
        self._known = dict(zip(_ASCII, self._expression.matches(_ASCII), strict=True))

    def has(self, char: str) -> bool:
        """Whether the character is one."""
        known = self._known.get(char)
        if known is None:
            if len(self._known) > MAX_CHARS:
                self._known.clear()
            (known,) = self._expression.matches([char])
            self._known[char] = known
        return known


_ASCII = [chr(code) for code in range(128)]
# Sources are shared by many expressions.
_members = functools.lru_cache(maxsize=MAX_CHARS)(_Members)


class Positions:
    """One expression. Texts are read forwards, or backwards for its mirror image."""

    def __init__(self, tree: Tree) -> None:
        self.size = 0
        self._edges = _Edges()
        self._of_chars: dict[str, int] = {}
        self._of_places: dict[Tree, int] = {}
        whole = self._part(tree)
        self._end = self._new()
        self._edges.add(whole.last, self._end)
        self._first = whole.first | (self._end if whole.empty else 0)
        self._guards = _any(self._of_places.values())
        self._accepting: dict[str, int] = {}
        self._states: dict[int, _State] = {}
        self._steps = 0
        # Guards that are open at an ordinary place; steps are remembered for these.
        self._usual = -1

    def anywhere(self, text: str, truths: Truths) -> bool:
        """Whether any part of the text matches."""
        return next(self._ends(text, truths, backwards=False), None) is not None

    def places(self, text: str, truths: Truths, *, backwards: bool = False) -> list[int]:
        """The places of the text where a match ends (backwards: begins), in the order read."""
        return list(self._ends(text, truths, backwards=backwards))

    def _ends(self, text: str, truths: Truths, *, backwards: bool) -> Iterator[int]:
        self._learn(text)
        usual, unusual = self._guarded(truths)
        if usual != self._usual or self._steps > MAX_STEPS:
            self._states.clear()
            self._usual, self._steps = usual, 0
        place, step = (len(text), -1) if backwards else (0, 1)
        state = self._state(self._through(self._first, unusual.get(place, usual)))
        if state.ended:
            yield place
        for char in reversed(text) if backwards else text:
            place += step
            opened = unusual.get(place)
            key = char if opened is None else (opened, char)
            following = state.next.get(key)
            if following is None:
                following = self._stepped(state, char, usual if opened is None else opened)
                state.next[key] = following
            state = following
            if state.ended:
                yield place

    def _stepped(self, state: _State, char: str, opened: int) -> _State:
        """The state after one more character; a match may begin there too."""
        self._steps += 1
        following = self._edges.step(state.positions & self._accepting[char])
        return self._state(self._through(following | self._first, opened))

    def _state(self, positions: int) -> _State:
        known = self._states.get(positions)
        if known is None:
            known = _State(positions, ended=positions & self._end != 0)
            self._states[positions] = known
        return known

    def _through(self, positions: int, opened: int) -> int:
        """The positions, with those behind the guards that are open at this place."""
        passed = 0
        while (waiting := positions & opened & ~passed) != 0:
            passed |= waiting
            positions |= self._edges.step(waiting)
        return positions & ~self._guards

    def _guarded(self, truths: Truths) -> tuple[int, dict[int, int]]:
        """The guards that are open at an ordinary place, and at each other one."""
        usual = 0
        unusual: dict[int, int] = {}
        for tree, mask in self._of_places.items():
            if truths[tree].usual:
                usual |= mask
        for tree, mask in self._of_places.items():
            for place in truths[tree].others:
                unusual[place] = unusual.get(place, usual) ^ mask
        return usual, unusual

    def _learn(self, text: str) -> None:
        """Which positions accept the characters of the text."""
        if len(self._accepting) > MAX_CHARS:
            self._accepting.clear()
        for char in set(text) - self._accepting.keys():
            mask = 0
            for source, positions in self._of_chars.items():
                if _members(source).has(char):
                    mask |= positions
            self._accepting[char] = mask

    def _new(self) -> int:
        self.size += 1
        if self.size > MAX_POSITIONS:
            raise TooLarge(f"more than {MAX_POSITIONS} positions with all repetitions written out")
        return 1 << (self.size - 1)

    def _part(self, tree: Tree) -> _Part:
        match tree:
            case Chars(source):
                position = self._new()
                self._of_chars[source] = self._of_chars.get(source, 0) | position
                return _Part(position, position, empty=False)
            case Anchor() | Look():
                position = self._new()
                self._of_places[tree] = self._of_places.get(tree, 0) | position
                return _Part(position, position, empty=False)
            case Cat(parts):
                whole = _EMPTY
                for part in parts:
                    whole = self._then(whole, self._part(part))
                return whole
            case Alt(parts):
                options = [self._part(part) for part in parts]
                return _Part(
                    _any(option.first for option in options),
                    _any(option.last for option in options),
                    empty=any(option.empty for option in options),
                )
            case Repeat(inner, least, most):
                return self._repeat(inner, least, most)
        raise TooLarge("back-references are no positions")

    def _then(self, one: _Part, other: _Part) -> _Part:
        self._edges.add(one.last, other.first)
        return _Part(
            one.first | (other.first if one.empty else 0),
            other.last | (one.last if other.empty else 0),
            empty=one.empty and other.empty,
        )

    def _repeat(self, inner: Tree, least: int, most: int | None) -> _Part:
        """Written out: so many times, then as many more as may be, each only after the one
        before.
        """
        whole = _EMPTY
        for _ in range(max(least - 1, 0) if most is None else least):
            whole = self._then(whole, self._part(inner))
        if most is None:
            loop = self._part(inner)
            self._edges.add(loop.last, loop.first)
            return self._then(whole, _Part(loop.first, loop.last, loop.empty or least == 0))
        return self._then(whole, self._up_to(inner, most - least))

    def _up_to(self, inner: Tree, most: int) -> _Part:
        first, last, before = 0, 0, 0
        for _ in range(most):
            part = self._part(inner)
            if before:
                self._edges.add(before, part.first)
            else:
                first = part.first
            last |= part.last
            before = part.last
        return _Part(first, last, empty=True)


def _any(masks: Iterable[int]) -> int:
    whole = 0
    for mask in masks:
        whole |= mask
    return whole
