"""Ready-made replicated types. Each is an ordinary `Replicated` class; derive from one to add your own commands.

All operations cost about the same however much is stored, unless their description says otherwise. Iteration is in
the order of insertion, on every replica. What would raise in a built-in type raises here, at the caller.
`ReplicatedLock` is in `replicated_lock`.
"""

from __future__ import annotations

from bisect import insort
from itertools import islice
from typing import ClassVar, Generic, TypeVar

from quorum.apps.replicated import Replicated, command, query

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
P = TypeVar("P")

MANY = 1_000_000
"""How many elements a query gives if nothing else is asked for; 8 MiB of them is the most in any case."""


class ReplicatedCounter(Replicated):
    """A number."""

    value: int = 0

    @command
    def add(self, n: int = 1) -> int:
        """Add `n`; return the new value."""
        self.value += n
        return self.value

    @command
    def set(self, value: int) -> int:
        """Set the value; return the one before."""
        before, self.value = self.value, value
        return before

    @query
    def get(self) -> int:
        """The value."""
        return self.value


class ReplicatedDict(Replicated, Generic[K, V]):
    """A dict: `ReplicatedDict[str, int]`."""

    entries: dict[K, V] = {}

    @command
    def set(self, key: K, value: V) -> None:
        """Store `value` under `key`."""
        self.entries[key] = value

    @command
    def setdefault(self, key: K, value: V) -> V:
        """What is under `key`, which is `value` from now on if nothing was."""
        return self.entries.setdefault(key, value)

    @command
    def update(self, entries: dict[K, V]) -> None:
        """Store several, at once."""
        self.entries.update(entries)

    @command
    def compare_and_set(self, key: K, expected: V | None, value: V | None) -> bool:
        """Replace what is under `key` if it is `expected`; None means absent, before or after."""
        if self.entries.get(key) != expected:
            return False
        if value is not None:
            self.entries[key] = value
        else:
            self.entries.pop(key, None)
        return True

    @command
    def pop(self, key: K) -> V:
        """Remove and return what is under `key`. Raises KeyError."""
        return self.entries.pop(key)

    @command
    def discard(self, key: K) -> bool:
        """Remove what is under `key`; return whether anything was."""
        if key not in self.entries:
            return False
        del self.entries[key]
        return True

    @command
    def clear(self) -> int:
        """Remove everything; return how many entries there were. Costs all of them."""
        count = len(self.entries)
        self.entries.clear()
        return count

    @query
    def get(self, key: K, default: V | None = None) -> V | None:
        """What is under `key`, or `default`."""
        return self.entries.get(key, default)

    @query
    def contains(self, key: K) -> bool:
        """Whether anything is under `key`."""
        return key in self.entries

    @query
    def size(self) -> int:
        """How many entries there are."""
        return len(self.entries)

    @query
    def keys(self, start: int = 0, limit: int = MANY) -> list[K]:
        """Keys, oldest first, from the one at `start` on. Costs those that it passes and gives."""
        return list(islice(self.entries, start, start + limit))

    @query
    def items(self, start: int = 0, limit: int = MANY) -> dict[K, V]:
        """Entries, oldest first, from the one at `start` on. Costs those that it passes and gives."""
        return {key: self.entries[key] for key in islice(self.entries, start, start + limit)}


class ReplicatedSet(Replicated, Generic[T]):
    """A set: `ReplicatedSet[str]`."""

    members: set[T] = set()

    @command
    def add(self, member: T) -> bool:
        """Add `member`; return whether it was new."""
        if member in self.members:
            return False
        self.members.add(member)
        return True

    @command
    def update(self, members: list[T]) -> int:
        """Add several, at once; return how many were new."""
        before = len(self.members)
        self.members.update(members)
        return len(self.members) - before

    @command
    def discard(self, member: T) -> bool:
        """Remove `member`; return whether it was there."""
        if member not in self.members:
            return False
        self.members.discard(member)
        return True

    @command
    def clear(self) -> int:
        """Remove everything; return how many members there were. Costs all of them."""
        count = len(self.members)
        self.members.clear()
        return count

    @query
    def contains(self, member: T) -> bool:
        """Whether `member` is there."""
        return member in self.members

    @query
    def size(self) -> int:
        """How many members there are."""
        return len(self.members)

    @query
    def items(self, start: int = 0, limit: int = MANY) -> list[T]:
        """Members, oldest first, from the one at `start` on. Costs those that it passes and gives."""
        return list(islice(self.members, start, start + limit))


class ReplicatedList(Replicated, Generic[T]):
    """A list: `ReplicatedList[int]`. Inserting and removing move the elements behind, as in a list."""

    elements: list[T] = []

    @command
    def append(self, element: T) -> int:
        """Put `element` at the end; return its index."""
        self.elements.append(element)
        return len(self.elements) - 1

    @command
    def extend(self, elements: list[T]) -> int:
        """Put several at the end; return how many elements there are now."""
        self.elements.extend(elements)
        return len(self.elements)

    @command
    def insert(self, index: int, element: T) -> None:
        """Put `element` before the one at `index`."""
        self.elements.insert(index, element)

    @command
    def set(self, index: int, element: T) -> None:
        """Replace the element at `index`. Raises IndexError."""
        self.elements[index] = element

    @command
    def pop(self, index: int = -1) -> T:
        """Remove and return the element at `index`. Raises IndexError."""
        return self.elements.pop(index)

    @command
    def remove(self, element: T) -> None:
        """Remove the first element that is equal. Raises ValueError. Costs those before it."""
        self.elements.remove(element)

    @command
    def clear(self) -> int:
        """Remove everything; return how many elements there were. Costs all of them."""
        count = len(self.elements)
        self.elements.clear()
        return count

    @query
    def get(self, index: int) -> T:
        """The element at `index`. Raises IndexError."""
        return self.elements[index]

    @query
    def size(self) -> int:
        """How many elements there are."""
        return len(self.elements)

    @query
    def index(self, element: T) -> int:
        """Where the first equal element stands. Raises ValueError. Costs those before it."""
        return self.elements.index(element)

    @query
    def items(self, start: int = 0, limit: int = MANY) -> list[T]:
        """Elements from the one at `start` on."""
        return self.elements[start : start + limit]


class ReplicatedQueue(Replicated, Generic[T]):
    """First in, first out: `ReplicatedQueue[str]`. A subclass may set `maxsize`; 0 means no bound."""

    maxsize: ClassVar[int] = 0
    waiting: dict[int, T] = {}
    first: int = 0
    behind: int = 0

    @command
    def put(self, item: T) -> bool:
        """Put `item` behind all others; return False, and leave the queue as it is, if it is full."""
        if 0 < self.maxsize <= len(self.waiting):
            return False
        self.waiting[self.behind] = item
        self.behind += 1
        return True

    @command
    def take(self) -> T | None:
        """Remove and return the oldest item; None if there is none."""
        if self.first == self.behind:
            return None
        item = self.waiting.pop(self.first)
        self.first += 1
        return item

    @command
    def take_many(self, limit: int) -> list[T]:
        """Remove and return the oldest items, `limit` of them at most. Costs those that it gives."""
        numbers = range(self.first, min(self.behind, self.first + max(0, limit)))
        items = [self.waiting.pop(number) for number in numbers]
        self.first += len(items)
        return items

    @query
    def peek(self) -> T | None:
        """The oldest item; None if there is none."""
        return self.waiting.get(self.first)

    @query
    def size(self) -> int:
        """How many items wait."""
        return len(self.waiting)


class ReplicatedPriorityQueue(Replicated, Generic[P, T]):
    """Lowest priority first, and the oldest among equals: `ReplicatedPriorityQueue[int, str]`.

    Priorities are whatever can be ordered: numbers, text, tuples. A subclass may set `maxsize`; 0 means no bound.
    """

    maxsize: ClassVar[int] = 0
    order: list[tuple[P, int]] = []
    waiting: dict[int, T] = {}
    next_number: int = 0

    @command
    def put(self, priority: P, item: T) -> bool:
        """Add `item`; return False, and leave the queue as it is, if it is full. Raises ValueError for a priority
        that is not equal to itself, and TypeError for one that cannot be compared with the others."""
        if priority != priority:  # noqa: PLR0124
            raise ValueError(f"the priority {priority!r} has no place among others. Use one that can be ordered.")
        if 0 < self.maxsize <= len(self.waiting):
            return False
        insort(self.order, (priority, self.next_number))
        self.waiting[self.next_number] = item
        self.next_number += 1
        return True

    @command
    def take(self) -> T | None:
        """Remove and return the item of the lowest priority; None if there is none."""
        if not self.order:
            return None
        _, number = self.order.pop(0)
        return self.waiting.pop(number)

    @query
    def peek(self) -> T | None:
        """The item of the lowest priority; None if there is none."""
        return self.waiting[self.order[0][1]] if self.order else None

    @query
    def size(self) -> int:
        """How many items wait."""
        return len(self.waiting)
