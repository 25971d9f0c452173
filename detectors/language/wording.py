"""Conditions in words, as explanations show them."""

from collections.abc import Sequence

from tachograph.detectors.language.conditions import (
    And,
    Cidr,
    Leaf,
    Node,
    Not,
    Number,
    NumberOp,
    Or,
    Pattern,
    Present,
    SameAs,
    Test,
    Text,
    TextOp,
    TimePart,
    Truth,
)
from tachograph.detectors.language.regexes import BOUNDARY

WORD_BOUNDARY = "\\b"
# A value is shown up to here, and so many of several.
MAX_VALUE_CHARS = 60
MAX_VALUES = 3
ANY_TEXT = "any text"

_TEXT: dict[TextOp, str] = {
    "equals": "is",
    "prefix": "begins with",
    "suffix": "ends with",
    "contains": "contains",
}
_NUMBER: dict[NumberOp, str] = {"eq": "=", "ne": "≠", "lt": "<", "lte": "≤", "gt": ">", "gte": "≥"}


def worded(node: Node) -> str:
    """A condition in a line; long lists of values are cut short."""
    match node:
        case Leaf():
            return f"{node.field or ANY_TEXT} {_test(node.test)}"
        case Not(Leaf(name, Present(value))):
            return worded(Leaf(name, Present(not value)))
        case Not(part):
            return f"not ({worded(part)})"
        case Or(parts) if (alike := _alike(parts)) is not None:
            return alike
        case And(parts) | Or(parts):
            word = " and " if isinstance(node, And) else " or "
            shown = [_inner(part) for part in parts[:MAX_VALUES]]
            return word.join([*shown, *([f"… ({len(parts)})"] if len(parts) > MAX_VALUES else [])])


def _inner(node: Node) -> str:
    text = worded(node)
    plain = isinstance(node, Leaf | Not) or (isinstance(node, Or) and _alike(node.parts))
    return text if plain else f"({text})"


def _alike(parts: Sequence[Node]) -> str | None:
    """Alternatives that ask one field in one way, in one phrase; else None."""
    leaves = [part for part in parts if isinstance(part, Leaf)]
    if len(leaves) < len(parts) or not leaves:
        return None
    asked = [_asked(leaf.test) for leaf in leaves]
    ways = {(leaf.field, way) for leaf, (way, _) in zip(leaves, asked, strict=True)}
    if len(ways) > 1 or any(value is None for _, value in asked):
        return None
    [(field, way)] = ways
    values = [value for _, value in asked if value is not None]
    more = f", … ({len(values)})" if len(values) > MAX_VALUES else ""
    return f"{field or ANY_TEXT} {way} {' or '.join(values[:MAX_VALUES])}{more}"


def _test(test: Test) -> str:
    way, value = _asked(test)
    return f"{way} {value}" if value is not None else way


def _asked(test: Test) -> tuple[str, str | None]:
    """How a test asks, and for which value."""
    match test:
        case Text("contains", ""):
            return "has a value", None
        case Text(op, value, cased):
            return f"{_TEXT[op]}{' exactly' if cased else ''}", _quoted(value)
        case Pattern(regex):
            # As rules write it, not as the linear-time engine spells it.
            return "matches", f"/{_short(regex.replace(BOUNDARY, WORD_BOUNDARY))}/"
        case Number(op, value):
            return _NUMBER[op], str(value)
        case TimePart(unit, op, value):
            return f"has {unit} {_NUMBER[op]}", str(value)
        case Truth(value):
            return "is", str(value).lower()
        case Cidr(network):
            return "is in", str(network)
        case Present(value):
            return ("has a value" if value else "has no value"), None
        case SameAs(field, op, cased):
            return f"{_TEXT[op]}{' exactly' if cased else ''} the value of", field


def _quoted(text: str) -> str:
    return f"'{_short(text)}'"


def _short(text: str) -> str:
    clean = "".join(char if char.isprintable() else "·" for char in text)
    return clean if len(clean) <= MAX_VALUE_CHARS else f"{clean[: MAX_VALUE_CHARS - 1]}…"
