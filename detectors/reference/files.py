"""Reference files: YAML with entries by table, CSV with one table a file, STIX bundles.

The name of a CSV or text file says its table (`agents.csv`), and in a folder `lists` the name of a
list. Every problem is found before any is told.
"""

import csv
import io
import typing
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from tachograph.detectors.language.documents import Problem
from tachograph.detectors.reference import stix
from tachograph.detectors.reference.canaries import MIN_CHARS
from tachograph.detectors.reference.entries import (
    MAX_LIST_VALUES,
    TABLES,
    Canary,
    Content,
    Entry,
    Indicator,
    Names,
)

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILES = 1_000
SUFFIXES = frozenset({".yml", ".yaml", ".csv", ".json", ".txt"})
# A day given for one of these still counts itself.
_ENDS = frozenset({"expires", "valid_until", "trained_until"})
_TIMES = _ENDS | {"valid_from", "left"}
# Between the elements of a list in a CSV cell; a lone dash is an empty list.
_CELL = ";"


class Found(msgspec.Struct):
    """What the files hold, and what is wrong with them."""

    entries: dict[str, list[Entry]] = msgspec.field(
        default_factory=lambda: {name: [] for name in TABLES}
    )
    lists: dict[str, Names] = msgspec.field(default_factory=dict)
    problems: list[Problem] = msgspec.field(default_factory=list)
    # Not honoured, but no fault of the operator's: indicators that are no list entries.
    notes: list[Problem] = msgspec.field(default_factory=list)
    # Where each entry stands, by table, tenant and name.
    places: dict[tuple[str, ...], str] = msgspec.field(default_factory=dict)

    def content(self) -> Content:
        """The entries as one content."""
        return Content(**self.entries, lists=self.lists)  # type: ignore[arg-type]

    def wrong(self, file: str, line: int, reason: str) -> None:
        """A problem at a place."""
        self.problems.append(Problem(file, line, reason))

    def take(self, table: str, raw: Mapping[str, Any], place: tuple[str, int], **how: Any) -> None:
        """One entry as it was read."""
        known, entries = TABLES[table], self.entries[table]
        try:
            entry = msgspec.convert(_timed(raw), known.entry, **how)
            _check(entry)
        except (msgspec.ValidationError, ValueError) as error:
            self.wrong(*place, f"{table}: {error}")
            return
        key = key_of(table, entry)
        if key in self.places:
            named = "/".join(part for part in key[2:] if part)
            self.wrong(*place, f"{table}: {named} is already at {self.places[key]}")
        elif len(entries) >= known.limit:
            self.wrong(*place, f"{table}: more than {known.limit} entries")
        else:
            self.places[key] = f"{place[0]}:{place[1]}"
            entries.append(entry)

    def list_of(self, name: str, values: Any, place: tuple[str, int]) -> None:
        """A named list of texts."""
        try:
            texts = msgspec.convert(values, Names, strict=False)
        except msgspec.ValidationError as error:
            self.wrong(*place, f"list {name}: {error}")
            return
        if name in self.lists:
            self.wrong(*place, f"list {name} is given twice")
        elif len(texts) > MAX_LIST_VALUES:
            self.wrong(*place, f"list {name}: more than {MAX_LIST_VALUES} values")
        else:
            self.lists[name] = texts


def key_of(table: str, entry: Entry) -> tuple[str, ...]:
    """What names an entry."""
    fields = (entry.tenant, *(getattr(entry, name) for name in TABLES[table].key))
    return table, *("" if field is None else str(field).lower() for field in fields)


def read(paths: Sequence[Path]) -> Found:
    """All entries of files and folders, in a fixed order."""
    found = Found()
    for root in paths:
        files = sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        if not root.exists():
            found.wrong(str(root), 0, "no such file or folder")
        elif len(files) > MAX_FILES:
            found.wrong(str(root), 0, f"more than {MAX_FILES} files")
        else:
            for path in files if root.is_dir() else [root]:
                _file(path, found)
    return found


def of_mapping(data: Mapping[str, Any]) -> Found:
    """The entries of a mapping of tables, as a YAML file holds it."""
    found = Found()
    for table, value in data.items():
        lines = [0] * len(value) if isinstance(value, list) else []
        _table(str(table), value, ("", 0), lines, found)
    return found


def _file(path: Path, found: Found) -> None:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            found.wrong(str(path), 0, f"larger than {MAX_FILE_BYTES} bytes")
            return
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found.wrong(str(path), 0, f"cannot be read: {error}")
        return
    listed = path.parent.name == "lists"
    if path.suffix in (".yml", ".yaml"):
        _yaml(text, str(path), found)
    elif path.suffix == ".json":
        _json(text, path, found)
    elif listed or path.suffix == ".txt":
        found.list_of(path.stem, _lines(text), (str(path), 0))
    else:
        _csv(text, path, found)


def _lines(text: str) -> list[str]:
    """Values of a list, one a line; empty lines and comments left out."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _yaml(text: str, file: str, found: Found) -> None:
    # These take long to load, and most scans read no such file.
    import yaml
    from sigma.exceptions import SigmaError
    from sigma.rule.base import SigmaYAMLLoader, check_alias_expansion

    try:
        loader = SigmaYAMLLoader(text)
        try:
            node = loader.get_single_node()
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
        check_alias_expansion(data)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        found.wrong(file, line, f"no valid YAML: {error.problem}")
        return
    except (yaml.YAMLError, SigmaError, ValueError, RecursionError) as error:
        found.wrong(file, 0, f"no valid YAML: {error}")
        return
    if data is None:
        return
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        found.wrong(file, 1, f"a mapping of tables is expected: {', '.join((*TABLES, 'lists'))}")
        return
    for key, inner in node.value:
        items = inner.value if isinstance(inner, yaml.SequenceNode) else []
        lines = [item.start_mark.line + 1 for item in items]
        _table(key.value, data.get(key.value), (file, key.start_mark.line + 1), lines, found)


def _table(
    name: str, value: Any, place: tuple[str, int], lines: Sequence[int], found: Found
) -> None:
    if name == "lists" and isinstance(value, dict):
        for each, values in value.items():
            found.list_of(str(each), values, place)
    elif name not in TABLES:
        found.wrong(*place, f"no table of a reference: {name}")
    elif not isinstance(value, list):
        found.wrong(*place, f"{name}: a list of entries is expected")
    else:
        for item, line in zip(value, lines, strict=True):
            if isinstance(item, dict):
                found.take(name, item, (place[0], line))
            else:
                found.wrong(place[0], line, f"{name}: an entry is a mapping of names to values")


def _csv(text: str, path: Path, found: Found) -> None:
    table = path.stem if path.parent.name != "indicators" else "indicators"
    if table not in TABLES:
        found.wrong(str(path), 0, f"no table of a reference: {table}")
        return
    kinds = typing.get_type_hints(TABLES[table].entry)
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        for row in reader:
            place = (str(path), reader.line_num)
            if None in row or None in row.values():
                found.wrong(*place, f"{table}: a row has {len(reader.fieldnames or ())} cells")
                continue
            cells = {name: _cell(cell, kinds.get(name)) for name, cell in row.items() if cell}
            if table == "indicators":
                cells.setdefault("list", path.stem)
            found.take(table, cells, place, strict=False)
    except csv.Error as error:
        found.wrong(str(path), reader.line_num, f"no valid CSV: {error}")


def _cell(text: str, kind: Any) -> Any:
    names = kind in (Names, Names | None)
    if not names:
        return text.strip()
    return [] if text.strip() == "-" else [part.strip() for part in text.split(_CELL)]


def _json(text: str, path: Path, found: Found) -> None:
    try:
        data = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        found.wrong(str(path), 0, f"no valid JSON: {error}")
        return
    if not isinstance(data, dict) or data.get("type") != "bundle":
        found.wrong(str(path), 0, "no STIX bundle")
        return
    for each in stix.indicators(data, path.stem):
        if isinstance(each, stix.LeftOut):
            found.notes.append(Problem(str(path), 0, f"left out: {each}"))
        elif key_of("indicators", each) not in found.places:  # feeds repeat themselves
            raw = {name: value for name, value in msgspec.structs.asdict(each).items() if value}
            found.take("indicators", raw, (str(path), 0))


def _timed(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _moment(value, end=name in _ENDS) if name in _TIMES else value
        for name, value in raw.items()
    }


def _moment(value: Any, *, end: bool) -> Any:
    """A time in UTC; a day is its first moment, or the moment after its last."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) <= 10 else datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no date or time (RFC 3339)") from error
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        start = datetime(value.year, value.month, value.day, tzinfo=UTC)
        return start + timedelta(days=1) if end else start
    return value


def _check(entry: Entry) -> None:
    """What types do not say. Raises ValueError."""
    if isinstance(entry, Canary):
        short = [value for value in entry.values if len(value) < MIN_CHARS]
        if short or not entry.values:
            raise ValueError(f"a canary has texts of at least {MIN_CHARS} characters")
    if isinstance(entry, Indicator) and entry.type == "ip":
        ip_network(entry.value.strip(), strict=False)
    empty = [name for name in _KEYS[type(entry)] if getattr(entry, name) == ""]
    if empty:
        raise ValueError(f"{empty[0]} is empty")


_KEYS = {table.entry: table.key for table in TABLES.values()}
