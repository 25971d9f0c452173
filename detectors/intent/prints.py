"""Fingerprints of what a text names: addresses, and numbers and names that one does not meet by
chance. They are hashed under what they are compared in, so equal ones elsewhere look unlike.
"""

import hashlib
import re
from collections.abc import Iterable

from tachograph.detectors.provenance import sentences, values
from tachograph.detectors.provenance.values import ADDRESS, plain

# A flow through memory is that of one thing that was named.
MEMORY = "memory "
MAX_PRINTS = 24
MAX_UNITS = 200
_PRINT_BYTES = 12
# No word of a language: long, with digits.
_NUMBER = re.compile(r"\b(?=[\w-]{0,60}\d)[A-Za-z0-9][\w-]{6,60}\w\b")


def named(text: str) -> frozenset[str]:
    """What a text names."""
    found = [*map(plain, ADDRESS.findall(text)), *map(plain, _NUMBER.findall(text))]
    return frozenset(dict.fromkeys(found).keys())


def asked_of(text: str) -> frozenset[str]:
    """What those sentences of a text name that ask someone to do something."""
    found: set[str] = set()
    for record in sentences.records(sentences.evened(text)):
        units = sentences.units(record)[:MAX_UNITS]
        for at, unit in enumerate(units):
            if sentences.asked_verbs(unit):
                # The address may stand in the next one.
                found |= named(" ".join(units[at : at + 2]))
    return frozenset(found)


def given(arguments: str) -> frozenset[str]:
    """What the arguments of a call name."""
    read = values.read(arguments)
    return frozenset([*read.addresses, *read.short]) | named(read.text)


def prints(of: str, names: Iterable[str]) -> list[str]:
    """Fingerprints of names, to be compared within `of`."""
    key = hashlib.blake2b(of.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    return [
        hashlib.blake2b(
            name.encode("utf-8", "surrogatepass"), digest_size=_PRINT_BYTES, key=key
        ).hexdigest()
        for name in sorted(names)[:MAX_PRINTS]
    ]
