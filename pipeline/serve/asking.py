"""ClickHouse asked from the event loop: on threads, a few questions at once, some waiting, no more.

A caller with a tenant is shown its own rows alone: what a question reads is narrowed to them before
anything else is done with it.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.log import get
from tachograph.pipeline.query.reader import Reader, Values
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.settings import ClickHouseSettings

log = get("serve.asking")

# Questions at once: each is a thread and a connection.
AT_ONCE: Final = 2
# More wait; beyond them a client is told to come back.
WAITING: Final = 16
RETRY_AFTER_S: Final = 2.0

Answer = TypeVar("Answer")
# Our questions name tables so, and nothing else.
_TABLE: Final = re.compile(r"\btacho\.(\w+)")
_OWN: Final = r"(SELECT * FROM tacho.\1 WHERE tenant = {own_tenant:String})"


class TenantReader(Reader):
    """A reader that sees one tenant's rows, or all. Used by one thread."""

    tenant: str | None = None

    def stream(self, sql: str, values: Values, form: str) -> Iterator[bytes]:
        """As a reader does."""
        if self.tenant is not None:
            sql, values = _TABLE.sub(_OWN, sql), {**values, "own_tenant": self.tenant}
        return super().stream(sql, values, form)


class Asking:
    """Questions to ClickHouse. Made and used on the event loop."""

    def __init__(
        self, settings: ClickHouseSettings, *, at_once: int = AT_ONCE, waiting: int = WAITING
    ) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(at_once)
        self._waiting, self._most = 0, waiting
        self._idle: list[TenantReader] = []

    async def ask(self, tenant: str | None, question: Callable[[Reader], Answer]) -> Answer:
        """What the question makes of a reader of the tenant's rows (None: all). Raises
        RequestError: its own, or 503.
        """
        if self._waiting >= self._most:
            raise RequestError(503, "too many questions at once", retry_after_s=RETRY_AFTER_S)
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(self._answer, tenant, question)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let ClickHouse go."""
        while self._idle:
            self._idle.pop().close()

    def _answer(self, tenant: str | None, question: Callable[[Reader], Answer]) -> Answer:
        try:
            # A list's pop and append are atomic: two threads never get the same reader.
            reader = self._idle.pop() if self._idle else TenantReader(self._settings)
            reader.tenant = tenant
            try:
                found = question(reader)
            except BaseException:
                reader.close()
                raise
        except (RetryLater, Refused, ConfigError) as error:
            # The server's words may quote data: they are for our log, cut short, not for a client.
            log.warning("clickhouse", error=type(error).__name__)
            raise RequestError(
                503, "ClickHouse does not answer", retry_after_s=RETRY_AFTER_S
            ) from error
        self._idle.append(reader)
        return found
