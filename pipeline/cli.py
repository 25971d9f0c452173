"""`tacho`: the way in.

A stage, and a plain scan, go by a short way: to make every verb, with its options and their help,
takes longer than many a file takes to be judged.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tachograph.detectors.collector import loading
from tachograph.pipeline.errors import TachoError

# Stages that are a verb without options (see `verbs`).
STAGES = ("normalize", "detect", "triage", "store", "notarize")
# What a shell asks for completions by.
COMPLETE = "_TACHO_COMPLETE"
ENDED_BY_HAND = 130

Run = Callable[[], int]


def main() -> None:
    """Entry point: our errors are one line that says what to do, and exit code 2."""
    try:
        run = None if COMPLETE in os.environ else _short_way(sys.argv[1:])
        if run is not None:
            raise SystemExit(_as_typer_ends(run))
        with loading():
            from tachograph.pipeline.verbs import app
        app()
    except TachoError as error:
        sys.stderr.write(f"tacho: {error}\n")
        raise SystemExit(2) from None


def _short_way(words: Sequence[str]) -> Run | None:
    """What to run; None where all verbs are needed to tell."""
    if len(words) == 1 and words[0] in STAGES:
        return lambda: _stage(words[0])
    if words[:1] == ["scan"]:
        from tachograph.pipeline.scan.plain_words import options_of

        asked = options_of(words[1:], os.environ)
        return None if asked is None else lambda: _scan(asked)
    return None


def _stage(name: str) -> int:
    with loading():
        from tachograph.pipeline.runner import run_stage
    run_stage(name)
    return 0


def _scan(asked: dict[str, Any]) -> int:
    with loading():
        from tachograph.pipeline.scan.command import Options, run_scan
    return run_scan(Options(**asked).sorted_out())


def _as_typer_ends(run: Run) -> int:
    """The exit code; of an interrupt, and where the reader went away, that of other verbs."""
    try:
        return run()
    except KeyboardInterrupt:
        return ENDED_BY_HAND
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        # What is still in our buffers is for nobody.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    main()
