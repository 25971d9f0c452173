"""Conditions to Polars expressions over one schema of frames.

Every expression is true or false, never null: a field without a value fails each test but "has no
value", so `not` means what a rule's author expects. Text is compared in lower case through helper
columns, made once for all rules that need them.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

import polars as pl

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
    TimeUnit,
    Truth,
)
from tachograph.detectors.language.fields import FieldMap, Source
from tachograph.detectors.language.regexes import together
from tachograph.detectors.matching.lookaround import holding
from tachograph.detectors.matching.times import TIME, moments
from tachograph.schemas.batch import ATTRIBUTES

# No zeros before a number: whether they make it octal is read both ways.
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"\A(?:{_OCTET}\.){{3}}{_OCTET}\z"
_NEVER = pl.lit(value=False)
_ALWAYS = pl.lit(value=True)
# From here on neighbouring whole numbers are one number to a float, but differ as text.
EXACT_WHOLE = 2**53
# From so many words on, one pass for all of them beats a pass for each.
MANY_WORDS = 3

_COMPARE: dict[NumberOp, Callable[[pl.Expr, float], pl.Expr]] = {
    "eq": lambda column, value: column == value,
    "ne": lambda column, value: column != value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
}
_PARTS: dict[TimeUnit, Callable[[pl.Expr], pl.Expr]] = {
    "minute": lambda time: time.dt.minute(),
    "hour": lambda time: time.dt.hour(),
    "day": lambda time: time.dt.day(),
    "week": lambda time: time.dt.week(),
    "month": lambda time: time.dt.month(),
    "year": lambda time: time.dt.year(),
}


_RELATED: dict[TextOp, Callable[[str, str], bool]] = {
    "equals": operator.eq,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": operator.contains,
}


@dataclass(frozen=True, slots=True)
class _Value:
    """A field's value: helper column with it and its type; `many` when it is a list of texts."""

    name: str
    kind: pl.DataType
    many: bool = False


@dataclass
class Lowering:
    """Compiles conditions for frames of one schema; afterwards `helpers` lists the columns they
    read.
    """

    schema: Mapping[str, pl.DataType]
    fields: FieldMap
    # Columns to add before the expressions are asked: first these, from columns of the frame …
    values: dict[str, pl.Expr] = field(default_factory=dict)
    # … then these, from those.
    texts: dict[str, pl.Expr] = field(default_factory=dict)
    reads: set[str] = field(default_factory=set)
    # Whether a keyword compiles depends on a column's type alone: who only asks that has it
    # compiled for one column of each, not for more than a hundred.
    of_each_type: bool = False

    def expression(self, node: Node) -> pl.Expr:
        """The condition as a boolean expression without nulls."""
        match node:
            case And(parts):
                return pl.all_horizontal([self.expression(part) for part in parts])
            case Or(parts):
                return self._any(parts)
            case Not(part):
                return ~self.expression(part)
            case Leaf():
                if node.field is None:
                    return self._keyword(node.test)
                return self._test(self._value(self.fields.source(node.field)), node.test)

    def helpers(self) -> list[list[pl.Expr]]:
        """Columns to add to a frame before the expressions are asked, in rounds."""
        rounds = (self.values, self.texts)
        return [[expr.alias(name) for name, expr in added.items()] for added in rounds]

    def _any(self, parts: tuple[Node, ...]) -> pl.Expr:
        """Alternatives; words asked of one field in one way are asked together."""
        words: dict[tuple[str, str, bool], list[str]] = {}
        patterns: dict[tuple[str, bool], list[str]] = {}
        others: list[Node] = []
        for part in parts:
            match part:
                case Leaf(str(name), Text("equals" | "contains" as op, value, cased)):
                    words.setdefault((name, op, cased), []).append(value)
                case Leaf(str(name), Pattern(regex, cased, None)):
                    patterns.setdefault((name, cased), []).append(regex)
                case _:
                    others.append(part)
        for (name, cased), regexes in patterns.items():
            others += [Leaf(name, Pattern(regex, cased)) for regex in together(regexes)]
        asked = [self.expression(part) for part in others]
        for (name, how, cased), values in words.items():
            asked.append(self._words(name, how, cased=cased, values=values))
        return asked[0] if len(asked) == 1 else pl.any_horizontal(asked)

    def _words(self, name: str, op: str, *, cased: bool, values: list[str]) -> pl.Expr:
        value = self._value(self.fields.source(name))
        if value is None:
            return _NEVER
        if value.many or len(values) < MANY_WORDS or not all(values):
            tests = [Text("equals" if op == "equals" else "contains", v, cased) for v in values]
            return pl.any_horizontal([self._test(value, test) for test in tests])
        text = pl.col(self._text(value, lowered=not cased))
        found = text.is_in(values) if op == "equals" else text.str.contains_any(values)
        return found.fill_null(value=False)

    def _keyword(self, test: Test) -> pl.Expr:
        found = [self._test(self._value(Source(column)), test) for column in self._anywhere]
        return pl.any_horizontal(found) if found else _NEVER

    @cached_property
    def _anywhere(self) -> list[str]:
        """Columns that a keyword is looked for in."""
        columns = self.fields.keyword_columns(self.schema)
        if not self.of_each_type:
            return columns
        return list({self.schema[name]: name for name in columns}.values())

    def _value(self, source: Source) -> _Value | None:
        """The value's column, made if need be; None where the frame has no such column."""
        kind = self.schema.get(source.column)
        if kind is None or isinstance(kind, pl.Null):
            return None
        self.reads.add(source.column)
        if source.whole and kind == ATTRIBUTES:
            name = f"part:{source.column}"
            self.values[name] = attribute_values(source.column)
            return _Value(name, pl.List(pl.String), many=True)
        if source.whole:
            return _Value(source.column, kind, many=isinstance(kind, pl.List))
        name = f"part:{source.column}:{source.path or source.attribute}"
        self.values[name] = value_of(source)
        return _Value(name, pl.String())

    def _text(self, value: _Value, *, lowered: bool) -> str:
        """Name of a column with the value as text, or as list of texts."""
        plain = value.kind == pl.String() or value.kind == pl.List(pl.String)
        if plain and not lowered:
            return value.name
        name = f"{'lower' if lowered else 'text'}:{value.name}"
        if value.many:
            element = pl.element() if plain else pl.element().cast(pl.String)
            element = element.str.to_lowercase() if lowered else element
            self.texts[name] = pl.col(value.name).list.eval(element)
        else:
            column = _as_text(value) if not plain else pl.col(value.name)
            self.texts[name] = column.str.to_lowercase() if lowered else column
        return name

    def _test(self, value: _Value | None, test: Test) -> pl.Expr:
        if isinstance(test, Present):
            return _ALWAYS if value is None and not test.value else self._present(value, test)
        if value is None:
            return _NEVER
        if isinstance(test, SameAs):
            return self._same(value, test)
        if isinstance(test, Number):
            return self._number(value, test)
        if isinstance(test, TimePart):
            return self._time_part(value, test)
        if isinstance(test, Truth):
            return self._truth(value, test)
        column = self._text(value, lowered=not getattr(test, "cased", True))
        return _each(value, column, lambda text: _text_test(text, test))

    @staticmethod
    def _present(value: _Value | None, test: Present) -> pl.Expr:
        if value is None:
            return _NEVER
        column = pl.col(value.name)
        return column.is_not_null() if test.value else column.is_null()

    def _number(self, value: _Value, test: Number) -> pl.Expr:
        if value.kind.is_numeric():
            return _COMPARE[test.op](pl.col(value.name), test.value).fill_null(value=False)
        column = self._text(value, lowered=False)
        if abs(test.value) >= EXACT_WHOLE:
            compare_text = {"eq": pl.Expr.eq, "ne": pl.Expr.ne}.get(test.op)
            if compare_text is not None:
                return _each(value, column, lambda text: compare_text(text, str(test.value)))
        compare = _COMPARE[test.op]
        return _each(
            value, column, lambda text: compare(text.cast(pl.Float64, strict=False), test.value)
        )

    def _time_part(self, value: _Value, test: TimePart) -> pl.Expr:
        name = value.name
        if not isinstance(value.kind, pl.Datetime):
            name = f"time:{value.name}"
            read = _times_of(pl.element()) if value.many else _times_of(pl.col(value.name))
            self.texts[name] = pl.col(value.name).list.eval(read) if value.many else read
        part, compare = _PARTS[test.unit], _COMPARE[test.op]
        return _each(value, name, lambda time: compare(part(time), test.value))

    def _truth(self, value: _Value, test: Truth) -> pl.Expr:
        if value.kind == pl.Boolean():
            return (pl.col(value.name) == test.value).fill_null(value=False)
        wanted = str(test.value).lower()
        return _each(value, self._text(value, lowered=True), lambda text: text == wanted)

    def _same(self, value: _Value, test: SameAs) -> pl.Expr:
        other = self._value(self.fields.source(test.field))
        if other is None:
            return _NEVER
        mine = pl.col(self._text(value, lowered=not test.cased))
        theirs = pl.col(self._text(other, lowered=not test.cased))
        if value.many or other.many:
            pairs = pl.struct(mine=mine, theirs=theirs)
            return pairs.map_batches(
                lambda column: _any_pair(column, test.op),
                return_dtype=pl.Boolean,
                is_elementwise=True,
            )
        compare = {
            "equals": lambda: mine == theirs,
            "prefix": lambda: mine.str.starts_with(theirs),
            "suffix": lambda: mine.str.ends_with(theirs),
            "contains": lambda: mine.str.contains(theirs, literal=True),
        }
        return compare[test.op]().fill_null(value=False)


def _as_text(value: _Value) -> pl.Expr:
    column = pl.col(value.name)
    if isinstance(value.kind, pl.Datetime):
        return column.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
    return column.cast(pl.String)


def _times_of(column: pl.Expr) -> pl.Expr:
    return column.map_batches(moments, return_dtype=TIME, is_elementwise=True)


def _each(value: _Value, column: str, test: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """The test of the text, or of any element of a list."""
    if value.many:
        return pl.col(column).list.eval(test(pl.element())).list.any().fill_null(value=False)
    return test(pl.col(column)).fill_null(value=False)


def _text_test(text: pl.Expr, test: Test) -> pl.Expr:
    match test:
        case Text("equals", value):
            return text == value
        case Text("prefix", value):
            return text.str.starts_with(value)
        case Text("suffix", value):
            return text.str.ends_with(value)
        case Text("contains", value):
            return text.str.contains(value, literal=True)
        case Pattern(regex, exact=None):
            return text.str.contains(regex)
        case Pattern(regex, exact=str(exact)):
            return text.map_batches(
                lambda column: holding(column, exact, regex),
                return_dtype=pl.Boolean,
                is_elementwise=True,
            )
        case Cidr(network):
            return _within(text, network)
    raise AssertionError(f"no text test: {test}")


def _within(text: pl.Expr, network: IPv4Network | IPv6Network) -> pl.Expr:
    if isinstance(network, IPv6Network):
        return text.map_batches(
            lambda column: _within_v6(column, network), return_dtype=pl.Boolean, is_elementwise=True
        )
    parts = text.str.split_exact(".", 3)
    number = sum(
        (
            parts.struct.field(f"field_{place}").cast(pl.Int64, strict=False) * (1 << shift)
            for place, shift in enumerate((24, 16, 8, 0))
        ),
        start=pl.lit(0),
    )
    first, last = int(network.network_address), int(network.broadcast_address)
    return text.str.contains(_IPV4) & number.is_between(first, last)


# A text, a list of texts, or nothing.
_Said = str | list[str | None] | None


def _any_pair(column: pl.Series, op: TextOp) -> pl.Series:
    """Whether any value of a list on one side is so related to any on the other."""
    related = _RELATED[op]

    def any_pair(pair: dict[str, _Said]) -> bool:
        mine, theirs = _members(pair["mine"]), _members(pair["theirs"])
        return any(related(one, other) for one in mine for other in theirs)

    return pl.Series(column.name, [any_pair(pair) for pair in column], dtype=pl.Boolean)


def _members(value: _Said) -> list[str]:
    if value is None or isinstance(value, str):
        return [] if value is None else [value]
    return [member for member in value if member is not None]


def _within_v6(column: pl.Series, network: IPv6Network) -> pl.Series:
    def inside(text: str | None) -> bool:
        if text is None or ":" not in text:
            return False
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return isinstance(address, IPv6Address) and address in network

    return pl.Series(column.name, [inside(text) for text in column], dtype=pl.Boolean)


def attribute_values(column: str) -> pl.Expr:
    """The values of all attributes, as a list of texts."""
    return pl.col(column).list.eval(pl.element().struct.field("value"))


def value_of(source: Source) -> pl.Expr:
    """The value of a field, in a frame that has the source's column."""
    column = pl.col(source.column)
    if source.path is not None:
        return column.str.json_path_match(source.path)
    if source.attribute is None:
        return column
    entry = pl.element()
    wanted = entry.filter(entry.struct.field("key") == source.attribute).struct.field("value")
    return column.list.eval(wanted).list.last()
