"""The notary's keys: one that signs, and the public ones that ever did, each vouched for by the key
before it.

The signing key is a file that only its owner can read: `notary.key` in TACHO_HOME, made at first
use, or where TACHO_NOTARY_KEY_FILE says. The public keys stand in `notary_keys.ndjson` in
TACHO_HOME, append-only: what they signed can be verified as long as that file is kept.
"""

import base64
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tachograph.pipeline.clock import Clock, system_us, to_datetime
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.notarize.files import append_lines
from tachograph.pipeline.secrets import KEY_BYTES, kept_key, made_key
from tachograph.schemas import codec
from tachograph.schemas.fields import Record
from tachograph.schemas.records import Deletion, NotaryKey, TreeHead

KEY_FILE = "notary.key"
RING_FILE = "notary_keys.ndjson"
ENVIRONMENT = "TACHO_NOTARY_KEY_FILE"
UNSIGNED = "unsigned"
# What a signature is for: one of a head is none of a deletion.
_CONTEXTS: dict[type[Record], bytes] = {
    TreeHead: b"tacho.tree_head.v1\n",
    NotaryKey: b"tacho.notary_key.v1\n",
    Deletion: b"tacho.deletion.v1\n",
}


def signed_bytes(record: Record) -> bytes:
    """What the signature of a record is over: its purpose, then the record without its signature
    as JSON with sorted keys and no spaces.
    """
    told: dict[str, Any] = msgspec.to_builtins(record)
    told.pop("signature", None)
    return _CONTEXTS[type(record)] + codec.canonical(told)


def key_id_of(public_key: bytes) -> str:
    """The name of a public key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


class SigningKey:
    """The private key of the notary."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public_key)

    def signed(self, record: Any) -> Any:
        """The record with its signature in place of whatever stood there."""
        signature = base64.b64encode(self._key.sign(signed_bytes(record))).decode()
        return msgspec.structs.replace(record, signature=signature)


class Ring:
    """The public keys that a chain of signatures vouches for, by key id, oldest first."""

    def __init__(self, keys: list[NotaryKey]) -> None:
        """Raises ConfigError for a key that nobody before it vouches for."""
        self.keys = keys
        self._public: dict[str, Ed25519PublicKey] = {}
        for at, key in enumerate(keys):
            public = _public(key.public_key)
            vouched = {key.key_id: public} if at == 0 else self._public
            known = public is not None and key_id_of(public.public_bytes_raw()) == key.key_id
            if public is None or not known or not _holds(vouched.get(key.signed_by), key):
                raise ConfigError(f"{RING_FILE}: nobody vouches for key {key.key_id}")
            self._public[key.key_id] = public

    def holds(self, record: TreeHead | Deletion) -> bool:
        """Whether a key of this ring signed the record."""
        return _holds(self._public.get(record.key_id), record)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._public


def _public(text: str) -> Ed25519PublicKey | None:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        return None


def _holds(public: Ed25519PublicKey | None, record: TreeHead | Deletion | NotaryKey) -> bool:
    if public is None:
        return False
    try:
        public.verify(base64.b64decode(record.signature, validate=True), signed_bytes(record))
    except (InvalidSignature, ValueError):
        return False
    return True


def read_ring(path: Path) -> Ring:
    """The public keys in a file. Raises ConfigError."""
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
        return Ring([codec.decode(NotaryKey, line) for line in lines if line.strip()])
    except (OSError, codec.InvalidRecord) as error:
        raise ConfigError(f"{path} cannot be read as the notary's public keys: {error}") from error


class Keys:
    """The keys of one home. Used by one thread."""

    def __init__(
        self, home: Path, environ: Mapping[str, str] | None = None, *, clock: Clock = system_us
    ) -> None:
        environ = os.environ if environ is None else environ
        named = environ.get(ENVIRONMENT)
        self._path, self._named = Path(named) if named else home / KEY_FILE, bool(named)
        self._ring_path, self._clock = home / RING_FILE, clock
        self._seen: tuple[int, int] | None = None
        self._key: SigningKey | None = None

    def ring(self) -> Ring:
        """The public keys. Raises ConfigError."""
        return read_ring(self._ring_path)

    def signing(self) -> SigningKey:
        """The key that signs now: another one after a rotation. Raises ConfigError."""
        try:
            self._finish_rotation()
            seed = kept_key(self._path) if self._named else made_key(self._path)
            found = self._path.stat()
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"notary's key: {reason}: {error.filename}") from error
        if self._key is None or self._seen != (found.st_ino, found.st_mtime_ns):
            self._key, self._seen = (
                self._enrolled(SigningKey(seed)),
                (found.st_ino, found.st_mtime_ns),
            )
        return self._key

    def rotate(self) -> NotaryKey:
        """Make a new key, vouched for by the one that signs now, which is then no more. Raises
        ConfigError.

        The new key is beside its place before the ring names it: whenever this is cut short, the
        next call, or the next use, goes on from there.
        """
        old = self.signing()
        seed = secrets.token_bytes(KEY_BYTES)
        try:
            _write_private(self._draft, seed)
            told = self._tell(SigningKey(seed), old)
            self._finish_rotation()
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"notary's key: {reason}: {error.filename}") from error
        return told

    @property
    def _draft(self) -> Path:
        return self._path.with_name(self._path.name + ".next")

    def _finish_rotation(self) -> None:
        """Put the next key in its place if the ring names it already."""
        if self._draft.exists():
            key = SigningKey(kept_key(self._draft))
            keys = self.ring().keys
            if keys and keys[-1].key_id == key.key_id:
                self._draft.replace(self._path)

    def _enrolled(self, key: SigningKey) -> SigningKey:
        keys = self.ring().keys
        if not keys:
            self._tell(key, key)
        elif keys[-1].key_id != key.key_id:
            raise ConfigError(
                f"{self._path} is not the newest key of {self._ring_path}: bring that key back, or"
                " move both files away to begin anew"
            )
        return key

    def _tell(self, key: SigningKey, by: SigningKey) -> NotaryKey:
        told: NotaryKey = by.signed(
            NotaryKey(
                key_id=key.key_id,
                public_key=base64.b64encode(key.public_key).decode(),
                made_at=to_datetime(self._clock()),
                signed_by=by.key_id,
                signature=UNSIGNED,
            )
        )
        append_lines(self._ring_path, [codec.encode(told)])
        return told


def _write_private(path: Path, seed: bytes) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(seed.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
