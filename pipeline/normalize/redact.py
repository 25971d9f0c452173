"""Redaction: a secret becomes a typed keyed token, everywhere and once (SEMANTICS: one entrance,
one text).

A `Redactor` looks at a column of texts and gives back the texts with tokens and what it found.
Secrets are the first; personal data and operators' own rules (personal.py) where it is asked for.

Fast because nearly every text is clean: one pass of all patterns at once (suspects.py), then Python
only on the texts that matched. Every step is linear in the text.
"""

import math
import re
from collections import Counter
from typing import Any, Final, NamedTuple, Protocol

import polars as pl
import re2

from tachograph.pipeline.normalize import passwords, patterns
from tachograph.pipeline.normalize.suspects import Suspects
from tachograph.schemas.identity import Key

FINGERPRINT_CHARS: Final = 16
# Types of what is no secret begin so.
PERSONAL: Final = "personal."
_OPEN, _CLOSE = "‹", "›"


class Hit(NamedTuple):
    """One value replaced: in which text, what it was, and its keyed fingerprint."""

    at: int
    type: str
    fingerprint: str


class Redactor(Protocol):
    """Called by `normalize` alone, a few times a batch. Does no I/O and never raises on any text.

    `suspects` is a regular expression of RE2's: texts that it does not match hold nothing, so that
    a clean column is never given to `redact`.
    """

    suspects: str

    def redact(self, texts: pl.Series) -> tuple[pl.Series, list[Hit]]:
        """Texts (String, nulls allowed) with tokens in place of values, and what was replaced."""


class Secrets:
    """Keys of providers, tokens, PEM blocks, passwords, and random values after a key word."""

    def __init__(self, key: Key) -> None:
        self._key = key
        heads = [pattern.head for pattern in patterns.PROVIDERS]
        heads += [patterns.KEYWORD_HEAD, patterns.PASSWORD_HEAD]
        self.suspects = "|".join(dict.fromkeys(heads))
        self._suspects = Suspects(self.suspects)
        exact = [pattern.regex for pattern in patterns.PROVIDERS]
        exact += [patterns.KEYWORD, patterns.PASSWORD_HEAD]
        self._matches = Suspects("|".join(f"(?:{regex})" for regex in exact))
        self._exact = [(p.type, p.literals, re2.compile(p.regex)) for p in patterns.PROVIDERS]
        self._keyword = re2.compile(patterns.KEYWORD)

    def redact(self, texts: pl.Series) -> tuple[pl.Series, list[Hit]]:
        """See Redactor."""
        # The heads first: they are quick, and few texts have one.
        suspects = self._suspects.places(texts)
        matches = self._matches.places(texts.gather(suspects)) if suspects else []
        if not matches:
            return texts, []
        places = [suspects[at] for at in matches]
        hits: list[Hit] = []
        changed_at: list[int] = []
        changed: list[str] = []
        for at, text in zip(places, texts.gather(places).to_list(), strict=True):
            cleaned = self._one(text, at, hits)
            if cleaned is not text:
                changed_at.append(at)
                changed.append(cleaned)
        if not changed_at:
            return texts, []
        return texts.scatter(changed_at, changed), hits

    def _one(self, text: str, at: int, hits: list[Hit]) -> str:
        """The text with tokens; the very same object when nothing was found."""
        low = text.lower()
        for kind, literals, regex in self._exact:
            if any(literal in low for literal in literals):
                text = self._replaced(text, regex, kind, at, hits)
        if any(word in low for word in patterns.PASSWORD_LITERALS):
            text = self._without_passwords(text, at, hits)
        if any(word in low for word in patterns.KEYWORDS):
            text = self._replaced(text, self._keyword, None, at, hits)
        return text

    def _without_passwords(self, text: str, at: int, hits: list[Hit]) -> str:
        pieces: list[str] = []
        done = 0
        for start, end, quote in passwords.find(text):
            token = self._token(text[start:end], "password", at, hits)
            pieces += (text[done:start], quote, token, quote)
            done = end
        return "".join([*pieces, text[done:]]) if pieces else text

    def _token(self, value: str, kind: str, at: int, hits: list[Hit]) -> str:
        fingerprint = self._key.digest(value.encode())[:FINGERPRINT_CHARS]
        hits.append(Hit(at, kind, fingerprint))
        return f"{_OPEN}secret:{kind}:{fingerprint}{_CLOSE}"

    def _replaced(self, text: str, regex: Any, kind: str | None, at: int, hits: list[Hit]) -> str:
        pieces: list[str] = []
        done = 0
        for match in regex.finditer(text):
            group = regex.groups
            start, end = match.span(group)
            if start < done or not _is_secret(text, match, kind):
                continue
            token = self._token(text[start:end], kind or "keyword", at, hits)
            pieces += (text[done:start], token)
            done = end
        return "".join([*pieces, text[done:]]) if pieces else text

    def named(self, names: pl.Series, texts: pl.Series) -> tuple[pl.Series, list[Hit]]:
        """Values whose own name says what they are (attributes: name and value are apart)."""
        hits: list[Hit] = []
        tokens: list[str] = []
        places = speaking(names, texts)
        pairs = zip(names.gather(places).to_list(), texts.gather(places).to_list(), strict=True)
        for at, (name, value) in zip(places, pairs, strict=True):
            kind = _kind_of_named(name, value)
            if kind:
                tokens.append(self._token(value, kind, at, hits))
        if not hits:
            return texts, []
        return texts.scatter([hit.at for hit in hits], tokens), hits


def _is_secret(text: str, match: Any, kind: str | None) -> bool:
    if kind is None:
        inside_token = match.start() > 0 and text[match.start() - 1] == _OPEN
        return not inside_token and _worth_hiding(match.group(1), match.group(2))
    if kind in _IN_URLS:
        return not passwords.readable(match.group(1))
    return kind != "private_key" or match.end() - match.start() > _LEAST_PEM


_LEAST_PEM: Final = 64
_IN_URLS: Final = ("connection_string", "url_password")
# Names of attributes whose value is a secret when it looks like one.
_KEYWORD_NAME: Final = (
    r"(?i:secret|token|credential|authorization|cookie"
    r"|(?:api|access|private|auth|account|signing|encryption|session)[_-]?key)(?i:s?)\n?$"
)
# Those whose value is one, whatever it looks like.
_PASSWORD_NAME: Final = rf"{patterns.PASSW_NAMES}\n?$"
_NAMED: Final = re.compile(_KEYWORD_NAME)
_OF_PASSWORD: Final = re.compile(_PASSWORD_NAME)
MAX_NAMED_BYTES: Final = 4_096
# Shorter ones are numbers and words, such as the limits of a model's tokens.
LEAST_SECRET_CHARS: Final = 8


def speaking(names: pl.Series, values: pl.Series) -> list[int]:
    """Places of the pairs whose name says that the value is a secret, if the value may be one."""
    known = _least_bytes
    found = []
    for at, name in enumerate(names.to_list()):
        least = known[name] if name in known else _least(name)
        if least is not None:
            found.append((at, least))
    if not found:
        return []
    sizes = values.gather([at for at, _ in found]).str.len_bytes().to_list()
    return [at for (at, least), size in zip(found, sizes, strict=True) if (size or 0) >= least]


# Names of attributes that were seen, as sources send the same ones again and again: bytes from
# which on a value may be a secret, None where the name says nothing of one.
_least_bytes: dict[str | None, int | None] = {None: None}
KNOWN_NAMES: Final = 10_000
KNOWN_NAME_CHARS: Final = 128


def _least(name: str) -> int | None:
    least = None
    if _OF_PASSWORD.search(name):
        least = 1
    elif _NAMED.search(name):
        least = LEAST_SECRET_CHARS
    if len(name) <= KNOWN_NAME_CHARS and len(_least_bytes) < KNOWN_NAMES:
        _least_bytes[name] = least
    return least


def _kind_of_named(name: str, value: str) -> str | None:
    if len(name) > 128 or len(value) > MAX_NAMED_BYTES or value.startswith(_OPEN):
        return None
    if passwords.is_password(name, value):
        return "password"
    if len(value) < LEAST_SECRET_CHARS or " " in value or not _NAMED.search(name):
        return None
    return "keyword" if _worth_hiding(name, value) else None


_HARMLESS_START: Final = (
    "$",
    "%",
    "/",
    "./",
    "~",
    "*",
    "http://",
    "https://",
    "[",
    "xxx",
    "XXX",
    "...",
    "‹",
)
_PLACEHOLDERS: Final = (
    "example",
    "changeme",
    "placeholder",
    "redacted",
    "your_",
    "your-",
    "dummy",
    "<",
    "****",
    "undefined",
)


def _worth_hiding(name: str, value: str) -> bool:
    """Whether a value after a key word looks like a secret rather than a word, a place or a
    number.
    """
    low_name = name.lower().rstrip("_-")
    if low_name.endswith(patterns.ABOUT) or value.startswith(_HARMLESS_START):
        return False
    if value.isdigit() or any(word in value.lower() for word in _PLACEHOLDERS):
        return False
    lower, upper = any(map(str.islower, value)), any(map(str.isupper, value))
    digit = any(map(str.isdigit, value))
    special = any(c in "!@#$%^*+/=~?" for c in value)
    if not digit and len(value) < 24:
        return False  # a name in code, such as process.env.TOKEN
    if not digit and any(c in "._-" for c in value):
        return False
    return lower + upper + digit + special >= 2 and _entropy(value) >= 2.75


def _entropy(text: str) -> float:
    """Shannon entropy of the characters, in bits a character."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())
