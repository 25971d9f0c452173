"""What the door says of a record, in Kafka headers, signed so that a direct producer cannot say it.

`tacho-principal` (who authenticated), `tacho-observed` (when it came, µs since 1970),
`tacho-tenant`, and `tacho-door`: HMAC-SHA256 under the operator's key over the three and the
SHA-256 of the value. Moved to another
value, or changed in any part, the signature no longer holds.
"""

import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from tachograph.pipeline.secrets import derive

PRINCIPAL = "tacho-principal"
OBSERVED = "tacho-observed"
TENANT = "tacho-tenant"
SIGNATURE = "tacho-door"
MAX_HEADER_BYTES = 1024


class DoorFacts(msgspec.Struct, frozen=True):
    """What a verified door said: the principal (None: nobody had to authenticate), the time, the
    tenant.
    """

    principal: str | None
    observed_us: int
    tenant: str | None


@lru_cache(maxsize=8)
def _door_key(key: bytes) -> bytes:
    return derive(key, "door")


def _signature(key: bytes, value: bytes, headers: Mapping[str, bytes]) -> bytes:
    # An absent header and an empty one differ; lengths keep neighbours apart.
    parts = [headers.get(name) for name in (PRINCIPAL, OBSERVED, TENANT)]
    framed = b"".join(b"-" if part is None else b"%d:" % len(part) + part for part in parts)
    message = framed + hashlib.sha256(value).digest()
    return hmac.digest(_door_key(key), message, "sha256").hex().encode()


def sign(
    key: bytes, value: bytes, principal: str | None, observed_us: int, tenant: str | None
) -> dict[str, bytes]:
    """Headers for a record the door writes. `key` is the operator's key.

    Raises ValueError when a name is longer than a header may be.
    """
    headers = {OBSERVED: b"%d" % observed_us}
    if principal is not None:
        headers[PRINCIPAL] = principal.encode()
    if tenant is not None:
        headers[TENANT] = tenant.encode()
    if any(len(part) > MAX_HEADER_BYTES for part in headers.values()):
        raise ValueError(f"a door header may have {MAX_HEADER_BYTES} bytes")
    headers[SIGNATURE] = _signature(key, value, headers)
    return headers


def verify(key: bytes, value: bytes, headers: Mapping[str, bytes]) -> DoorFacts | None:
    """What the door said of this value, or None: no signature, or one that does not hold. Never
    raises.
    """
    claimed = headers.get(SIGNATURE)
    if not claimed or OBSERVED not in headers:
        return None
    parts = [headers.get(name) for name in (PRINCIPAL, OBSERVED, TENANT)]
    if any(part is not None and len(part) > MAX_HEADER_BYTES for part in parts):
        return None
    if not hmac.compare_digest(claimed, _signature(key, value, headers)):
        return None
    principal, observed, tenant = (None if part is None else part.decode() for part in parts)
    return DoorFacts(principal, int(observed or "0"), tenant)
