"""Attributes as fields of Action, and what a resource says of everything under it."""

from typing import Any, Final

from tachograph.pipeline.normalize import limits, vocabulary
from tachograph.pipeline.normalize.forms import Attributes
from tachograph.pipeline.normalize.raw import Row
from tachograph.pipeline.normalize.rows import JSON_TEXT, TEXTS, json_text
from tachograph.schemas.batch import COLUMNS

_OLD = vocabulary.OLD
_CONTAINERS: Final = (dict, list)
_INT64: Final = 2**63
# Python type that a column takes as it is.
_PLAIN: Final = {
    name: {"String": str, "Int64": int, "Float64": float}.get(str(dtype))
    for name, dtype in COLUMNS.items()
}
_LISTS: Final = frozenset(name for name, dtype in COLUMNS.items() if dtype == TEXTS)
_TODAY: Final = {name: (field, _PLAIN[field]) for name, field in vocabulary.NEW.items()}


def fields(attributes: Attributes) -> tuple[Row, Row]:
    """Attributes as fields of Action, and those that are none."""
    row: Row = {}
    extra: Row = {}
    late: list[tuple[str, str, Any]] = []
    for name, value in attributes.items():
        known = _TODAY.get(name)
        if known is None:
            if name in _OLD:
                late.append((_OLD[name], name, value))
            elif value is not None:
                extra[name] = value
        elif value.__class__ is known[1] and value != "":
            row[known[0]] = value
        elif not put(row, known[0], value):
            extra[name] = value
    for field, name, value in late:
        if value is not None and (field in row or not put(row, field, value)):
            extra[name] = value
    return row, extra


def put(row: Row, field: str, value: Any) -> bool:
    """Set a field from a value of any type; False when it does not fit (it is kept as an
    attribute).
    """
    if value is None or value == "":
        return True
    found = fitted(field, value)
    if found is None:
        return False
    row[field] = found
    return True


def fitted(field: str, value: Any) -> Any:
    """The value as one of that field, None where it does not fit. JSON may stay as it is where the
    field is JSON text.
    """
    if field in _LISTS:
        texts = value if value.__class__ is list else [value]
        return [text if text.__class__ is str else json_text(text) for text in texts]
    plain = _PLAIN[field]
    if plain is str:
        as_it_is = value.__class__ is str or (field in JSON_TEXT and value.__class__ in _CONTAINERS)
        return value if as_it_is else json_text(value)
    if plain in (int, float):
        return _number(value, plain)
    return value if value.__class__ is bool else None


def _number(value: Any, kind: type[Any]) -> Any:
    """A number that may come as text or as the other kind of number; None when it is none."""
    try:
        number = float(value) if kind is float or value.__class__ is float else int(value)
        if kind is int and not -_INT64 <= number < _INT64:
            return None
        return number if kind is float else int(number)
    except (ValueError, TypeError, OverflowError):
        return None


def keep(row: Row, extra: Row) -> None:
    """What is no field goes into `attributes`, within the limit."""
    if not extra:
        return
    if len(extra) > limits.ATTRIBUTES:
        extra = dict(list(extra.items())[: limits.ATTRIBUTES])
        row["truncated"] = ["attributes"]
    row["attributes"] = extra


def resource_row(resource: Attributes, scope: str) -> Row:
    """What a resource and a scope say of every span in them."""
    row: Row = {"source_id": scope or None, "agent_framework": scope or None}
    extra: Row = {}
    for name, value in resource.items():
        field = vocabulary.RESOURCE.get(name)
        if field:
            put(row, field, value)
        elif value is not None and not name.startswith(vocabulary.RESOURCE_LEFT_OUT):
            extra[f"resource.{name}"] = value
    if extra:
        row["attributes"] = extra
    return row


def place_of(resource: Attributes) -> str:
    """Partition key: the service identity, which every record of an agent's process carries."""
    name = resource.get("service.name")
    space = resource.get("service.namespace")
    name = name if name.__class__ is str and name else "unknown_service"
    return f"{space}/{name}" if space.__class__ is str and space else str(name)
