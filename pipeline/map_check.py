"""Formats of other systems listed, and an operator's mapping file tried on samples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.foreign import undumped
from tachograph.pipeline.normalize.formats.decoder import Told
from tachograph.pipeline.normalize.formats.mapping import BadMapping, Mapped, load
from tachograph.pipeline.normalize.formats.reading import Context
from tachograph.pipeline.normalize.formats.registry import shipped
from tachograph.pipeline.normalize.rows import frame
from tachograph.pipeline.scan.inputs import as_lines, chunks

MAX_SHOWN: Final = 20
# Without these a rule on agents can hardly say whom it is about.
_WANTED: Final = ("agent_id", "session_id", "principal_id", "outcome")


def listed(*, as_json: bool) -> str:
    """The formats that ship: name, what writes it, how to point it here."""
    every = sorted(shipped().values(), key=lambda one: one.name)
    if as_json:
        rows = [{"name": one.name, "title": one.title, "about": one.about} for one in every]
        return msgspec.json.format(msgspec.json.encode(rows)).decode()
    return "\n".join(f"{one.name:20} {one.title}\n{'':20} {one.about}" for one in every)


def check(mapping: Path, samples: list[Path], out: TextIO) -> bool:
    """Show what a mapping makes of its own samples and of these files; whether all is well.
    Raises ConfigError when the mapping cannot be used.
    """
    try:
        made = Mapped(load(mapping))
    except BadMapping as error:
        raise ConfigError(str(error)) from error
    good = True
    for problem in _own_samples(made):
        good = False
        out.write(f"{mapping}: {problem}\n")
    for path in samples:
        good &= _tried(made, path, out)
    out.write(f"{mapping}: {len(made.samples)} samples of its own, {len(samples)} files\n")
    return good


def _own_samples(made: Mapped) -> Iterator[str]:
    for number, sample in enumerate(made.samples):
        told = [one.row for part in made.read(sample.objects, Context(0)).told for one in part]
        if len(told) != len(sample.gives):
            yield f"samples[{number}]: gives {len(told)} actions, not {len(sample.gives)}"
        for row, wanted in zip(told, sample.gives, strict=False):
            for name, value in wanted.items():
                if row.get(name) != value:
                    yield f"samples[{number}].{name}: is {row.get(name)!r}, not {value!r}"


def _tried(made: Mapped, path: Path, out: TextIO) -> bool:
    good, shown = True, 0
    for chunk in chunks(path):
        whole = as_lines(chunk)
        for number, line in enumerate(whole.lines, whole.first):
            if not line.strip() or shown >= MAX_SHOWN:
                continue
            shown += 1
            good &= _line(made, f"{path}, item {number}", line, out)
    return good


def _line(made: Mapped, place: str, line: bytes, out: TextIO) -> bool:
    try:
        item = undumped(msgspec.json.decode(line))
    except (msgspec.DecodeError, RecursionError) as error:
        out.write(f"{place}: no JSON: {error}\n")
        return False
    if item.__class__ is not dict:
        out.write(f"{place}: no JSON object\n")
        return False
    if made.choosy and not made.recognises(item):
        out.write(f"{place}: not recognised, see `recognise`; read all the same\n")
    [told] = made.read([item], Context()).told
    if not told:
        out.write(f"{place}: no action: nothing of `when` holds\n")
        return False
    good = True
    for one in told:
        good &= _action(one, place, out)
    return good


def _action(told: Told, place: str, out: TextIO) -> bool:
    made, faults = frame([told.row])
    row = {name: value for name, value in made.to_dicts()[0].items() if value is not None}
    out.write(msgspec.json.encode(row).decode() + "\n")
    problems = [str(problem) for problem in faults.values()]
    problems += [f"{name}: nothing" for name in ("kind", "event_time") if name not in row]
    out.writelines(f"{place}: {problem}\n" for problem in problems)
    empty = [name for name in _WANTED if name not in row]
    if empty:
        out.write(f"{place}: without {', '.join(empty)}\n")
    return not problems
