"""How a contract says what a field is: type from the annotation, meaning and unit beside it."""

from typing import Any

import msgspec


def doc(meaning: str, unit: str | None = None, **constraints: Any) -> msgspec.Meta:
    """Describe a field: its meaning, its unit if any, and msgspec constraints (ge, pattern …)."""
    extra = {"x-unit": unit} if unit else None
    return msgspec.Meta(description=meaning, extra_json_schema=extra, **constraints)


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of every record: immutable, absent means default, unknown fields never refuse a record.

    Subclasses say `frozen=True, kw_only=True` themselves: type checkers and msgspec ask for it.
    """
