"""Logging in and out at the console."""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tachograph.pipeline.serve.audit import Audit
from tachograph.pipeline.serve.console.entrance import Entrance, form_of
from tachograph.pipeline.serve.console.render import shown
from tachograph.pipeline.serve.console.sessions import COOKIE, SESSION_S, Holder
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import address_of
from tachograph.pipeline.serve.oidc import Oidc
from tachograph.pipeline.serve.rate import RateLimit
from tachograph.pipeline.serve.tokens import Caller, Tokens

HOME: Final = "/console"
LOGIN: Final = "/console/login"
# Refused logins of one address.
REFUSED_PER_S: Final = 0.2
BURST_REFUSED: Final = 10.0
ADDRESSES: Final = 10_000
NOBODY: Final = Caller(principal="unknown", tenant=None, roles=frozenset())


class Login:
    """The login page and what is posted there."""

    def __init__(
        self, entrance: Entrance, tokens: Tokens | None, oidc: Oidc | None, audit: Audit
    ) -> None:
        self._entrance, self._tokens, self._oidc = entrance, tokens, oidc
        self._audit = audit
        self._refused = RateLimit(REFUSED_PER_S, BURST_REFUSED, ADDRESSES)

    async def page(self, _request: Request) -> Response:
        """GET /console/login."""
        if self._entrance.gate.open:
            return RedirectResponse(HOME, 303)
        return self._form("")

    async def post(self, request: Request) -> Response:
        """POST /console/login: a token that may view."""
        form = await form_of(request)
        token = "".join(form.get("token", [])).strip()
        if self._tokens is None:
            raise RequestError(404, "there are no tokens here")
        try:
            caller = self._entrance.gate.known(request, token)
        except RequestError as error:
            if error.status != 401:
                raise
            # Each is written down: nobody fills the trail by guessing.
            wait_s = self._refused.wait_s(address_of(request))
            if wait_s is not None:
                raise RequestError(429, "too many refused logins", retry_after_s=wait_s) from error
            await self._audit.note(request, NOBODY, "login_refused", "token")
            return self._form("This token is not known.", 401)
        if "viewer" not in caller.roles:
            await self._audit.note(request, caller, "login_refused", "token")
            return self._form("This token may not view: it needs the role viewer.", 403)
        await self._audit.note(request, caller, "login", "token")
        answer = RedirectResponse(HOME, 303)
        keep(answer, request, self._entrance.sessions.open(_holder(self._tokens, token)))
        return answer

    async def logout(self, request: Request) -> Response:
        """POST /console/logout."""
        person, _ = await self._entrance.posted(request, "viewer")
        await self._audit.note(request, person.caller, "logout")
        self._entrance.sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE, path=HOME)
        return answer

    def _form(self, problem: str, status: int = 200) -> Response:
        return login_page(problem, status, self._oidc, by_token=self._tokens is not None)


def _holder(tokens: Tokens, token: str) -> Holder:
    proof = tokens.proof(token)

    async def holder() -> Caller | None:
        return tokens.holder(proof)

    return holder


def login_page(problem: str, status: int, oidc: Oidc | None, *, by_token: bool = False) -> Response:
    """The ways to log in, and why the last one failed."""
    service = urlsplit(oidc.options.issuer).hostname or "" if oidc else ""
    return shown("login.html", status=status, problem=problem, by_token=by_token, service=service)


def keep(answer: Response, request: Request, secret: str) -> None:
    """Give the browser its session: no script reads it, no other site sends it."""
    answer.set_cookie(
        COOKIE, secret, max_age=SESSION_S, path=HOME, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
