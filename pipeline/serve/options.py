"""How the door is told to open: address, TLS, tokens. Checked before anything is bound."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.serve.loopback import is_loopback
from tachograph.pipeline.serve.oidc_options import OidcOptions
from tachograph.pipeline.settings import Settings


class DoorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the door listens and whom it lets in."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None  # only clients with a certificate of it are let in
    tokens_file: Path | None = None
    oidc: OidcOptions | None = None
    limits: Limits = Limits()

    @classmethod
    def from_env(
        cls, settings: Settings, environ: Mapping[str, str] | None = None
    ) -> "DoorOptions":
        """Options of the environment: TACHO_DOOR_HOST, _PORT, _TLS_CERT, _TLS_KEY,
        _TLS_CLIENT_CA, TACHO_TOKENS_FILE, TACHO_OIDC_….
        """
        env = os.environ if environ is None else environ
        return cls(
            host=settings.door_host,
            port=settings.door_port,
            tls_cert=_path(env, "TACHO_DOOR_TLS_CERT"),
            tls_key=_path(env, "TACHO_DOOR_TLS_KEY"),
            tls_client_ca=_path(env, "TACHO_DOOR_TLS_CLIENT_CA"),
            tokens_file=_path(env, "TACHO_TOKENS_FILE"),
            oidc=OidcOptions.from_env(env),
        )

    def check(self) -> None:
        """Raise ConfigError for options that must not be served with."""
        if not is_loopback(self.host) and self.tokens_file is None and self.oidc is None:
            raise ConfigError(
                f"the door would be open to the network on {self.host!r}: name a file of bearer"
                " tokens with --tokens-file or TACHO_TOKENS_FILE, or bind to 127.0.0.1"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert and --tls-key go together: give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigError("--tls-client-ca asks for TLS: give --tls-cert and --tls-key too")
        files = (
            ("--tls-cert", self.tls_cert), ("--tls-key", self.tls_key),
            ("--tls-client-ca", self.tls_client_ca),
        )  # fmt: skip
        for name, path in files:
            if path is not None and not path.is_file():
                raise ConfigError(f"{name}: there is no file {path}")


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name)
    return Path(text) if text else None


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening address of ours. Raises ConfigError that names the option to change."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"--host: {host!r} is no address of this machine: {error}") from error
    listener = socket.socket(family, kind, proto)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another port with --port or"
            " TACHO_DOOR_PORT (an address with --host), or stop what listens there"
        ) from error
    return listener
