"""The operator's key: made at the first start, kept in TACHO_HOME, split into one sub-key a
purpose.

Losing it changes every id and redaction token from then on, so it belongs in the backup.
`TACHO_OPERATOR_KEY` (64 hex digits) or `TACHO_OPERATOR_KEY_FILE` name it where several machines
must share one.
"""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from tachograph.pipeline.errors import ConfigError

KEY_BYTES = 32
KEY_FILE = "operator.key"
ENVIRONMENT = "TACHO_OPERATOR_KEY"


def derive(key: bytes, purpose: str) -> bytes:
    """A 32-byte sub-key: knowing one tells nothing of the others nor of the operator's key."""
    return hmac.digest(key, b"tachograph/1/" + purpose.encode(), hashlib.sha256)


def operator_key(home: Path, environ: Mapping[str, str] | None = None) -> bytes:
    """The operator's 32-byte key, made at first use. Raises ConfigError when it cannot be read or
    made.
    """
    environ = os.environ if environ is None else environ
    if environ.get(ENVIRONMENT):
        return _parse(environ[ENVIRONMENT], ENVIRONMENT)
    named = environ.get(f"{ENVIRONMENT}_FILE")
    try:
        return kept_key(Path(named)) if named else made_key(home / KEY_FILE)
    except OSError as error:
        raise ConfigError(f"operator's key: {error.strerror or error}: {error.filename}") from error


def made_key(path: Path) -> bytes:
    """The 32-byte key kept in a file, which is made at first use. Raises OSError, ConfigError."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
    return kept_key(path)


def _make(path: Path) -> None:
    """Write a new key beside its place, then link it there: two first starts at once agree on one
    key.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first; its key holds
    finally:
        draft.unlink(missing_ok=True)


def kept_key(path: Path) -> bytes:
    """The 32-byte key kept in a file that only its owner can read. Raises OSError, ConfigError."""
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and os.name == "posix":
        raise ConfigError(f"{path} can be read by others: chmod 600 {path}")
    try:
        text = path.read_text("ascii")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected {KEY_BYTES * 2} hex digits") from error
    return _parse(text, str(path))


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError as error:
        raise ConfigError(f"{where}: expected {KEY_BYTES * 2} hex digits") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{where}: expected {KEY_BYTES * 2} hex digits, found {len(key) * 2}")
    return key
