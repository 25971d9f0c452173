"""The key that directives are signed with (Ed25519), and the public half that receivers check by.

The private key is a file of its own, made when triage starts first; the public half lies beside it,
for the door to give out and for operators to hand to agents.
"""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tachograph.pipeline import secrets
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.sdk.signing import key_id_of, signed_bytes
from tachograph.schemas.codec import encode
from tachograph.schemas.records import Directive

KEY_FILE: Final = "control.key"
PUBLIC_FILE: Final = "control.pub"
ENVIRONMENT: Final = "TACHO_CONTROL_KEY_FILE"
PUBLIC_ENVIRONMENT: Final = "TACHO_CONTROL_PUBLIC_KEY_FILE"
MAX_FILE_BYTES: Final = 4_096


class PublicKey(msgspec.Struct, frozen=True):
    """What a receiver checks signatures by; `public_key` is base64 of 32 bytes."""

    key_id: str
    public_key: str
    algorithm: str = "Ed25519"


class Signer:
    """Signs directives. The same directive gets the same signature."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        public = self._key.public_key().public_bytes_raw()
        text = base64.b64encode(public).decode()
        self.public = PublicKey(key_id=key_id_of(public), public_key=text)

    def signed(self, directive: Directive) -> Directive:
        """The directive with the key's id and its signature."""
        named = msgspec.structs.replace(directive, key_id=self.public.key_id, signature=None)
        signature = self._key.sign(signed_bytes(msgspec.json.decode(encode(named))))
        return msgspec.structs.replace(named, signature=base64.b64encode(signature).decode())


def signer(home: Path, environ: Mapping[str, str] | None = None) -> Signer:
    """The signer of this installation; its public half is written beside its key. Raises
    ConfigError.
    """
    environ = os.environ if environ is None else environ
    named = environ.get(ENVIRONMENT)
    path = Path(named) if named else home / KEY_FILE
    try:
        made = Signer(secrets.made_key(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    _publish(made.public, _public_path(home, environ))
    return made


def _public_path(home: Path, environ: Mapping[str, str]) -> Path:
    named = environ.get(PUBLIC_ENVIRONMENT)
    return Path(named) if named else home / PUBLIC_FILE


def _publish(key: PublicKey, path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(msgspec.json.encode(key) + b"\n")
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def public_key(home: Path, environ: Mapping[str, str] | None = None) -> PublicKey | None:
    """The public key as triage left it; None before its first start. Raises ConfigError."""
    path = _public_path(home, os.environ if environ is None else environ)
    try:
        content = path.read_bytes()[:MAX_FILE_BYTES]
        return msgspec.json.decode(content, type=PublicKey)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: no public key can be read from it") from error
