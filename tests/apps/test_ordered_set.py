"""The ordered set against the built-in one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorum.apps.ordered_set import OrderedSet

MEMBERS = st.lists(st.integers(0, 8), max_size=10)


@given(MEMBERS, MEMBERS, MEMBERS)
def test_it_gives_what_a_set_gives(some, others, more):
    ordered, plain = OrderedSet(some), set(some)
    assert ordered == plain and len(ordered) == len(plain)
    assert set(ordered | set(others)) == plain | set(others)
    assert set(set(others) | ordered) == plain | set(others)
    assert set(ordered & set(others)) == plain & set(others)
    assert set(ordered - set(others)) == plain - set(others)
    assert set(set(others) - ordered) == set(others) - plain
    assert set(ordered ^ set(others)) == plain ^ set(others)
    assert set(ordered.union(others, more)) == plain.union(others, more)
    assert set(ordered.intersection(others, more)) == plain.intersection(others, more)
    assert set(ordered.difference(others, more)) == plain.difference(others, more)
    assert set(ordered.symmetric_difference(others)) == plain.symmetric_difference(others)
    assert ordered.issubset(others) == plain.issubset(others)
    assert ordered.issuperset(others) == plain.issuperset(others)
    assert (ordered <= set(others)) == (plain <= set(others))
    assert ordered.isdisjoint(others) == plain.isdisjoint(others)


@given(MEMBERS, MEMBERS, MEMBERS)
def test_it_changes_as_a_set_does(some, others, more):
    for change in ("update", "difference_update", "intersection_update"):
        ordered, plain = OrderedSet(some), set(some)
        getattr(ordered, change)(others, more)
        getattr(plain, change)(others, more)
        assert set(ordered) == plain, change
    ordered, plain = OrderedSet(some), set(some)
    ordered.symmetric_difference_update(others)
    plain.symmetric_difference_update(others)
    assert set(ordered) == plain
    ordered |= set(more)
    assert set(ordered) == plain | set(more)
    ordered -= set(others)
    assert set(ordered) == (plain | set(more)) - set(others)
    ordered ^= set(some)
    assert set(ordered) == ((plain | set(more)) - set(others)) ^ set(some)
    ordered &= set(more)
    assert set(ordered) == (((plain | set(more)) - set(others)) ^ set(some)) & set(more)


@given(MEMBERS)
def test_it_keeps_the_order_of_insertion(some):
    first_of_each = list(dict.fromkeys(some))
    ordered = OrderedSet(some)
    assert list(ordered) == ordered.plain() == first_of_each
    assert list(ordered | {100}) == [*first_of_each, 100]
    if some:
        assert ordered.pop() == first_of_each[0]
    assert list(ordered) == first_of_each[1:]


def test_it_shows_itself_as_a_set():
    assert repr(OrderedSet("ba")) == "{'b', 'a'}"
    assert repr(OrderedSet()) == "set()"
