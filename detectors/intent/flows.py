"""What a session read that is nobody else's business, known again when it is sent out: as it was,
encoded, reversed, or in pieces over several calls.
"""

import base64
import binascii
import functools
import itertools
import re
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal
from urllib.parse import unquote

import msgspec

from tachograph.detectors.intent.marks import CREDENTIAL_FILES, KEYS, PRIVATE
from tachograph.detectors.intent.steps import Step
from tachograph.detectors.provenance.values import ADDRESS, leaves, plain
from tachograph.schemas.identity import plain_id

Form = Literal["as a file", "as it is", "encoded", "reversed", "in pieces"]
# Bounds of one session.
MAX_VALUES = 300
MAX_RUNS = 4_000
MAX_PIECES = 200
# A run of so many words in a row is no coincidence.
RUN_WORDS = 8
# So many different runs of one text must be sent on.
LEAST_RUNS = 3
SHORTEST_VALUE = 6
SHORTEST_PIECE = 4
MAX_BLOBS = 20
MAX_READINGS = 40
MAX_READ_CHARS = 200_000
MAX_INFLATED = 64 * 1024
# Nothing is decoded deeper.
_DEPTH = 2
_TOKEN = re.compile(r"‹secret:([a-z0-9_]{1,60}):([0-9a-f]{4,64})›")
_NAMED = re.compile(PRIVATE)
_BLOB = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,8000}={0,2}")
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[ :]?){8,8000}")
_WORDS = re.compile(r"\w+")
_JOINTS = re.compile(r"[\W_]+")
# A number is known again however its digits are parted, if it has so many.
_LEAST_DIGITS = 8
_BASE32 = re.compile(r"[A-Z2-7]{16,8000}")
_CREDENTIAL_FILE = re.compile(CREDENTIAL_FILES)
# What in such a file is no word.
_KEY_LIKE = re.compile(r"[A-Za-z0-9+/_=.-]{16,200}")
MAX_KEYS = 40
MAX_NAMED = 100
# A value handed over under such a name opens a door; it does not leave.
_USED_AS = re.compile(
    r"(?i)pass|pwd|token|secret|key|credential|auth|otp|pin\b|code|cvv|login|card"
)


class Source(msgspec.Struct, frozen=True):
    """Where something private was read."""

    event_id: str
    time_us: int
    tool: str
    # Its data class, or what it stands beside.
    label: str
    # Reference data or redaction say so; else only the words beside it do.
    certain: bool


class Leak(msgspec.Struct, frozen=True):
    """Something private in what a call sends out."""

    source: Source
    form: Form
    # A fingerprint of the value, or how many runs of words it is.
    what: str
    # Calls that carried the pieces, the last one left out.
    before: tuple[str, ...] = ()


class _Value(msgspec.Struct):
    text: str
    source: Source
    # Of a number of many digits, what is left without all that parts them; else empty.
    tight: str
    # Places of the text that calls have carried so far, and which calls.
    sent: set[int] = msgspec.field(default_factory=set)
    carriers: dict[str, int] = msgspec.field(default_factory=dict)


class Flows:
    """Private values and texts of one session, the newest, and what calls took of them."""

    def __init__(self, held_us: int) -> None:
        self._held_us = held_us
        self._values: OrderedDict[str, _Value] = OrderedDict()
        # Hash of a run of words → where it was read; and which runs of a source were sent by whom.
        self._runs: OrderedDict[int, Source] = OrderedDict()
        self._sent: dict[str, dict[int, str]] = {}
        self.cut = False

    def read(self, step: Step) -> None:
        """Something private came in."""
        label = ", ".join(
            step.notes[name]
            for name in ("content_labels", "tool_sensitivity", "source_sensitivity")
            if name in step.notes
        )
        source = Source(step.facts.event_id, step.facts.time_us, step.tool, label, bool(label))
        for kind, digits in _TOKEN.findall(step.brought):
            self._note(f"{kind}:{digits}", _labelled(source, kind, certain=kind != "keyword"))
        for found in _NAMED.finditer(step.brought):
            named, value = found[0].split(found[1])[0].strip(" \"':=\\"), " ".join(found[1].split())
            if len(value) >= SHORTEST_VALUE:
                self._note(
                    value.lower(), source if label else _labelled(source, named, certain=False)
                )
        if (file := _CREDENTIAL_FILE.search(step.args)) is not None:
            kept = _labelled(source, file[0], certain=True)
            for value in _KEY_LIKE.findall(step.brought)[:MAX_KEYS]:
                self._note(value.lower(), kept)
        if label:
            for run in runs(step.brought):
                self._runs[run] = source
        self._bound()

    def _note(self, value: str, source: Source) -> None:
        if value not in self._values:
            digits = sum(map(str.isdigit, value))
            self._values[value] = _Value(
                value, source, _tight(value) if digits >= _LEAST_DIGITS else ""
            )

    def _bound(self) -> None:
        while len(self._values) > MAX_VALUES:
            self._values.popitem(last=False)
            self.cut = True
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
            self.cut = True

    def taken(self, step: Step) -> Leak | None:
        """What a call that sends something out takes along: the gravest."""
        floor = step.facts.time_us - self._held_us
        best = _handed_over(step)
        texts, to = readings(step.args), destinations(step)
        grams = _grams(texts[0][1] if self._values else "")
        # Of all values at once: there are more texts than are remembered.
        numbers = any(value.tight for value in self._values.values())
        tight = [_tight(text) if numbers else "" for _, text in texts]
        to_tight = set(map(_tight, to)) if numbers else set[str]()
        for value in self._values.values():
            other = value.source.event_id != step.facts.event_id
            addressed = value.text in to or (value.tight and value.tight in to_tight)
            if other and value.source.time_us >= floor and not addressed:
                best = _graver(best, self._value_in(value, texts, tight, grams, step))
        if self._runs:
            best = _graver(best, self._runs_in(texts, step, floor))
        return best

    def _value_in(
        self,
        value: _Value,
        texts: list[tuple[Form, str]],
        tight: list[str],
        grams: frozenset[str],
        step: Step,
    ) -> Leak | None:
        """`tight`: the texts without all that parts words and digits."""
        name = plain_id(value.text)[:12]
        for (form, text), close in zip(texts, tight, strict=True):
            said = value.text in text or (value.tight and value.tight in close)
            if said and not _opens_a_door(step.args, value):
                return Leak(value.source, form, name)
        return self._piece(value, grams, step, name)

    def _piece(self, value: _Value, grams: frozenset[str], step: Step, name: str) -> Leak | None:
        """A part of the value: said when the calls together have carried nearly all of it."""
        size = len(value.text)
        if size < 2 * SHORTEST_PIECE or len(value.carriers) >= MAX_PIECES:
            return None
        covered = _covered(value.text, grams)
        if not covered or covered <= value.sent:
            return None
        before = tuple(value.carriers)
        value.sent |= covered
        value.carriers[step.facts.event_id] = len(covered)
        if before and 10 * len(value.sent) >= 9 * size:
            return Leak(value.source, "in pieces", name, before)
        return None

    def _runs_in(self, texts: list[tuple[Form, str]], step: Step, floor: int) -> Leak | None:
        for form, text in texts:
            by_source: dict[str, tuple[Source, set[int]]] = {}
            for run in runs(text):
                source = self._runs.get(run)
                if (
                    source is None
                    or source.time_us < floor
                    or source.event_id == step.facts.event_id
                ):
                    continue
                by_source.setdefault(source.event_id, (source, set()))[1].add(run)
            for source, found in by_source.values():
                if len(found) >= LEAST_RUNS:
                    return Leak(source, form, f"{len(found)} runs of {RUN_WORDS} words")
                sent = self._sent.setdefault(source.event_id, {})
                for run in found:
                    sent.setdefault(run, step.facts.event_id)
                others = tuple(sorted(set(sent.values()) - {step.facts.event_id}))
                if others and len(sent) >= LEAST_RUNS:
                    return Leak(source, "in pieces", f"{len(sent)} runs of words", others)
        return None


def _handed_over(step: Step) -> Leak | None:
    """A credential file that a call takes along by its name."""
    if not step.marks & KEYS:
        return None
    try:
        named = [one for one in leaves(msgspec.json.decode(step.args)) if " " not in one]
    except (msgspec.DecodeError, RecursionError):
        # A command line, which is a sink for the upload in it.
        named = [step.args]
    for one in named[:MAX_NAMED]:
        if (file := _CREDENTIAL_FILE.search(one)) is not None:
            facts = step.facts
            source = Source(facts.event_id, facts.time_us, step.tool, file[0][-40:], certain=True)
            return Leak(source, "as a file", file[0][-40:])
    return None


def _labelled(source: Source, label: str, *, certain: bool) -> Source:
    return msgspec.structs.replace(source, label=label[-40:], certain=certain or source.certain)


_GRAVITY = {"as a file": 0, "as it is": 0, "in pieces": 1, "reversed": 2, "encoded": 2}


def _graver(one: Leak | None, other: Leak | None) -> Leak | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda leak: (leak.source.certain, _GRAVITY[leak.form]))


def runs(text: str) -> set[int]:
    """Hashes of all runs of RUN_WORDS words of a text."""
    words = _WORDS.findall(text.lower())
    return {
        zlib.crc32(" ".join(words[at : at + RUN_WORDS]).encode())
        for at in range(len(words) - RUN_WORDS + 1)
    }


def _grams(text: str) -> frozenset[str]:
    """All pieces of SHORTEST_PIECE characters of a text."""
    ends = range(len(text) - SHORTEST_PIECE + 1)
    return frozenset([text[at : at + SHORTEST_PIECE] for at in ends])


def _covered(value: str, grams: frozenset[str]) -> set[int]:
    """Places of a value that stand in a text, in pieces of SHORTEST_PIECE or more."""
    found: set[int] = set()
    for at in range(len(value) - SHORTEST_PIECE + 1):
        if value[at : at + SHORTEST_PIECE] in grams:
            found.update(range(at, at + SHORTEST_PIECE))
    return found


def _tight(text: str) -> str:
    """A text without all that parts words and digits."""
    return _JOINTS.sub("", text)


@functools.lru_cache(maxsize=16)
def readings(text: str) -> list[tuple[Form, str]]:
    """A text, and what it says when it is decoded or read backwards."""
    low = _plain(text)
    found: list[tuple[Form, str]] = [("as it is", low), ("reversed", low[::-1])]
    spare = MAX_READ_CHARS
    for decoded in itertools.islice(_decoded(text, _DEPTH), MAX_READINGS):
        found.append(("encoded", _plain(decoded[:spare])))
        spare -= len(decoded)
        if spare <= 0:
            break
    return found


def _plain(text: str) -> str:
    """Small letters, even spaces; tokens of redaction by what they stand for."""
    shown = _TOKEN.sub(r"\1:\2", text)
    return " ".join(shown.lower().split())


def _decoded(text: str, depth: int) -> Iterator[str]:
    if not depth:
        return
    found: list[str] = []
    if "%" in text:
        unquoted = unquote(text)
        found += [unquoted] if unquoted != text else []
    for blob in _BLOB.findall(text)[:MAX_BLOBS]:
        found += _from_base64(blob)
    for blob in _BASE32.findall(text)[:MAX_BLOBS]:
        found += _from_base32(blob)
    for digits in _HEX.findall(text)[:MAX_BLOBS]:
        found += _readable(_unhexed(digits))
    for one in found:
        yield one
        yield from _decoded(one, depth - 1)


def _from_base64(blob: str) -> list[str]:
    tight = blob.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(tight + "=" * (-len(tight) % 4), validate=True)
    except (binascii.Error, ValueError):
        return []
    return _readable(_inflated(raw))


def _from_base32(blob: str) -> list[str]:
    try:
        return _readable(_inflated(base64.b32decode(blob + "=" * (-len(blob) % 8))))
    except binascii.Error:
        return []


def _unhexed(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits.replace(":", " "))
    except ValueError:
        return b""


def _inflated(raw: bytes) -> bytes:
    """Gzip and zlib undone, up to a limit."""
    if raw[:2] not in (b"\x1f\x8b", b"\x78\x9c", b"\x78\x01", b"\x78\xda"):
        return raw
    try:
        return zlib.decompressobj(wbits=47).decompress(raw, MAX_INFLATED)
    except zlib.error:
        return raw


def _readable(raw: bytes) -> list[str]:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return []
    return [text] if len(text) >= SHORTEST_VALUE else []


def _opens_a_door(args: str, value: _Value) -> bool:
    """Whether the value is all there is under a name such as `token`: used, not sent."""
    try:
        given = msgspec.json.decode(args)
    except (msgspec.DecodeError, RecursionError):
        return False
    if not isinstance(given, dict):
        return False
    return any(
        isinstance(one, str)
        and (
            _plain(one).removeprefix("bearer ") == value.text
            or (value.tight and _tight(_plain(one)) == value.tight)
        )
        and _USED_AS.search(str(name))
        for name, one in given.items()
    )


def destinations(step: Step) -> list[str]:
    """Whom and where a call names: addresses, and what stands under a name of an addressee."""
    found = dict.fromkeys(map(plain, ADDRESS.findall(step.args)))
    try:
        given = msgspec.json.decode(step.args)
    except (msgspec.DecodeError, RecursionError):
        given = None
    if isinstance(given, dict):
        for name, value in given.items():
            if _ADDRESSEE.search(str(name)):
                found |= dict.fromkeys(plain(one) for one in leaves(value))
    return [one for one in found if len(one) > 1]


_ADDRESSEE = re.compile(
    r"(?i)^(?:to|cc|bcc|url|uri|host|channel|chat|room|bucket|webhook)$|recipient|address|receiver"
    r"|e?mail|endpoint|destination|npc|user_?name|account"
)
