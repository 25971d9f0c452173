"""Checking the signature of a directive: Ed25519 over its JSON, as any receiver can do it.

What is signed is the record without `signature`, as JSON with sorted keys, no white space, UTF-8.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

KEY_ID_CHARS: Final = 16
_canonical: Final = msgspec.json.Encoder(order="sorted").encode


def signed_bytes(directive: Mapping[str, Any]) -> bytes:
    """The bytes that the signature is over. `directive`: the record as JSON gave it."""
    return _canonical({name: value for name, value in directive.items() if name != "signature"})


def key_id_of(public_key: bytes) -> str:
    """Id of a public key: the first half of the SHA-256 of its 32 bytes, cut short."""
    return hashlib.sha256(public_key).hexdigest()[:KEY_ID_CHARS]


def key_of(text: str) -> bytes:
    """A public key from base64. Raises ValueError when it is none."""
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("a public key is 32 bytes in base64") from error
    if len(key) != 32:
        raise ValueError("a public key is 32 bytes in base64")
    return key


def holds(directive: Mapping[str, Any], keys: Mapping[str, bytes]) -> bool:
    """Whether the directive is signed by one of these keys (id → public key).

    Raises ImportError where the package `cryptography` is not installed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key_id, signature = directive.get("key_id"), directive.get("signature")
    key = keys.get(key_id) if isinstance(key_id, str) else None
    if key is None or not isinstance(signature, str):
        return False
    try:
        raw = base64.b64decode(signature, validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(raw, signed_bytes(directive))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
