"""Keys and passwords of a broker's SASL_SSL listener, made for one data folder."""

import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

USERNAME = "tacho"
_VALID_DAYS = "30"


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

    The certificate is for 127.0.0.1 and localhost. keytool makes it: it comes with every Java.
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
    # The password goes by environment: an argument could be read by every user of the machine.
    environment = {"STORE_PASSWORD": kept.keystore_password, "PATH": os.environ["PATH"]}
    store = ["-keystore", str(kept.keystore_path), "-storepass:env", "STORE_PASSWORD"]
    key = ["-alias", "broker", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=localhost"]
    names = ["-ext", "SAN=dns:localhost,ip:127.0.0.1", "-ext", "bc:c", "-validity", _VALID_DAYS]
    export = ["-exportcert", "-rfc", "-alias", "broker", "-file", str(kept.ca_path)]
    for arguments in (["-genkeypair", "-storetype", "PKCS12", *key, *names], export):
        subprocess.run(
            ["keytool", *arguments, *store], check=True, capture_output=True, env=environment
        )
