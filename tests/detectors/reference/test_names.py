"""Names as operators write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.reference.names import Pattern, allowed, host_of, whole_path, within

LETTERS = st.text("ab.", max_size=8)


@given(st.text("ab.*", max_size=8), LETTERS)
def test_a_star_stands_for_any_text(pattern: str, name: str) -> None:
    regex = "".join(".*" if c == "*" else re.escape(c) for c in pattern)
    assert Pattern(pattern).matches(name) == bool(re.fullmatch(regex, name, re.DOTALL))


def test_a_pattern_of_many_stars_is_no_trap() -> None:
    assert not Pattern("*a" * 200 + "b").matches("a" * 1_000)


def test_nothing_said_is_not_nothing_allowed() -> None:
    assert allowed(None)("x") is None
    assert allowed([])("x") is False
    assert allowed(["X*"])("xyz") is True
    assert allowed(["x"])(None) is None


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://API.Example.org:8443/v1?a=b@c", "api.example.org"),
        ("https://user:pass@example.org/", "example.org"),
        ("https://example.org\\@evil.net/", "example.org"),
        ("Ann <ann@Example.org>", "example.org"),
        ("http://[2001:db8::1]:80/", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("example.org.", "example.org"),
        ("", None),
    ],
)
def test_the_host_of_an_address_is_the_one_that_is_called(address: str, host: str | None) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/srv/a/../b", True),
        ("/srv/../etc/shadow", False),
        ("file:///srv/x", True),
        ("/srvx", False),
        ("C:\\Srv\\x", True),
        ("C:\\Windows\\x", False),
        ("a/../../b", False),
        ("~/.ssh/id_rsa", False),
        ("//host/share", False),
    ],
)
def test_a_path_is_inside_by_where_it_ends_up(path: str, inside: bool) -> None:
    assert within(path, ["/srv", "c:/srv"]) is inside


def test_paths_are_read_as_the_system_reads_them() -> None:
    assert whole_path("/a/./b//../c") == "/a/c"
    assert whole_path("\\\\host\\share") == "//host/share"
