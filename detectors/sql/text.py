"""Literals and names in ClickHouse SQL, and the error for what it cannot say."""

import re
from collections.abc import Iterable

# Two words or more: ClickHouse has no keyword like that.
_BARE = re.compile(r"[a-z]+(_[a-z0-9]+)+")


class NotExpressible(ValueError):
    """SQL over stored actions cannot ask this; the message names the part and says why."""


def literal(value: str | float | bool) -> str:  # noqa: FBT001 - a value like the others
    """A value as a literal, whatever is in it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def literals(values: Iterable[str]) -> str:
    """Texts as an array."""
    return f"[{', '.join(map(literal, values))}]"


def name(column: str) -> str:
    """A column's name, whatever is in it."""
    if _BARE.fullmatch(column):
        return column
    return "`" + column.replace("\\", "\\\\").replace("`", "\\`") + "`"


def all_of(parts: Iterable[str]) -> str:
    """Conditions that must all hold."""
    found = list(parts)
    return found[0] if len(found) == 1 else "(" + " AND ".join(found) + ")"


def any_of(parts: Iterable[str]) -> str:
    """Conditions of which one must hold."""
    found = list(parts)
    return found[0] if len(found) == 1 else "(" + " OR ".join(found) + ")"
