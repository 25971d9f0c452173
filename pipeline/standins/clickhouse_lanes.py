"""Threads for one kind of client, with a queue that has an end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError

T = TypeVar("T")


class Lane:
    """`threads` statements at a time, `queued` more that wait at most `timeout_s`."""

    def __init__(self, name: str, threads: int, queued: int, timeout_s: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"clickhouse-{name}")
        self._slots = asyncio.Semaphore(threads)
        self._threads = threads
        self._room = threads + queued
        self._timeout_s = timeout_s
        self._inside = 0

    @contextlib.asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Wait for a thread. Raises ClickHouseError 202 if too many wait, or if it takes long."""
        if self._inside >= self._room:
            raise self._refusal()
        self._inside += 1
        try:
            try:
                await asyncio.wait_for(self._slots.acquire(), self._timeout_s)
            except TimeoutError:
                raise self._refusal() from None
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._inside -= 1

    def _refusal(self) -> ClickHouseError:
        text = f"Too many simultaneous queries. Maximum: {self._threads}."
        return ClickHouseError(errors.TOO_MANY_SIMULTANEOUS_QUERIES, text)

    async def run(self, work: Callable[[], T]) -> T:
        """Run on one of the threads. Cancelling the caller does not stop the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Wait for the running statements and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
