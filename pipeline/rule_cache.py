"""Sets of rules compiled once: kept under TACHO_HOME by the content of their files.

A set that is not there, or not readable, is compiled: what is kept here only saves time.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tachograph.detectors.language import stored
from tachograph.detectors.language.bundle import Bundle
from tachograph.detectors.language.compiled import BUILTIN, RuleSet
from tachograph.detectors.language.documents import Unreadable, files_of
from tachograph.detectors.language.fields import ACTIONS, FieldMap
from tachograph.detectors.matching import factors
from tachograph.detectors.reference.reference import Reference
from tachograph.pipeline.log import get

# Fewer files are compiled sooner than they are worth a file of their own. The shipped pack is more.
MANY_FILES = 20
MAX_KEPT = 16
_CODE = (Path(stored.__file__).parent, Path(factors.__file__).parent)

log = get("rules")


def load_kept(
    paths: Sequence[Path], *, builtin: bool, fields: FieldMap, reference: Reference, home: Path
) -> RuleSet:
    """As `load` without strictness, which it calls where it must."""
    roots = [*paths, *([BUILTIN] if builtin else [])]
    name = _name(roots, f"{fields.name} {builtin} {reference.version}")
    how = {"builtin": builtin, "fields": fields, "reference": reference, "strict": False}
    compiled = partial(_load, paths, **how)
    return compiled() if name is None else _kept(home, name, fields, reference, compiled)


def compile_kept(bundle: Bundle, *, reference: Reference, home: Path) -> RuleSet:
    """As `bundle.compile`, which it calls where it must. Raises RuleErrors."""
    compiled = partial(bundle.compile, reference=reference)
    if len(bundle.rules) < MANY_FILES:
        return compiled()
    try:
        digest = _digest(f"bundle {bundle.version} {reference.version}", _code())
    except OSError:
        return compiled()
    return _kept(home, digest, ACTIONS, reference, compiled)


def _kept(
    home: Path,
    name: str,
    fields: FieldMap,
    reference: Reference,
    compiled: Callable[[], RuleSet],
) -> RuleSet:
    place = home / "cache" / f"rules-{name}.bin"
    with contextlib.suppress(OSError, ValueError):
        return stored.decode(place.read_bytes(), fields, reference)
    rules = compiled()
    with contextlib.suppress(ValueError):
        _keep(place, stored.encode(rules))
    return rules


def _load(paths: Sequence[Path], **how: Any) -> RuleSet:
    # What compiles rules takes as long to load as many a scan takes.
    from tachograph.detectors.language.ruleset import load

    return load(paths, **how)


def _name(roots: Iterable[Path], asked: str) -> str | None:
    """What the compiled rules depend on: these files, the code that compiles, pySigma's version.
    None: not to be kept, being few, or because something cannot be read, which compiling tells.
    """
    try:
        files = [file for root in roots for file in files_of(root)]
        return _digest(asked, [*files, *_code()]) if len(files) >= MANY_FILES else None
    except (Unreadable, OSError):
        return None


def _code() -> list[Path]:
    """What compiles rules."""
    return [file for folder in _CODE for file in sorted(folder.glob("*.py"))]


def _digest(asked: str, files: Iterable[Path]) -> str:
    digest = hashlib.blake2b(f"{asked} {parser()}".encode(), digest_size=16)
    for file in files:
        content = file.read_bytes()
        digest.update(f"\0{file}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def parser() -> str:
    """Which pySigma is installed, by the name of the folder that says so: to ask for the version
    takes as long as to read all rules.
    """
    found = find_spec("sigma")
    places = () if found is None else found.submodule_search_locations or ()
    beside = (p.name for place in places for p in Path(place).parent.glob("*.dist-info"))
    return " ".join(sorted(name for name in beside if name.lower().startswith("pysigma-")))


def _keep(place: Path, content: bytes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        begun = place.with_suffix(f".{os.getpid()}")
        begun.write_bytes(content)
        begun.replace(place)
        kept = sorted(place.parent.glob("rules-*.bin"), key=lambda file: file.stat().st_mtime)
        for old in kept[:-MAX_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.debug("compiled rules are not kept", reason=error.strerror)
