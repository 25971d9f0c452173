"""The door as one ASGI application: every path, and what holds for all of them."""

import asyncio
from collections.abc import MutableMapping
from typing import Any, Final, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from tachograph.pipeline import metrics
from tachograph.pipeline.control.keys import public_key
from tachograph.pipeline.log import get, place_of
from tachograph.pipeline.serve.archive import Archive
from tachograph.pipeline.serve.console.entrance import LogIn
from tachograph.pipeline.serve.console.views import CONSOLE, Console, problem_page, to_login
from tachograph.pipeline.serve.control import Directives
from tachograph.pipeline.serve.door import Door, answer
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import Gate
from tachograph.pipeline.serve.openapi import document
from tachograph.pipeline.serve.publisher import Publisher
from tachograph.pipeline.serve.socket import Sockets
from tachograph.pipeline.serve.watch import Desk, Wanted
from tachograph.pipeline.settings import Settings

log = get("serve")

_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
POSTS: Final = ("/v1/traces", "/v1/logs", "/v1/metrics", "/v1/actions", "/v1/state", "/v1/acks")
INGEST: Final = "/v1/ingest/"
GETS: Final = (
    *("/v1/directives", "/v1/keys", "/alerts", "/healthz", "/readyz", "/metrics"),
    *("/openapi.json", "/v1/alerts", "/v1/incidents"),
)
ALERT: Final = "/v1/alerts/"
INCIDENT: Final = "/v1/incidents/"
WORDS: Final = "/v1/dispositions"
SOCKET: Final = "/alerts/ws"
_STARTS: Final = ("http.response.start", "websocket.http.response.start")


class Views:
    """The endpoints that people, watchers and monitoring ask."""

    def __init__(
        self,
        gate: Gate,
        publisher: Publisher,
        desk: Desk,
        directives: Directives,
        settings: Settings,
    ) -> None:
        self._gate, self._publisher, self._desk = gate, publisher, desk
        self._directives, self._settings = directives, settings

    async def directives(self, request: Request) -> Response:
        """GET /v1/directives?agent_id=…: what an agent is told, as a stream of events; as one
        answer for who asks for JSON.
        """
        caller = self._gate.admit(request, "publish")
        agent_id = request.query_params.get("agent_id", "")
        if not agent_id:
            raise RequestError(400, "say whose directives: ?agent_id=")
        agent = (caller.tenant or self._settings.tenant, agent_id)
        if "application/json" in request.headers.get("accept", ""):
            held = [msgspec.Raw(line) for line in self._directives.in_force(agent)]
            return _json(200, {"directives": held})
        client = self._gate.client(request, caller)
        holds = self._gate.holds(request, caller, "publish")
        events = self._directives.listen(agent, client, holds)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    async def keys(self, request: Request) -> Response:
        """GET /v1/keys: by which keys directives are signed."""
        self._gate.admit(request, "publish")
        key = await asyncio.to_thread(public_key, self._settings.home)
        return _json(200, {"keys": [key] if key else []})

    async def alerts(self, request: Request) -> Response:
        """GET /alerts: the feed. A browser that reconnects names its place in Last-Event-ID."""
        caller = self._gate.admit(request, "watch")
        wanted = Wanted.of(request.query_params, caller.tenant)
        last_id = request.headers.get("last-event-id") or request.query_params.get("last_id")
        holds = self._gate.holds(request, caller, "watch")
        client = self._gate.client(request, caller)
        return self._desk.watch(wanted.line, last_id or None, client, holds=holds)

    async def healthz(self, _request: Request) -> Response:
        """GET /healthz: the process answers."""
        return _json(200, {"status": "alive"})

    async def readyz(self, _request: Request) -> Response:
        """GET /readyz: Kafka answers."""
        kafka = await self._publisher.reachable()
        facts = {"kafka": kafka, "feed": self._desk.feed.ready}
        return _json(200 if kafka else 503, {"status": "ready" if kafka else "not ready", **facts})

    async def openapi(self, _request: Request) -> Response:
        """GET /openapi.json: what gives alerts, described for programs."""
        return _json(200, document())

    async def metrics(self, request: Request) -> Response:
        """GET /metrics: Prometheus text."""
        self._gate.admit(request, "metrics")
        text = await asyncio.to_thread(metrics.exposition)
        return Response(text, headers={"content-type": _PROMETHEUS})


def _json(status: int, content: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


class Parts(NamedTuple):
    """What answers at the door."""

    door: Door
    views: Views
    archive: Archive
    sockets: Sockets
    console: Console


def application(parts: Parts) -> ASGIApp:
    """All paths, inside what holds for all of them."""
    inner = Starlette(
        exception_handlers={
            LogIn: to_login,
            RequestError: _refused,
            HTTPException: _unrouted,
            ClientDisconnect: _left,
        }
    )
    inner.router = Router(_routes(parts), redirect_slashes=False)
    return Outer(inner)


def _routes(parts: Parts) -> list[BaseRoute]:
    door, views, archive = parts.door, parts.views, parts.archive
    posts = [door.traces, door.logs, door.metrics, door.actions, door.state, door.acks]
    gets = [views.directives, views.keys, views.alerts, views.healthz, views.readyz, views.metrics]
    gets += [views.openapi, archive.page, archive.incidents]
    routes: list[BaseRoute] = [
        *(Route(path, end, methods=["POST"]) for path, end in zip(POSTS, posts, strict=True)),
        Route(INGEST + "{format}", door.ingest, methods=["POST"]),
        *(Route(path, end, methods=["GET"]) for path, end in zip(GETS, gets, strict=True)),
        Route(ALERT + "{alert_id}", archive.one, methods=["GET"]),
        Route(ALERT + "{alert_id}/dispositions", archive.words, methods=["GET", "POST"]),
        Route(INCIDENT + "{incident_id}", archive.incident, methods=["GET"]),
        Route(WORDS, archive.say_of_several, methods=["POST"]),
        WebSocketRoute(SOCKET, parts.sockets.watch),
        *parts.console.routes(),
    ]
    return routes


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 - Starlette's signature is wider than its use
    if isinstance(request, WebSocket):
        await request.send_denial_response(answer(request, error))
        return Response()  # never sent
    if request.url.path.startswith(CONSOLE):
        return problem_page(error)
    return answer(request, error)


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return await _refused(request, RequestError(error.status_code, error.detail, headers=headers))


async def _left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


class Outer:
    """Around everything: headers for safety, a count of answers, and an end for errors nobody
    foresaw.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        status = 0

        async def sent(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "websocket.accept":
                status = 101
            if message["type"] in _STARTS:
                status = message["status"]
                message["headers"] = _secured(message.get("headers", []))
            await send(message)

        try:
            await self._inner(scope, receive, sent)
        except Exception as error:  # noqa: BLE001 - the boundary: a fault of ours answers 500, logged without payload
            log.error("fault", of=place_of(error))  # noqa: TRY400 - a traceback may quote a payload
            if status == 0 and scope["type"] == "http":
                await _json(500, {"error": "internal error"})(scope, receive, sent)
        finally:
            path = scope["path"]
            route = path if path in POSTS or path in GETS else "other"
            for prefix in (INGEST, ALERT, INCIDENT, WORDS, SOCKET, CONSOLE):
                route = prefix if path.startswith(prefix) else route
            metrics.HTTP_REQUESTS.labels(route, str(status)).inc()


def _secured(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    present = {name for name, _ in headers}
    return [*headers, *(pair for pair in _SECURITY if pair[0] not in present)]
