"""Who may come in: the host that was asked for, the token, the role, the rate."""

from collections.abc import Callable
from typing import Final

from starlette.requests import HTTPConnection

from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.loopback import is_loopback
from tachograph.pipeline.serve.oidc import Oidc
from tachograph.pipeline.serve.rate import RateLimit
from tachograph.pipeline.serve.tokens import ANONYMOUS, Caller, Tokens

_JWT_DOTS: Final = 2
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="tachograph"'}


def address_of(request: HTTPConnection) -> str:
    """From where it is asked."""
    return request.client.host if request.client else "?"


def foreign(request: HTTPConnection) -> bool:
    """Whether a page of another site sent it: a browser says which page did."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    return origin is not None and origin.partition("://")[2] != (host or "?")


def _bearer(request: HTTPConnection) -> str:
    """The token that a request brings, or nothing."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Gate:
    """Admits callers. Without tokens (loopback only) everyone on this machine is anonymous and
    may do all.
    """

    def __init__(self, tokens: Tokens | None, rate: RateLimit, oidc: Oidc | None = None) -> None:
        self._tokens, self._rate, self._oidc = tokens, rate, oidc

    @property
    def open(self) -> bool:
        """Whether nobody has to say who they are."""
        return self._tokens is None and self._oidc is None

    def admit(self, request: HTTPConnection, role: str) -> Caller:
        """The caller, who has the role. Raises RequestError 401, 403, 421 or 429."""
        if self.open:
            self._check_host(request)
            caller = ANONYMOUS
        else:
            caller = self.known(request, _bearer(request))
        self.let(request, caller, role)
        return caller

    def let(self, request: HTTPConnection, caller: Caller, role: str) -> None:
        """Let a known caller in who has the role. Raises RequestError 403, 429."""
        if role not in caller.roles:
            raise RequestError(403, f"this needs the role `{role}`")
        wait_s = self._rate.wait_s(self.client(request, caller))
        if wait_s is not None:
            raise RequestError(429, "too many requests of this client", retry_after_s=wait_s)

    @staticmethod
    def client(request: HTTPConnection, caller: Caller) -> str:
        """Who is counted: a principal, or an address where nobody has to say who they are."""
        return caller.principal or address_of(request)

    def holds(self, request: HTTPConnection, caller: Caller, role: str) -> Callable[[], bool]:
        """Whether somebody who was admitted would still be: a token is taken out, or ends."""

        def still() -> bool:
            now = ANONYMOUS if self.open else self._of(_bearer(request))
            return now is not None and now.tenant == caller.tenant and role in now.roles

        return still

    def _of(self, token: str) -> Caller | None:
        """Whose token it is; None: nobody's."""
        caller = self._tokens.authenticate(token) if self._tokens and token else None
        if caller is None and self._oidc and token.count(".") == _JWT_DOTS:
            caller = self._oidc.caller(token)
        return caller

    def known(self, request: HTTPConnection, token: str) -> Caller:
        """Whose token it is. Raises RequestError 401, 429."""
        caller = self._of(token)
        if caller is None:
            # Guessing has its own allowance, apart from those who are let in from the same address.
            wait_s = self._rate.wait_s(f"refused {address_of(request)}")
            if wait_s is not None:
                raise RequestError(429, "too many refused requests", retry_after_s=wait_s)
            raise RequestError(401, "a valid bearer token is required", headers=_CHALLENGE)
        return caller

    @staticmethod
    def _check_host(request: HTTPConnection) -> None:
        # A web page whose name was made to point at this machine (DNS rebinding) sends its own
        # name as host.
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if not is_loopback(name):
            raise RequestError(
                421,
                "without tokens the door answers as 127.0.0.1 and localhost only",
            )
