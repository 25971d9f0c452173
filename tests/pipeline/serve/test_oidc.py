"""People log in at a provider, and its tokens open the API, against a small provider that runs."""

import asyncio
import base64
import contextlib
import hmac
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.serve.console.proof import Proofs, Proved
from tachograph.pipeline.serve.oidc import Oidc, Provider, Unknown, keys_of
from tachograph.pipeline.serve.oidc_options import OidcOptions
from tachograph.pipeline.serve.tokens import Caller
from tachograph.pipeline.settings import KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tests.pipeline.world import TENANT, world, world_server, world_writer
from tests.waiting import WAIT_S

from .conftest import OpenDoor, open_door

__all__ = ["world", "world_server", "world_writer"]

# The provider runs in this process, and speaks to libraries newer than itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib.*")

ISSUER = "https://login.example"
KEY = RSAKey.generate_key(2048, {"kid": "k1"})
ENV = {
    "TACHO_OIDC_ISSUER": ISSUER,
    "TACHO_OIDC_CLIENT_ID": "tacho",
    "TACHO_OIDC_ROLES_CLAIM": "groups",
    "TACHO_OIDC_ROLES": "soc=analyst,leads=admin",
    "TACHO_OIDC_TENANT_CLAIM": "org",
}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """A provider with two people, one of whom has no role here."""
    with warnings.catch_warnings(record=True):
        import oidc_provider_mock as mock

        people = [
            mock.User(sub="ann", claims={"groups": ["soc"], "org": TENANT}),
            mock.User(sub="bob", claims={"groups": ["sales"], "org": TENANT}),
            mock.User(sub="cat", claims={"groups": ["leads"], "org": TENANT}),
            mock.User(sub="dan", claims={"groups": ["soc"], "org": TENANT}),
        ]
        with mock.run_server_in_thread(user_claims=people) as server:
            yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def door(provider: str, world: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A door that knows people by that provider alone."""
    changed = {
        "TACHO_OIDC_ISSUER": provider, "TACHO_OIDC_CLIENT_SECRET": "a secret",
        "TACHO_OIDC_RENEW_S": "1",
    }  # fmt: skip
    options = OidcOptions.from_env({**ENV, **changed})
    with MockBroker(topics=("agent.alerts",)) as broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap_servers)
        home = tmp_path_factory.mktemp("home")
        settings = Settings(kafka=kafka, clickhouse=world, home=home, tenant=TENANT)
        with open_door(settings, oidc=options) as door:
            yield door


def began(client: httpx.Client) -> httpx.URL:
    """Where the login leads, once the provider is known."""
    end = time.monotonic() + WAIT_S
    while (answer := client.get("/console/oidc/login")).status_code == 503:
        assert time.monotonic() < end
        time.sleep(0.1)
    return httpx.URL(answer.headers["location"])


def back(url: httpx.URL, who: str) -> httpx.URL:
    """What the provider answers a browser whose person says who they are."""
    with httpx.Client(verify=False, timeout=WAIT_S) as browser:  # noqa: S501 - plain HTTP on this machine
        answer = browser.post(url, data={"sub": who})
    return httpx.URL(answer.headers["location"])


def test_a_person_logs_in_with_pkce_and_is_shown_what_the_claims_allow(door: OpenDoor) -> None:
    with door.client() as client:
        assert client.get("/console").headers["location"] == "/console/login"
        assert "/console/oidc/login" in client.get("/console/login").text
        to = began(client)
        asked = parse_qs(urlsplit(str(to)).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert len(asked["code_challenge"][0]) == 43
        landed = back(to, "ann")
        assert landed.path == "/console/oidc/callback"
        answer = client.get(landed.raw_path.decode())
        assert (answer.status_code, "Logged in" in answer.text) == (200, True)
        told = [one.lower() for one in answer.headers.get_list("set-cookie")]
        [session] = [one for one in told if one.startswith("tacho_session")]
        assert "samesite=strict" in session
        assert "httponly" in session
        page = client.get("/console")
        assert (page.status_code, ">ann<" in page.text) == (200, True)
        again = client.get(landed.raw_path.decode())
        assert again.status_code == 403  # a code and its state are good once


def until(client: httpx.Client, path: str, status: int) -> None:
    end = time.monotonic() + WAIT_S
    while client.get(path).status_code != status:
        assert time.monotonic() < end
        time.sleep(0.1)


def _at(provider: str) -> httpx.Client:
    """Who speaks to the provider about its people."""
    return httpx.Client(base_url=provider, verify=False, timeout=WAIT_S)  # noqa: S501


def test_a_role_that_is_taken_away_is_gone_in_the_session_too(
    door: OpenDoor, provider: str
) -> None:
    with door.client() as client, _at(provider) as there:
        client.get(back(began(client), "cat").raw_path.decode())
        assert client.get("/console/audit").status_code == 200
        there.put("/users/cat", json={"groups": ["soc"], "org": TENANT})
        until(client, "/console/audit", 403)
        assert client.get("/console").status_code == 200
        there.put("/users/cat", json={"groups": ["sales"], "org": TENANT})
        until(client, "/console", 303)


def test_whose_tokens_the_provider_revokes_is_logged_out(door: OpenDoor, provider: str) -> None:
    with door.client() as client, _at(provider) as there:
        client.get(back(began(client), "dan").raw_path.decode())
        assert client.get("/console").status_code == 200
        there.post("/users/dan/revoke-tokens")
        until(client, "/console", 303)


async def _held(
    answers: list[Any], refresh_token: str | None, steps_s: Sequence[float]
) -> list[Any]:
    """Who somebody is at each moment, where the provider answers so."""
    now_us = [0]
    told = iter(answers)

    class Provider(Proofs):
        async def again(self, proved: Proved) -> Proved | None:
            answer: Any = next(told)
            if isinstance(answer, Exception):
                raise answer
            return None if answer is None else Proved(answer, proved.subject, "r")

    ann = Caller("ann", None, frozenset({"viewer"}))
    options = OidcOptions.from_env(ENV)
    assert options is not None
    proofs = Provider(Oidc(options), lambda: now_us[0])
    holder = proofs.holder(Proved(ann, "ann", refresh_token))
    found = []
    for step_s in steps_s:
        now_us[0] = int(step_s * 1e6)
        caller = await holder()
        found.append(caller and sorted(caller.roles))
    return found


def test_what_was_proved_holds_a_while_without_the_provider_and_no_longer() -> None:
    away = httpx.ConnectError("away")
    lead = Caller("ann", None, frozenset({"admin"}))
    for answers, again, steps_s, expected in (
        ([], "r", [0, 299], [["viewer"]] * 2),
        ([lead], "r", [301, 400], [["admin"]] * 2),
        ([None], "r", [301, 302], [None, None]),
        ([away] * 4, "r", [301, 302, 400, 899, 900, 901], [["viewer"]] * 4 + [None] * 2),
        ([away, lead], "r", [301, 307, 500], [["viewer"], ["admin"], ["admin"]]),
        ([], None, [301, 899, 900], [["viewer"], ["viewer"], None]),
    ):
        assert asyncio.run(_held(answers, again, steps_s)) == expected


def test_who_has_no_role_here_is_not_logged_in(door: OpenDoor) -> None:
    with door.client() as client:
        answer = client.get(back(began(client), "bob").raw_path.decode())
        assert (answer.status_code, "no role here" in answer.text) == (403, True)
        assert "tacho_session" not in answer.headers.get("set-cookie", "")


def test_a_login_that_began_elsewhere_ends_nowhere(door: OpenDoor) -> None:
    with door.client() as attacker, door.client() as victim:
        landed = back(began(attacker), "ann")
        assert victim.get(landed.raw_path.decode()).status_code == 403
        assert victim.get("/console/oidc/callback?state=x&code=y").status_code == 403
        assert victim.get("/console/oidc/callback").status_code == 403


def test_without_a_token_the_api_stays_closed(door: OpenDoor) -> None:
    with door.client() as client:
        for token in ("", "Bearer a.b.c", "Bearer " + signed()):
            answer = client.get("/v1/alerts", headers={"authorization": token})
            assert answer.status_code == 401


@pytest.fixture
def oidc() -> Oidc:
    """A provider whose key is known."""
    options = OidcOptions.from_env(ENV)
    assert options is not None
    oidc = Oidc(options)
    oidc.provider = Provider(ISSUER, f"{ISSUER}/a", f"{ISSUER}/t", f"{ISSUER}/k")
    oidc._keys = KeySet([KEY])
    return oidc


def signed(key: Any = KEY, alg: str = "RS256", **changed: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": "tacho", "sub": "robot", "exp": now + 300, "iat": now,
        "groups": ["soc"], "org": "acme", **changed,
    }  # fmt: skip
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": alg, "kid": "k1"}, kept, key, algorithms=[alg])


def forged(public: bytes) -> str:
    """Signed with the public key, which everybody has, as the secret of a MAC."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').rstrip(b"=").decode()
    text = f"{head}.{signed().split('.')[1]}"
    mac = hmac.digest(public, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_a_token_of_the_provider_stands_for_who_its_claims_say(oidc: Oidc) -> None:
    caller = oidc.caller(signed())
    assert caller is not None
    assert (caller.principal, caller.tenant) == ("robot", "acme")
    assert caller.roles == {"analyst", "viewer", "watch"}
    lead = oidc.caller(signed(groups="leads other"))
    assert lead is not None
    assert "admin" in lead.roles


@pytest.mark.parametrize(
    "made",
    [
        lambda: signed(iss="https://evil.example"),
        lambda: signed(aud="another"),
        lambda: signed(aud=None),
        lambda: signed(exp=int(time.time()) - 120),
        lambda: signed(exp=None),
        lambda: signed(nbf=int(time.time()) + 600),
        lambda: signed(sub=None),
        lambda: signed(groups=["sales"]),
        lambda: signed(groups={"soc": True}),
        lambda: signed(org=None),
        lambda: signed(org=["acme"]),
        lambda: signed(RSAKey.generate_key(2048, {"kid": "k1"})),
        lambda: forged(KEY.as_pem(private=False)),
        lambda: "eyJhbGciOiJub25lIn0." + signed().split(".")[1] + ".",
        lambda: signed()[:-4] + "AAAA",
        lambda: "a.b.c",
        lambda: "x." * 20_000,
    ],
)  # fmt: skip
def test_a_token_that_proves_nothing_stands_for_nobody(oidc: Oidc, made: Callable[[], str]) -> None:
    assert oidc.caller(made()) is None


def test_a_login_takes_the_token_of_its_own_nonce_alone(oidc: Oidc) -> None:
    assert oidc.claims(signed(nonce="n"), "tacho", "n")["sub"] == "robot"
    for nonce in ("m", None):
        with pytest.raises(Unknown):
            oidc.claims(signed(nonce=nonce), "tacho", "n")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"TACHO_OIDC_ISSUER": "http://login.example"}, "TACHO_OIDC_ISSUER: .*https://"),
        ({"TACHO_OIDC_CLIENT_ID": ""}, "TACHO_OIDC_CLIENT_ID"),
        ({"TACHO_OIDC_ROLES": ""}, "TACHO_OIDC_ROLES"),
        ({"TACHO_OIDC_ROLES": "soc=king"}, "roles are publish"),
        ({"TACHO_OIDC_ROLES": "soc"}, "TACHO_OIDC_ROLES"),
        ({"TACHO_OIDC_RENEW_S": "never"}, "TACHO_OIDC_RENEW_S"),
    ],
)
def test_options_that_would_let_the_wrong_in_are_refused(
    changed: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        OidcOptions.from_env({**ENV, **changed})
    with contextlib.suppress(ConfigError):
        assert OidcOptions.from_env({}) is None


@pytest.mark.parametrize(
    "beside", [{"kty": "EC", "crv": "of tomorrow", "x": "a", "y": "b"}, {"kty": "RSA"}, {}, 1]
)
def test_a_key_that_cannot_be_used_takes_none_of_the_others_away(beside: Any, oidc: Oidc) -> None:
    oidc._keys = keys_of({"keys": [beside, KEY.as_dict(private=False)]})
    assert oidc.caller(signed()) is not None


@pytest.mark.parametrize("document", [{}, [], "keys", {"keys": 1}, {"keys": []}, {"keys": [{}]}])
def test_a_provider_without_keys_is_an_error_to_come_back_from(document: Any) -> None:
    with pytest.raises(ConfigError, match="no key"):
        keys_of(document)


@pytest.mark.parametrize("name", ["", "x" * 513, "half \ud800", 7, ["robot"]])
def test_a_name_that_no_record_can_carry_is_nobodys(name: Any, oidc: Oidc) -> None:
    claims = {"sub": name, "groups": ["soc"], "org": "acme"}
    with pytest.raises(Unknown, match="no claim sub"):
        oidc.caller_of(claims)
    with pytest.raises(Unknown, match="no claim org"):
        oidc.caller_of({**claims, "sub": "robot", "org": name})
