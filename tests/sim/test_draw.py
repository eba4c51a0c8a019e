"""Arguments drawn by their types fit them, and what cannot be drawn is refused before anything runs."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from random import Random
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pytest

from quorum import ConfigurationError, Replicated, command
from quorum.apps.replicated_schema import schema_of
from quorum.sim.draw import ObjectWorkload, draw_value


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Line:
    begin: Point
    label: str | None = None


class Order(msgspec.Struct):
    lines: list[Line]
    colour: Colour
    due: datetime.date


HINTS = (
    bool,
    int,
    float,
    str,
    bytes,
    None,
    int | str | None,
    Literal["a", "b"],
    Colour,
    uuid.UUID,
    datetime.datetime,
    datetime.timedelta,
    Annotated[int, msgspec.Meta(ge=5, le=6)],
    Annotated[int, msgspec.Meta(gt=10, multiple_of=5)],
    Annotated[float, msgspec.Meta(lt=-3)],
    Annotated[str, msgspec.Meta(min_length=2, max_length=3)],
    Annotated[list[int], msgspec.Meta(min_length=2, max_length=2)],
    list[dict[str, tuple[int, bool]]],
    tuple[str, ...],
    Order,
    Any,
)


@pytest.mark.parametrize("hint", HINTS, ids=str)
def test_what_is_drawn_fits_its_type(hint):
    draw = Random(1)
    for _ in range(200):
        value = draw_value(hint, draw)
        msgspec.convert(msgspec.to_builtins(value), hint, strict=False)


@pytest.mark.parametrize("hint", [set[str], frozenset[int]], ids=str)
def test_members_of_sets_are_drawn_in_an_order_that_no_hash_decides(hint):
    draw = Random(1)
    drawn = [draw_value(hint, draw) for _ in range(100)]
    assert all(type(each) is list and len(set(each)) == len(each) for each in drawn)
    assert max(map(len, drawn)) > 1


def test_few_different_values_are_drawn_so_that_commands_meet():
    draw = Random(1)
    assert len({draw_value(int, draw) for _ in range(500)}) < 10
    assert len({draw_value(str, draw) for _ in range(500)}) < 10


def test_an_argument_that_cannot_be_drawn_is_refused_with_the_remedy():
    class Matches(Replicated):
        found: int = 0

        @command
        def find(self, pattern: Annotated[str, msgspec.Meta(pattern="^x+$")]) -> None: ...

    with pytest.raises(ConfigurationError, match="no rule for text of a pattern of `pattern`"):
        ObjectWorkload(schema_of(Matches))


def test_a_class_without_methods_is_refused():
    class Nothing(Replicated):
        value: int = 0

    with pytest.raises(ConfigurationError, match="has no command and no query"):
        ObjectWorkload(schema_of(Nothing))
