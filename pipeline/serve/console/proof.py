"""What the OpenID Connect provider says of a person: when the login ends, and again every few
minutes while the person is here, so that a role that is taken away is gone here too.
"""

import asyncio
from typing import Any, Final
from urllib.parse import quote_plus

import httpx
import msgspec

from tachograph.pipeline.clock import Clock
from tachograph.pipeline.log import get
from tachograph.pipeline.serve.oidc import CALL_TIMEOUT_S, MAX_TOKEN_CHARS, Oidc, Provider, Unknown
from tachograph.pipeline.serve.tokens import Caller

log = get("serve.console")

# What was proved holds for so many times the time after which it is proved again.
HOLDS: Final = 3
# A provider that does not answer is asked again after this.
AGAIN_US: Final = 5_000_000
# Faults of the provider or of the way there: what it says may be learned later.
_AWAY: Final = (httpx.HTTPError, Unknown, KeyError, TypeError, ValueError)


class Proved(msgspec.Struct, frozen=True):
    """What the provider proved of a person, and what proves it again."""

    caller: Caller
    subject: str
    refresh_token: str | None


class Proofs:
    """Asks the provider about people. Used on the event loop."""

    def __init__(self, oidc: Oidc, clock_us: Clock) -> None:
        self._oidc, self._clock_us = oidc, clock_us

    async def first(self, code: str, verifier: str, nonce: str, back: str) -> Proved:
        """Who logged in. Raises Unknown, httpx.HTTPError, KeyError, TypeError, ValueError."""
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": back,
            "code_verifier": verifier,
        }  # fmt: skip
        return await self._asked(form, nonce=nonce)

    async def again(self, proved: Proved) -> Proved | None:
        """What holds of them now; None: the provider takes it back. Raises as `first` does, when
        that cannot be told now.
        """
        form = {"grant_type": "refresh_token", "refresh_token": proved.refresh_token or ""}
        try:
            return await self._asked(form, before=proved)
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in {400, 401, 403}:
                raise
        except Nobody:
            pass
        return None

    def holder(self, proved: Proved) -> "Holder":
        """Who the person of a session is, asked again and again."""
        return Holder(self, proved, self._oidc.options.renew_s, self._clock_us)

    async def _asked(
        self, form: dict[str, str], *, nonce: str | None = None, before: Proved | None = None
    ) -> Proved:
        provider, options = self._oidc.provider, self._oidc.options
        if provider is None:
            raise Unknown("the login service does not answer")
        async with httpx.AsyncClient(timeout=CALL_TIMEOUT_S) as client:
            token = await self._token(client, provider.token_endpoint, form)
            claims = {"sub": before.subject} if before else {}
            if before is None or "id_token" in token:
                claims = self._oidc.claims(token["id_token"], options.client_id, nonce)
            if options.roles_claim not in claims and provider.userinfo_endpoint:
                claims = {**await _userinfo(client, provider, token, claims), **claims}
        if before and claims["sub"] != before.subject:
            raise Nobody("the answer is of another person")
        try:
            caller = self._oidc.caller_of(claims)
        except Unknown as error:
            raise Nobody(str(error)) from error
        if "viewer" not in caller.roles and before:
            raise Nobody("no role that may view")
        again = token.get("refresh_token") or (before.refresh_token if before else None)
        fits = isinstance(again, str) and len(again) <= MAX_TOKEN_CHARS
        return Proved(caller, claims["sub"], again if fits else None)

    async def _token(self, client: httpx.AsyncClient, url: str, form: dict[str, str]) -> Any:
        """What a code or a refresh token is changed for."""
        options = self._oidc.options
        own = (
            httpx.BasicAuth(quote_plus(options.client_id), quote_plus(options.client_secret))
            if options.client_secret
            else httpx.USE_CLIENT_DEFAULT
        )
        answer = await client.post(url, data={**form, "client_id": options.client_id}, auth=own)
        answer.raise_for_status()
        return answer.json()


class Nobody(Unknown):
    """The provider answered, and the person has no place here."""


class Holder:
    """Who the person of a session is. Used on the event loop."""

    def __init__(self, proofs: Proofs, proved: Proved, renew_s: int, clock_us: Clock) -> None:
        self._proofs, self._renew_us, self._clock_us = proofs, renew_s * 1_000_000, clock_us
        self._proved: Proved | None = proved
        self._at_us = self._asked_us = clock_us()
        self._asking = asyncio.Lock()

    async def __call__(self) -> Caller | None:
        """The person, asked for again when that is due; None: log in."""
        if self._due():
            async with self._asking:
                if self._due():
                    await self._again()
        if self._clock_us() >= self._at_us + HOLDS * self._renew_us:
            self._proved = None
        return self._proved.caller if self._proved else None

    def _due(self) -> bool:
        now_us = self._clock_us()
        again = self._proved is not None and self._proved.refresh_token is not None
        waited = self._asked_us == self._at_us or now_us >= self._asked_us + AGAIN_US
        return again and waited and now_us >= self._at_us + self._renew_us

    async def _again(self) -> None:
        assert self._proved is not None  # noqa: S101 - it is due
        self._asked_us = self._clock_us()
        try:
            self._proved = await self._proofs.again(self._proved)
        except _AWAY as error:
            log.warning("not proved again", error=type(error).__name__)
            return
        self._at_us = self._asked_us = self._clock_us()


async def _userinfo(
    client: httpx.AsyncClient, provider: Provider, token: Any, claims: dict[str, Any]
) -> dict[str, Any]:
    """Claims that the provider tells only when asked. Raises Unknown for another person's."""
    headers = {"authorization": f"Bearer {token['access_token']}"}
    answer = await client.get(provider.userinfo_endpoint or "", headers=headers)
    answer.raise_for_status()
    found = answer.json()
    if not isinstance(found, dict) or found.get("sub") != claims["sub"]:
        raise Unknown("the answer is of another person")
    return found
