"""TLS of our HTTP servers and of their clients: PEM files that options or environment name."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tachograph.pipeline.errors import ConfigError


class ServerTls(msgspec.Struct, frozen=True, kw_only=True):
    """What a server of ours shows, and whose clients it lets in. Without `cert`, plain HTTP."""

    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None  # only clients with a certificate of it are let in

    @classmethod
    def from_env(cls, prefix: str, environ: Mapping[str, str] | None = None) -> "ServerTls":
        """Of {prefix}TLS_CERT, {prefix}TLS_KEY, {prefix}TLS_CLIENT_CA."""
        env = os.environ if environ is None else environ
        names = ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA")
        cert, key, client_ca = (_path(env, prefix + name) for name in names)
        return cls(cert=cert, key=key, client_ca=client_ca)

    @property
    def scheme(self) -> str:
        """Of an URL."""
        return "https" if self.cert else "http"

    def options(self) -> dict[str, Path]:
        """The files, by the name of their option."""
        named = {"--tls-cert": self.cert, "--tls-key": self.key, "--tls-client-ca": self.client_ca}
        return {name: path for name, path in named.items() if path is not None}

    def check(self) -> None:
        """Raise ConfigError for files that nothing can be served with."""
        if (self.cert is None) != (self.key is None):
            raise ConfigError("--tls-cert and --tls-key go together: give both or neither")
        if self.client_ca is not None and self.cert is None:
            raise ConfigError("--tls-client-ca asks for TLS: give --tls-cert and --tls-key too")
        for name, path in self.options().items():
            if not path.is_file():
                raise ConfigError(f"{name}: there is no file {path}")
        if self.cert is not None:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.cert, self.key, "--tls-cert")

    def uvicorn(self) -> dict[str, Any]:
        """The same in the words of the server that we run."""
        if self.cert is None:
            return {}
        return {
            "ssl_certfile": self.cert,
            "ssl_keyfile": self.key,
            "ssl_ca_certs": str(self.client_ca) if self.client_ca else None,
            "ssl_cert_reqs": ssl.CERT_REQUIRED if self.client_ca else ssl.CERT_NONE,
        }


class ClientTls(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a client trusts (without `ca_cert`, whom this machine trusts), and what it shows."""

    ca_cert: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def from_env(cls, prefix: str, environ: Mapping[str, str] | None = None) -> "ClientTls":
        """Of {prefix}CA_CERT, {prefix}CLIENT_CERT, {prefix}CLIENT_KEY. Raises ConfigError for a
        file that is not there.
        """
        env = os.environ if environ is None else environ
        names = ("CA_CERT", "CLIENT_CERT", "CLIENT_KEY")
        paths = {name: _path(env, prefix + name) for name in names}
        for name, path in paths.items():
            if path is not None and not path.is_file():
                raise ConfigError(f"{prefix}{name}: there is no file {path}")
        return cls(ca_cert=paths["CA_CERT"], cert=paths["CLIENT_CERT"], key=paths["CLIENT_KEY"])

    def context(self) -> ssl.SSLContext:
        """For a connection: certificates and names are verified. Raises ConfigError."""
        try:
            context = ssl.create_default_context(cafile=self.ca_cert)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{self.ca_cert} holds no certificate of an authority") from error
        if self.cert is not None:
            _load(context, self.cert, self.key, "CLIENT_CERT")
        return context


def door_tls(environ: Mapping[str, str] | None = None) -> ClientTls:
    """Of those who call a door of ours: TACHO_CA_CERT, TACHO_CLIENT_CERT, TACHO_CLIENT_KEY."""
    return ClientTls.from_env("TACHO_", environ)


def _load(context: ssl.SSLContext, cert: Path, key: Path | None, name: str) -> None:
    try:
        # A key that is locked is refused rather than asked for at a terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{name}: {cert} and its key cannot be used: {error}") from error


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name)
    return Path(text) if text else None
