"""Identities: keyed hashes, and the partition a key belongs to (SEMANTICS: identity).

Two kinds of hash. `Key` is keyed by the operator's secret, so an agent cannot aim at an id (event
ids, tokens, fingerprints). `plain_id` is not: what it hashes are our own ids and rule names, and
anyone may check them.
"""

import hashlib
from collections.abc import Iterable

ID_BYTES = 16
_HALF_BYTES = 8
# The separator cannot occur in UTF-8 text, so ("ab", "c") and ("a", "bc") differ.
_SEPARATOR = b"\xff"


def _joined(parts: Iterable[str]) -> bytes:
    return _SEPARATOR.join(part.encode("utf-8", "surrogatepass") for part in parts)


def plain_id(*parts: str) -> str:
    """128-bit hex id of the parts, in order."""
    return hashlib.blake2b(_joined(parts), digest_size=ID_BYTES).hexdigest()


class Prefix:
    """The first parts of many plain ids, hashed once: Prefix("a").id("b") is plain_id("a", "b")."""

    def __init__(self, *parts: str) -> None:
        self._state = hashlib.blake2b(_joined(parts) + _SEPARATOR, digest_size=ID_BYTES)

    def id(self, *parts: str) -> str:
        """128-bit hex id of the first parts and these, of which there must be one."""
        state = self._state.copy()
        state.update(_joined(parts))
        return state.hexdigest()

    def ids(self, lasts: Iterable[str]) -> list[str]:
        """`id` of each of these last parts."""
        copy, found = self._state.copy, []
        for last in lasts:
            state = copy()
            state.update(last.encode("utf-8", "surrogatepass"))
            found.append(state.hexdigest())
        return found


class Key:
    """The operator's secret for keyed hashes; 16 to 64 bytes."""

    def __init__(self, secret: bytes) -> None:
        if not 16 <= len(secret) <= 64:
            raise ValueError("an identity key has 16 to 64 bytes")
        self._keyed = hashlib.blake2b(digest_size=ID_BYTES, key=secret)

    def after(self, *parts: str) -> "Key":
        """The same key with these parts hashed already, for the many ids that begin with them."""
        keyed = self._keyed.copy()
        keyed.update(_joined(parts) + _SEPARATOR)
        begun = Key.__new__(Key)
        begun._keyed = keyed  # noqa: SLF001 - it is a Key as well
        return begun

    def digest(self, *payloads: bytes | memoryview) -> str:
        """128-bit hex keyed hash of the bytes; several are hashed as if joined."""
        state = self._keyed.copy()
        for payload in payloads:
            state.update(payload)
        return state.hexdigest()

    def told_apart(self, name: bytes, *rest: bytes | memoryview) -> str:
        """128-bit hex keyed hash of the bytes, whose first half hashes `name` alone.

        So two ids with equal first halves are of different things under one name.
        """
        state = self._keyed.copy()
        state.update(name)
        first = state.digest()[:_HALF_BYTES]
        for payload in rest:
            state.update(payload)
        return (first + state.digest()[:_HALF_BYTES]).hex()

    def id(self, *parts: str) -> str:
        """128-bit hex keyed id of the parts, in order."""
        return self.digest(_joined(parts))


def murmur2(payload: bytes) -> int:
    """Kafka's murmur2 hash, as an unsigned 32-bit number (Java and aiokafka partition by it)."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    length = len(payload)
    value = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(payload[at : at + 4], "little") * multiplier & mask
        word = (word ^ (word >> 24)) * multiplier & mask
        value = value * multiplier & mask ^ word
    if length > whole:
        value = (value ^ int.from_bytes(payload[whole:], "little")) * multiplier & mask
    value = (value ^ (value >> 13)) * multiplier & mask
    return value ^ (value >> 15)


def partition_of(key: str, partitions: int) -> int:
    """Partition of a key among N, as Java's default partitioner puts it."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
