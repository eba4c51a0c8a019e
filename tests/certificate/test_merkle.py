"""Merkle trees: a path proves its item at its place in a list of its length, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.certificate.merkle import is_under, leaf_of, path_of, root_of

LISTS = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


@given(LISTS, st.data())
def test_every_item_is_proved_at_its_place_and_at_no_other(items: list[bytes], data: st.DataObject) -> None:
    leaves = [leaf_of(item) for item in items]
    root = root_of(leaves)
    place = data.draw(st.integers(0, len(items) - 1))
    path = path_of(leaves, place)
    assert is_under(root, leaves[place], place, len(items), path)
    for other in range(-1, len(items) + 1):
        if is_under(root, leaves[place], other, len(items), path):
            assert leaves[other] == leaves[place]
    assert not is_under(root, leaf_of(b"no item has nine"), place, len(items), path)


@given(LISTS, LISTS)
def test_lists_that_differ_have_roots_that_differ(first: list[bytes], second: list[bytes]) -> None:
    roots = [root_of(map(leaf_of, items)) for items in (first, second)]
    assert (roots[0] == roots[1]) == (first == second)


@given(LISTS, st.data())
def test_a_path_that_is_cut_lengthened_or_spoilt_proves_nothing(items: list[bytes], data: st.DataObject) -> None:
    leaves = [leaf_of(item) for item in items]
    root, place = root_of(leaves), data.draw(st.integers(0, len(items) - 1))
    path = path_of(leaves, place)
    assert not is_under(root, leaves[place], place, len(items), (*path, leaves[0]))
    if path:
        assert not is_under(root, leaves[place], place, len(items), path[:-1])
        spoilt = data.draw(st.integers(0, len(path) - 1))
        for instead in (b"", bytes(31), bytes(32), bytes(33)):
            assert not is_under(
                root, leaves[place], place, len(items), (*path[:spoilt], instead, *path[spoilt + 1 :])
            )


def test_an_inner_node_is_never_taken_for_an_item() -> None:
    leaves = [leaf_of(bytes([number])) for number in range(4)]
    inner = root_of(leaves[:2])
    assert not is_under(root_of(leaves), leaf_of(leaves[0] + leaves[1]), 0, 2, (root_of(leaves[2:]),))
    assert is_under(root_of(leaves), inner, 0, 2, (root_of(leaves[2:]),)), "so the count must come from the header"


def test_the_empty_list_has_a_root_and_no_paths() -> None:
    assert len(root_of([])) == 32
    assert root_of([]) != root_of([leaf_of(b"")])
    with pytest.raises(IndexError, match="0 leaves"):
        path_of([], 0)
    assert not is_under(root_of([]), leaf_of(b""), 0, 0, ())


def test_a_path_of_four_hundred_items_has_nine_hashes() -> None:
    leaves = [leaf_of(number.to_bytes(2, "big")) for number in range(400)]
    assert max(len(path_of(leaves, place)) for place in range(400)) == 9
