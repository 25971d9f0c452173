"""Ids differ when anything differs; partitions are those of Java and aiokafka."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.schemas.identity import Key, Prefix, murmur2, partition_of, plain_id

KEY = Key(b"sixteen bytes or more")


@given(st.binary(max_size=64))
def test_murmur2_agrees_with_aiokafka(payload: bytes) -> None:
    assert murmur2(payload) == murmur2_of_aiokafka(payload) & 0xFFFFFFFF


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(1, 60))
def test_a_key_lands_where_aiokafka_puts_it(key: str, partitions: int) -> None:
    every = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key.encode(), every, every)


@pytest.mark.parametrize(
    ("payload", "value"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_murmur2_agrees_with_kafkas_own_test_vectors(payload: bytes, value: int) -> None:
    assert murmur2(payload) == value & 0xFFFFFFFF


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_parts_give_different_ids(left: list[str], right: list[str]) -> None:
    if (left or [""]) == (right or [""]):  # no parts and one empty part are the same bytes
        assert plain_id(*left) == plain_id(*right)
    else:
        assert plain_id(*left) != plain_id(*right)
        assert KEY.id(*left) != KEY.id(*right)


def test_an_id_is_32_hex_characters_and_depends_on_the_key() -> None:
    assert len(plain_id("a")) == 32
    assert set(KEY.id("a")) <= set("0123456789abcdef")
    assert KEY.id("a") != Key(b"another key of enough bytes").id("a")


def test_a_key_that_is_too_short_or_too_long_is_refused() -> None:
    for secret in (b"short", b"x" * 65):
        with pytest.raises(ValueError, match="16 to 64"):
            Key(secret)


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
def test_a_key_begun_with_some_parts_gives_the_ids_of_all_parts(
    first: list[str], rest: list[str]
) -> None:
    assert KEY.after(*first).id(*rest) == KEY.id(*first, *rest)


def test_a_prefix_hashed_once_gives_the_same_ids() -> None:
    assert Prefix("a", "b").id("c", "d") == plain_id("a", "b", "c", "d")


@settings(deadline=None)
@given(st.binary(), st.binary(), st.binary(), st.binary())
def test_ids_told_apart_share_a_half_where_the_name_is_the_same(
    name: bytes, other: bytes, one: bytes, two: bytes
) -> None:
    of = KEY.told_apart
    assert of(name, one)[:16] == of(name, two)[:16]
    assert (of(name, one) == of(name, two)) == (one == two)
    assert (of(name, one)[:16] == of(other, one)[:16]) == (name == other)
    assert of(name, one + two) == of(name, one, two)
    assert len(of(name, one)) == 32
