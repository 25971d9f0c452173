"""`tacho rules check`: what is wrong in rule files, for a person or a program."""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from tachograph.detectors.language.lint import Linted, lint
from tachograph.pipeline.rules.loading import LOGS, Sources, counted


def run_check(paths: Sequence[Path], sources: Sources, *, as_json: bool, sink: TextIO) -> int:
    """Print every problem of the rules of these paths; the exit code. Raises ConfigError for what
    `sources` names beside rules.
    """
    found = lint(sources.look(paths), LOGS)
    sink.write(_json(found) if as_json else _text(found))
    return 1 if found.errors else 0


def _text(found: Linted) -> str:
    hints = len(found.remarks) - found.errors
    counts = ((found.rules, "rule"), (found.errors, "error"), (hints, "hint"))
    summary = ", ".join(counted(count, what) for count, what in counts)
    return "\n".join([*map(str, found.remarks), summary, ""])


def _json(found: Linted) -> str:
    told = {
        "rules": found.rules,
        "errors": found.errors,
        "hints": len(found.remarks) - found.errors,
        "problems": found.remarks,
    }
    return msgspec.json.encode(told).decode() + "\n"
