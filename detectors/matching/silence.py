"""Whether a condition can hold at all where some columns never have a value."""

from collections.abc import Set as AbstractSet
from itertools import product

from tachograph.detectors.language.conditions import And, Leaf, Node, Not, Or, Present
from tachograph.detectors.language.fields import FieldMap

# Of each of these sets of columns one must hold a value, or the condition holds of no event.
Needs = tuple[frozenset[str], ...]

# A condition that needs more sets than this is held for possible sooner than it is.
MAX_NEEDS = 64
_NOTHING: Needs = ()


def needs(node: Node, fields: FieldMap) -> Needs:
    """What an event must hold so that the condition may."""
    match node:
        case And(parts):
            return _least({one for part in parts for one in needs(part, fields)})
        case Or(parts):
            found: Needs = (frozenset(),)
            for part in parts:
                both = product(found, needs(part, fields))
                found = _least({one | other for one, other in both})
            return found
        case Not():
            # It holds wherever what it denies has no value.
            return _NOTHING
        case Leaf():
            if node.field is None or node.test == Present(value=False):
                return _NOTHING
            return (frozenset((fields.source(node.field).column,)),)


def _least(asked: AbstractSet[frozenset[str]]) -> Needs:
    """Without sets that hold another one, which is asked for already."""
    ordered = sorted(asked, key=len)[:MAX_NEEDS]
    return tuple(
        one for at, one in enumerate(ordered) if not any(other <= one for other in ordered[:at])
    )


def possible(asked: Needs, carried: AbstractSet[str]) -> bool:
    """Whether an event can match when only these columns ever hold values."""
    return not any(one.isdisjoint(carried) for one in asked)
