"""People and programs of an OpenID Connect provider: its tokens are checked by its keys, and its
claims say which roles somebody has here.

Keys are fetched in the background and kept; nothing here waits for the provider while a request is
answered.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.log import get
from tachograph.pipeline.serve.oidc_options import ANY, OidcOptions, check_url
from tachograph.pipeline.serve.tokens import Caller, granted

log = get("serve.oidc")

# None that a key known to everybody could sign, and not "none".
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "EdDSA",
)
LEEWAY_S: Final = 60
KEYS_AGE_S: Final = 600.0
# A token of an unknown key asks for the keys again, at most so often.
AGAIN_S: Final = 15.0
CALL_TIMEOUT_S: Final = 5.0
MAX_DOCUMENT_BYTES: Final = 1_048_576
MAX_TOKEN_CHARS: Final = 16_384
# Of a person or a tenant: it stands in headers and in the trail.
MAX_NAME_BYTES: Final = 512


_ENDPOINTS: Final = (
    "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint",
)  # fmt: skip


class Unknown(Exception):
    """The token proves nothing; the text says why, without a word of the token."""


class Provider(msgspec.Struct, frozen=True):
    """What the provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None


class Oidc:
    """The provider, as far as it is known by now. Used on the event loop."""

    def __init__(self, options: OidcOptions) -> None:
        self.options = options
        self.provider: Provider | None = None
        self._keys: KeySet | None = None
        self._again = asyncio.Event()

    async def follow(self) -> None:
        """Keep the provider's keys fresh, for ever."""
        while True:
            try:
                async with asyncio.timeout(4 * CALL_TIMEOUT_S):
                    await self._learn()
                wait_s = KEYS_AGE_S
            except (httpx.HTTPError, TimeoutError, ConfigError, JoseError, ValueError) as error:
                log.warning("provider", error=type(error).__name__, known=self.provider is not None)
                wait_s = AGAIN_S
            self._again.clear()
            await asyncio.sleep(AGAIN_S if self.provider else 1.0)
            try:
                async with asyncio.timeout(max(wait_s - AGAIN_S, 0.01)):
                    await self._again.wait()
            except TimeoutError:
                pass

    async def _learn(self) -> None:
        issuer = self.options.issuer
        async with httpx.AsyncClient(timeout=CALL_TIMEOUT_S) as client:
            url = issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = msgspec.convert(await _document(client, url), Provider)
            if found.issuer.rstrip("/") != issuer.rstrip("/"):
                raise ConfigError(f"{url} speaks for another issuer")
            for name in _ENDPOINTS:
                _check_endpoint(name, getattr(found, name))
            self._keys = keys_of(await _document(client, found.jwks_uri))
        self.provider = found

    def caller(self, token: str) -> Caller | None:
        """Who brings this token, or None."""
        audience = self.options.audience or self.options.client_id
        try:
            return self.caller_of(self.claims(token, audience))
        except Unknown:
            return None

    def claims(self, token: str, audience: str, nonce: str | None = None) -> dict[str, Any]:
        """What a token says that the provider signed for us. Raises Unknown."""
        if self.provider is None or self._keys is None or len(token) > MAX_TOKEN_CHARS:
            raise Unknown("the provider is not known yet")
        try:
            claims = jwt.decode(token, self._keys, algorithms=list(ALGORITHMS)).claims
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY_S,
                iss={"essential": True, "value": self.provider.issuer},
                aud={"essential": True, "value": audience},
                exp={"essential": True},
                sub={"essential": True},
            ).validate(claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            self._again.set()  # perhaps it is signed by a newer key
            raise Unknown(type(error).__name__) from error
        if nonce is not None and claims.get("nonce") != nonce:
            raise Unknown("the token is of another login")
        return dict(claims)

    def caller_of(self, claims: Mapping[str, Any]) -> Caller:
        """Whom claims make somebody here. Raises Unknown when that is nobody."""
        options = self.options
        given = _texts(claims.get(options.roles_claim))
        roles = {options.roles[one] for one in (*given, ANY) if one in options.roles}
        name = _name(claims, options.name_claim)
        tenant = _name(claims, options.tenant_claim)
        if not roles:
            raise Unknown("no role here")
        if name is None:
            raise Unknown(f"no claim {options.name_claim}")
        if options.name_claim == "email" and claims.get("email_verified") is False:
            raise Unknown("the address is not verified")
        if options.tenant_claim and tenant is None:
            raise Unknown(f"no claim {options.tenant_claim}")
        return Caller(name, tenant, granted(roles))


def _name(claims: Mapping[str, Any], claim: str | None) -> str | None:
    """A claim that is a name; None for anything else."""
    value = claims.get(claim) if claim else None
    if not isinstance(value, str):
        return None
    # JSON can tell half a character, which no header and no record can carry.
    size_bytes = len(value.encode("utf-8", "ignore"))
    whole = size_bytes == len(value.encode("utf-8", "surrogatepass"))
    return value if whole and 0 < size_bytes <= MAX_NAME_BYTES else None


def keys_of(document: Any) -> KeySet:
    """The keys of a set that can be used here; a provider may have others beside them (RFC 7517,
    section 5). Raises ConfigError when there is none.
    """
    told = document.get("keys") if isinstance(document, dict) else None
    keys: list[Any] = []
    for one in told if isinstance(told, list) else []:
        with contextlib.suppress(JoseError, KeyError, TypeError, ValueError):
            keys += KeySet.import_key_set({"keys": [one]}).keys
    if not keys:
        raise ConfigError("the provider has no key that can be used")
    return KeySet(keys)


def _check_endpoint(name: str, url: str | None) -> None:
    """Raises ConfigError for what cannot be asked, or in the clear only."""
    if url is None:
        return
    check_url(name, url)
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{name}: {error}") from error


def _texts(value: Any) -> list[str]:
    """A claim's values: a list, or words apart."""
    found = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [one for one in found if isinstance(one, str)]


async def _document(client: httpx.AsyncClient, url: str) -> Any:
    async with client.stream("GET", url) as answer:
        answer.raise_for_status()
        body = bytearray()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > MAX_DOCUMENT_BYTES:
                raise ConfigError(f"{url} is too large")
    return msgspec.json.decode(bytes(body))
