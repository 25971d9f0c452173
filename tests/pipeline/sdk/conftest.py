"""Transports under the test's control: real parts of the seam, no mocks."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.sdk import Recorder
from tachograph.pipeline.sdk.buffer import Kind, Queued
from tachograph.pipeline.sdk.transport import Outcome
from tests.waiting import WAIT_S


class Memory:
    """Keeps what it is sent. Each answer may be decided by `answers`, oldest first."""

    def __init__(self, *answers: Callable[[Sequence[Queued]], Outcome]) -> None:
        self.answers = list(answers)
        self.tries: list[list[bytes]] = []
        self.kept: list[dict[str, Any]] = []
        self.closed = False

    def send(self, kind: Kind, records: Sequence[Queued]) -> Outcome:
        self.tries.append([record.payload for record in records])
        outcome = self.answers.pop(0)(records) if self.answers else Outcome(len(records))
        lost = {record.payload for record in outcome.again}
        self.kept += [
            msgspec.json.decode(record.payload)
            for record in records[: outcome.sent or None]
            if record.payload not in lost and outcome.sent
        ]
        return outcome

    def close(self) -> None:
        self.closed = True

    def abandon(self) -> None: ...


class Stuck(Memory):
    """Does not come back from a send until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.let_go = threading.Event(), threading.Event()

    def send(self, kind: Kind, records: Sequence[Queued]) -> Outcome:
        self.entered.set()
        assert self.let_go.wait(WAIT_S)
        return super().send(kind, records)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    transport = Stuck()
    yield transport
    transport.let_go.set()


@pytest.fixture
def make() -> Iterator[Callable[..., Recorder]]:
    """Make recorders that are closed when the test ends."""
    made: list[Recorder] = []

    def recorder(transport: Any = None, **options: Any) -> Recorder:
        made.append(Recorder(options.pop("agent_id", "a-1"), transport=transport, **options))
        return made[-1]

    yield recorder
    for one in made:
        one.close(0.0)
