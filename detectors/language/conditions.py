"""What a rule asks of one event, as a small tree that knows nothing of Sigma or of Polars.

The Sigma reader builds it, the compiler turns it into column expressions, and the prefilter reads
from it which words an event must contain. Whoever adds another rule language or another target
joins here.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

TextOp = Literal["equals", "prefix", "suffix", "contains"]
NumberOp = Literal["eq", "ne", "lt", "lte", "gt", "gte"]
TimeUnit = Literal["minute", "hour", "day", "week", "month", "year"]


@dataclass(frozen=True, slots=True)
class Text:
    """The field's text equals, begins with, ends with or contains `value`."""

    op: TextOp
    value: str
    cased: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """The linear-time regular expression matches somewhere in the field's text."""

    regex: str
    # False: the regex is written for lower-case text and is run on that (a wildcard of a rule).
    cased: bool = True
    # An expression with look-around, asked (see matching.lookaround) where `regex`, which then
    # finds all its texts and perhaps more, matches.
    exact: str | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """The field's number compares so; text that reads as a number counts as one."""

    op: NumberOp
    value: int | float


@dataclass(frozen=True, slots=True)
class TimePart:
    """The field is a time (UTC) of which this part, a number, compares so; weeks are ISO 8601's."""

    unit: TimeUnit
    op: NumberOp
    value: int | float


@dataclass(frozen=True, slots=True)
class Truth:
    """The field is this truth value, or the text `true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class Cidr:
    """The field is an address within the network."""

    network: IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Present:
    """The field has a value (or, if `value` is false, has none)."""

    value: bool


@dataclass(frozen=True, slots=True)
class SameAs:
    """The field equals, begins or ends with the value of another field of the same event."""

    field: str
    op: TextOp = "equals"
    cased: bool = False


Test = Text | Pattern | Number | TimePart | Truth | Cidr | Present | SameAs


@dataclass(frozen=True, slots=True)
class Leaf:
    """A test of one field; without a field, of any text of the event (a keyword)."""

    field: str | None
    test: Test


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Node"


Node = Leaf | And | Or | Not


def leaves(node: Node) -> list[Leaf]:
    """All tests of a tree, in the order they are written."""
    if isinstance(node, Leaf):
        return [node]
    if isinstance(node, Not):
        return leaves(node.part)
    return [leaf for part in node.parts for leaf in leaves(part)]


def fields_of(node: Node) -> list[str]:
    """Names of the fields a tree reads, each once, in order."""
    names: dict[str, None] = {}
    for leaf in leaves(node):
        if leaf.field is not None:
            names[leaf.field] = None
        if isinstance(leaf.test, SameAs):
            names[leaf.test.field] = None
    return list(names)
