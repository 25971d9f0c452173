"""`GET /v1/alerts`: alerts that ClickHouse holds, a page at a time, for consoles and scripts."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tachograph.pipeline.serve.alert_pages import Question, alert_of, cursor_of, one, question
from tachograph.pipeline.serve.asking import Asking
from tachograph.pipeline.serve.audit import Audit
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import Gate
from tachograph.schemas.alert import Alert


class Archive:
    """Stored alerts. Made and used on the event loop."""

    def __init__(self, gate: Gate, asking: Asking, audit: Audit) -> None:
        self._gate, self._asking, self._audit = gate, asking, audit

    async def page(self, request: Request) -> Response:
        """GET /v1/alerts: a page, newest first, and where the next one begins."""
        caller = self._gate.admit(request, "watch")
        asked = question(request.query_params, caller.tenant)
        found = await self._ask(asked)
        page = found[: asked.limit]
        await self._audit.note(request, caller, "list", "alerts", [str(request.query_params)])
        more = cursor_of(page[-1]) if len(found) > asked.limit else None
        return _json({"alerts": page, "next": more})

    async def one(self, request: Request) -> Response:
        """GET /v1/alerts/{alert_id}: one alert as it stands now."""
        caller = self._gate.admit(request, "watch")
        found = await self._ask(one(request.path_params["alert_id"], caller.tenant))
        if not found:
            raise RequestError(404, "no such alert; a retracted one is not shown")
        [alert] = found
        await self._audit.note(
            request, caller, "view", "alert", [alert.alert_id], tenant=alert.tenant
        )
        return _json(alert)

    async def _ask(self, asked: Question) -> list[Alert]:
        # The tenant stands in the question already.
        rows = await self._asking.ask(None, lambda reader: reader.rows(asked.sql, asked.values))
        return [alert_of(row) for row in rows]


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
