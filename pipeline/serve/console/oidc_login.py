"""Logging in at the OpenID Connect provider: authorization code with PKCE, bound to one browser."""

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import Final
from urllib.parse import urlencode

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tachograph.pipeline.clock import Clock
from tachograph.pipeline.log import get
from tachograph.pipeline.serve.audit import Audit
from tachograph.pipeline.serve.console.login import HOME, NOBODY, keep, login_page
from tachograph.pipeline.serve.console.proof import Proofs, Proved
from tachograph.pipeline.serve.console.render import shown
from tachograph.pipeline.serve.console.sessions import Sessions
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.oidc import Oidc, Unknown

log = get("serve.console")

PATH: Final = "/console/oidc"
CALLBACK: Final = PATH + "/callback"
COOKIE: Final = "tacho_login"
BEGUN_S: Final = 600
MAX_BEGUN: Final = 1_000


class _Begun(msgspec.Struct, frozen=True):
    """A login that has begun in some browser."""

    verifier: str
    nonce: str
    ends_us: int


class OidcLogin:
    """Begins and ends logins. Used on the event loop."""

    def __init__(self, oidc: Oidc, sessions: Sessions, audit: Audit, clock_us: Clock) -> None:
        self._oidc, self._sessions, self._clock_us = oidc, sessions, clock_us
        self._audit = audit
        self._proofs = Proofs(oidc, clock_us)
        self._begun: OrderedDict[str, _Begun] = OrderedDict()

    async def begin(self, request: Request) -> Response:
        """GET /console/oidc/login: to the provider."""
        provider = self._oidc.provider
        if provider is None:
            raise RequestError(503, "the login service does not answer", retry_after_s=2)
        begun = _Begun(
            secrets.token_urlsafe(48), secrets.token_urlsafe(24),
            self._clock_us() + BEGUN_S * 1_000_000,
        )  # fmt: skip
        state = secrets.token_urlsafe(24)
        asked = {
            "response_type": "code", "client_id": self._oidc.options.client_id,
            "redirect_uri": self._back(request), "scope": self._oidc.options.scopes,
            "state": state, "nonce": begun.nonce,
            "code_challenge": _challenge(begun.verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        more = "&" if "?" in provider.authorization_endpoint else "?"
        url = f"{provider.authorization_endpoint}{more}{urlencode(asked)}"
        self._begun[state] = begun
        while len(self._begun) > MAX_BEGUN:
            self._begun.popitem(last=False)
        answer = RedirectResponse(url, 303)
        # Lax: the provider leads back here from its own site. It opens nothing by itself.
        answer.set_cookie(
            COOKIE, state, max_age=BEGUN_S, path=PATH, httponly=True, samesite="lax",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    async def end(self, request: Request) -> Response:
        """GET /console/oidc/callback: back from the provider."""
        begun = self._of_this_browser(request)
        if begun is None:
            return login_page("This login has ended, or began in another browser.", 403, self._oidc)
        if "code" not in request.query_params:
            return login_page("The login service refused.", 403, self._oidc)
        try:
            proved = await self._proved(request, begun)
        except (httpx.HTTPError, Unknown, KeyError, TypeError, ValueError) as error:
            log.warning("login refused", error=type(error).__name__)
            await self._audit.note(request, NOBODY, "login_refused", "oidc")
            why = str(error) if isinstance(error, Unknown) else "the login service refused"
            return login_page(f"Not logged in: {why}.", 403, self._oidc)
        caller = proved.caller
        if "viewer" not in caller.roles:
            await self._audit.note(request, caller, "login_refused", "oidc")
            return login_page("Not logged in: no role that may view.", 403, self._oidc)
        await self._audit.note(request, caller, "login", "oidc")
        # The browser came from another site and would not send a strict cookie on a redirect:
        # a page of ours leads on.
        answer = shown("welcome.html", to=HOME)
        keep(answer, request, self._sessions.open(self._proofs.holder(proved)))
        answer.delete_cookie(COOKIE, path=PATH)
        return answer

    def _of_this_browser(self, request: Request) -> _Begun | None:
        state = request.query_params.get("state", "")
        own = request.cookies.get(COOKIE, "")
        if not state or not hmac.compare_digest(state.encode(), own.encode()):
            return None
        begun = self._begun.pop(state, None)
        return begun if begun is not None and self._clock_us() < begun.ends_us else None

    async def _proved(self, request: Request, begun: _Begun) -> Proved:
        provider = self._oidc.provider
        if provider and request.query_params.get("iss", provider.issuer) != provider.issuer:
            raise Unknown("the answer is of another service")
        code = request.query_params["code"]
        return await self._proofs.first(code, begun.verifier, begun.nonce, self._back(request))

    def _back(self, request: Request) -> str:
        """Where the provider is to lead back to."""
        base = self._oidc.options.console_url or str(request.base_url)
        return base.rstrip("/") + CALLBACK


def _challenge(verifier: str) -> str:
    """The verifier's challenge (RFC 7636, S256)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
