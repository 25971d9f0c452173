"""Values by their paths, durations and hosts, against the plainest way to find them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.normalize.formats.reading import at, duration_ms, host_of

keys = st.sampled_from(["a", "b", "a.b", "b.a", "0", ""])
values = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["", "x", '{"a":{"b":1}}', "{"]),
    lambda inner: st.dictionaries(keys, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


def every_way(value: Any, path: str) -> list[Any]:
    """All that a path may mean where there are only objects."""
    found = [value[path]] if path in value else []
    for place in (n for n, sign in enumerate(path) if sign == "."):
        inner = value.get(path[:place])
        if isinstance(inner, dict):
            found += every_way(inner, path[place + 1 :])
    return [one for one in found if one is not None]


objects = st.recursive(
    st.integers(0, 3) | st.none(),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@given(objects, st.lists(keys.filter(bool), min_size=1, max_size=6).map(".".join))
def test_a_path_finds_what_is_there_whatever_keys_have_dots(value: Any, path: str) -> None:
    found = every_way(value, path)
    assert at(value, path) in found if found else at(value, path) is None


@given(values, st.lists(keys, max_size=6).map(".".join))
def test_a_path_through_anything_never_raises(value: Any, path: str) -> None:
    at(value, path)


def test_a_path_goes_through_lists_and_json_text() -> None:
    item = {"body": '{"choices":[{"text":"hi"}]}', "list": [{"a.b": 1}]}
    assert at(item, "body.choices.0.text") == "hi"
    assert at(item, "list.0.a.b") == 1
    assert at(item, "list.1.a") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("5870ms", 5870.0), ("1.5s", 1500.0), ("1m2.5s", 62500.0), ("250µs", 0.25), ("5", "5"),
     ("5 ms", "5 ms"), ("ms", "ms"), ("9" * 80 + "ms", "9" * 80 + "ms"), (7, 7), (None, None)],
)  # fmt: skip
def test_a_duration_with_its_unit_is_milliseconds(text: Any, found: Any) -> None:
    assert duration_ms(text) == found


@pytest.mark.parametrize(
    ("address", "host"),
    [("192.0.2.1:443", "192.0.2.1"), ("[2001:db8::1]:443", "2001:db8::1"), ("h", "h"),
     ("2001:db8::1", "2001:db8::1"), ("h:p", "h:p"), ("", "")],
)  # fmt: skip
def test_an_address_without_its_port_is_a_host(address: str, host: str) -> None:
    assert host_of(address) == host
