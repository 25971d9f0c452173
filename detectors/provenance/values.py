"""The values of a call: what its arguments name, as it is compared with what others wrote."""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tachograph.detectors.provenance.words import STOP, stems

MAX_LEAVES = 64
MAX_VALUES = 24
MAX_VALUE_CHARS = 100
MAX_TEXT_CHARS = 2_000
_SHORTEST_VALUE = 3
# Of one value, so much is looked at word by word.
_WORD_CHARS = 500
_EMPTY = frozenset({"true", "false", "none", "null"})
_URL_HEAD = re.compile(r"^(?:https?://)?(?:www\.)?")
# Addresses of all kinds: what a sink is named by.
ADDRESS = re.compile(
    r"(?:https?://|www\.)[\w.-]{1,80}|[\w.+-]{1,64}@[\w-]{1,63}\.[\w.]{1,63}"
    r"|\b[\w-]{1,63}\.(?:com|org|net|io|dev|ai|info|xyz|co|biz|ru|cn|app|site|shop|online)\b",
    re.IGNORECASE,
)
# Addresses of the machine itself lead nowhere.
_LOOPBACK = ("127.", "localhost", "0.0.0.0")
_DEPTH = 6
# What redaction leaves of a secret: its kind, and a mark that is the same for the same secret.
_HIDDEN = re.compile(r"‹secret:(\w+):\w+›")


class Values(msgspec.Struct, frozen=True, gc=False):
    """What a call's arguments name."""

    short: list[str]
    # All values, as far as their words are compared.
    said: str
    addresses: list[str]
    text: str
    # Values that redaction hid → the words of their kind.
    hidden: dict[str, frozenset[str]] = {}

    @property
    def words(self) -> frozenset[str]:
        """Words of the values. Asked of few calls, and then several times."""
        return _words(self.said)


def plain(value: str) -> str:
    """A value without what does not tell it from another: case, scheme, outer white space."""
    low = " ".join(value.lower().split())
    if low.startswith(("http", "www.")):
        low = _URL_HEAD.sub("", low)
    return low.rstrip("/ .")


def stands_in(value: str, text: str) -> bool:
    """Whether a plain value stands in a text of small letters by itself, not as a part of a longer
    name: `news.example` is no part of `fake-news.example`.
    """
    at = text.find(value)
    while at >= 0:
        end = at + len(value)
        if not (_in_name(text[at - 1 : at]) or _in_name(text[end : end + 1])):
            return True
        at = text.find(value, at + 1)
    return False


def _in_name(char: str) -> bool:
    return char.isalnum() or char in ("-", "_")


def leaves(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts and numbers inside a JSON value."""
    if depth > _DEPTH:
        return
    for part in _inside(value):
        # Mostly it is a text.
        if part.__class__ is str and depth < _DEPTH:
            yield part
        elif isinstance(part, dict | list):
            yield from leaves(part, depth + 1)
        elif part is not None and depth < _DEPTH:
            yield str(part)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else (value,)


def read(arguments: str) -> Values:
    """The values of arguments as JSON text; what is no JSON is one value."""
    try:
        parsed = msgspec.json.decode(arguments) if arguments else None
    except (msgspec.DecodeError, RecursionError):
        parsed = arguments
    short: dict[str, None] = {}
    texts: list[str] = []
    addresses: dict[str, None] = {}
    long: list[str] = []
    hidden: dict[str, frozenset[str]] = {}
    for whole in itertools.islice(leaves(parsed), MAX_LEAVES):
        if len(short) >= MAX_VALUES:
            break
        leaf = whole[:MAX_TEXT_CHARS]
        value = plain(leaf)
        size = len(value)
        if size < _SHORTEST_VALUE or value in _EMPTY:
            continue
        if size <= MAX_VALUE_CHARS:
            short[value] = None
        else:
            long.append(value)
        # No address without a dot.
        for found in map(plain, ADDRESS.findall(leaf)) if "." in whole else ():
            if not found.startswith(_LOOPBACK):
                addresses[found] = short[found] = None
        if "‹" in value:
            hidden |= {found[0]: stems(found[1]) for found in _HIDDEN.finditer(value)}
            value = _HIDDEN.sub(r"\1", value)
        texts.append(value[:_WORD_CHARS])
    said = "\n".join(texts)
    return Values(list(short)[:MAX_VALUES], said, list(addresses), " ".join(long), hidden)


@functools.lru_cache(maxsize=64)
def _words(said: str) -> frozenset[str]:
    return frozenset([one for one in stems(said) - STOP if one[1:]])
