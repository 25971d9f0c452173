"""`GET /v1/alerts`: alerts that ClickHouse holds, a page at a time, for consoles and scripts."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.log import get
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.serve.alert_pages import Question, alert_of, cursor_of, one, question
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import Gate
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.schemas.alert import Alert

log = get("serve.archive")

# Questions at once: each is a thread and a connection.
AT_ONCE: Final = 2
# More wait; beyond them a client is told to come back.
WAITING: Final = 16
RETRY_AFTER_S: Final = 2.0

Open = Callable[[], Reader]


class Archive:
    """Stored alerts. Made and used on the event loop; ClickHouse is asked on threads."""

    def __init__(self, gate: Gate, settings: ClickHouseSettings) -> None:
        self._gate, self._settings = gate, settings
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._idle: list[Reader] = []

    async def page(self, request: Request) -> Response:
        """GET /v1/alerts: a page, newest first, and where the next one begins."""
        caller = self._gate.admit(request, "watch")
        asked = question(request.query_params, caller.tenant)
        found = await self._ask(asked)
        page = found[: asked.limit]
        more = cursor_of(page[-1]) if len(found) > asked.limit else None
        return _json({"alerts": page, "next": more})

    async def one(self, request: Request) -> Response:
        """GET /v1/alerts/{alert_id}: one alert as it stands now."""
        caller = self._gate.admit(request, "watch")
        found = await self._ask(one(request.path_params["alert_id"], caller.tenant))
        if not found:
            raise RequestError(404, "no such alert; a retracted one is not shown")
        return _json(found[0])

    def close(self) -> None:
        """Let ClickHouse go."""
        while self._idle:
            self._idle.pop().close()

    async def _ask(self, asked: Question) -> list[Alert]:
        if self._waiting >= WAITING:
            raise RequestError(503, "too many questions at once", retry_after_s=RETRY_AFTER_S)
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(self._answer, asked)
        finally:
            self._waiting -= 1

    def _answer(self, asked: Question) -> list[Alert]:
        try:
            # A list's pop and append are atomic: two threads never get the same reader.
            reader = self._idle.pop() if self._idle else Reader(self._settings)
            try:
                rows = reader.rows(asked.sql, asked.values)
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
        return [alert_of(row) for row in rows]


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
