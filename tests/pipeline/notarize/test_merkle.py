"""The tree against RFC 6962 as it is written: recursive, slow and plain."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.notarize.merkle import (
    EMPTY_ROOT,
    BadEdge,
    Edge,
    Tree,
    consistent,
    leaf_hash,
    root_of_inclusion,
)

SIZES = st.integers(1, 70)


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def split(count: int) -> int:
    middle = 1
    while middle * 2 < count:
        middle *= 2
    return middle


def mth(found: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, over hashed leaves."""
    if not found:
        return sha256(b"").digest()
    if len(found) == 1:
        return found[0]
    k = split(len(found))
    return sha256(b"\x01" + mth(found[:k]) + mth(found[k:])).digest()


def path(m: int, found: list[bytes]) -> list[bytes]:
    """PATH of 2.1.1."""
    if len(found) == 1:
        return []
    k = split(len(found))
    if m < k:
        return [*path(m, found[:k]), mth(found[k:])]
    return [*path(m - k, found[k:]), mth(found[:k])]


def subproof(m: int, found: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of 2.1.2."""
    if m == len(found):
        return [] if whole else [mth(found)]
    k = split(len(found))
    if m <= k:
        return [*subproof(m, found[:k], whole), mth(found[k:])]
    return [*subproof(m - k, found[k:], False), mth(found[:k])]


@given(st.integers(0, 70))
def test_a_tree_grown_leaf_by_leaf_has_the_root_of_the_standard(count: int) -> None:
    found = leaves(count)
    edge = Edge()
    edge.extend(found)
    assert edge.root() == mth(found) == Tree(found).root()
    assert len(edge.hashes) == count.bit_count()


@given(st.integers(0, 70), st.integers(0, 70))
def test_an_edge_that_was_kept_goes_on_as_the_tree_would_have(first: int, more: int) -> None:
    found = leaves(first + more)
    edge = Edge()
    edge.extend(found[:first])
    kept = Edge(edge.size, edge.hashes)
    kept.extend(found[first:])
    assert kept.root() == mth(found)


@given(SIZES, st.data())
def test_an_audit_path_is_that_of_the_standard_and_leads_to_the_root(
    size: int, data: st.DataObject
) -> None:
    found = leaves(data.draw(st.integers(size, 71)))
    at = data.draw(st.integers(0, size - 1))
    proof = Tree(found).inclusion(at, size)
    assert proof == path(at, found[:size])
    assert root_of_inclusion(found[at], at, size, proof) == mth(found[:size])


@given(SIZES, st.data())
def test_an_audit_path_proves_no_other_leaf_place_or_tree(size: int, data: st.DataObject) -> None:
    found = leaves(size)
    at = data.draw(st.integers(0, size - 1))
    proof, root = Tree(found).inclusion(at, size), mth(found)
    assert root_of_inclusion(leaf_hash(b"other"), at, size, proof) != root
    elsewhere = data.draw(st.integers(-1, size + 1).filter(lambda n: n != at))
    assert root_of_inclusion(found[at], elsewhere, size, proof) != root
    if proof:
        assert root_of_inclusion(found[at], at, size, proof[:-1]) != root
        bent = [*proof]
        bent[data.draw(st.integers(0, len(proof) - 1))] = leaf_hash(b"bent")
        assert root_of_inclusion(found[at], at, size, bent) != root
    assert root_of_inclusion(found[at], at, size, [*proof, root]) != root


@given(SIZES, st.data())
def test_a_consistency_proof_is_that_of_the_standard_and_holds(
    size: int, data: st.DataObject
) -> None:
    found = leaves(size)
    old = data.draw(st.integers(1, size))
    proof = Tree(found).consistency(old, size)
    assert proof == subproof(old, found, True)
    assert consistent(old, mth(found[:old]), size, mth(found), proof)


@given(SIZES, st.data())
def test_no_consistency_proof_holds_for_a_tree_with_another_past(
    size: int, data: st.DataObject
) -> None:
    found = leaves(size)
    old = data.draw(st.integers(1, size))
    forged = [*found]
    forged[data.draw(st.integers(0, old - 1))] = leaf_hash(b"forged")
    for proof in (Tree(found).consistency(old, size), Tree(forged).consistency(old, size)):
        assert not consistent(old, mth(found[:old]), size, mth(forged), proof)
    good = Tree(found).consistency(old, size)
    assert not consistent(old, mth(found[:old]), size, mth(found), [*good, mth(found)])
    if good:
        assert not consistent(old, mth(found[:old]), size, mth(found), good[:-1])


def test_an_empty_tree_has_the_hash_of_nothing_and_everything_continues_it() -> None:
    assert Edge().root() == EMPTY_ROOT == Tree([]).root()
    assert consistent(0, EMPTY_ROOT, 3, mth(leaves(3)), [])
    assert not consistent(0, mth(leaves(1)), 3, mth(leaves(3)), [])


@pytest.mark.parametrize(("size", "hashes"), [(3, 1), (4, 2), (0, 1), (1, 0)])
def test_hashes_that_are_no_edge_of_that_size_are_refused(size: int, hashes: int) -> None:
    with pytest.raises(BadEdge):
        Edge(size, leaves(hashes))
    with pytest.raises(BadEdge):
        Edge(1, [b"short"])
