"""The members of built-in sets go into bytes in an order that depends on them alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import pytest

from quorum.apps.answer import failure_of
from quorum.apps.ordered_set import OrderedSet
from quorum.apps.set_order import DEPTH_MAX, encode_in_order, in_order
from quorum.apps.value_codec import ValueCodec

DECODE = msgspec.msgpack.decode


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Team(msgspec.Struct, frozen=True):
    names: frozenset[str]
    note: str = ""


@dataclass(frozen=True)
class Row:
    names: frozenset[str]


class Pair(NamedTuple):
    names: frozenset[str]
    number: int


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([3, 1, 2], [1, 2, 3]),
        (["b", "a"], ["a", "b"]),
        ([("b", 1), ("a", 2)], [("a", 2), ("b", 1)]),
        ([Colour.RED, Colour.BLUE], [Colour.RED, Colour.BLUE]),
        ([frozenset("b"), frozenset("a")], [frozenset("a"), frozenset("b")]),
        ([(1, frozenset("b")), (1, frozenset("a"))], [(1, frozenset("a")), (1, frozenset("b"))]),
        (["1", 1], [1, "1"]),
    ],
)
def test_members_are_sorted_whatever_they_are(members, expected):
    for _ in range(5):
        random.shuffle(members)
        assert in_order(set(members)) == expected


def test_what_has_an_order_keeps_it():
    assert in_order(["b", "a"]) == ["b", "a"] == in_order(OrderedSet(["b", "a"]))


@pytest.mark.parametrize(
    "wrap", [lambda each: each, lambda each: [each], lambda each: (each,), lambda each: {1: each}]
)
def test_sets_are_found_wherever_they_are(wrap):
    names = frozenset(("c", "a", "b"))
    for value in (names, set(names), Team(names), Row(names), Pair(names, 1), {names: 1}, OrderedSet([names])):
        shown = str(DECODE(encode_in_order(wrap(value)), strict=False))
        assert "('a', 'b', 'c')" in shown or "['a', 'b', 'c']" in shown
        assert wrap(value) == wrap(value)
    assert Team(names).names is names


def test_what_holds_no_set_is_encoded_as_it_stands():
    team = Team(frozenset(), "x")
    for value in (team, [1, {2: [3]}], {"b": 1, "a": 2}, Colour.RED, None, 1.5):
        assert encode_in_order(value) == msgspec.msgpack.encode(value)


def test_dicts_in_any_value_may_have_any_keys_and_keep_their_order():
    codec = ValueCodec(Any, "x")
    assert list(codec.settle({2: "b", 1: "a"}, "x")[1].items()) == [(2, "b"), (1, "a")]


def test_a_value_that_nests_without_end_is_refused():
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match=f"deeper than {DEPTH_MAX}"):
        encode_in_order(endless)


def test_what_is_raised_with_a_set_is_told_alike_in_every_process():
    names = frozenset(f"name {number}" for number in range(9))
    shown = ", ".join(map(repr, sorted(names)))
    assert failure_of(KeyError(names)).message == f"frozenset({{{shown}}})"
    assert failure_of(ValueError(set(names))).message == f"{{{shown}}}"
    assert failure_of(AssertionError(set())).message == "set()"
    assert failure_of(ValueError("missing", frozenset(), 3)).message == "('missing', frozenset(), 3)"
    assert failure_of(KeyError("a")).message == "'a'"
