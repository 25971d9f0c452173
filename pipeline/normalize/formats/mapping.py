"""Mapping files: plain JSON of any system as actions, by paths, without code.

name: my_proxy
title: Egress proxy of the head office
recognise: {present: [cs-host, sc-status], equals: {product: proxy}}
each: events                     # where one object holds many
actions:
  - when: {present: [cs-host]}
    fields:
      kind: {value: http}
      event_time: {at: ts, unit: s}
      target_domain: cs-host
      outcome: {at: sc-status, map: {2xx: succeeded, 4xx: denied, "*": failed}}
samples: [{…}]                   # objects of the system, each with what it gives
"""

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import yaml

from tachograph.pipeline import plain_yaml
from tachograph.pipeline.normalize.formats.decoder import Read, Sample, Told
from tachograph.pipeline.normalize.formats.reading import (
    NOTHING,
    TIMES,
    UNITS_US,
    Context,
    Object,
    at,
    ctime_us,
    duration_ms,
    first,
    host_of,
    objects,
    rest,
    said_in,
    set_field,
    spoken,
    time_us,
    within,
)
from tachograph.pipeline.normalize.messages import answered, words
from tachograph.pipeline.normalize.native import SERVER_FILLED
from tachograph.pipeline.normalize.raw import Row
from tachograph.schemas.batch import COLUMNS

MAX_FILE_BYTES: Final = 200_000
MAX_EACH: Final = 10_000
_PLACES: Final = re.compile(r"\{([^{}]{1,200})\}")


class BadMapping(ValueError):
    """A mapping file cannot be used: every problem of it, a line each."""


class Value(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How a field gets its value."""

    # Path, or paths of which the first that says something holds.
    at: str | list[str] = []
    # The same whatever the object says.
    value: Any = None
    # A text with {paths} in it; where one of them is not there, what `at` says.
    text: str | None = None
    # JSON text at this path, in which the other paths lie.
    inside: str | None = None
    # Of a number that is a time. µs of RFC 3339 text need none.
    unit: Literal["s", "ms", "us", "ns"] | None = None
    # A time: so much later, by the number at this path.
    plus: str | None = None
    plus_unit: Literal["s", "ms", "us", "ns"] = "ms"
    # Other words for what is there; `4xx` stands for a class of statuses, `*` for anything else,
    # and `"*": "*"` leaves that as it is.
    map: dict[str, Any] = {}
    # Of messages, their words; of a list of objects, this of each.
    words: bool = False
    each: str | None = None
    # Without this end.
    strip_suffix: str | None = None
    # A time that names no zone is UTC.
    utc: bool = False
    split: str | None = None
    # An address without its port.
    host: bool = False
    # Of several texts, the first that is an IP address.
    ip: bool = False
    # Where nothing is there.
    default: Any = None
    # What a model's interface answered, whichever it is: its messages.
    answer: bool = False


class When(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What must hold of an object: all of it."""

    present: list[str] = []
    absent: list[str] = []
    # Path → the value, or several of which one must be there.
    equals: dict[str, Any] = {}
    # Path → the value, or several of which none may be there.
    differs: dict[str, Any] = {}
    starts: dict[str, str] = {}

    def holds(self, item: Object) -> bool:
        """Whether it holds."""
        # Loops, since this runs for each action of each object.
        for path in self.present:
            found = at(item, path)
            if found is None or found in NOTHING:
                return False
        for path in self.absent:
            found = at(item, path)
            if found is not None and found not in NOTHING:
                return False
        for path, wanted in self.equals.items():
            if not _is(at(item, path), wanted):
                return False
        for path, unwanted in self.differs.items():
            if _is(at(item, path), unwanted):
                return False
        return not self.starts or all(
            str(at(item, path) or "").startswith(text) for path, text in self.starts.items()
        )

    @property
    def empty(self) -> bool:
        """Whether it asks nothing."""
        return not (self.present or self.absent or self.equals or self.differs or self.starts)


def _is(found: Any, wanted: Any) -> bool:
    return found in wanted if wanted.__class__ is list else found == wanted


class MappedAction(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One action that an object tells of."""

    fields: dict[str, str | list[str] | Value]
    when: When = When()
    # Attributes by a name of their own, as `gen_ai.response.id`, by which two reports of a
    # completion meet.
    attributes: dict[str, str | list[str] | Value] = {}


class MappingFile(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename={"of_each": "each"}
):
    """A mapping file."""

    name: str
    title: str
    actions: list[MappedAction]
    # One condition, or several of which one must hold.
    recognise: When | list[When] = When()
    about: str = ""
    # Where one object holds many: the path of the list. `^` before a path leads out of it again.
    of_each: str | None = None
    # Names of OpenTelemetry's conventions are understood without being mapped.
    conventions: bool = False
    # What is mapped nowhere is kept as attributes.
    keep: bool = True
    # The source's own id of an object, so that one that is sent twice counts once.
    id: str | list[str] = []
    samples: list[Sample] = []


def load(path: Path) -> MappingFile:
    """A mapping file. Raises BadMapping, which names the file and every problem."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadMapping(f"{path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise BadMapping(f"{path}: a mapping file may have {MAX_FILE_BYTES} bytes")
    try:
        mapping = msgspec.convert(plain_yaml.loaded(content), MappingFile)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadMapping(f"{path}: {error}") from error
    problems = list(_problems(mapping))
    if problems:
        raise BadMapping("\n".join(f"{path}: {problem}" for problem in problems))
    return mapping


def _problems(mapping: MappingFile) -> Iterator[str]:
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,40}", mapping.name):
        yield "name: small letters, digits and _, as my_proxy"
    if not mapping.actions:
        yield "actions: none is given"
    for number, action in enumerate(mapping.actions):
        place = f"actions[{number}].fields"
        for name in action.fields:
            if name not in COLUMNS:
                yield f"{place}.{name}: no field of an action (`tacho schema action` lists them)"
            elif name in SERVER_FILLED:
                yield f"{place}.{name}: only Tachograph itself fills this field"
        for name, value in (*action.fields.items(), *action.attributes.items()):
            if isinstance(value, Value) and not (
                value.at or value.text or value.value is not None or value.inside
            ):
                yield f"{place}.{name}: one of at, text, value is needed"
        for needed in ("kind", "event_time"):
            if needed not in action.fields and not (needed == "kind" and mapping.conventions):
                yield f"{place}: {needed} is needed"


class Mapped:
    """A format by its mapping file: see Decoder."""

    def __init__(self, mapping: MappingFile) -> None:
        self.mapping = mapping
        self.name, self.title, self.about = mapping.name, mapping.title, mapping.about
        self._used = [frozenset(_used(action)) for action in mapping.actions]
        self._fields = [
            [(name, _reader(name, _as_value(how))) for name, how in action.fields.items()]
            for action in mapping.actions
        ]
        self._named = [
            [(name, _reader(name, _as_value(how))) for name, how in action.attributes.items()]
            for action in mapping.actions
        ]
        asked = mapping.recognise
        asked = [asked] if isinstance(asked, When) else asked
        self._known_by = [one for one in asked if not one.empty]
        self._ids = [mapping.id] if isinstance(mapping.id, str) else mapping.id

    @property
    def samples(self) -> list[Sample]:
        """See Decoder."""
        return self.mapping.samples

    @property
    def choosy(self) -> bool:
        """Whether it says how an object of it is known."""
        return bool(self._known_by)

    def recognises(self, item: Object) -> bool:
        """See Decoder. A mapping that says nothing of it is used by its name only."""
        return any(one.holds(item) for one in self._known_by)

    def read(self, items: Sequence[Object], context: Context) -> Read:
        """See Decoder."""
        return Read([list(self._told(item, context)) for item in items])

    def _told(self, item: Object, context: Context) -> Iterator[Told]:
        mapping = self.mapping
        parts = [item]
        if mapping.of_each is not None:
            parts = _each(item, mapping.of_each)[:MAX_EACH]
        for number, part in enumerate(parts):
            for which, action in enumerate(mapping.actions):
                if action.when.holds(part):
                    row = self._row(which, part, context)
                    yield Told(row, self._producer(part, number, which))

    def _producer(self, part: Object, number: int, which: int) -> str | None:
        known = [at(part, path) for path in self._ids]
        if not known or any(one is None for one in known):
            return None
        more = f"/{number}" if self.mapping.of_each is not None else ""
        return f"{'/'.join(map(str, known))}{more}/{which}"

    def _row(self, which: int, part: Object, context: Context) -> Row:
        row: Row = {"source_kind": self.name}
        left: Mapping[str, Any] = part
        if "^" in part:
            left = {name: value for name, value in part.items() if name != "^"}
        if self.mapping.conventions:
            named, left = spoken(left)
            row |= named
        extra: Row = {}
        for name, read in self._fields[which]:
            found = read(part)
            if found is not None and not set_field(row, name, found):
                extra[name] = found
        for name, read in self._named[which]:
            found = read(part)
            if found is not None:
                extra[name] = found
        if row.get("event_time") is None and context.observed_us is not None:
            row["event_time"] = context.observed_us
        _span(row)
        if self.mapping.keep:
            extra = {**rest(left, self._used[which]), **extra}
        if extra:
            row["attributes"] = extra
        return row


def _span(row: Row) -> None:
    """Start, end and duration tell each other."""
    begin, end, took = row.get("start_time"), row.get("event_time"), row.get("duration_ms")
    if begin is not None and end is not None and took is None and end >= begin:
        row["duration_ms"] = (end - begin) / 1000
    elif end is not None and took is not None and begin is None:
        row["start_time"] = end - int(took * 1000)


def _each(item: Object, path: str) -> list[Object]:
    """The objects at a path through lists, each with the one around it as `^`: `runs.results` goes
    through every run.
    """
    head, _, tail = path.partition(".")
    found = objects(at(item, head))
    if tail:
        return [inner for outer in found for inner in _each(outer, tail)]
    return [{**one, "^": item} for one in found]


def _used(action: MappedAction) -> Iterator[str]:
    """Paths that an action reads."""
    for how in (*action.fields.values(), *action.attributes.values()):
        value = _as_value(how)
        if value.inside:
            yield value.inside
        else:
            yield from [value.at] if isinstance(value.at, str) else value.at
            yield from _PLACES.findall(value.text or "")


def _as_value(how: str | list[str] | Value) -> Value:
    """A path, or several, stands for itself."""
    return how if isinstance(how, Value) else Value(at=how)


def _reader(name: str, how: Value) -> Callable[[Object], Any]:
    """What gives the value of a field: made once, for it runs for each field of each object."""
    if name in TIMES:
        return lambda part: _time(how, part, _value(how, part))
    if name == "duration_ms":
        return lambda part: duration_ms(_value(how, part))
    if how.value is not None:
        return lambda _part: how.value
    if how != Value(at=how.at):
        return lambda part: _value(how, part)
    paths = [how.at] if isinstance(how.at, str) else how.at

    def read(part: Object) -> Any:
        for path in paths:
            found = part.get(path)
            if found is None:
                found = at(part, path)
            if found is not None and found not in NOTHING:
                return found
        return None

    return read


def _value(how: Value, part: Object) -> Any:
    found = _found(how, part)
    return how.default if found is None else found


def _found(how: Value, part: Object) -> Any:
    if how.value is not None:
        return how.value
    source: Any = within(at(part, how.inside)) if how.inside else part
    if how.text is not None:
        told = _told_text(how.text, source)
        if told is not None or not how.at:
            return _shaped(how, told)
    paths = how.at
    found = at(source, paths) if paths.__class__ is str else first(source, *paths)
    if found is None or found in NOTHING:
        return None
    return _shaped(how, found)


def _shaped(how: Value, found: Any) -> Any:
    if how.each is not None:
        found = [one for one in (at(o, how.each) for o in objects(found)) if one is not None]
        if how.map:
            return next((known for one in found if (known := _translated(how.map, one))), None)
    if how.ip:
        several = found if found.__class__ is list else [found]
        found = next((one for one in several if _address(one)), None)
    if how.answer:
        found = answered(within(found))[0]
    if how.words:
        found = words(found) or said_in(found)
    if how.host and found.__class__ is str:
        found = host_of(found)
    if how.strip_suffix and found.__class__ is str:
        found = found.removesuffix(how.strip_suffix)
    if how.split and found.__class__ is str:
        found = [one.strip() for one in found.split(how.split) if one.strip()]
    if how.map and found is not None:
        return _translated(how.map, found)
    return found


def _address(text: Any) -> bool:
    try:
        return text.__class__ is str and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _translated(known: Mapping[str, Any], found: Any) -> Any:
    text = str(found).lower() if found.__class__ is bool else str(found)
    if text in known:
        return known[text]
    if len(text) == 3 and text.isdigit() and (kind := f"{text[0]}xx") in known:
        return known[kind]
    other = known.get("*")
    return found if other == "*" else other


def _told_text(text: str, source: Any) -> str | None:
    pieces = list(_pieces(text))
    for place in range(1, len(pieces), 2):
        value = first(source, pieces[place])
        if value is None:
            return None
        pieces[place] = str(value)
    return "".join(pieces)


@functools.lru_cache(maxsize=4_096)
def _pieces(text: str) -> tuple[str, ...]:
    """What stands between the paths of a text, and the paths, in turn."""
    return tuple(_PLACES.split(text))


def _time(how: Value, part: Object, found: Any) -> Any:
    given = found
    if how.utc and found.__class__ is str and found[-6:-5] not in ("+", "-") and "-" in found:
        found = found.removesuffix("Z") + "Z"
    when = time_us(found, how.unit)
    if when is None and how.utc and found.__class__ is str:
        when = ctime_us(found)
    if when is None:
        # What cannot be read is kept beside the other attributes.
        return given
    if how.plus is None:
        return when
    more = first(part, how.plus)
    try:
        return when + int(float(more) * UNITS_US[how.plus_unit])
    except (TypeError, ValueError, OverflowError):
        return when
