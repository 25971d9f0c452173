"""What a user's words ask for: ways to talk an agent out of its rules, kinds of harm, and what the
request is about, by which it is known again in other words.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

import msgspec

from tachograph.detectors.intent import vocabulary as said
from tachograph.detectors.provenance import sentences
from tachograph.detectors.provenance.words import CLASSES, STOP, content_words, stems, tokens

MAX_QUOTE_CHARS = 160
MAX_UNITS = 120
# Words of one thought stand so near.
_NEAR = 8
# A shorter unit is a name, not a request.
_LEAST_WORDS = 3
_MAX_DECODED = 4
_MAX_DECODED_CHARS = 2_000
_BLOB = re.compile(
    r"(?<![\w+/=-])(?:[A-Za-z0-9+/_-]{40,4000}={0,2}|(?:[0-9a-fA-F]{2}[ :]?){16,2000})"
)
# A text that is set aside says at least so much, and what is asked for instead follows at once.
_LEAST_ASIDE_WORDS = 4
_MAX_INSTEAD_CHARS = 400
_LEAST_NAME_CHARS, _LEAST_VALUE_CHARS = 4, 5
_QUOTED = re.compile(r"[\"'“‘`]([^\"'“”‘’`\n]{1,80})[\"'”’`]")
_JOINS = re.compile(r"(?i) \+ |\b(?:concat|join|combin|assembl)\w*")
_SPELLED = re.compile(r"\b(?:[A-Za-z][ .\-_*]){6,200}[A-Za-z]\b")
_FIRST_PERSON = re.compile(r"(?i)\b(?:i am|i['’]m|speaking as|as (?:the|your|an?)|this is)\b")
_OPENS_WITH = re.compile(
    r"\b(?:begin|start|open|prefix)\w*\W+(?:\w+\W+){0,4}(?:answer|response|reply|output)\w*\W+with\b",
    re.IGNORECASE,
)
# Ways that make a request grave of themselves; the others only beside a harm.
STRONG = frozenset({"rules set aside", "role without rules", "encoded request", "spelled out",
                    "in pieces"})  # fmt: skip


class Turnabout(msgspec.Struct, frozen=True):
    """A text that sets aside what it said itself, in small letters. Someone who changes his mind
    does so in another message; one text that does both was put together of two people's.
    """

    before: str
    after: str

    def wants(self, tool: str, values: Iterable[str]) -> bool:
        """Whether a call is what only its second half asks for: by the tool's name or its words, or
        by a value.
        """
        name = tool.lower()
        if len(name) >= _LEAST_NAME_CHARS and self._only_after(name):
            return True
        words = frozenset(tokens(tool)) - STOP
        asked, before = stems(self.after), stems(self.before)
        if len(words) > 1 and words <= asked and not words <= before:
            return True
        return any(len(one) >= _LEAST_VALUE_CHARS and self._only_after(one) for one in values)

    def _only_after(self, text: str) -> bool:
        return text in self.after and text not in self.before


class Request(msgspec.Struct, frozen=True):
    """What a user asked for."""

    quote: str
    # Ways to talk an agent out of its rules.
    ways: frozenset[str]
    harms: frozenset[str]
    # What it is about, and its verbs.
    words: frozenset[str]
    verbs: frozenset[str]
    turnabout: Turnabout | None = None

    @property
    def pressing(self) -> bool:
        """Whether it tries to get past rules."""
        return bool(self.ways & STRONG) or bool(self.ways and self.harms)


def read(text: str) -> Request:
    """What a text asks for, hidden writings of it included."""
    units = sentences.units(sentences.evened(text))[:MAX_UNITS]
    ways, harms, quote = _of_units(units)
    words = frozenset(tokens(text[:_MAX_DECODED_CHARS]))
    for way, hidden in _hidden(text):
        told, wanted, _ = _of_units(sentences.units(hidden)[:MAX_UNITS])
        meaning = _meaning(hidden)
        if wanted - harms or told & STRONG or (way != "in pieces" and meaning):
            ways |= {way, *told}
            harms |= wanted
            words |= frozenset(tokens(hidden))
    about = content_words(words - STOP)
    return Request(
        quote=(quote or (units[0] if units else ""))[:MAX_QUOTE_CHARS],
        ways=frozenset(ways),
        harms=frozenset(harms),
        words=frozenset(one for one in about if len(one) > 1),
        verbs=frozenset(words & CLASSES.keys()),
        turnabout=_turnabout(units) if "rules set aside" in ways else None,
    )


def _turnabout(units: list[str]) -> Turnabout | None:
    """Where a text sets aside what it asked for before, if it does."""
    for at, unit in enumerate(units):
        if not _paired(tokens(unit), said.SET_ASIDE, said.RULES):
            continue
        before = " ".join(units[:at]).lower()
        if len(before.split()) < _LEAST_ASIDE_WORDS:
            return None
        after = " ".join(units[at:]).lower()
        return Turnabout(before, after[:_MAX_INSTEAD_CHARS])
    return None


def _of_units(units: list[str]) -> tuple[set[str], set[str], str]:
    """Ways, harms, and the sentence that says most of them."""
    ways: set[str] = set()
    harms: set[str] = set()
    quote, most = "", 0
    for unit in units:
        stems = tokens(unit)
        here = set(_ways(unit, stems))
        wanted = set(_harms(stems))
        ways |= here
        harms |= wanted
        weight = 2 * len(here & STRONG) + len(here) + 2 * len(wanted)
        if weight > most:
            quote, most = unit, weight
    return ways, harms, quote


def _ways(unit: str, stems: list[str]) -> Iterator[str]:
    whole = frozenset(stems)
    if _paired(stems, said.SET_ASIDE, said.RULES):
        yield "rules set aside"
    if not whole.isdisjoint(said.PERSONA) and (
        not whole.isdisjoint(said.UNBOUND) or _paired(stems, said.WITHOUT, said.RULES)
    ):
        yield "role without rules"
    if _forbids_refusing(stems) or _OPENS_WITH.search(unit):
        yield "form of the answer forced"
    ranked = not whole.isdisjoint(said.RANK) and not whole.isdisjoint(said.ALLOWS)
    if ranked and _FIRST_PERSON.search(unit):
        yield "authority claimed"
    if not whole.isdisjoint(said.PRETEXT):
        yield "pretext"


def _harms(stems: list[str]) -> Iterator[str]:
    whole = frozenset(stems)
    if len(stems) < _LEAST_WORDS or not whole.isdisjoint(said.PROTECTING):
        return
    for name, (acts, things) in said.HARMS.items():
        if whole.isdisjoint(things):
            continue
        if acts is None or _paired(stems, acts, things):
            yield name


def _forbids_refusing(stems: list[str]) -> bool:
    return any(
        one in said.REFUSING and not said.NEVER.isdisjoint(stems[max(0, at - 3) : at])
        for at, one in enumerate(stems)
    )


def _paired(stems: list[str], first: frozenset[str], second: frozenset[str]) -> bool:
    """Whether a word of the one stands a few words before or after one of the other, and is not
    itself forbidden ("never ignore the rules").
    """
    for at, one in enumerate(stems):
        if one not in first:
            continue
        if not said.NEVER.isdisjoint(stems[max(0, at - 2) : at]):
            continue
        near = stems[max(0, at - _NEAR) : at + _NEAR + 1]
        if any(other in second and other != one for other in near):
            return True
    return False


def _hidden(text: str) -> Iterator[tuple[str, str]]:
    """Readable texts behind other writings."""
    found = 0
    for blob in _BLOB.finditer(text):
        plain = _decoded(blob[0])
        if plain:
            yield "encoded request", plain
            found += 1
        if found >= _MAX_DECODED:
            break
    for spelled in _SPELLED.finditer(text):
        yield "spelled out", _unspelled(spelled[0])
    parts = _QUOTED.findall(text)
    if len(parts) > 1 and _JOINS.search(text):
        yield "in pieces", "".join(parts)[:_MAX_DECODED_CHARS]
        yield "in pieces", " ".join(parts)[:_MAX_DECODED_CHARS]


def _unspelled(text: str) -> str:
    """A text of single letters as words; where blanks alone part them, those words that say
    anything here.
    """
    tight = re.sub(r"[.\-_*]", "", text)
    if tight != text:
        return tight
    letters = text.replace(" ", "").lower()
    return " ".join(sorted(one for one in said.KNOWN if one in letters))


def _decoded(blob: str) -> str:
    """What base64 or hex says; empty where that is no text."""
    tight = re.sub(r"[ :]", "", blob)
    try:
        if len(tight) % 2 == 0 and re.fullmatch(r"[0-9a-fA-F]+", tight):
            raw = bytes.fromhex(tight)
        else:
            padded = tight.rstrip("=") + "=" * (-len(tight.rstrip("=")) % 4)
            raw = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
        text = raw[:_MAX_DECODED_CHARS].decode()
    except (binascii.Error, ValueError):
        return ""
    return text if text.isprintable() or text.replace("\n", "").isprintable() else ""


def _meaning(hidden: str) -> bool:
    """Whether hidden text asks someone to do something, rather than being data."""
    return any(sentences.asked_verbs(unit) for unit in sentences.units(hidden)[:MAX_UNITS])


def alike(one: Request, other: Request) -> float:
    """How much two requests are about the same thing: the words they share, of the shorter one."""
    if not one.words or not other.words:
        return 0.0
    return len(one.words & other.words) / min(len(one.words), len(other.words))
