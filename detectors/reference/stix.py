"""STIX 2.1 bundles as indicators: those patterns that compare one value, or one of several.

What a pattern asks beyond that (several observations in time, values that must come together) is
no list entry; such an indicator is left out, and it is said.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from tachograph.detectors.reference.entries import Indicator, IndicatorType

_TEXT = r"'(?:[^'\\]|\\.)*'"
_PATH = r"[a-z0-9-]+:[\w.\-]+(?:\.'[\w-]+')?"
_ONE = rf"{_PATH}\s*(?:=\s*{_TEXT}|IN\s*\(\s*{_TEXT}(?:\s*,\s*{_TEXT})*\s*\))"
_ANY = rf"\[\s*{_ONE}(?:\s+OR\s+{_ONE})*\s*\]"
_PATTERN = re.compile(rf"\s*\(?\s*{_ANY}(?:\s+OR\s+{_ANY})*\s*\)?\s*")
_COMPARED = re.compile(rf"({_PATH})\s*(?:=|IN\s*\()\s*({_TEXT}(?:\s*,\s*{_TEXT})*)")
_VALUE = re.compile(_TEXT)
MAX_PATTERN_CHARS = 10_000

_KINDS: dict[str, IndicatorType] = {
    "domain-name:value": "domain",
    "url:value": "url",
    "ipv4-addr:value": "ip",
    "ipv6-addr:value": "ip",
    "email-addr:value": "email",
    "email-message:from_ref.value": "email",
    "file:name": "file",
    "software:name": "package",
}


class LeftOut(ValueError):
    """An indicator that cannot be a list entry; the message says why."""


def indicators(bundle: Any, name: str) -> Iterator[Indicator | LeftOut]:
    """The indicators of a bundle; `name`: of the list, where no creator is named."""
    objects = [one for one in bundle.get("objects") or [] if isinstance(one, dict)]
    names = {one.get("id"): one.get("name") for one in objects if one.get("type") == "identity"}
    for one in objects:
        if one.get("type") != "indicator" or one.get("revoked") is True:
            continue
        creator = names.get(one.get("created_by_ref"))
        try:
            yield from _of(one, str(creator or name))
        except (LeftOut, msgspec.ValidationError) as error:
            yield LeftOut(f"{one.get('id', 'an indicator')}: {error}")


def _of(one: dict[str, Any], name: str) -> Iterator[Indicator]:
    pattern = one.get("pattern")
    if one.get("pattern_type") != "stix" or not isinstance(pattern, str):
        raise LeftOut(f"pattern type {one.get('pattern_type')} is not read")
    if len(pattern) > MAX_PATTERN_CHARS or not _PATTERN.fullmatch(pattern):
        raise LeftOut("the pattern asks for more than one value at a time")
    found = [
        {"type": _kind(path), "value": text}
        for path, values in _COMPARED.findall(pattern)
        for text in _texts(values)
    ]
    said: dict[str, Any] = {
        key: one[key] for key in ("confidence", "valid_from", "valid_until") if key in one
    }
    for entry in found:
        yield msgspec.convert({**entry, **said, "list": name}, Indicator)


def _kind(path: str) -> IndicatorType:
    if path.startswith("file:hashes."):
        return "hash"
    if path not in _KINDS:
        raise LeftOut(f"{path} is no field of an action")
    return _KINDS[path]


def _texts(values: str) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", text[1:-1]) for text in _VALUE.findall(values)]
