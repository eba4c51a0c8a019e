"""Which ranges a key lies in, against a list that is looked through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorum.runtime.watch_ranges import Ranges, _Node

KEYS = st.binary(max_size=3)
RANGES = st.tuples(KEYS, st.none() | KEYS).filter(lambda pair: pair[1] is None or pair[1] > pair[0])


def height(node: _Node | None) -> int:
    return 0 if node is None else 1 + max(height(node.left), height(node.right))


@given(st.lists(st.tuples(RANGES, st.booleans())), st.lists(KEYS, max_size=8))
def test_exactly_the_ranges_around_a_key_are_found(steps, keys):
    ranges: Ranges[tuple[bytes, bytes | None]] = Ranges()
    kept: set[tuple[bytes, bytes | None]] = set()
    for pair, stays in steps:
        if pair in kept and not stays:
            ranges.remove(*pair)
            kept.discard(pair)
        elif pair not in kept:
            ranges.add(*pair, pair)
            kept.add(pair)
        assert len(ranges) == len(kept) and ranges.get(*pair) == (pair if pair in kept else None)
    assert set(ranges.items()) == kept
    for key in keys:
        found = ranges.around(key)
        assert len(found) == len(set(found))
        assert set(found) == {(start, end) for start, end in kept if start <= key and (end is None or key < end)}
        assert [start for start, _ in found] == sorted(start for start, _ in found)


def test_the_tree_stays_flat_whatever_the_order():
    """Otherwise one client could make every change slow for all."""
    ranges: Ranges[int] = Ranges()
    for number in range(10_000):
        ranges.add(b"%06d" % number, b"%06d~" % number, number)
    assert height(ranges._root) < 50
    assert ranges.around(b"005000") == [5000]
