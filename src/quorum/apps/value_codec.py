"""How the values of one type are encoded, and whether they may be shared.

The bytes of a value are its truth: replicas keep the same bytes, and a live value is what those bytes decode to.
"""

from __future__ import annotations

import collections.abc
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import inspect as shapes

from quorum.apps.batch import check_nesting
from quorum.apps.ordered_set import OrderedSet
from quorum.apps.set_order import DEPTH_MAX, encode_as_it_stands, encode_in_order
from quorum.apps.type_text import NAMES_OF_SCALARS, text_of
from quorum.entry import Buffer
from quorum.errors import NotReplicable

_SETS = (set, collections.abc.Set, collections.abc.MutableSet)
_IMMUTABLE: tuple[Any, ...] = (
    *NAMES_OF_SCALARS,
    shapes.DateTimeType,
    shapes.TimeType,
    shapes.DateType,
    shapes.TimeDeltaType,
    shapes.UUIDType,
    shapes.DecimalType,
    shapes.EnumType,
    shapes.LiteralType,
)
_CANONICAL: tuple[Any, ...] = (
    shapes.NoneType,
    shapes.BoolType,
    shapes.IntType,
    shapes.StrType,
    shapes.BytesType,
    shapes.UUIDType,
    shapes.DateType,
)
_EXACT: dict[object, type] = {int: int, str: str, bytes: bytes, bool: bool}
"""Types whose values may be kept as they were given, since nothing tells them from what they decode to. A NaN is
found in a container by its identity, so that a new float is kept, as on a replica that read it from its bytes."""


class ValueCodec:
    """Encodes and decodes values of `hint`. Raises NotReplicable, naming `what`, if msgspec cannot.

    A built-in set has no order that replicas agree on. Where there may be one, and the bytes are made by every
    replica (`is_replicated`), it goes into them by `set_order`.

    `is_mutable`: a value may be changed in place, so that what is stored must never be handed out itself.
    `is_canonical`: equal values have equal bytes, which 1 and 1.0 have not, nor 0.0 and -0.0.
    `hint` is what is decoded: sets in it are ordered ones. `text` names the type, the same for every program that
    means the same.
    """

    __slots__ = ("_decode", "_depth_is_checked", "encode", "exact", "hint", "is_canonical", "is_mutable", "text")

    def __init__(self, hint: Any, what: str, is_replicated: bool = True) -> None:
        wanted = _with_ordered_sets(hint)
        try:
            shape = shapes.type_info(wanted)
            decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(wanted, dec_hook=_decode_set)
        except (TypeError, ValueError):
            wanted = hint  # an ordered set fits in no union but with None
            shape, decoder = _decoder(hint, what)
        foreign = _foreign(shape)
        if foreign is not None:
            raise NotReplicable(
                f"{what} was declared to hold {foreign.__name__}, but nothing says how that is encoded. "
                "Use what msgspec can encode: built-in types, msgspec.Struct, dataclasses, enums and the like."
            )
        traits = _Traits()
        traits.look(shape)
        may_hold_sets = traits.has_sets and is_replicated
        self.encode: Callable[[Any], bytes] = encode_in_order if may_hold_sets else encode_as_it_stands
        self._decode = decoder.decode
        self.hint: Any = wanted
        self._depth_is_checked = traits.is_unbounded
        self.is_mutable = traits.is_mutable
        self.is_canonical = _is_canonical(shape)
        self.exact = _EXACT.get(hint) if isinstance(hint, type) else type(None) if hint is None else None
        self.text = text_of(shapes.type_info(hint))

    def decode(self, data: Buffer) -> Any:
        """The value in `data`, a new one each time. Raises msgspec.DecodeError or UnicodeDecodeError if the bytes
        hold none of this type."""
        if self._depth_is_checked:
            check_nesting(data, DEPTH_MAX)
        return self._decode(data)

    def settle(self, value: Any, what: str) -> tuple[bytes, Any]:
        """The bytes of `value`, and the value that they decode to. Raises TypeError, naming `what`, for a value of
        another type, and what msgspec raises for one that cannot be encoded."""
        if type(value) is self.exact:
            return self.encode(value), value
        data = self.encode(value)
        try:
            return data, self.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TypeError(f"{what} was to hold {self.text}, but it was given something else: {error}.") from None


def _decoder(hint: Any, what: str) -> tuple[shapes.Type, msgspec.msgpack.Decoder[Any]]:
    try:
        return shapes.type_info(hint), msgspec.msgpack.Decoder(hint)
    except (TypeError, ValueError) as error:
        raise NotReplicable(
            f"{what} was declared with a type that cannot be encoded: {error}. Use what msgspec can encode: "
            "built-in types, msgspec.Struct, dataclasses, enums and the like."
        ) from None


def _with_ordered_sets(hint: Any) -> Any:
    """The same type with every `set` in it, as far as they stand in built-in containers, an ordered one."""
    if hint is set:
        return OrderedSet[Any]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _SETS:
        return OrderedSet[_with_ordered_sets(arguments[0])]  # type: ignore[misc]
    if origin is Annotated:
        return Annotated[(_with_ordered_sets(arguments[0]), *arguments[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_with_ordered_sets, arguments))]  # noqa: UP007
    if origin in (list, tuple, dict) and arguments:
        return origin[tuple(_with_ordered_sets(argument) for argument in arguments)]
    return hint


def _decode_set(kind: Any, value: Any) -> Any:
    if get_origin(kind) is not OrderedSet:
        raise TypeError(f"a value of the type {kind} cannot be decoded")
    (member,) = get_args(kind)
    return OrderedSet(msgspec.convert(value, list[member], dec_hook=_decode_set))  # type: ignore[valid-type]


def _foreign(shape: shapes.Type) -> type | None:
    """A class somewhere in the type that msgspec knows nothing of."""
    seen: set[int] = set()
    waiting = [shape]
    while waiting:
        shape = waiting.pop()
        if id(shape) in seen:
            continue
        seen.add(id(shape))
        if isinstance(shape, shapes.CustomType) and shape.cls is not OrderedSet:
            return shape.cls
        waiting.extend(parts_of(shape))
    return None


def parts_of(shape: shapes.Type) -> list[shapes.Type]:
    """The types that a type is made of, one level down."""
    match shape:
        case shapes.Metadata():
            return [shape.type]
        case (
            shapes.ListType()
            | shapes.SetType()
            | shapes.FrozenSetType()
            | shapes.VarTupleType()
            | shapes.CollectionType()
        ):
            return [shape.item_type]
        case shapes.TupleType():
            return list(shape.item_types)
        case shapes.DictType():
            return [shape.key_type, shape.value_type]
        case shapes.UnionType():
            return list(shape.types)
        case shapes.StructType() | shapes.DataclassType() | shapes.TypedDictType() | shapes.NamedTupleType():
            return [field.type for field in shape.fields]
    return []


def _is_canonical(shape: shapes.Type) -> bool:
    """Whether values of the type that are equal are encoded alike."""
    match shape:
        case shapes.Metadata():
            return _is_canonical(shape.type)
        case shapes.TupleType() | shapes.VarTupleType():
            return all(map(_is_canonical, parts_of(shape)))
    return isinstance(shape, _CANONICAL)


class _Traits:
    """What matters about a type: can its values change, do they hold sets, may they nest without end?"""

    def __init__(self) -> None:
        self.is_mutable = self.has_sets = self.is_unbounded = False
        self._open: list[int] = []
        self._done: set[int] = set()

    def look(self, shape: shapes.Type) -> None:
        name = id(shape)
        if name in self._open:
            self.is_unbounded = True
            return
        if name in self._done:
            return
        self._done.add(name)
        self._judge(shape)
        self._open.append(name)
        for part in parts_of(shape):
            self.look(part)
        self._open.pop()

    def _judge(self, shape: shapes.Type) -> None:
        match shape:
            case shapes.SetType():
                self.has_sets = self.is_mutable = True
            case shapes.FrozenSetType():
                self.has_sets = True
            case shapes.AnyType() | shapes.RawType() | shapes.ExtType():
                self.has_sets = self.is_mutable = self.is_unbounded = True
            case shapes.CustomType():  # an ordered set, in whose place a command may have put a built-in one
                self.has_sets = self.is_mutable = True
                self.is_unbounded = True  # what it holds is decoded before it is looked at
            case shapes.StructType():
                self.is_mutable = self.is_mutable or not shape.cls.__struct_config__.frozen
                self.is_unbounded = self.is_unbounded or not shape.forbid_unknown_fields
            case shapes.DataclassType():
                parameters = getattr(shape.cls, "__dataclass_params__", None)
                self.is_mutable = self.is_mutable or parameters is None or not parameters.frozen
                self.is_unbounded = True  # what it does not know is skipped
            case (
                shapes.NamedTupleType()
                | shapes.TupleType()
                | shapes.VarTupleType()
                | shapes.UnionType()
                | shapes.Metadata()
            ):
                pass
            case _ if not isinstance(shape, _IMMUTABLE):
                self.is_mutable = True
                self.is_unbounded = self.is_unbounded or isinstance(shape, shapes.TypedDictType)
