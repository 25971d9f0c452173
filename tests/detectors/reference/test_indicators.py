"""Indicator lists, from CSV and STIX, looked up in what an action touches."""

import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.reference.reference import load
from tachograph.detectors.reference.stix import LeftOut, indicators
from tests.detectors.reference.known import said

SHARED = Path(os.environ.get("TACHO_SHARED", Path(__file__).parents[4] / "shared"))
BUNDLE = SHARED / "reference/samples/stix_bundle.json"


def hit(action: dict[str, Any], kind: str, value: str, **more: Any) -> dict[str, Any]:
    found = said(action, indicators=[{"type": kind, "value": value, "list": "L", **more}])
    return {name: text for name, text in found.items() if name.startswith("indicator_")}


@pytest.mark.parametrize(
    ("action", "kind", "value", "field"),
    [
        ({"target_domain": "a.Bad.net"}, "domain", "bad.net", "target_domain"),
        ({"target_domain": "bad.net"}, "domain", "*.bad.net", "target_domain"),
        ({"content_urls": ["https://ok.net", "http://x.bad.net/p"]}, "domain", "bad.net",
         "content_urls"),
        ({"target_url": "https://h.net/a/"}, "url", "https://h.net/a", "target_url"),
        ({"target_ip": "10.9.8.7"}, "ip", "10.9.0.0/16", "target_ip"),
        ({"target_url": "http://[2001:db8::7]/"}, "ip", "2001:db8::/32", "target_url"),
        ({"artifact_digest": "sha256:AB12"}, "hash", "ab12", "artifact_digest"),
        ({"artifact_name": "left-pad", "artifact_version": "1.1"}, "package", "left-pad@1.1",
         "artifact_name"),
        ({"artifact_name": "@x/y", "artifact_version": "2"}, "package", "@x/y", "artifact_name"),
        ({"recipients": ["eve@bad.net"]}, "email", "EVE@bad.net", "recipients"),
        ({"recipients": ["eve@bad.net"]}, "domain", "bad.net", "recipients"),
        ({"file_path": "C:\\tmp\\x.sh"}, "file", "c:/tmp/x.sh", "file_path"),
    ],
)  # fmt: skip
def test_what_an_action_touches_is_looked_up(
    action: dict[str, Any], kind: str, value: str, field: str
) -> None:
    found = hit(action, kind, value)
    assert found["indicator_field"] == field
    assert found["indicator_value"] == value
    assert found["indicator_type"] == kind
    assert found["indicator_list"] == "L"


@pytest.mark.parametrize(
    ("action", "kind", "value"),
    [
        ({"target_domain": "notbad.net"}, "domain", "bad.net"),
        ({"target_domain": "bad.net.ok.org"}, "domain", "bad.net"),
        ({"target_url": "https://h.net/ab"}, "url", "https://h.net/a"),
        ({"artifact_name": "left-pad", "artifact_version": "1.2"}, "package", "left-pad@1.1"),
        ({"target_ip": "nonsense"}, "ip", "10.0.0.0/8"),
    ],
)
def test_what_only_looks_like_it_is_not_found(
    action: dict[str, Any], kind: str, value: str
) -> None:
    assert not hit(action, kind, value)


def test_an_indicator_counts_from_its_first_to_its_last_moment() -> None:
    span = {"valid_from": "1970-01-01T00:00:10Z", "valid_until": "1970-01-01T00:00:20Z"}
    for second, found in [(9, False), (10, True), (19, True), (20, False)]:
        action = {"target_domain": "bad.net", "event_time": second}
        assert bool(hit(action, "domain", "bad.net", **span)) is found


def test_another_tenants_indicator_is_not_used() -> None:
    action = {"target_domain": "bad.net", "tenant": "acme"}
    assert hit(action, "domain", "bad.net", tenant="acme")
    assert not hit(action, "domain", "bad.net", tenant="other")


BITS = st.integers(0, 32)
NUMBERS = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, BITS), min_size=1, max_size=4), NUMBERS)
def test_an_address_is_found_in_the_networks_that_hold_it(
    networks: list[tuple[int, int]], number: int
) -> None:
    known = {ip_network((base, bits), strict=False) for base, bits in networks}
    address = ip_address(number)
    found = said(
        {"target_ip": str(address)},
        indicators=[{"type": "ip", "value": str(network)} for network in known],
    )
    assert ("indicator_value" in found) == any(address in network for network in known)


def stix(pattern: str, **more: Any) -> dict[str, Any]:
    return {"type": "indicator", "id": "indicator--1", "pattern": pattern, "pattern_type": "stix",
            **more}  # fmt: skip


def test_patterns_that_compare_one_value_become_entries() -> None:
    bundle = {
        "type": "bundle",
        "objects": [
            {"type": "identity", "id": "identity--1", "name": "the makers"},
            stix("[domain-name:value = 'bad.net']", created_by_ref="identity--1", confidence=80),
            stix("[file:hashes.'SHA-256' = 'ab' OR file:hashes.MD5 = 'cd']"),
            stix("[url:value = 'http://x/\\'y'] OR [ipv4-addr:value IN ('1.2.3.4', '5.6.7.0/24')]"),
            stix("[domain-name:value = 'gone.net']", revoked=True),
        ],
    }
    found = [one for one in indicators(bundle, "feed") if not isinstance(one, LeftOut)]
    assert [(one.type, one.value, one.list) for one in found] == [
        ("domain", "bad.net", "the makers"),
        ("hash", "ab", "feed"),
        ("hash", "cd", "feed"),
        ("url", "http://x/'y", "feed"),
        ("ip", "1.2.3.4", "feed"),
        ("ip", "5.6.7.0/24", "feed"),
    ]
    assert found[0].confidence == 80


@pytest.mark.parametrize(
    "pattern",
    [
        "[domain-name:value = 'a' AND url:value = 'b']",
        "[domain-name:value = 'a'] FOLLOWEDBY [url:value = 'b']",
        "[domain-name:value LIKE '%a']",
        "[windows-registry-key:key = 'a']",
        "nonsense",
        "[" * 20_000,
    ],
)
def test_patterns_that_ask_for_more_are_left_out_and_it_is_said(
    pattern: str, tmp_path: Path
) -> None:
    bundle = {"type": "bundle", "objects": [stix(pattern), stix("[url:value = 'http://x']")]}
    (tmp_path / "feed.json").write_bytes(msgspec.json.encode(bundle))
    reference = load([tmp_path])
    assert len(reference.content.indicators) == 1
    assert "left out" in str(reference.notes[0])


@pytest.mark.skipif(not BUNDLE.is_file(), reason="no sample bundle beside the project")
def test_a_real_bundle_is_read() -> None:
    found = list(indicators(msgspec.json.decode(BUNDLE.read_bytes()), "feed"))
    assert [str(getattr(one, "value", one)) for one in found] == ["paste.example.net"]
