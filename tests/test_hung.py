"""The run itself: a test that hangs fails by its name, and all others run."""

import os
import subprocess
import sys
from pathlib import Path

from tests.hung import SHARED_FOLDER

ROOT = Path(__file__).resolve().parent.parent
# Each of the five processes would import every other plugin that is installed.
PYTEST = (sys.executable, "-m", "pytest", "-p", "xdist", "-p", "timeout")
HANGS = """
import pytest, time

def test_before(): pass
@pytest.mark.timeout({timeout_s})
def test_that_hangs(): time.sleep(600)
def test_after(): pass
"""


def test_a_test_that_hangs_fails_and_the_run_goes_on(tmp_path: Path) -> None:
    # One after the other: xdist itself stumbles over two workers that end in one moment.
    for name, timeout_s in (("test_one.py", 2), ("test_two.py", 12)):
        (tmp_path / name).write_text(HANGS.format(timeout_s=timeout_s))
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 60\ntimeout_method = thread\n")
    run = subprocess.run(
        [*PYTEST, "-n", "2", "--dist", "loadfile", "-p", "tests.hung", "-q"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            SHARED_FOLDER: str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    said = run.stdout
    for name in ("test_one.py", "test_two.py"):
        assert f"crashed while running '{name}::test_that_hangs'" in said, said
    assert "4 passed" in said, said
    assert run.returncode == 1
