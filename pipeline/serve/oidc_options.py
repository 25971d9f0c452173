"""Which OpenID Connect provider the door believes, and what its claims mean here."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.serve.loopback import is_loopback
from tachograph.pipeline.serve.tokens import ROLES
from tachograph.pipeline.settings import secret_of

ANY: Final = "*"
MAX_RENEW_S: Final = 3_600


class OidcOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which provider, who we are there, and what its claims mean here."""

    issuer: str
    client_id: str
    client_secret: str | None = None
    audience: str | None = None  # of tokens that programs bring; the client id where it is none
    scopes: str = "openid profile email"
    roles_claim: str = "roles"
    roles: dict[str, str] = {}  # value of that claim → role; `*`: whoever the provider knows
    name_claim: str = "sub"
    tenant_claim: str | None = None
    console_url: str | None = None
    renew_s: int = 300  # after which the provider is asked again who somebody is

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "OidcOptions | None":
        """Options of the environment; None without an issuer. Raises ConfigError."""
        issuer = env.get("TACHO_OIDC_ISSUER")
        if not issuer:
            return None
        client_id = env.get("TACHO_OIDC_CLIENT_ID", "")
        if not client_id:
            raise ConfigError("TACHO_OIDC_CLIENT_ID: say who this is at the provider")
        check_url("TACHO_OIDC_ISSUER", issuer)
        return cls(
            issuer=issuer,
            client_id=client_id,
            client_secret=secret_of(env, "TACHO_OIDC_CLIENT_SECRET"),
            audience=env.get("TACHO_OIDC_AUDIENCE") or None,
            scopes=env.get("TACHO_OIDC_SCOPES", "openid profile email"),
            roles_claim=env.get("TACHO_OIDC_ROLES_CLAIM", "roles"),
            roles=_roles(env.get("TACHO_OIDC_ROLES", "")),
            name_claim=env.get("TACHO_OIDC_NAME_CLAIM", "sub"),
            tenant_claim=env.get("TACHO_OIDC_TENANT_CLAIM") or None,
            console_url=env.get("TACHO_CONSOLE_URL") or None,
            renew_s=_renew_s(env.get("TACHO_OIDC_RENEW_S", "300")),
        )


def _renew_s(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MAX_RENEW_S:
        raise ConfigError(f"TACHO_OIDC_RENEW_S: {text}: seconds, between 1 and {MAX_RENEW_S}")
    return int(text)


def _roles(text: str) -> dict[str, str]:
    pairs = [one.rpartition("=") for one in text.split(",") if one.strip()]
    roles = {value.strip(): role.strip() for value, _, role in pairs}
    if not roles or "" in roles or not set(roles.values()) <= set(ROLES):
        raise ConfigError(
            "TACHO_OIDC_ROLES: say who may what, as `soc-leads=admin,soc=analyst,*=viewer`;"
            f" roles are {', '.join(ROLES)}"
        )
    return roles


def check_url(name: str, url: str) -> None:
    """Refuse what travels in the clear beyond this machine. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    ):
        raise ConfigError(f"{name}: {url} must begin with https://")
