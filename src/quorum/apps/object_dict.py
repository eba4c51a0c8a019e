"""A dict, and a set, in the state of a replicated object: each entry has a cell of its own."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, Generic, TypeVar

import msgspec

from quorum.apps.object_cells import Access, Cells, Write, prefix_of
from quorum.apps.ordered_set import OrderedSet
from quorum.apps.set_order import Plain, in_order
from quorum.apps.value_codec import ValueCodec

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
_SEALED = b""
"""Stands for the bytes of an entry that is open and has no cell yet."""


class StateDict(Plain, MutableMapping[K, V], Generic[K, V]):
    """Behaves like a dict, and notes which entries change. `dict(it)` gives a plain one.

    Values that can be changed in place are kept as bytes. Each command or query works on copies of its own, made
    when they are first looked at; they are encoded again when a command ends. So nothing that was taken out of the
    state stays tied to it, and two entries never share a value.
    """

    __slots__ = (
        "_access",
        "_cells",
        "_dirty",
        "_gone",
        "_items",
        "_key",
        "_name",
        "_open",
        "_sealed",
        "_staged",
        "_stored",
        "_value",
    )

    def __init__(self, name: str, key: ValueCodec, value: ValueCodec, cells: Cells, access: Access) -> None:
        self._name = name
        self._key = key
        self._value = value
        self._cells = cells
        self._access = access
        self._sealed = value.is_mutable
        self._items: dict[K, Any] = {}
        self._stored: dict[K, K] = {}  # by each key the equal one that has the cell, where these may differ
        self._gone: dict[bytes, None] = {}  # of these keys the ones that were removed, as bytes
        self._open: dict[K, V] = {}
        self._dirty: dict[K, bool] = {}  # whether the entry is new: then it comes behind the others
        self._staged: dict[K, Any] = {}
        self.load()

    # What a dict does.

    def __getitem__(self, key: K) -> V:
        value = self._items[key]
        return self._opened(key, value) if self._sealed else value

    def __setitem__(self, key: K, value: V) -> None:
        key = self._settled_key(key)
        self._access.change(self)
        if not self._sealed and type(value) is not self._value.exact:
            value = self._value.settle(value, self.where)[1]
        if key not in self._items:
            self._check_new(key)
            self._dirty.pop(key, None)
            self._dirty[key] = True
            self._items[key] = _SEALED
            if not self._key.is_canonical:
                self._stored[key] = key
        elif key not in self._dirty:
            self._dirty[self._stored.get(key, key)] = False
        if self._sealed:
            self._open[key] = value
        else:
            self._items[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self._items:
            raise KeyError(key)
        key = self._kept_key(key)
        self._access.change(self)
        if not self._key.is_canonical:
            self._gone[self._key.encode(key)] = None
            del self._stored[key]
        del self._items[key]
        self._open.pop(key, None)
        self._dirty.pop(key, None)
        self._dirty[key] = True

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def values(self) -> ValuesView[V]:
        return super().values() if self._sealed else self._items.values()

    def items(self) -> ItemsView[K, V]:
        return super().items() if self._sealed else self._items.items()

    def popitem(self) -> tuple[K, V]:
        """Remove and return the newest entry, as a dict does."""
        for key in reversed(self._items):
            return key, self.pop(key)
        raise KeyError("popitem(): dictionary is empty")

    def clear(self) -> None:
        for key in list(self._items):
            del self[key]

    def copy(self) -> dict[K, V]:
        return dict(self.items())

    def replace(self, items: Mapping[K, V]) -> None:
        """Hold these entries, and no others. Raises TypeError for anything but a mapping."""
        if not isinstance(items, Mapping):
            raise TypeError(f"{self.where} was to hold a dict, but it was given a {type(items).__name__}.")
        entries = list(items.items())
        self.clear()
        self.update(entries)

    def __or__(self, other: Mapping[K, V]) -> dict[K, V]:
        return dict(self.items()) | dict(other)

    def __ror__(self, other: Mapping[K, V]) -> dict[K, V]:
        return dict(other) | dict(self.items())

    def __ior__(self, other: Mapping[K, V] | Iterable[tuple[K, V]]) -> StateDict[K, V]:
        self.update(other)
        return self

    def plain(self) -> dict[K, V]:
        return dict(self.items())

    def __deepcopy__(self, memo: Any) -> dict[K, V]:
        return {key: self._value.decode(self._value.encode(value)) for key, value in self.items()}

    def _settled_key(self, key: K) -> K:
        if type(key) is self._key.exact:
            return key
        settled: K = self._key.settle(key, f"a key of {self.where}")[1]
        if settled != key and key == key:  # noqa: PLR0124 - `_check_new` tells what is wrong with NaN
            raise TypeError(
                f"a key of {self.where} was given as {key!r}, but it is kept as {settled!r}, which is not equal. "
                "Use a key that is equal to what it is kept as, which NaN never is."
            )
        return settled

    def _check_new(self, key: K) -> None:
        """Raise, before anything changes, for a key that no cell can have, or that no look-up finds again."""
        self._key.encode(key)
        if key != key:  # noqa: PLR0124
            raise ValueError(
                f"a key of {self.where} was given as {key!r}, but it is not equal to itself, so that nothing "
                "finds it again. Use another key."
            )

    def _kept_key(self, key: K) -> K:
        """Of a key that is here the one that has the cell. Raises TypeError for a key of another type."""
        return self._settled_key(key) if self._key.is_canonical else self._stored[key]

    def _opened(self, key: K, data: Any) -> V:
        if key in self._open:
            return self._open[key]
        value: V = self._value.decode(data)
        if self._access.open(self):
            self._open[self._kept_key(key)] = value
        return value

    @property
    def where(self) -> str:
        """Class and field, for messages."""
        return f"{self._access.name}.{self._name}"

    # Cells (object_cells.Container).

    def load(self) -> None:
        """Be what the cells say. Raises ValueError if they say nothing of this type."""
        items: dict[K, Any] = {}
        for key_bytes, data in self._cells.of(self._name):
            try:
                key = self._key.decode(key_bytes)
                value = self._value.decode(data)
                is_new = key not in items
            except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
                raise ValueError(f"{self.where} was to be read, but an entry is damaged: {error}") from None
            if not is_new:
                raise ValueError(f"{self.where} was to be read, but the key {key!r} stands in it twice")
            items[key] = data if self._sealed else value
        self._items = items
        self._stored = {} if self._key.is_canonical else {key: key for key in items}
        self._forget()

    def stage(self) -> list[Write]:
        prefix = prefix_of(self._name)
        writes = [Write(prefix + key_bytes, None) for key_bytes in self._gone]
        self._staged = {}
        for key, anew in self._dirty.items():
            cell = prefix + self._key.encode(key)
            if key not in self._items:
                writes.append(Write(cell, None))
            elif self._sealed:
                data, _ = self._value.settle(self._open[key], self.where)
                writes.append(Write(cell, data, anew))
                self._staged[key] = data
            else:
                writes.append(Write(cell, self._value.encode(self._items[key]), anew))
        for key, value in self._open.items():
            if key in self._dirty:
                continue
            data, _ = self._value.settle(value, self.where)
            if data != self._items[key]:
                writes.append(Write(prefix + self._key.encode(key), data))
                self._staged[key] = data
        return writes

    def settle(self) -> None:
        self._items.update(self._staged)
        self._forget()

    def revert(self) -> None:
        """Entries that only changed are read again; where one was removed, the order is, too."""
        if self._gone:
            self.load()
            return
        prefix = prefix_of(self._name)
        for key, anew in self._dirty.items():
            data = self._cells.get(prefix + self._key.encode(key))
            if data is None:
                self._items.pop(key, None)
                self._stored.pop(key, None)
            elif anew:
                self.load()
                return
            else:
                self._items[key] = data if self._sealed else self._value.decode(data)
        self._forget()

    def close(self) -> None:
        self._open = {}

    def _forget(self) -> None:
        self._open, self._dirty, self._gone, self._staged = {}, {}, {}, {}


class StateSet(OrderedSet[T]):
    """Behaves like a set, keeps the order in which its members came, and notes which come and go.

    `set(it)` gives a plain one.
    """

    __slots__ = ()

    def __init__(self, name: str, member: ValueCodec, cells: Cells, access: Access) -> None:
        self._members = StateDict(name, member, ValueCodec(None, name), cells, access)

    @property
    def entries(self) -> StateDict[T, None]:
        """The members as the keys of a dict, which has the cells."""
        assert isinstance(self._members, StateDict)
        return self._members

    @property
    def where(self) -> str:
        """Class and field, for messages."""
        return self.entries.where

    def replace(self, members: Iterable[T]) -> None:
        """Hold these members, and no others."""
        kept = in_order(members)
        self.clear()
        self.update(kept)
