"""A plugin of pytest: a test that ends its worker has failed, and only that test.

The timeout ends the worker of a test that hangs. xdist tells which test that was, and then gives it
to the next worker, which it ends as well, until none is left and the run stands still.
"""

import os
from hashlib import sha256
from pathlib import Path

import pytest

SHARED_FOLDER = "TACHO_TEST_SHARED"
# A file there, as old as the run.
BEGAN = "began"


def _mark(nodeid: str) -> Path:
    """A file that is there while the test runs, and after it ended its worker."""
    return Path(os.environ[SHARED_FOLDER]) / f"running-{sha256(nodeid.encode()).hexdigest()}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """See above: in the next worker it fails at once."""
    try:
        _mark(item.nodeid).touch(exist_ok=False)
    except FileExistsError:
        pytest.fail("it ended its worker before", pytrace=False)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish(nodeid: str) -> None:
    """It ended, and its worker did not."""
    _mark(nodeid).unlink(missing_ok=True)
