"""A plugin of pytest: the workers of a run share the work of compiling its tests.

pytest writes its asserts anew in every file of tests, and keeps what comes of it for later runs.
In a clean clone there is nothing to find: each worker would do it for all files, at the same time
as the others. So each first compiles a share of its own, and finds those of the others then.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from _pytest.assertion import rewrite


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """See above."""
    given = getattr(session.config, "workerinput", None)
    if given is None or sys.dont_write_bytecode:
        return
    number = int(given["workerid"].removeprefix("gw"))
    for path in share(files_below(session.config.args), number, given["workercount"]):
        keep_compiled(path, session.config)


def files_below(asked: Sequence[str]) -> list[Path]:
    """Files of tests in the folders that are asked for, in one order for all workers."""
    folders = [path for name in asked if (path := Path(name)).is_dir()]
    return sorted({path.resolve() for folder in folders for path in folder.rglob("test_*.py")})


def share(files: Sequence[Path], number: int, workers: int) -> Sequence[Path]:
    """What one of so many workers compiles. One that took another's place comes after them all, and
    has none.
    """
    return files[number::workers] if number < workers else []


def keep_compiled(path: Path, config: pytest.Config) -> None:
    """Put the compiled file where pytest looks for it, unless it is there."""
    kept = rewrite.get_cache_dir(path) / (path.stem + rewrite.PYC_TAIL)
    if rewrite._read_pyc(path, kept) is not None:
        return
    source_hash, code = rewrite._rewrite_test(path, config)
    if rewrite.try_makedirs(kept.parent):
        rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source_hash, kept)
