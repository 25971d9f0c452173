"""TLS at the door, and clients known by certificates, with authorities made for the test."""

import io
import json
import ssl
from pathlib import Path

import httpx
import pytest

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.rules.stats import run_stats
from tachograph.pipeline.sdk import Recorder
from tachograph.pipeline.serve.alerts_client import AlertsClient
from tachograph.pipeline.serve.options import DoorOptions
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.tls import ClientTls
from tests.pipeline.authority import Authority
from tests.waiting import WAIT_S, eventually

from .conftest import open_door


def trusting(ca: Path, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    cert, key = own or (None, None)
    return ClientTls(ca_cert=ca, cert=cert, key=key).context()


def test_with_a_client_authority_only_its_clients_are_let_in(
    settings: Settings, tmp_path: Path
) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    certificate, key = ours.issue("door")
    with open_door(settings, tls_cert=certificate, tls_key=key, tls_client_ca=ours.path) as door:
        assert door.url.startswith("https://")
        for own in (None, others.issue("stranger")):
            with (
                httpx.Client(verify=trusting(ours.path, own), timeout=WAIT_S) as client,
                pytest.raises(httpx.TransportError),
            ):
                client.get(f"{door.url}/healthz")
        with httpx.Client(
            verify=trusting(ours.path, ours.issue("client")), timeout=WAIT_S
        ) as client:
            assert client.get(f"{door.url}/healthz").status_code == 200
            page = client.get(f"{door.url}/console/agents")
            assert page.status_code in {200, 503}


def test_a_session_over_tls_is_never_sent_in_the_clear(settings: Settings, tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    certificate, key = ours.issue("door")
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-ann-0123456789 ann * analyst\n")
    with (
        open_door(settings, tls_cert=certificate, tls_key=key, tokens_file=tokens) as door,
        httpx.Client(verify=trusting(ours.path), timeout=WAIT_S) as client,
    ):
        form = {"token": "a-token-of-ann-0123456789"}
        answer = client.post(f"{door.url}/console/login", data=form)
        assert "; secure" in answer.headers["set-cookie"].lower()
        with httpx.Client() as plain, pytest.raises(httpx.TransportError):
            plain.get(door.url.replace("https", "http") + "/healthz")


def test_a_client_authority_without_tls_is_refused(tmp_path: Path) -> None:
    ca = Authority(tmp_path, "ours").path
    with pytest.raises(ConfigError, match="--tls-client-ca asks for TLS"):
        DoorOptions(host="127.0.0.1", port=0, tls_client_ca=ca).check()
    with pytest.raises(ConfigError, match="there is no file"):
        DoorOptions(
            host="127.0.0.1", port=0, tls_cert=ca, tls_key=ca, tls_client_ca=tmp_path / "none"
        ).check()


def test_what_a_door_cannot_serve_with_is_named_before_it_opens(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    (certificate, _), (_, other_key) = ours.issue("door"), ours.issue("other")
    with pytest.raises(ConfigError, match=r"door\.crt and its key cannot be used"):
        DoorOptions(host="127.0.0.1", port=0, tls_cert=certificate, tls_key=other_key).check()


@pytest.fixture
def clients_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Authority:
    """What the environment of a client names: whom it trusts, and its own certificate."""
    ours = Authority(tmp_path, "ours")
    certificate, key = ours.issue("client")
    monkeypatch.setenv("TACHO_CA_CERT", str(ours.path))
    monkeypatch.setenv("TACHO_CLIENT_CERT", str(certificate))
    monkeypatch.setenv("TACHO_CLIENT_KEY", str(key))
    return ours


def test_our_own_clients_come_in_by_the_files_their_environment_names(
    settings: Settings, clients_files: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = clients_files.issue("door")
    ca = clients_files.path
    with open_door(settings, tls_cert=certificate, tls_key=key, tls_client_ca=ca) as door:
        recorder = Recorder("travel-agent", endpoint=door.url)
        recorder.action("prompt", content_text="hello")
        assert recorder.flush(WAIT_S)
        assert recorder.stats().sent == 1
        recorder.close()
        sink = io.StringIO()
        run_stats(door.url, None, by="title", as_json=True, sink=sink)
        # Which rules it names depends on what else this process has judged.
        assert list(json.loads(sink.getvalue())) == ["rules"]
        client = AlertsClient(door.url, None)
        eventually(lambda: _begins(client), "the feed is there")
        client.close()
        monkeypatch.delenv("TACHO_CLIENT_CERT")
        with pytest.raises(RetryLater):
            AlertsClient(door.url, None).begin([])


def _begins(client: AlertsClient) -> bool:
    try:
        client.begin([])
    except RetryLater:
        return False
    return True


def test_a_file_that_a_client_names_and_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TACHO_CA_CERT", "/nowhere/ca.pem")
    with pytest.raises(ConfigError, match=r"TACHO_CA_CERT: there is no file /nowhere/ca\.pem"):
        AlertsClient("https://127.0.0.1:1", None)
    with pytest.raises(ValueError, match="TACHO_CA_CERT"):
        Recorder("travel-agent", endpoint="https://127.0.0.1:1")
