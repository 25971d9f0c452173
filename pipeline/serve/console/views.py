"""The console's pages. Each answers a person who is let in, from ClickHouse, as a reader of the
person's tenant.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tachograph.pipeline.clock import system_us
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.investigate import agent, alert, ask, incident, session
from tachograph.pipeline.investigate.dispositions import VERDICTS
from tachograph.pipeline.investigate.page import Grid, Page
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.serve.asking import Asking
from tachograph.pipeline.serve.audit import Audit
from tachograph.pipeline.serve.console import rows
from tachograph.pipeline.serve.console.entrance import Entrance, Person
from tachograph.pipeline.serve.console.live import Lines
from tachograph.pipeline.serve.console.login import HOME, LOGIN, Login
from tachograph.pipeline.serve.console.oidc_login import OidcLogin
from tachograph.pipeline.serve.console.pulse import Now, Pulse
from tachograph.pipeline.serve.console.render import asset, shown
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.oidc import Oidc
from tachograph.pipeline.serve.saying import Saying
from tachograph.pipeline.serve.tokens import Tokens
from tachograph.pipeline.serve.watch import Desk
from tachograph.schemas.alert import SEVERITIES

CONSOLE: Final = HOME
DAYS: Final = 7
# So long is an id that was followed, not typed; that one begins so is found only among all.
WHOLE_CHARS: Final = 32
_TRAIL: Final = (
    "SELECT formatDateTime(at, '%F %T') AS moment, by, action, subject, name, detail, address"
    " FROM tacho.audit WHERE {search:String} = '' OR by = {search:String}"
    " OR startsWith(name, {search:String}) OR action = {search:String}"
    " ORDER BY at DESC, log_offset DESC LIMIT 300"
)
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_PAGES: Final[Mapping[ask.Kind, Callable[[Reader, str, str], Page]]] = {
    "alert": lambda reader, known, _tenant: alert.page(reader, known),
    "session": session.page,
    "agent": agent.page,
}


class Console:
    """The console. Made and used on the event loop."""

    def __init__(
        self,
        entrance: Entrance,
        asking: Asking,
        desk: Desk,
        saying: Saying,
        *,
        audit: Audit,
        tokens: Tokens | None,
        oidc: Oidc | None,
    ) -> None:
        self._entrance, self._asking, self._desk, self._audit = entrance, asking, desk, audit
        self._login = Login(entrance, tokens, oidc, audit)
        sessions = entrance.sessions
        self._oidc_login = OidcLogin(oidc, sessions, audit, system_us) if oidc else None
        self._saying = saying
        self._lines, self._pulse = Lines(), Pulse(asking)

    def routes(self) -> list[Route]:
        """All paths of the console."""
        gets = {
            "": self._home, "/rows": self._rows, "/live": self._live, "/pulse": self._beat,
            "/incidents": self._incidents, "/incident/{id}": self._incident,
            "/agents": self._agents,
            "/audit": self._trail, "/assets/{name}": self._asset,
            "/login": self._login.page,
            **{f"/{kind}/{{id:path}}": self._page_of(kind) for kind in _PAGES},
        }  # fmt: skip
        posts = {
            "/say": self._say, "/login": self._login.post, "/logout": self._login.logout,
        }  # fmt: skip
        if self._oidc_login:
            gets["/oidc/login"] = self._oidc_login.begin
            gets["/oidc/callback"] = self._oidc_login.end
        return [
            *(Route(CONSOLE + path, end, methods=["GET"]) for path, end in gets.items()),
            *(Route(CONSOLE + path, end, methods=["POST"]) for path, end in posts.items()),
        ]

    async def _home(self, request: Request) -> Response:
        """GET /console: alerts, those that wait first, live."""
        person = await self._entrance.admit(request, "viewer")
        query = rows.asked(request.query_params)
        tenant = person.caller.tenant
        listed = await self._asking.ask(tenant, rows.page_of(query, tenant))
        # The lines are as people left them; what is said from now on comes by the pulse.
        now = Now((await self._pulse.of(tenant)).counts, [])
        await self._audit.note(request, person.caller, "list", "alerts", [str(query)])
        return _shown(
            "alerts.html", person, "alerts",
            listed=listed, now=now, query=query, statuses=rows.STATUSES,
            severities=list(reversed(SEVERITIES)), live=_live_url(query), more=_more(query, listed),
        )  # fmt: skip

    async def _rows(self, request: Request) -> Response:
        """GET /console/rows: the next lines of the list."""
        person = await self._entrance.admit(request, "viewer")
        query = rows.asked(request.query_params)
        tenant = person.caller.tenant
        listed = await self._asking.ask(tenant, rows.page_of(query, tenant))
        await self._audit.note(request, person.caller, "list", "alerts", [str(query)])
        return shown("rows.html", listed=listed, more=_more(query, listed))

    async def _live(self, request: Request) -> Response:
        """GET /console/live: lines of the list as they come."""
        person = await self._entrance.admit(request, "viewer")
        view = self._lines.view(request.query_params, person.caller.tenant)
        last_id = request.headers.get("last-event-id")
        asked = str(request.query_params)
        await self._audit.note(request, person.caller, "list", "live alerts", [asked])
        # A browser comes again by itself, and is asked again who it is.
        client = self._entrance.gate.client(request, person.caller)
        most_s = self._desk.limits.console_stream_s
        return self._desk.watch(view, last_id or None, client, most_s=most_s)

    async def _beat(self, request: Request) -> Response:
        """GET /console/pulse: the head of the list, and what colleagues said lately. Not in the
        trail: a page that is in it asks for it every few seconds.
        """
        person = await self._entrance.admit(request, "viewer")
        return shown("pulse.html", now=await self._pulse.of(person.caller.tenant))

    def _page_of(self, kind: ask.Kind) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            person = await self._entrance.admit(request, "viewer")
            name, whose = request.path_params["id"], request.query_params.get("tenant", "")
            tenant, page = await self._asking.ask(
                person.caller.tenant, lambda reader: _page(reader, kind, name, whose)
            )
            await self._audit.note(request, person.caller, "view", kind, [page.id], tenant=tenant)
            said = request.query_params.get("said", "")
            return _shown("page.html", person, kind, page=page, verdicts=VERDICTS, said=said)

        return answer

    async def _incident(self, request: Request) -> Response:
        """GET /console/incident/{id}: alerts that belong together."""
        person = await self._entrance.admit(request, "viewer")
        name = request.path_params["id"]

        def asked(reader: Reader) -> tuple[str, Page]:
            try:
                row = incident.one(reader, name)
            except ConfigError as error:
                raise RequestError(404, "no incident of that id, nor an alert of one") from error
            return str(row["tenant"]), incident.page(reader, row)

        tenant, page = await self._asking.ask(person.caller.tenant, asked)
        await self._audit.note(request, person.caller, "view", "incident", [page.id], tenant=tenant)
        return _shown("page.html", person, "incident", page=page, verdicts=VERDICTS, said="")

    async def _incidents(self, request: Request) -> Response:
        """GET /console/incidents: those of the last days, the largest first."""
        person = await self._entrance.admit(request, "viewer")
        found = await self._asking.ask(
            person.caller.tenant,
            lambda reader: incident.listed(reader, DAYS),
        )
        await self._audit.note(request, person.caller, "list", "incidents")
        return _shown("incidents.html", person, "incidents", incidents=_named(found), days=DAYS)

    async def _agents(self, request: Request) -> Response:
        """GET /console/agents: those with alerts, the gravest first."""
        person = await self._entrance.admit(request, "viewer")
        found = await self._asking.ask(person.caller.tenant, _agents)
        await self._audit.note(request, person.caller, "list", "agents")
        return _shown("agents.html", person, "agents", agents=found)

    async def _say(self, request: Request) -> Response:
        """POST /console/say: close, reopen, acknowledge, assign or note one alert or several."""
        person, form = await self._entrance.posted(request, "analyst")
        ids = form.get("alert", [])
        said = {name: values[0].strip() for name, values in form.items() if values}
        records = await self._saying.say(request, person.caller, ids, said)
        stored = await self._saying.shown(person.caller, records)
        to = f"{HOME}/alert/{ids[0]}" if len(ids) == 1 else HOME
        told = urlencode({"said": said["action"] if stored else "later"})
        return RedirectResponse(f"{to}?{told}", 303)

    async def _trail(self, request: Request) -> Response:
        """GET /console/audit: who did and looked at what, the newest first."""
        person = await self._entrance.admit(request, "admin")
        search = request.query_params.get("search", "")[:200]
        found = await self._asking.ask(
            person.caller.tenant, lambda reader: reader.rows(_TRAIL, {"search": search})
        )
        await self._audit.note(request, person.caller, "list", "audit", [search])
        return _shown("audit.html", person, "audit", rows=found, search=search)

    async def _asset(self, request: Request) -> Response:
        """GET /console/assets/{name}: a file of the wheel."""
        found = asset(request.path_params["name"])
        kind = _TYPES.get(request.path_params["name"].rpartition(".")[2])
        if found is None or kind is None:
            raise RequestError(404, "no such file")
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(found[0], 200, headers, kind)


async def to_login(request: Request, _error: Exception) -> Response:
    """Nobody is logged in."""
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"hx-redirect": LOGIN})
    return RedirectResponse(LOGIN, 303)


def problem_page(error: RequestError) -> Response:
    """A refusal for a person."""
    answer = shown(
        "problem.html", status=error.status, code=error.status, problem=str(error),
        phrase=HTTPStatus(error.status).phrase,
    )  # fmt: skip
    answer.headers.update(error.headers)
    return answer


def _shown(template: str, person: Person, place: str, **values: Any) -> Response:
    return shown(template, person=person, place=place, **values)


def _named(found: Grid) -> list[dict[str, str]]:
    """Incidents by the names of their columns."""
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    return [{**row, "id": row["incident"]} for row in rows]


def _page(reader: Reader, kind: ask.Kind, name: str, whose: str) -> tuple[str, Page]:
    known, tenant = _known(reader, kind, name, whose)
    return tenant, _PAGES[kind](reader, known, tenant)


def _known(reader: Reader, kind: ask.Kind, name: str, whose: str) -> tuple[str, str]:
    """The id that is this or, when it is short, begins so alone; and whose it is. Raises
    RequestError 404.
    """
    try:
        known = ask.one(reader, kind, name, whose, whole=len(name) >= WHOLE_CHARS)
        return known, ask.whose(reader, kind, known, whose)
    except ask.OfSeveral as error:
        words = f"several tenants have a {kind} of that id: add ?tenant=…"
        raise RequestError(404, words) from error
    except ConfigError as error:
        raise RequestError(404, f"no {kind} of that id; a retracted alert is not shown") from error


def _agents(reader: Reader) -> list[dict[str, Any]]:
    return reader.rows(
        "SELECT agent_id, count() AS alerts, countIf(status != 'closed') AS waiting,"
        " countIf(status != 'closed' AND severity IN ('high', 'critical')) AS grave,"
        " sum(risk) / 1000 AS risk, formatDateTime(max(last_seen), '%F %T') AS last_seen"
        " FROM tacho.alerts WHERE agent_id != '' GROUP BY agent_id"
        " ORDER BY grave DESC, waiting DESC, risk DESC, agent_id LIMIT 200"
    )


def _live_url(query: QueryParams) -> str | None:
    """Where the list goes on by itself; closed alerts do not come."""
    if "open" not in query.get("status", "").split(","):
        return None
    kept = [(name, value) for name, value in query.multi_items() if name not in {"limit", "cursor"}]
    return f"{CONSOLE}/live?{urlencode(kept)}"


def _more(query: QueryParams, listed: rows.Listed) -> str | None:
    if listed.after is None:
        return None
    kept = [(name, value) for name, value in query.multi_items() if name != "cursor"]
    return urlencode([*kept, ("cursor", listed.after)])
