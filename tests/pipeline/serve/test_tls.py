"""TLS at the door, and clients known by certificates, with authorities made for the test."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.serve.options import DoorOptions
from tachograph.pipeline.settings import Settings

from .conftest import open_door


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._signed(self._name, self._key, authority=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for this machine, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key, authority=False))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool
    ) -> bytes:
        now = datetime.now(UTC)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(own, critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


def trusting(ca: Path, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if own:
        context.load_cert_chain(*own)
    return context


def test_with_a_client_authority_only_its_clients_are_let_in(
    settings: Settings, tmp_path: Path
) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    certificate, key = ours.issue("door")
    with open_door(settings, tls_cert=certificate, tls_key=key, tls_client_ca=ours.path) as door:
        assert door.url.startswith("https://")
        for own in (None, others.issue("stranger")):
            with (
                httpx.Client(verify=trusting(ours.path, own)) as client,
                pytest.raises(httpx.TransportError),
            ):
                client.get(f"{door.url}/healthz")
        with httpx.Client(verify=trusting(ours.path, ours.issue("client"))) as client:
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
        httpx.Client(verify=trusting(ours.path)) as client,
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
