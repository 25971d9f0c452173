"""`/v1/alerts`, `/v1/incidents`: what ClickHouse holds, a page at a time, and what people say about
it, for consoles and scripts.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

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
from tachograph.pipeline.serve.listing import ID, Listing, Question, cursor, question
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


class _Kind(NamedTuple, Generic[Found]):
    """A kind of record that is listed, and shown one at a time by its id."""

    name: str
    listing: Listing
    one: Callable[[str, str | None], Question]
    record_of: Callable[[Mapping[str, Any]], Found]
    absent: str


_ALERTS: Final = _Kind(
    "alert",
    alert_pages.ALERTS,
    alert_pages.one,
    alert_pages.alert_of,
    "no such alert; a retracted one is not shown",
)
_INCIDENTS: Final = _Kind(
    "incident",
    alert_pages.INCIDENTS,
    alert_pages.one_incident,
    alert_pages.incident_of,
    "no incident of that id, nor an alert of one",
)


class Archive:
    """Stored alerts and incidents. Made and used on the event loop."""

    def __init__(self, gate: Gate, asking: Asking, audit: Audit, saying: Saying) -> None:
        self._gate, self._asking, self._audit, self._saying = gate, asking, audit, saying

    async def page(self, request: Request) -> Response:
        """GET /v1/alerts: a page, newest first, and where the next one begins."""
        return await self._page(request, _ALERTS)

    async def one(self, request: Request) -> Response:
        """GET /v1/alerts/{alert_id}: one alert as it stands now."""
        return _json(await self._one(request, _ALERTS))

    async def words(self, request: Request) -> Response:
        """GET /v1/alerts/{alert_id}/dispositions: what people said of it, the newest first; POST:
        close, reopen, acknowledge, assign or note.
        """
        if request.method == "POST":
            return await self._say(request, Word, lambda _: [request.path_params["alert_id"]])
        alert = await self._one(request, _ALERTS)
        found = await self._ask(alert_pages.words(alert), alert_pages.word_of)
        return _json({"dispositions": found})

    async def incidents(self, request: Request) -> Response:
        """GET /v1/incidents: a page, newest first, and where the next one begins."""
        return await self._page(request, _INCIDENTS)

    async def incident(self, request: Request) -> Response:
        """GET /v1/incidents/{incident_id}: one incident, by its id or that of an alert of it."""
        return _json(await self._one(request, _INCIDENTS))

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

    async def _page(self, request: Request, kind: _Kind[Found]) -> Response:
        caller = self._gate.admit(request, "watch")
        asked = question(kind.listing, request.query_params, caller.tenant)
        found = await self._ask(asked, kind.record_of)
        page, several = found[: asked.limit], f"{kind.name}s"
        await self._audit.note(request, caller, "list", several, [str(request.query_params)])
        more = cursor(kind.listing, page[-1]) if len(found) > asked.limit else None
        return _json({several: page, "next": more})

    async def _one(self, request: Request, kind: _Kind[Found]) -> Found:
        caller = self._gate.admit(request, "watch")
        id_ = kind.listing.id
        found = await self._ask(kind.one(request.path_params[id_], caller.tenant), kind.record_of)
        if not found:
            raise RequestError(404, kind.absent)
        [record] = found
        await self._audit.note(
            request, caller, "view", kind.name, [getattr(record, id_)], tenant=record.tenant
        )
        return record

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
