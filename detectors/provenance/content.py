"""What tools brought in: records, and the sentences in them that ask someone to do something."""

import functools
import re
from collections.abc import Callable, Sequence

import msgspec

from tachograph.detectors.provenance import sentences
from tachograph.detectors.provenance.values import plain
from tachograph.detectors.provenance.wish import Wish
from tachograph.detectors.provenance.words import STOP, classes_of, content_words, word_set

MAX_QUOTE_CHARS = 160
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
_SECRET = re.compile(
    r"pass(?:word|wd|port|code)|secret|token|api.?key|ssn|social security|card.?number|bank"
    r"|account.?number|iban|private|credential|otp|\bpin\b|phone|birth|id.?number|license|ssh|rsa",
)
# Each of its matches holds one of these, which are found much faster.
_SECRET_HINTS = (
    "pass", "secret", "token", "api", "ssn", "social", "number", "bank", "iban", "private",
    "credential", "otp", "pin", "phone", "birth", "license", "ssh", "rsa",
)  # fmt: skip
_AFTER_SIGN = re.compile(r"[:=] ?(\S{4,40})")
MAX_SECRETS = 200
# Texts that are kept cut up, and how long they may be: some 20 MB at most.
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


class Sentence(msgspec.Struct, frozen=True, gc=False):
    """A sentence in brought-in text that asks someone to do something."""

    source: Source
    quote: str
    words: frozenset[str]
    # With the sentences around it.
    near: frozenset[str]
    near_text: str
    verbs: frozenset[str]
    classes: frozenset[str]
    # What it deals with, to know it again.
    key: frozenset[str]
    # With more around it: what is said of orders, and to whom.
    around: str
    # The whole record.
    record: str
    # It asks in a form in which people ask; otherwise it only wishes, or points to an address.
    asks: bool = True


class Taken(msgspec.Struct, frozen=True):
    """What one text holds."""

    texts: list[str]
    sentences: list[Sentence]
    secrets: list[str]


class _Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a text, as far as it is the same whoever asked for it."""

    low: str
    split: list[str]
    # By unit: the verbs that it asks for, and those that it at least points with.
    asked: list[frozenset[str]]
    points: list[frozenset[str]]
    secrets: list[str]


def take(text: str, source: Callable[[], Source], wish: Wish) -> Taken:
    """Cut a brought-in text up. `source`: asked for where a sentence of it asks for something.
    `wish`: what the user said so far.
    """
    known: Source | None = None
    found: list[Sentence] = []
    texts, secrets = [], []
    for record in _kept(text) if len(text) <= MAX_KEPT_CHARS else _records(text):
        texts.append(record.low)
        if any(record.points):
            known = known or source()
            if wish.handed_to(record.low, known.asked):
                wish.adopt(record.low)
            found += _of_record(record.split, record.asked, record.points, record.low, known)
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
    points = [
        verbs or sentences.pointing_verbs(unit) for unit, verbs in zip(split, asked, strict=True)
    ]
    return _Record(low, split, asked, points, _secrets(split) if _speaks_of_secrets(low) else [])


def _of_record(
    split: Sequence[str],
    asked: Sequence[frozenset[str]],
    points: Sequence[frozenset[str]],
    low: str,
    source: Source,
) -> list[Sentence]:
    words = [word_set(unit) for unit in split]
    found = []
    for at, verbs in enumerate(points):
        if not verbs:
            continue
        near = frozenset().union(*words[max(0, at - 1) : at + 2])
        found.append(
            Sentence(
                source=source,
                quote=split[at][:MAX_QUOTE_CHARS],
                words=words[at],
                near=near - STOP,
                near_text=" ".join(" ".join(split[max(0, at - 1) : at + 2]).lower().split()),
                verbs=verbs,
                classes=classes_of(verbs),
                key=content_words(words[at]),
                around=" ".join(split[max(0, at - 2) : at + 3]),
                record=low,
                asks=bool(asked[at]),
            )
        )
    return found


@functools.lru_cache(maxsize=4_096)
def manner(around: str) -> tuple[int, int]:
    """How many different words about orders there are, and words that address the agent."""
    ordering = {word.lower() for word in _ORDERING.findall(around)}
    return min(_MAX_COUNTED, len(ordering)), min(3, len(_ADDRESSED.findall(around)))


def _speaks_of_secrets(low: str) -> bool:
    return any(map(low.__contains__, _SECRET_HINTS)) and _SECRET.search(low) is not None


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
