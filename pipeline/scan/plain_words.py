"""The words of a plain `tacho scan`, read without Typer, which loads longer than many a file is
judged.

Only what leaves no doubt; for anything else, help and mistakes among it, there is Typer.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# The options of `scan` by their words, as fields of its Options.
PATHS = {"--tuning": "tuning", "--model": "model", "--out": "out", "-o": "out"}
LISTS = {
    "--rules": "rules",
    "--pipeline": "pipelines",
    "--reference": "reference",
    "--mapping": "mappings",
}
TEXTS = {
    "--format": "format",
    "--format-out": "format_out",
    "--fail-on": "fail_on",
    "--time-field": "time_field",
}
SWITCHES = {"--builtin": ("builtin", True), "--no-builtin": ("builtin", False)}
# Options that may be set so, too.
VARIABLES = ("TACHO_MAPPINGS", "TACHO_TUNING", "TACHO_PIPELINES")

_VALUED = {**PATHS, **LISTS, **TEXTS}


def options_of(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Fields of the scan's Options; None where Typer has to look."""
    if any(environment.get(name) for name in VARIABLES):
        return None
    found: dict[str, Any] = {}
    files: list[Path] = []
    rest = iter(words)
    for word in rest:
        if word in SWITCHES:
            name, value = SWITCHES[word]
            found[name] = value
        elif word in _VALUED:
            said = next(rest, "")
            if not said or said.startswith("-") or not _noted(found, word, said):
                return None
        elif word.startswith("-") and word != "-":
            return None
        else:
            files.append(Path(word))
    return {**found, "files": files} if files else None


def _noted(found: dict[str, Any], word: str, said: str) -> bool:
    """Whether there was room for what an option says."""
    name = _VALUED[word]
    if word in LISTS:
        found[name] = [*found.get(name, []), Path(said)]
        return True
    if name in found:
        return False
    found[name] = said if word in TEXTS else Path(said)
    return True
