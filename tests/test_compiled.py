"""The run itself: what one worker has compiled is not compiled again."""

import sys
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

from tests import compiled


@pytest.mark.parametrize("workers", [1, 3, 4])
def test_every_file_is_one_workers_and_one_that_comes_later_has_none(workers: int) -> None:
    files = [Path(f"test_{number}.py") for number in range(10)]
    shares = [compiled.share(files, number, workers) for number in range(workers + 1)]
    assert sorted(path for part in shares for path in part) == files
    assert not shares[-1]


def test_files_are_those_of_tests_below_the_folders_that_are_asked_for(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for path in (tmp_path / "test_a.py", tmp_path / "made.py", inner / "test_b.py"):
        path.touch()
    asked = [str(inner), str(tmp_path), str(tmp_path / "test_a.py::test_it")]
    assert compiled.files_below(asked) == [inner / "test_b.py", tmp_path / "test_a.py"]


def test_pytest_finds_what_was_compiled_and_compiles_anew_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", None)
    path = tmp_path / "test_it.py"
    kept = tmp_path / "__pycache__" / f"test_it{rewrite.PYC_TAIL}"
    for source in ("def test_it(): assert 1 + 1 == 2", "def test_it(): assert 2 + 2 == 4"):
        path.write_text(source)
        assert rewrite._read_pyc(path, kept) is None
        compiled.keep_compiled(path, pytestconfig)
        found = rewrite._read_pyc(path, kept)
        assert found is not None
        assert "@pytest_ar" in found.co_names, "its asserts are not written anew"
