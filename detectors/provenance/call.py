"""A call as it is held against sentences: what its tool does by its name, which of its values only
brought-in text had named, and what stood beside them there.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tachograph.detectors.provenance.content import Sentence
from tachograph.detectors.provenance.parts import canonical
from tachograph.detectors.provenance.values import Values, read
from tachograph.detectors.provenance.wish import Wish
from tachograph.detectors.provenance.words import (
    CLASSES,
    LOOKING,
    STOP,
    classes_of,
    content_words,
    tokens,
)

MAX_SENTENCES = 400
# Of sentences that only name tools, the newest for each and for so many: keys of data are often
# spelled as tools are, and a long list of them is not to displace what was asked for in words.
MAX_NAMING = 10
MAX_NAMED = 200
_NEAR_CHARS = 80
_TOOL_CHARS = 200


class Texts:
    """Texts of small letters that were brought in, and those that are trusted, as they came."""

    def __init__(self) -> None:
        self._held: list[str] = []
        # All of them, where they were searched since the last one came.
        self._whole: str | None = None

    def add(self, texts: Iterable[str]) -> None:
        """Take in texts."""
        self._held += texts
        self._whole = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def first(self, value: str) -> str | None:
        """The first text in which a plain value stands."""
        if self._whole is None:
            self._whole = "\n".join(self._held)
        # Most values stand nowhere: one search says so.
        if value not in self._whole:
            return None
        return next((text for text in self._held if value in text), None)

    def rest(self) -> None:
        """Nothing is searched for now: they are held once."""
        self._whole = None


class Arguments:
    """Arguments of calls, in the order of the calls."""

    def __init__(self) -> None:
        self._spelled: list[str] = []
        self._lowered: list[str] = []

    def add(self, arguments: str) -> None:
        """Take in those of the next call, in any spelling."""
        self._spelled.append(arguments)

    def lowered(self) -> Sequence[str]:
        """All of them in one spelling, in small letters."""
        new = self._spelled[len(self._lowered) :]
        self._lowered += [canonical(one).lower() for one in new]
        return self._lowered


class Known(msgspec.Struct):
    """What is known of a session so far."""

    wish: Wish
    texts: Texts
    # Each with what stands around it once, however often it came; but those that only name tools.
    sentences: list[Sentence]
    # How often each came.
    came: dict[tuple[str, frozenset[str]], int]
    # Sentences that deal with the same: tools and events they came by, and records they stand in.
    repeats: dict[frozenset[str], set[tuple[str, str]]]
    records: dict[frozenset[str], set[str]]
    secrets: set[str]
    # Text → the arguments of the call that fetched it.
    fetched: dict[str, str]
    # Of the calls so far, the one that is judged included.
    called: Arguments
    # Values that were looked for in them → how many calls came before the first that had it.
    first: dict[str, int]
    # Words of all the sentences, with those around them.
    near: set[str]
    calls: int = 0
    # Tools → the sentences that only name them.
    naming: dict[frozenset[str], list[Sentence]] = msgspec.field(default_factory=dict)

    @property
    def asked(self) -> bool:
        """Whether any sentence asks for something."""
        return bool(self.sentences or self.naming)

    def asking(self, tool: str) -> Iterator[Sentence]:
        """Sentences that may ask for a call of a tool, in small letters."""
        yield from self.sentences
        for names, held in self.naming.items():
            if any(_is_named(tool, name) for name in names):
                yield from held

    def bring(self, sentence: Sentence) -> None:
        """Take in a sentence of a text that was brought in."""
        wording, source = (sentence.near_text, sentence.words), sentence.source
        self.repeats.setdefault(sentence.key, set()).add((source.tool, source.event_id))
        self.records.setdefault(sentence.key, set()).add(sentence.record)
        if wording in self.came:
            self.came[wording] += 1
            return
        self.came[wording] = 1
        self.near |= sentence.near
        if not sentence.calls:
            self._hold(self.sentences, sentence, MAX_SENTENCES)
            return
        self._hold(self.naming.setdefault(sentence.calls, []), sentence, MAX_NAMING)
        if len(self.naming) > MAX_NAMED:
            for oldest in self.naming.pop(next(iter(self.naming))):
                del self.came[oldest.near_text, oldest.words]

    def _hold(self, held: list[Sentence], sentence: Sentence, most: int) -> None:
        held.append(sentence)
        if len(held) > most:
            oldest = held.pop(0)
            del self.came[oldest.near_text, oldest.words]

    def had_before(self, value: str, calls: int) -> bool:
        """Whether one of so many first calls had a plain value."""
        if value not in self.first:
            called = self.called.lowered()
            places = (at for at, args in enumerate(called) if value in args)
            # The call that is judged has it.
            self.first[value] = next(places, len(called) - 1)
        return self.first[value] < calls


def _is_named(tool: str, name: str) -> bool:
    """Whether it is the name of the tool, with or without that of its server before it."""
    return tool == name or (tool.endswith(name) and not tool[-len(name) - 1].isalnum())


class Brought(msgspec.Struct, frozen=True):
    """What of a call's values only brought-in text had named."""

    # Each → the first text in which it stands.
    foreign: dict[str, str]
    # Words for what redaction hid, where nobody had named it before.
    hidden: frozenset[str]


class Asked(msgspec.Struct, frozen=True):
    """A call, as it is held against sentences."""

    # In small letters.
    tool: str
    name: frozenset[str]
    verbs: frozenset[str]
    objects: frozenset[str]
    classes: frozenset[str]
    values: list[str]
    foreign: list[str]
    words: frozenset[str]
    new_words: frozenset[str]
    addresses: list[str]
    # Words beside its foreign values, where they first stood: what an id is the id of.
    near: frozenset[str]
    # Of those, words that the user never used.
    new_near: frozenset[str]
    # Values by which the texts were fetched that brought the foreign ones in, as far as the user
    # did not name them.
    led: frozenset[str]
    # See Brought.
    hidden: frozenset[str]
    looks: bool
    known: Known


class _Tool(msgspec.Struct, frozen=True):
    name: frozenset[str]
    objects: frozenset[str]
    classes: frozenset[str]
    # Its first verb is one of looking: `get_rating` rates nothing.
    looks: bool


def tool_words(tool: str) -> frozenset[str]:
    """Words of a tool's name."""
    return _tool(tool[:_TOOL_CHARS]).name


def looks_only(tool: str) -> bool:
    """Whether a tool only looks, by its name."""
    named = _tool(tool[:_TOOL_CHARS])
    return named.looks or (bool(named.classes) and named.classes <= {"see"})


@functools.lru_cache(maxsize=4_096)
def _tool(tool: str) -> _Tool:
    said = [one for one in tokens(tool) if one not in STOP]
    verbs = [at for at, one in enumerate(said) if one in CLASSES]
    first = said[verbs[0]] if verbs else ""
    # Before the verb stands whose tool it is: `git` in `git_star`.
    name = frozenset(said[verbs[0] :] if verbs else said)
    return _Tool(name, content_words(name) or name, classes_of(name), first in LOOKING)


def brought_of(known: Known, values: Values) -> Brought:
    """See Brought."""
    wish, foreign = known.wish, dict[str, str]()
    hidden: frozenset[str] = frozenset()
    for value in values.short:
        if wish.said(value):
            continue
        text = known.texts.first(value)
        if text is not None:
            foreign[value] = text
        elif value in values.hidden and not known.had_before(value, known.calls - 1):
            hidden |= values.hidden[value]
    return Brought(foreign, hidden)


def in_no_sentence(known: Known, tool: str, brought: Brought) -> bool:
    """Whether no value of a call comes from a text, and no sentence names what its tool is for."""
    objects = _tool(tool[:_TOOL_CHARS]).objects
    return not brought.foreign and not brought.hidden and known.near.isdisjoint(objects)


def asked_of(known: Known, tool: str, values: Values, brought: Brought) -> Asked:
    """A call, as it is held against sentences."""
    named, wish = _tool(tool[:_TOOL_CHARS]), known.wish
    near: set[str] = set()
    led: set[str] = set()
    for value, text in brought.foreign.items():
        at = text.index(value)
        near.update(tokens(text[max(0, at - _NEAR_CHARS) : at + len(value) + _NEAR_CHARS]))
        if fetched := known.fetched.get(text):
            by = read(canonical(fetched))
            near |= by.words
            led.update(one for one in by.short if not wish.said(one))
    beside = content_words(near) - values.words
    return Asked(
        tool=tool[:_TOOL_CHARS].lower(),
        name=named.name,
        verbs=named.name & CLASSES.keys(),
        objects=named.objects,
        classes=named.classes,
        values=values.short,
        foreign=list(brought.foreign),
        words=values.words,
        new_words=values.words - wish.words,
        addresses=[one for one in values.addresses if not wish.said(one)],
        near=beside,
        new_near=beside - wish.words,
        hidden=brought.hidden - STOP,
        led=frozenset(led),
        looks=looks_only(tool),
        known=known,
    )
