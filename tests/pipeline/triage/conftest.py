"""What a test of triage leaves behind when it fails must not take the machine from the others."""

from collections.abc import Iterator

import pytest

from tests.pipeline.triage import kafka


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    while kafka.Process.left:
        kafka.Process.left.pop().kill()
