"""Who is at the console, and whether a form was really sent from it."""

import hmac
import secrets
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from tachograph.pipeline.moments import who
from tachograph.pipeline.serve.console.sessions import COOKIE, Sessions
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import Gate, foreign
from tachograph.pipeline.serve.tokens import Caller

FORM: Final = "application/x-www-form-urlencoded"
FORM_BYTES: Final = 65_536
FORM_FIELDS: Final = 600


class Person(msgspec.Struct, frozen=True):
    """Who looks at a page; `csrf` goes into its forms."""

    name: str
    caller: Caller
    csrf: str
    logged_in: bool

    def may(self, role: str) -> bool:
        """Whether the person has the role."""
        return role in self.caller.roles


class LogIn(RequestError):
    """Nobody is logged in: a person is sent to the login."""

    def __init__(self) -> None:
        super().__init__(401, "log in first")


class Entrance:
    """Admits people. Without tokens and without a login service (loopback only) whoever is at this
    machine is who runs the door.
    """

    def __init__(self, gate: Gate, sessions: Sessions) -> None:
        self.gate, self.sessions = gate, sessions
        self._csrf = secrets.token_urlsafe(24)

    async def admit(self, request: Request, role: str) -> Person:
        """The person, who has the role. Raises RequestError 401, 403, 421 or 429."""
        if self.gate.open:
            caller = self.gate.admit(request, role)
            return Person(who(), caller, self._csrf, logged_in=False)
        found = await self.sessions.of(request.cookies.get(COOKIE, ""))
        if found is None:
            raise LogIn
        caller, csrf = found
        self.gate.let(request, caller, role)
        return Person(caller.principal or "?", caller, csrf, logged_in=True)

    async def posted(self, request: Request, role: str) -> tuple[Person, dict[str, list[str]]]:
        """The person and the form. Raises RequestError, 403 for what another site sent."""
        person = await self.admit(request, role)
        form = await form_of(request)
        if not hmac.compare_digest("".join(form.get("csrf", [])).encode(), person.csrf.encode()):
            raise RequestError(403, "the form is not from this session: load the page again")
        return person, form


async def form_of(request: Request) -> dict[str, list[str]]:
    """The fields of a form of this site. Raises RequestError 400, 403, 413, 415."""
    same_site(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise RequestError(415, f"Content-Type must be {FORM}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES:
            raise RequestError(413, f"a form may have {FORM_BYTES} bytes")
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FORM_FIELDS)
    except ValueError as error:
        raise RequestError(400, "the form cannot be read") from error
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def same_site(request: Request) -> None:
    """Refuse what a page of another site sent. Raises RequestError 403."""
    if foreign(request) or request.headers.get("sec-fetch-site", "same-origin") not in {
        "same-origin",
        "none",
    }:
        raise RequestError(403, "sent from another site")
