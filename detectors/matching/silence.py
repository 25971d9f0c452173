"""Whether a condition can hold at all where some columns never have a value."""

from collections.abc import Container

from tachograph.detectors.language.conditions import And, Leaf, Node, Not, Or, Present
from tachograph.detectors.language.fields import FieldMap


def possible(node: Node, carried: Container[str], fields: FieldMap) -> bool:
    """Whether an event can match when only these columns ever hold values."""
    match node:
        case And(parts):
            return all(possible(part, carried, fields) for part in parts)
        case Or(parts):
            return any(possible(part, carried, fields) for part in parts)
        case Not():
            # It holds wherever what it denies has no value.
            return True
        case Leaf():
            if node.field is None or node.test == Present(value=False):
                return True
            return fields.source(node.field).column in carried
