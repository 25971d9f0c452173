"""`/v1/alerts`, `/v1/incidents`: what ClickHouse holds, a page at a time, and what people say about
it, for consoles and scripts.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tachograph.pipeline.investigate.dispositions import MAX_ALERTS
from tachograph.pipeline.serve import alert_pages
from tachograph.pipeline.serve.asking import Asking
from tachograph.pipeline.serve.audit import Audit
from tachograph.pipeline.serve.console.entrance import same_site
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import Gate
from tachograph.pipeline.serve.listing import ID, Question, question
from tachograph.pipeline.serve.saying import Saying
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import Disposition, Incident

JSON: Final = "application/json"
MAX_BODY_BYTES: Final = 65_536
_AlertId = Annotated[str, msgspec.Meta(pattern=ID)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]

Found = TypeVar("Found", Alert, Incident, Disposition)


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody says of one alert."""

    action: str
    disposition: str | msgspec.UnsetType = msgspec.UNSET
    assignee: _Text | msgspec.UnsetType = msgspec.UNSET
    note: _Text | msgspec.UnsetType = msgspec.UNSET


class Words(Word, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody says of several alerts."""

    alert_ids: Annotated[list[_AlertId], msgspec.Meta(min_length=1, max_length=MAX_ALERTS)]


class Archive:
    """Stored alerts and incidents. Made and used on the event loop."""

    def __init__(self, gate: Gate, asking: Asking, audit: Audit, saying: Saying) -> None:
        self._gate, self._asking, self._audit, self._saying = gate, asking, audit, saying

    async def page(self, request: Request) -> Response:
        """GET /v1/alerts: a page, newest first, and where the next one begins."""
        caller = self._gate.admit(request, "watch")
        asked = question(alert_pages.ALERTS, request.query_params, caller.tenant)
        found = await self._ask(asked, alert_pages.alert_of)
        page = found[: asked.limit]
        await self._audit.note(request, caller, "list", "alerts", [str(request.query_params)])
        more = alert_pages.cursor_of(page[-1]) if len(found) > asked.limit else None
        return _json({"alerts": page, "next": more})

    async def one(self, request: Request) -> Response:
        """GET /v1/alerts/{alert_id}: one alert as it stands now."""
        return _json(await self._alert(request))

    async def words(self, request: Request) -> Response:
        """GET /v1/alerts/{alert_id}/dispositions: what people said of it, the newest first; POST:
        close, reopen, acknowledge, assign or note.
        """
        if request.method == "POST":
            return await self._say(request, Word, lambda _: [request.path_params["alert_id"]])
        alert = await self._alert(request)
        found = await self._ask(alert_pages.words(alert), alert_pages.word_of)
        return _json({"dispositions": found})

    async def incidents(self, request: Request) -> Response:
        """GET /v1/incidents: a page, newest first, and where the next one begins."""
        caller = self._gate.admit(request, "watch")
        asked = question(alert_pages.INCIDENTS, request.query_params, caller.tenant)
        found = await self._ask(asked, alert_pages.incident_of)
        page = found[: asked.limit]
        await self._audit.note(request, caller, "list", "incidents", [str(request.query_params)])
        more = alert_pages.cursor_after(page[-1]) if len(found) > asked.limit else None
        return _json({"incidents": page, "next": more})

    async def incident(self, request: Request) -> Response:
        """GET /v1/incidents/{incident_id}: one incident, by its id or that of an alert of it."""
        caller = self._gate.admit(request, "watch")
        name = request.path_params["incident_id"]
        asked = alert_pages.one_incident(name, caller.tenant)
        found = await self._ask(asked, alert_pages.incident_of)
        if not found:
            raise RequestError(404, "no incident of that id, nor an alert of one")
        [incident] = found
        await self._audit.note(
            request, caller, "view", "incident", [incident.incident_id], tenant=incident.tenant
        )
        return _json(incident)

    async def say_of_several(self, request: Request) -> Response:
        """POST /v1/dispositions: one word on several alerts."""
        return await self._say(request, Words, lambda words: words.alert_ids)

    async def _say(
        self, request: Request, kind: type[Word], alerts: Callable[[Any], list[str]]
    ) -> Response:
        caller = self._gate.admit(request, "analyst")
        # Where nobody has to say who they are, a page in somebody's browser could say it for them.
        same_site(request)
        word = await _posted(request, kind)
        said = msgspec.to_builtins(word)
        records = await self._saying.say(request, caller, list(dict.fromkeys(alerts(word))), said)
        stored = await self._saying.shown(caller, records)
        return _json({"dispositions": records, "stored": stored}, 201)

    async def _alert(self, request: Request) -> Alert:
        caller = self._gate.admit(request, "watch")
        asked = alert_pages.one(request.path_params["alert_id"], caller.tenant)
        found = await self._ask(asked, alert_pages.alert_of)
        if not found:
            raise RequestError(404, "no such alert; a retracted one is not shown")
        [alert] = found
        await self._audit.note(
            request, caller, "view", "alert", [alert.alert_id], tenant=alert.tenant
        )
        return alert

    async def _ask(
        self, asked: Question, record_of: Callable[[Mapping[str, Any]], Found]
    ) -> list[Found]:
        # The tenant stands in the question already.
        rows = await self._asking.ask(None, lambda reader: reader.rows(asked.sql, asked.values))
        return [record_of(row) for row in rows]


async def _posted(request: Request, kind: type[Word]) -> Any:
    """The body. Raises RequestError 400, 413, 415."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise RequestError(415, f"Content-Type must be {JSON}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(413, f"a body may have {MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(bytes(body), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"the body cannot be read: {error}") from error


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=JSON)
