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
from tachograph.pipeline.tls import ServerTls


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
        tls, tokens_file = ServerTls.from_env("TACHO_DOOR_", env), env.get("TACHO_TOKENS_FILE")
        return cls(
            host=settings.door_host,
            port=settings.door_port,
            tls_cert=tls.cert,
            tls_key=tls.key,
            tls_client_ca=tls.client_ca,
            tokens_file=Path(tokens_file) if tokens_file else None,
            oidc=OidcOptions.from_env(env),
        )

    @property
    def tls(self) -> ServerTls:
        """What it shows, and whose clients it lets in."""
        return ServerTls(cert=self.tls_cert, key=self.tls_key, client_ca=self.tls_client_ca)

    def check(self) -> None:
        """Raise ConfigError for options that must not be served with."""
        if not is_loopback(self.host) and self.tokens_file is None and self.oidc is None:
            raise ConfigError(
                f"the door would be open to the network on {self.host!r}: name a file of bearer"
                " tokens with --tokens-file or TACHO_TOKENS_FILE, or bind to 127.0.0.1"
            )
        self.tls.check()


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
