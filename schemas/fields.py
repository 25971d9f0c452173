"""How a contract says what a field is: type from the annotation, meaning and unit beside it."""

from typing import Any

import msgspec

# Every id of ours is 128 bits as lower-case hex; every time is UTC, written as RFC 3339 with Z.
ID_PATTERN = "^[0-9a-f]{32}$"


def doc(meaning: str, unit: str | None = None, **constraints: Any) -> msgspec.Meta:
    """Describe a field: its meaning, its unit if any, and msgspec constraints (ge, pattern …)."""
    extra = {"x-unit": unit} if unit else None
    return msgspec.Meta(description=meaning, extra_json_schema=extra, **constraints)


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of every record: immutable, absent means default, unknown fields never refuse a record.

    Subclasses say `frozen=True, kw_only=True` themselves: type checkers and msgspec ask for it.
    """
