"""A set that keeps the order in which its members came, so that every replica iterates it alike.

The built-in set orders text by a hash that differs from process to process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, MutableSet
from typing import Any, Self, TypeVar

from quorum.apps.set_order import Plain, in_order

T = TypeVar("T")


class OrderedSet(Plain, MutableSet[T]):
    """Everything a `set` can do, in the order of insertion. What its operators return is ordered, too."""

    __slots__ = ("_members",)
    _members: MutableMapping[T, None]

    def __init__(self, members: Iterable[T] = ()) -> None:
        self._members = dict.fromkeys(in_order(members))

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> OrderedSet[Any]:
        return OrderedSet(it)

    def plain(self) -> list[T]:
        return list(self._members)

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self._members))}}}" if self._members else "set()"

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[T]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def add(self, value: T) -> None:
        if value not in self._members:
            self._members[value] = None

    def discard(self, value: T) -> None:
        self._members.pop(value, None)

    def pop(self) -> T:
        """Remove and return the oldest member. Raises KeyError if there is none."""
        for member in self._members:
            del self._members[member]
            return member
        raise KeyError("pop from an empty set")

    def clear(self) -> None:
        self._members.clear()

    def copy(self) -> OrderedSet[T]:
        return OrderedSet(self._members)

    def update(self, *others: Iterable[T]) -> None:
        for other in others:
            for member in in_order(other):
                self.add(member)

    def difference_update(self, *others: Iterable[object]) -> None:
        for other in others:
            for member in in_order(other):
                self._members.pop(member, None)  # type: ignore[arg-type]

    def intersection_update(self, *others: Iterable[object]) -> None:
        kept = self.intersection(*others)
        for member in [member for member in self._members if member not in kept]:
            del self._members[member]

    def symmetric_difference_update(self, other: Iterable[T]) -> None:
        for member in list(OrderedSet(other)):
            if member in self._members:
                del self._members[member]
            else:
                self._members[member] = None

    def __or__(self, other: Iterable[Any]) -> OrderedSet[Any]:
        return self.union(other) if isinstance(other, Iterable) else NotImplemented

    def __ror__(self, other: Iterable[Any]) -> OrderedSet[Any]:
        return OrderedSet(other).union(self) if isinstance(other, Iterable) else NotImplemented

    def __and__(self, other: Iterable[Any]) -> OrderedSet[T]:
        return self.intersection(other) if isinstance(other, Iterable) else NotImplemented

    __rand__ = __and__

    def __rsub__(self, other: Iterable[Any]) -> OrderedSet[Any]:
        return OrderedSet(other).difference(self) if isinstance(other, Iterable) else NotImplemented

    def __ior__(self, other: Iterable[T]) -> Self:  # type: ignore[misc,override]
        self.update(other)
        return self

    def __iand__(self, other: Iterable[Any]) -> Self:
        self.intersection_update(other)
        return self

    def __isub__(self, other: Iterable[Any]) -> Self:
        self.difference_update(other)
        return self

    def __ixor__(self, other: Iterable[Any]) -> Self:  # type: ignore[misc]
        self.symmetric_difference_update(other)
        return self

    def union(self, *others: Iterable[Any]) -> OrderedSet[Any]:
        joined: OrderedSet[Any] = self.copy()
        joined.update(*others)
        return joined

    def intersection(self, *others: Iterable[object]) -> OrderedSet[T]:
        kept = list(self._members)
        for other in others:
            looked_up = OrderedSet(other)
            kept = [member for member in kept if member in looked_up]
        return OrderedSet(kept)

    def difference(self, *others: Iterable[object]) -> OrderedSet[T]:
        rest = self.copy()
        rest.difference_update(*others)
        return rest

    def symmetric_difference(self, other: Iterable[T]) -> OrderedSet[T]:
        changed = self.copy()
        changed.symmetric_difference_update(other)
        return changed

    def issubset(self, other: Iterable[object]) -> bool:
        looked_up = OrderedSet(other)
        return all(member in looked_up for member in self._members)

    def issuperset(self, other: Iterable[object]) -> bool:
        return all(member in self._members for member in other)

    def __deepcopy__(self, memo: Any) -> OrderedSet[T]:
        return self.copy()
