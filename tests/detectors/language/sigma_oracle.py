"""What the Sigma specification says of one rule and one event: read from the YAML, one value after
the other, slow and plain. It shares nothing with the engine, nor with the library that reads rules.
"""

import base64
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

Data = dict[str, Any]
_SPECIAL = frozenset("*?\\")
_DASHES = "-/\u2013\u2014\u2015"
_CODECS = {"wide": "utf-16-le", "utf16le": "utf-16-le", "utf16be": "utf-16-be", "utf16": "utf-16"}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
}
_UNITS: dict[str, Callable[[datetime], int]] = {
    "minute": lambda t: t.minute,
    "hour": lambda t: t.hour,
    "day": lambda t: t.day,
    "week": lambda t: t.isocalendar().week,
    "month": lambda t: t.month,
    "year": lambda t: t.year,
}


def matches(rule: Data, event: Data) -> bool:
    """Whether the rule's condition holds."""
    detection = dict(rule["detection"])
    return _Condition(str(detection.pop("condition")), detection, event).holds()


class _Condition:
    """`not` binds before `and`, `and` before `or`."""

    def __init__(self, text: str, selections: Data, event: Data) -> None:
        self._tokens = re.findall(r"[()]|[^\s()]+", text)
        self._selections, self._event = selections, event

    def holds(self) -> bool:
        found = self._either()
        assert not self._tokens
        return found

    def _either(self) -> bool:
        found = self._both()
        while self._takes("or"):
            found = self._both() or found
        return found

    def _both(self) -> bool:
        found = self._one()
        while self._takes("and"):
            found = self._one() and found
        return found

    def _one(self) -> bool:
        if self._takes("not"):
            return not self._one()
        if self._takes("("):
            found = self._either()
            assert self._takes(")")
            return found
        word = self._tokens.pop(0)
        if self._takes("of"):
            pattern = self._tokens.pop(0)
            shape = ".*" if pattern == "them" else pattern.replace("*", ".*")
            named = [name for name in self._selections if re.fullmatch(shape, name)]
            every = all if word == "all" else any
            return every(_selected(self._selections[name], self._event) for name in named)
        return _selected(self._selections[word], self._event)

    def _takes(self, word: str) -> bool:
        if self._tokens and self._tokens[0] == word:
            self._tokens.pop(0)
            return True
        return False


def _selected(selection: Any, event: Data) -> bool:
    if isinstance(selection, dict):
        return all(_asked(key, given, event) for key, given in selection.items())
    return any(
        _selected(one, event) if isinstance(one, dict) else _keyword(one, event)
        for one in selection
    )


def _keyword(word: Any, event: Data) -> bool:
    pattern = re.compile(_glob(str(word)), re.IGNORECASE | re.DOTALL)
    return any(pattern.search(_text(value)) for value in _everything(event))


def _asked(key: str, given: Any, event: Data) -> bool:
    name, *modifiers = key.split("|")
    values = given if isinstance(given, list) else [given]
    every = all if "all" in modifiers else any
    if not name:
        return every(_keyword(value, event) for value in values)
    there = _values(event, name)
    found = every(_holds(there, value, modifiers, event) for value in values)
    return not found if "neq" in modifiers else found


def _holds(there: list[Any] | None, value: Any, modifiers: list[str], event: Data) -> bool:
    """Whether any value of a field (None: no such field, or null) is what is asked for."""
    if "exists" in modifiers:
        return (there is not None) is value
    if value is None:
        return there is None
    if "fieldref" in modifiers:
        others = _values(event, str(value)) or []
        pairs = itertools.product(there or [], others)
        plain = _text if "cased" in modifiers else lambda value: _text(value).lower()
        return any(_related(plain(a), plain(b), modifiers) for a, b in pairs)
    return any(_value_holds(one, value, modifiers) for one in there or [])


def _related(one: str, other: str, modifiers: list[str]) -> bool:
    if "startswith" in modifiers:
        return one.startswith(other)
    if "endswith" in modifiers:
        return one.endswith(other)
    return other in one if "contains" in modifiers else one == other


def _value_holds(there: Any, value: Any, modifiers: list[str]) -> bool:
    for modifier in modifiers:
        if modifier in _UNITS:
            moment = _moment(there)
            return moment is not None and _compared(_UNITS[modifier](moment), value, modifiers)
    if "cidr" in modifiers:
        try:
            return ip_address(_text(there)) in ip_network(value)
        except ValueError:
            return False
    if "re" in modifiers:
        flags = 0
        for modifier in {"i", "m", "s"} & set(modifiers):
            flags |= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}[modifier]
        # A dollar is the very end, unless lines count.
        shape = value if "m" in modifiers else value.replace("$", r"\Z")
        return re.search(shape, _text(there), flags) is not None
    if isinstance(value, bool):
        return _text(there).lower() == str(value).lower()
    if isinstance(value, int | float):
        number = _number(there)
        return number is not None and _compared(number, value, modifiers)
    return any(_worded(there, word, modifiers) for word in _meant(value, modifiers))


def _compared(number: float, value: float, modifiers: list[str]) -> bool:
    for name, compare in _COMPARE.items():
        if name in modifiers:
            return compare(number, value)
    return number == value


def _meant(value: str, modifiers: list[str]) -> list[str]:
    """The words that encodings and dashes make of one, wildcards as they are."""
    words = [value]
    if "windash" in modifiers:
        words += _dashed(value)
    for name, codec in _CODECS.items():
        if name in modifiers:
            raw = [word.encode(codec) for word in words]
            raw = [
                b if b.startswith(b"\xff\xfe") or name != "utf16" else b"\xff\xfe" + b for b in raw
            ]
            return [word for one in raw for word in _based(one, modifiers)]
    if "base64" in modifiers or "base64offset" in modifiers:
        return [word for one in words for word in _based(one.encode(), modifiers)]
    return words


def _dashed(value: str) -> list[str]:
    """With every dash or slash that begins a word written in any of the ways."""
    places = [found.start() for found in re.finditer(r"\B[-/]\b", value)]
    made = []
    for dashes in itertools.product(_DASHES, repeat=len(places)):
        chars = list(value)
        for place, dash in zip(places, dashes, strict=True):
            chars[place] = dash
        made.append("".join(chars))
    return made


def _based(raw: bytes, modifiers: list[str]) -> list[str]:
    if "base64" in modifiers:
        return [base64.b64encode(raw).decode()]
    starts, ends = (0, 2, 3), (None, -3, -2)
    return [
        base64.b64encode(b" " * shift + raw).decode()[starts[shift] : ends[(len(raw) + shift) % 3]]
        for shift in range(3)
    ]


def _worded(there: Any, word: str, modifiers: list[str]) -> bool:
    shape = _glob(word)
    if not {"contains", "startswith"} & set(modifiers):
        shape = f"{shape}\\Z"
    if not {"contains", "endswith"} & set(modifiers):
        shape = f"\\A{shape}"
    text = _text(there)
    if "cased" in modifiers:
        return re.search(shape, text, re.DOTALL) is not None
    return re.search(_lowered(shape), text.lower(), re.DOTALL) is not None


def _lowered(shape: str) -> str:
    return re.sub(
        r"\\[AZ]|[^\\]", lambda found: found[0] if found[0][0] == "\\" else found[0].lower(), shape
    )


def _glob(word: str) -> str:
    """`*` is any text, `?` any character; a backslash before one of them makes it itself."""
    out, at = "", 0
    while at < len(word):
        char = word[at]
        if char == "\\" and word[at + 1 : at + 2] in _SPECIAL:
            out += re.escape(word[at + 1])
            at += 2
            continue
        out += ".*" if char == "*" else "." if char == "?" else re.escape(char)
        at += 1
    return out


def _values(event: Any, name: str) -> list[Any] | None:
    """The values of a field, dots leading inwards; None: there is none."""
    found = list(_reached(event, name))
    return found or None


def _reached(value: Any, name: str) -> Any:
    if isinstance(value, list):
        for one in value:
            yield from _reached(one, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == name:
                yield from _leaves(inner)
            elif name.startswith(f"{key}."):
                yield from _reached(inner, name[len(key) + 1 :])


def _leaves(value: Any) -> Any:
    if isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif value is not None:
        yield value


def _everything(value: Any) -> Any:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _everything(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _everything(inner)
    elif value is not None:
        yield value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    return float(value) if _NUMBER.fullmatch(str(value)) else None


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment
