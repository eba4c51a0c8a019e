"""Values drawn at random by their types, from few different ones, so that the commands of clients meet."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Set
from random import Random
from typing import Any, get_args, get_origin

from msgspec import inspect as shapes

from quorum.apps.replicated_schema import ClassSchema, MethodSchema
from quorum.errors import ConfigurationError

INTEGERS = (0, 1, 2, 3, 4)
RARE_INTEGERS = (-1, 7, 100)
RARE = 0.15
WORDS = ("a", "b", "c", "d", "")
LENGTH_MAX = 3
DEPTH_MAX = 4
LEAVE_OUT = 0.3
"""So often a parameter that has a default is left out."""
_EPOCH = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
_SETS = (set, frozenset, Set)


class ObjectWorkload:
    """Calls any command or query of a replicated class, half of each, with arguments by their annotations."""

    def __init__(self, schema: ClassSchema) -> None:
        self._schema = schema
        methods = [schema.methods[name] for name in sorted(schema.methods)]
        self._groups = [
            group
            for group in ([m for m in methods if m.is_command], [m for m in methods if not m.is_command])
            if group
        ]
        if not methods:
            raise ConfigurationError(
                f"{schema.text} was to be simulated, but it has no command and no query. Mark a method "
                "with @command."
            )
        draw = Random(0)
        for method in methods:
            self._arguments(method, draw)  # what cannot be drawn is told before anything runs

    def __call__(self, target: Any, random: Random) -> Any:
        group = self._groups[random.randrange(len(self._groups))]
        method = group[random.randrange(len(group))]
        return getattr(target, method.name)(**self._arguments(method, random))

    def _arguments(self, method: MethodSchema, random: Random) -> dict[str, Any]:
        drawn = {}
        for name, is_optional in method.parameters:
            if is_optional and random.random() < LEAVE_OUT:
                continue
            try:
                drawn[name] = draw_value(method.hints[name], random)
            except Undrawable as error:
                raise ConfigurationError(
                    f"arguments of {method.what} were to be drawn at random, but there is no rule for {error} of "
                    f"`{name}`. Give a workload: workload=lambda it, random: it.{method.name}(...)."
                ) from None
        return drawn


class Undrawable(Exception):
    """A type for which there is no rule."""


def draw_value(hint: Any, random: Random) -> Any:
    """A value of a type; in place of a set, a list. Raises Undrawable."""
    origin = get_origin(hint) or hint
    if origin in _SETS:
        member = (get_args(hint) or (str,))[0]
        return _different(random, 0, None, lambda: draw_value(member, random))
    return _draw(shapes.type_info(hint), random, 0)


def _draw(shape: shapes.Type, random: Random, depth: int) -> Any:
    simple = _draw_scalar(shape, random)
    if simple is not _NONE_SUCH:
        return simple
    if depth > DEPTH_MAX:
        raise Undrawable("a type that nests without end")

    def part(each: shapes.Type) -> Any:
        return _draw(each, random, depth + 1)

    match shape:
        case shapes.Metadata():
            return _draw(shape.type, random, depth)
        case shapes.UnionType():
            return _draw(shape.types[random.randrange(len(shape.types))], random, depth)
        case shapes.ListType() | shapes.CollectionType():
            return _many(random, shape.min_length, shape.max_length, lambda: part(shape.item_type))
        case shapes.VarTupleType():
            return tuple(_many(random, shape.min_length, shape.max_length, lambda: part(shape.item_type)))
        case shapes.SetType() | shapes.FrozenSetType():
            return _different(random, shape.min_length, shape.max_length, lambda: part(shape.item_type))
        case shapes.TupleType():
            return tuple(part(each) for each in shape.item_types)
        case shapes.DictType():
            keys = _many(random, shape.min_length, shape.max_length, lambda: part(shape.key_type))
            return {key: part(shape.value_type) for key in keys}
        case shapes.StructType() | shapes.DataclassType() | shapes.NamedTupleType():
            return shape.cls(**{field.name: part(field.type) for field in shape.fields})
        case shapes.TypedDictType():
            return {field.name: part(field.type) for field in shape.fields}
    raise Undrawable(f"a type like {type(shape).__name__.removesuffix('Type').lower()}")


_NONE_SUCH: Any = object()


def _draw_scalar(shape: shapes.Type, random: Random) -> Any:
    match shape:
        case shapes.NoneType():
            return None
        case shapes.BoolType():
            return random.random() < 0.5
        case shapes.IntType():
            return _number(shape, random)
        case shapes.FloatType():
            return float(_number(shape, random))
        case shapes.DecimalType():
            return decimal.Decimal(random.choice(INTEGERS))
        case shapes.StrType() | shapes.BytesType():
            return _text(shape, random)
        case shapes.AnyType():
            return random.choice((*INTEGERS, *WORDS))
        case shapes.LiteralType():
            return random.choice(sorted(shape.values, key=repr))
        case shapes.EnumType():
            return random.choice(list(shape.cls))
        case shapes.DateTimeType():
            moment = _EPOCH + datetime.timedelta(hours=random.randrange(48))
            return moment.replace(tzinfo=None) if shape.tz is False else moment
        case shapes.DateType():
            return _EPOCH.date() + datetime.timedelta(days=random.randrange(5))
        case shapes.TimeType():
            return datetime.time(random.randrange(24), tzinfo=datetime.UTC if shape.tz else None)
        case shapes.TimeDeltaType():
            return datetime.timedelta(seconds=random.choice(INTEGERS))
        case shapes.UUIDType():
            return uuid.UUID(int=random.choice(INTEGERS))
    return _NONE_SUCH


def _number(shape: shapes.IntType | shapes.FloatType, random: Random) -> Any:
    rare = random.random() < RARE
    value: Any = random.choice(RARE_INTEGERS if rare else INTEGERS)
    step = shape.multiple_of or 1
    least = shape.ge if shape.ge is not None else None if shape.gt is None else shape.gt + step
    most = shape.le if shape.le is not None else None if shape.lt is None else shape.lt - step
    if least is not None and value < least:
        value = least + random.choice(INTEGERS) * step
    if most is not None and value > most:
        value = most if least is None else max(least, most - random.choice(INTEGERS) * step)
    if shape.multiple_of is not None:
        value -= value % shape.multiple_of
    fits = (least is None or value >= least) and (most is None or value <= most)
    if not fits:
        raise Undrawable("a number within its limits")
    return value


def _text(shape: shapes.StrType | shapes.BytesType, random: Random) -> str | bytes:
    text = random.choice(WORDS)
    if isinstance(shape, shapes.StrType) and shape.pattern is not None:
        raise Undrawable("text of a pattern")
    if shape.min_length is not None:
        text = text.ljust(shape.min_length, "x")
    if shape.max_length is not None:
        text = text[: shape.max_length]
    return text if isinstance(shape, shapes.StrType) else text.encode()


def _different(random: Random, least: int | None, most: int | None, draw: Any) -> list[Any]:
    """The members of a set, in an order that no hash decides; what is sent is an array anyway."""
    return list(dict.fromkeys(_many(random, least, most, draw)))


def _many(random: Random, least: int | None, most: int | None, draw: Any) -> list[Any]:
    low = least or 0
    high = max(low, LENGTH_MAX if most is None else min(most, low + LENGTH_MAX))
    return [draw() for _ in range(random.randrange(low, high + 1))]
