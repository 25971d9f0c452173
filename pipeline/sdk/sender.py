"""The thread that sends: everything slow or uncertain happens here, never in the agent's own
threads.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from tachograph.pipeline.sdk.buffer import Buffer, Kind, Queued
from tachograph.pipeline.sdk.transport import Outcome, Transport, runs

log = logging.getLogger("tachograph.sdk")

BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 524_288
IDLE_S: Final = 1.0
LINGER_S: Final = 0.02
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 5.0
LONGEST_ASKED_S: Final = 60.0
# For the thread to count what it gives up at the deadline.
GRACE_S: Final = 0.5


class Sender:
    """Empties a buffer into a transport, in order, trying again for as long as it is not closed."""

    def __init__(self, buffer: Buffer, transport: Transport) -> None:
        self._buffer, self._transport = buffer, transport
        self._closing = threading.Event()
        self._give_up_at_s = float("inf")
        self._told: str | None = None
        self.retries = 0
        self._thread = threading.Thread(target=self._run, name="tachograph-sender", daemon=True)
        self._thread.start()

    def close(self, deadline_s: float) -> None:
        """Send what is left until the deadline, then stop. What is still there counts as
        dropped.
        """
        self._give_up_at_s = time.monotonic() + deadline_s
        self._buffer.close()
        self._closing.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(deadline_s + GRACE_S)

    def _run(self) -> None:
        while waiting := self._buffer.wait(IDLE_S) or not self._closing.is_set():
            if waiting < BATCH_RECORDS:
                # A moment for neighbours to come: one request for many is cheaper for everyone.
                self._closing.wait(LINGER_S)
            self._deliver(self._buffer.take(BATCH_RECORDS, BATCH_BYTES))
        self._transport.close()

    def _deliver(self, batch: Sequence[Queued]) -> None:
        for kind, run in runs(batch):
            pending: Sequence[Queued] = run
            wait_s = FIRST_WAIT_S
            while pending:
                outcome = self._tried(kind, pending)
                self._buffer.settle(sent=outcome.sent, refused=outcome.refused)
                self._tell(outcome)
                pending = outcome.again
                if pending and not self._wait(outcome.wait_s, wait_s):
                    self._buffer.settle(dropped=len(pending))
                    break
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _tried(self, kind: Kind, pending: Sequence[Queued]) -> Outcome:
        try:
            return self._transport.send(kind, pending)
        except Exception as error:  # noqa: BLE001 - the thread must live; what it could not send is counted
            # Its kind only: the text of an error that nobody expected may quote a record.
            return Outcome(0, len(pending), problem=type(error).__name__)

    def _wait(self, asked_s: float | None, own_s: float) -> bool:
        """Wait before the next try. False: the deadline of `close` has passed."""
        self.retries += 1
        wait_s = own_s if asked_s is None else min(asked_s, LONGEST_ASKED_S)
        began_s = time.monotonic()
        if not self._closing.wait(wait_s):
            return True
        # Closing: no longer than until the deadline, and no busy loop before it.
        left_s = self._give_up_at_s - time.monotonic()
        rest_s = wait_s - (time.monotonic() - began_s)
        time.sleep(max(0.0, min(rest_s, left_s)))
        return time.monotonic() < self._give_up_at_s

    def _tell(self, outcome: Outcome) -> None:
        """Say once that sending is in trouble, and once that it is well again."""
        kind = (outcome.problem or "").partition(":")[0] or None
        if kind == self._told:
            return
        self._told = kind
        if outcome.problem:
            log.warning("records wait or were refused: %s", outcome.problem)
        else:
            log.info("records are sent again")
