"""Keys and passwords of a broker's SASL_SSL listener, made for one data folder."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    pkcs12,
)
from cryptography.x509.oid import NameOID

USERNAME = "tacho"
_VALID = timedelta(days=30)
# A key that signs its own certificate, too.
_SIGNS = x509.KeyUsage(
    digital_signature=True, key_cert_sign=True, crl_sign=False, content_commitment=False,
    key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
    decipher_only=False,
)  # fmt: skip
# A client's clock may be a little behind.
_BACK = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client of the SASL_SSL listener needs, and where the broker's own key is."""

    username: str
    password_path: Path
    ca_path: Path  # PEM, the broker's self-signed certificate
    keystore_path: Path  # PKCS12
    keystore_password_path: Path

    @property
    def password(self) -> str:
        """The password of `username`."""
        return self.password_path.read_text()

    @property
    def keystore_password(self) -> str:
        """What opens the keystore."""
        return self.keystore_password_path.read_text()

    def client_config(self, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """Return librdkafka's settings; `mechanism` is SCRAM-SHA-512 or PLAIN."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.location": str(self.ca_path),
        }


def keep_credentials(folder: Path) -> Credentials:
    """Return the certificate and password kept below `folder`, made there the first time.

    The certificate is for 127.0.0.1 and localhost.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = Credentials(
        username=USERNAME,
        password_path=folder / "password",
        ca_path=folder / "ca.pem",
        keystore_path=folder / "broker.p12",
        keystore_password_path=folder / "keystore_password",
    )
    if not kept.ca_path.exists():
        for path in (kept.password_path, kept.keystore_password_path):
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(18))
        _make_key(kept)
    return kept


def _make_key(kept: Credentials) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    began = datetime.now(UTC) - _BACK
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + _VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_SIGNS, critical=True)
        .sign(key, SHA256())
    )
    locked = BestAvailableEncryption(kept.keystore_password.encode())
    kept.keystore_path.touch(mode=0o600)
    kept.keystore_path.write_bytes(
        pkcs12.serialize_key_and_certificates(b"broker", key, certificate, None, locked)
    )
    # Last: where it is, all is made.
    kept.ca_path.write_bytes(certificate.public_bytes(Encoding.PEM))
