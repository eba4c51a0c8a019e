"""The canonical text of a type: equal for every program that reads and writes the same bytes for it.

The names of classes do not matter, nor how an annotation is spelled; fields, their order where it is encoded, tags
and limits do.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect as shapes

NAMES_OF_SCALARS: dict[Any, str] = {
    shapes.NoneType: "None",
    shapes.BoolType: "bool",
    shapes.IntType: "int",
    shapes.FloatType: "float",
    shapes.StrType: "str",
    shapes.BytesType: "bytes",
}
_NAMES: dict[Any, str] = {
    **NAMES_OF_SCALARS,
    shapes.AnyType: "Any",
    shapes.ByteArrayType: "bytearray",
    shapes.MemoryViewType: "memoryview",
    shapes.DateTimeType: "datetime",
    shapes.TimeType: "time",
    shapes.DateType: "date",
    shapes.TimeDeltaType: "timedelta",
    shapes.UUIDType: "UUID",
    shapes.DecimalType: "Decimal",
    shapes.ExtType: "Ext",
    shapes.RawType: "Raw",
    shapes.ListType: "list",
    shapes.SetType: "set",
    shapes.FrozenSetType: "frozenset",
    shapes.VarTupleType: "tuple",
    shapes.CollectionType: "list",
    shapes.DictType: "dict",
}
_LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz")


def text_of(shape: shapes.Type, open_classes: tuple[type, ...] = ()) -> str:
    """The text of `shape`; a class that stands inside itself is told by how far out it is."""
    match shape:
        case shapes.Metadata():
            return text_of(shape.type, open_classes)
        case shapes.UnionType():
            return " | ".join(sorted(text_of(part, open_classes) for part in shape.types))
        case shapes.TupleType():
            return f"tuple[{', '.join(text_of(part, open_classes) for part in shape.item_types)}]"
        case shapes.EnumType():
            return f"enum[{', '.join(sorted(repr(member.value) for member in shape.cls))}]"
        case shapes.LiteralType():
            return f"literal[{', '.join(sorted(map(repr, shape.values)))}]"
        case shapes.StructType() | shapes.DataclassType() | shapes.TypedDictType() | shapes.NamedTupleType():
            return _text_of_class(shape, open_classes)
    text = _NAMES.get(type(shape), type(shape).__name__)
    parts = [getattr(shape, name) for name in ("key_type", "value_type", "item_type") if hasattr(shape, name)]
    if parts:
        text += f"[{', '.join(text_of(part, open_classes) for part in parts)}]"
    limits = [f"{name}={limit!r}" for name in _LIMITS if (limit := getattr(shape, name, None)) is not None]
    return f"{text}({', '.join(limits)})" if limits else text


def _text_of_class(
    shape: shapes.StructType | shapes.DataclassType | shapes.TypedDictType | shapes.NamedTupleType,
    open_classes: tuple[type, ...],
) -> str:
    if shape.cls in open_classes:
        return f"<{len(open_classes) - open_classes.index(shape.cls)} out>"
    inner = (*open_classes, shape.cls)
    fields = [f"{field.encode_name}: {text_of(field.type, inner)}{_default(field)}" for field in shape.fields]
    text = f"{{{', '.join(fields)}}}"
    if isinstance(shape, shapes.StructType):
        if shape.array_like:
            text = f"[{', '.join(fields)}]"
        if shape.tag is not None:
            text = f"{shape.tag_field}={shape.tag!r} {text}"
        if shape.forbid_unknown_fields:
            text += "!"
    return text


def _default(field: shapes.Field) -> str:
    if field.default is not msgspec.NODEFAULT:
        return f" = {_shown(field.default)}"
    return " = ..." if field.default_factory is not msgspec.NODEFAULT or not field.required else ""


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, int | str | bytes | float | None) else "..."
