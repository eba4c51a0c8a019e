"""In which order the members of a built-in set go into state and bytes: in one that depends on them alone.

The built-in set orders text by a hash that differs from process to process, so that two replicas which run the
same command would otherwise write different bytes.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
DEPTH_MAX = 64
"""Values of types that set no bound themselves, such as Any, may nest so deep."""
_SCALARS = frozenset((int, str, bytes, bool, float, type(None)))
_SORTABLE = (int, str, bytes)


class Plain:
    """A container that stands for a built-in one; `plain()` gives that, for encoding and for people."""

    __slots__ = ()

    def plain(self) -> Any:
        raise NotImplementedError

    def __repr__(self) -> str:
        return repr(self.plain())

    def __copy__(self) -> Any:
        return self.plain()


def in_order(members: Iterable[T]) -> list[T]:
    """The members as a list; those of a built-in set, which has no order, in one that depends on them alone."""
    if not isinstance(members, set | frozenset):
        return list(members)
    if all(map(_is_sortable, members)):
        try:
            return sorted(members)
        except TypeError:
            pass  # such as text beside numbers
    return sorted(members, key=_rank)


def encode_as_it_stands(value: Any) -> bytes:
    """The bytes of a value. Those of a built-in set are in the order of its hashes."""
    return _ENCODE(value)


def encode_in_order(value: Any) -> bytes:
    """The bytes of a value, the same in every process. Raises ValueError where it nests deeper than DEPTH_MAX."""
    return _ENCODE(_without_sets(value))


def _encode_plain(value: Any) -> Any:
    if isinstance(value, Plain):
        return value.plain()
    raise TypeError(f"a value of the type {type(value).__name__} cannot be encoded")


_ENCODE = msgspec.msgpack.Encoder(enc_hook=_encode_plain).encode


def _without_sets(value: Any, depth: int = 0) -> Any:
    """What is encoded like `value`, with a tuple in the place of every built-in set: itself if there is none."""
    if type(value) in _SCALARS:
        return value
    if depth > DEPTH_MAX:
        raise ValueError(f"values nest deeper than {DEPTH_MAX}")
    if isinstance(value, Plain):
        value = value.plain()
    if isinstance(value, set | frozenset):
        return tuple([_without_sets(member, depth + 1) for member in in_order(value)])
    if isinstance(value, list | tuple):
        parts = [_without_sets(part, depth + 1) for part in value]
        return tuple(parts) if _differ(parts, value) else value
    if isinstance(value, dict):
        keys = [_without_sets(key, depth + 1) for key in value]
        values = [_without_sets(part, depth + 1) for part in value.values()]
        is_other = _differ(keys, value) or _differ(values, value.values())
        return dict(zip(keys, values, strict=True)) if is_other else value
    if isinstance(value, msgspec.Struct):
        return _object_without_sets(value, value.__struct_fields__, depth)
    if dataclasses.is_dataclass(value):
        return _object_without_sets(value, [field.name for field in dataclasses.fields(value)], depth)
    return value  # whatever else can be encoded holds nothing


def _object_without_sets(value: Any, names: Iterable[str], depth: int) -> Any:
    changed = {}
    for name in names:
        part = getattr(value, name, None)
        plain = _without_sets(part, depth + 1)
        if plain is not part:
            changed[name] = plain
    if not changed:
        return value
    twin = copy.copy(value)
    force = msgspec.structs.force_setattr if isinstance(value, msgspec.Struct) else object.__setattr__
    for name, plain in changed.items():
        force(twin, name, plain)
    return twin


def _differ(parts: Iterable[Any], before: Iterable[Any]) -> bool:
    return any(part is not other for part, other in zip(parts, before, strict=True))


def _is_sortable(member: object) -> bool:
    """Whether `<` orders it among all of its type: of sets it tells subsets, and of NaN nothing."""
    if isinstance(member, tuple):
        return all(map(_is_sortable, member))
    return isinstance(member, _SORTABLE) or (isinstance(member, float) and member == member)  # noqa: PLR0124


def _rank(member: object) -> tuple[str, bytes]:
    try:
        data = encode_in_order(member)
    except (TypeError, ValueError, OverflowError):
        data = repr(member).encode(errors="replace")  # no state can hold it
    return type(member).__name__, data
