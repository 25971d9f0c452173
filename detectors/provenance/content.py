"""What tools brought in: records, and the sentences in them that ask someone to do something."""

import functools
import re
from collections.abc import Callable, Sequence

import msgspec
import re2

from tachograph.detectors.provenance import sentences
from tachograph.detectors.provenance.values import plain
from tachograph.detectors.provenance.wish import Wish
from tachograph.detectors.provenance.words import CLASSES, STOP, classes_of, content_words, word_set

MAX_QUOTE_CHARS = 160
# Units of a call that is written out: its name, then names and values of arguments.
_CALL_UNITS = 9
# Units of a record that name tools.
MAX_NAMING = 20
_MAX_COUNTED = 5
# Words of someone who speaks to the agent, or about its orders.
_ADDRESSED = re.compile(
    r"\b(?:you|your|assistant|ai|agents?|bot|chatbot|llm|gpt|claude|gemini|llama|mistral|qwen"
    r"|copilot|model)\b",
    re.IGNORECASE,
)
_ORDERING = re.compile(
    r"\b(?:instructions?|tasks?|prompts?|previous|prior|earlier|original|ignore|disregard|forget"
    r"|override|priority|important|urgent|critical|immediately|mandatory|required|requirement"
    r"|strictly|directive|admin|administrator|system|developer|before|first|must|step|policy"
    r"|notice|attention|asked|request)\b",
    re.IGNORECASE,
)
_SECRETS = (
    r"pass(?:word|wd|port|code)|secret|token|api.?key|ssn|social security|card.?number|bank"
    r"|account.?number|iban|private|credential|otp|\bpin\b|phone|birth|id.?number|license|ssh|rsa"
)
_SECRET = re.compile(_SECRETS)
# The same of ASCII, much faster.
_SECRET_ASCII = re2.compile(_SECRETS.encode())
_NONE: frozenset[str] = frozenset()
# What was named before: `Product P025 is what I need. Please buy it.`
_POINTS_BACK = re.compile(
    r"\b(?:it|its|them|ones?|same|both)\b|\b(?:this|that|these|those)(?= ?(?:[.,;!?]|$))"
    r"|-l(?:e|a|es)\b|\b(?:ihn|dies|eins|eine[ns]?|его|её|их)\b|\w{2}[aeoi]l[ao]s?\b"
    r"|它|这个|這個|该|一套|これ|それ|一つ",
    re.IGNORECASE,
)
# By these a unit ends as a sentence does.
_ENDS = (".", "!", "?", *"。！？")
_AFTER_SIGN = re.compile(r"[:=] ?(\S{4,40})")
MAX_SECRETS = 200
# Texts that are kept cut up, and how long they may be.
MAX_KEPT = 1_024
MAX_KEPT_CHARS = 4_000


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a text came from."""

    event_id: str
    tool: str
    # The call that brought it in asked for something that the user named.
    asked_for: bool
    # Words of the tool's name that the user used.
    tool_words: int
    # The values by which the call asked for it.
    asked: tuple[str, ...] = ()
    # Calls before it came.
    calls: int = 0
    # It is of the definition of the tool, no answer of it.
    definition: bool = False


class Sentence(msgspec.Struct, frozen=True, gc=False):
    """A sentence in brought-in text that asks someone to do something."""

    source: Source
    quote: str
    words: frozenset[str]
    # With the sentences around it.
    near: frozenset[str]
    near_text: str
    # Itself, with the one before where it points back (`buy it`), and what comes after it where it
    # does not end as a sentence does.
    own: frozenset[str]
    own_text: str
    verbs: frozenset[str]
    classes: frozenset[str]
    # What it deals with, to know it again.
    key: frozenset[str]
    # With more around it: what is said of orders, and to whom.
    around: str
    # The whole record.
    record: str
    # It asks in a form in which people ask, or names a tool; otherwise it only wishes, or points to
    # an address.
    asks: bool = True
    # It asks for nothing else than calls of these tools.
    calls: frozenset[str] = frozenset()

    def by(self, source: Source) -> "Sentence":
        """The same sentence, come from there."""
        return msgspec.structs.replace(self, source=source)


_NOWHERE = Source(event_id="", tool="", asked_for=False, tool_words=0)


class Taken(msgspec.Struct, frozen=True):
    """What one text holds."""

    texts: list[str]
    sentences: list[Sentence]
    secrets: list[str]


class _Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a text, as far as it is the same whoever asked for it."""

    low: str
    # Come from nowhere yet.
    sentences: list[Sentence]
    secrets: list[str]


def take(text: str, source: Callable[[], Source], wish: Wish) -> Taken:
    """Cut a brought-in text up. `source`: asked for where a sentence of it asks for something.
    `wish`: what the user said so far, not looked at before `source` was asked for.
    """
    known: Source | None = None
    found: list[Sentence] = []
    texts, secrets = [], []
    for record in _kept(text) if len(text) <= MAX_KEPT_CHARS else _records(text):
        texts.append(record.low)
        if record.sentences:
            known = known or source()
            if wish.handed_to(record.low, known.asked):
                wish.adopt(record.low)
            found += [sentence.by(known) for sentence in record.sentences]
        secrets += record.secrets
    return Taken(texts, found, secrets[:MAX_SECRETS])


def _records(text: str) -> list[_Record]:
    return [_record(record) for record in sentences.records(sentences.evened(text))]


# Agents are told the same again and again: by one tool in many sessions, and when a session is
# read anew.
_kept = functools.lru_cache(maxsize=MAX_KEPT)(_records)


def _record(record: str) -> _Record:
    low = " ".join(record.lower().split())
    split = sentences.units(record)
    asked = [sentences.asked_verbs(unit) for unit in split]
    may_point = sentences.may_point(split)
    points = [
        verbs or (sentences.pointing_verbs(unit) if may else _NONE)
        for unit, verbs, may in zip(split, asked, may_point, strict=True)
    ]
    secrets = _secrets(split) if _speaks_of_secrets(low) else []
    calls = _calls(split, points)
    return _Record(low, _sentences(low, split, asked, points, calls), secrets)


def _calls(split: Sequence[str], points: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """By unit that asks for nothing in words, the tools that it names; code names many."""
    found = [
        frozenset[str]() if verbs else sentences.named_calls(unit)
        for unit, verbs in zip(split, points, strict=True)
    ]
    naming = [at for at, calls in enumerate(found) if calls]
    for at in naming[MAX_NAMING:]:
        found[at] = frozenset()
    return found


def _sentences(
    low: str,
    split: Sequence[str],
    asked: Sequence[frozenset[str]],
    points: Sequence[frozenset[str]],
    calls: Sequence[frozenset[str]],
) -> list[Sentence]:
    """The sentences of a record. By unit of it, `asked`: the verbs that it asks for, `points`:
    those that it at least points with, `calls`: tools that it names, where it asks for nothing in
    words.
    """
    if not any(points) and not any(calls):
        return []
    words = [word_set(unit) for unit in split]
    found = []
    for at, (said, named) in enumerate(zip(points, calls, strict=True)):
        if not said and not named:
            continue
        verbs = said or words[at] & CLASSES.keys()
        # The values of a call stand behind its name, each by itself.
        end = at + (_CALL_UNITS if named else 2)
        near = frozenset().union(*words[max(0, at - 1) : end])
        own_end = end if named else at + 1 + (not split[at].endswith(_ENDS))
        own = max(0, at - (_POINTS_BACK.search(split[at]) is not None))
        found.append(
            Sentence(
                source=_NOWHERE,
                quote=split[at][:MAX_QUOTE_CHARS],
                words=words[at],
                near=near - STOP,
                near_text=_low(split[max(0, at - 1) : end]),
                own=frozenset().union(*words[own:own_end]) - STOP,
                own_text=_low(split[own:own_end]),
                verbs=verbs,
                classes=classes_of(verbs),
                key=content_words(words[at]),
                around=" ".join(split[max(0, at - 2) : at + 3]),
                record=low,
                asks=bool(asked[at] or named),
                calls=named,
            )
        )
    return found


def _low(split: Sequence[str]) -> str:
    return " ".join(" ".join(split).lower().split())


@functools.lru_cache(maxsize=4_096)
def manner(around: str) -> tuple[int, int]:
    """How many different words about orders there are, and words that address the agent."""
    ordering = {word.lower() for word in _ORDERING.findall(around)}
    return min(_MAX_COUNTED, len(ordering)), min(3, len(_ADDRESSED.findall(around)))


def _speaks_of_secrets(low: str) -> bool:
    if low.isascii():
        return _SECRET_ASCII.search(low.encode()) is not None
    return _SECRET.search(low) is not None


def _secrets(split: Sequence[str]) -> list[str]:
    """Values beside a word that names something secret or private."""
    found = []
    for at, unit in enumerate(split):
        if not _speaks_of_secrets(unit.lower()):
            continue
        after = plain(split[at + 1]) if at + 1 < len(split) else ""
        found += [value for value in (after,) if 3 < len(value) < 60]
        found += [plain(value) for value in _AFTER_SIGN.findall(unit)]
    return found
