"""Who may do what at the door: bearer tokens from a file, held as keyed hashes."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from tachograph.pipeline.errors import ConfigError

# What programs do, and what people are; a person's role holds those before it.
ROLES: Final = ("publish", "watch", "metrics", "viewer", "analyst", "admin")
_HOLDS: Final = {
    "viewer": ("watch",),
    "analyst": ("viewer", "watch"),
    "admin": ("analyst", "viewer", "watch", "metrics"),
}
ANY_TENANT: Final = "*"
MIN_TOKEN_CHARS = 16
MAX_TOKENS = 10_000
MAX_FILE_BYTES = 4_194_304


class Caller(msgspec.Struct, frozen=True):
    """Who asks. An anonymous caller has no principal; a tenant of None sees every tenant."""

    principal: str | None
    tenant: str | None
    roles: frozenset[str]


def granted(roles: Iterable[str]) -> frozenset[str]:
    """The roles with those that they hold."""
    return frozenset(one for role in roles for one in (role, *_HOLDS.get(role, ())))


ANONYMOUS: Final = Caller(principal=None, tenant=None, roles=frozenset(ROLES))


class Tokens:
    """Tokens of a file with lines `token principal tenant roles`; roles are joined by commas.

    Tenant `*` is every tenant. Blank lines and lines that start with # are skipped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # The table is keyed by a hash under a key of this process alone: nobody outside can aim
        # at an entry, so looking one up tells nothing about a token.
        self._key = secrets.token_bytes(32)
        self._stamp: tuple[int, int] = (-1, -1)
        self._callers: dict[bytes, Caller] = {}
        self.reload()

    def proof(self, token: str) -> bytes:
        """What may be kept of a token, to ask again whether it holds."""
        return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), key=self._key).digest()

    def authenticate(self, token: str) -> Caller | None:
        """The token's caller, or None."""
        return self.holder(self.proof(token))

    def holder(self, proof: bytes) -> Caller | None:
        """The caller whose token has this proof, or None: the token was taken out since."""
        for known, caller in self._candidates(proof):
            if hmac.compare_digest(known, proof):
                return caller
        return None

    def _candidates(self, digest: bytes) -> Iterator[tuple[bytes, Caller]]:
        if digest in self._callers:
            yield digest, self._callers[digest]

    def reload(self) -> bool:
        """Read the file again if it has changed; true if it had. Raises ConfigError, keeping
        what was known.
        """
        try:
            facts = self._path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            if stamp == self._stamp:
                return False
            if facts.st_size > MAX_FILE_BYTES:
                raise ConfigError(f"TACHO_TOKENS_FILE: {self._path} is over {MAX_FILE_BYTES} bytes")
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"TACHO_TOKENS_FILE: cannot read {self._path}: {error}") from error
        callers = {}
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                token, caller = _parsed(line, f"TACHO_TOKENS_FILE: {self._path}, line {number}")
                callers[self.proof(token)] = caller
        if not 0 < len(callers) <= MAX_TOKENS:
            raise ConfigError(f"TACHO_TOKENS_FILE: {self._path} has no token, or over {MAX_TOKENS}")
        self._callers, self._stamp = callers, stamp
        return True


def _parsed(line: str, where: str) -> tuple[str, Caller]:
    # Messages never quote the line: it holds the token.
    parts = line.split()
    if len(parts) != 4:
        raise ConfigError(f"{where}: expected `token principal tenant roles`")
    token, principal, tenant, roles_text = parts
    if len(token) < MIN_TOKEN_CHARS:
        raise ConfigError(f"{where}: a token has at least {MIN_TOKEN_CHARS} characters")
    roles = frozenset(roles_text.split(","))
    if unknown := roles - set(ROLES):
        raise ConfigError(f"{where}: {sorted(unknown)} are none of the roles {', '.join(ROLES)}")
    return token, Caller(principal, None if tenant == ANY_TENANT else tenant, granted(roles))
