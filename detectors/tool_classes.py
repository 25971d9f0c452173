"""What a tool can do, and whether what it brings in is trusted, by the words in its name.

A default for producers that say neither. It is a guess by name and nothing more: a register of
tools overrides it. Reading mail, web pages, tickets, messages and other text that outsiders write
brings in untrusted content.
"""

import functools
import json
import re
from pathlib import Path
from typing import Any

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
MAX_NAME_CHARS = 200
_CACHED = 16_384


def _table() -> dict[str, Any]:
    text = (Path(__file__).parent / "tool_classes.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


_TABLE = _table()
# Classes in the order in which they are asked, with their words.
RISKS: list[tuple[str, frozenset[str]]] = [
    (kind, frozenset(_TABLE["risk"][kind])) for kind in _TABLE["order"]
]
# Words of tools that read what outsiders write.
OUTSIDE = frozenset(_TABLE["outside"])


@functools.lru_cache(maxsize=_CACHED)
def words_of(name: str) -> tuple[str, ...]:
    """Parts of a tool's name in lower case: snake, kebab, camel and dotted names alike; plurals as
    singulars.
    """
    parts = [part.lower() for part in _WORD.findall(name[:MAX_NAME_CHARS])]
    return tuple(part[:-1] if len(part) > 3 and part.endswith("s") else part for part in parts)


@functools.lru_cache(maxsize=_CACHED)
def risk_of(name: str) -> str | None:
    """Class of the tool by the first verb in its name that says one; None when none does.

    The leading verb decides: `get_payment` reads, `send_report` sends. Without one, any word does.
    """
    words = words_of(name)
    for word in words:
        kind = _class_of(word)
        if kind is not None:
            return kind
    return None


def _class_of(word: str) -> str | None:
    return next((kind for kind, known in RISKS if word in known), None)


@functools.lru_cache(maxsize=_CACHED)
def trust_of(name: str) -> str | None:
    """`untrusted` for a tool that reads what outsiders write, else None."""
    risk = risk_of(name)
    if risk not in {"read", None}:
        return None
    return "untrusted" if not OUTSIDE.isdisjoint(words_of(name)) else None
