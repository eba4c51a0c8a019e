"""One replicated object on one replica: its cells, its live instance, and commands as transactions on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable
from hashlib import blake2b
from random import Random
from typing import Any, TypeVar

from quorum.apps.leaves import DIGEST_BYTES
from quorum.apps.object_cells import Access, Cells, Container, Mode, Write, not_writable, prefix_of
from quorum.apps.object_dict import StateDict, StateSet
from quorum.apps.object_list import StateList
from quorum.apps.ordered_set import OrderedSet
from quorum.apps.replicated_method import Command, Method
from quorum.apps.replicated_schema import ClassSchema, FieldSchema, MethodSchema
from quorum.errors import LocalProtocolError

T = TypeVar("T")


class Context:
    """What a command may know of its place in the log: the same on every replica.

    `now_us` is the log's time in microseconds since 1970, `index` the entry's, `client` the session that sent it,
    `version` the one in which the object runs. `caller` is who sent it, as state_machine.Attributed says; "":
    nobody vouches for one, as in plain text, on an instance that is not replicated, and in `quorum.simulate`.
    """

    __slots__ = ("_random", "_seed", "caller", "client", "index", "now_us", "version")

    def __init__(
        self, now_us: int, index: int, client: int, version: int, seed: tuple[int, int], caller: str = ""
    ) -> None:
        self.caller = caller
        self.now_us = now_us
        self.index = index
        self.client = client
        self.version = version
        self._seed = seed
        self._random: Random | None = None

    @property
    def now(self) -> float:
        """The log's time in seconds since 1970. It is the leader's clock, and never goes back."""
        return self.now_us / 1e6

    @property
    def random(self) -> Random:
        """A generator of this command's own, seeded from the log. Not for secrets: every node knows the seed."""
        if self._random is None:
            entropy, place = self._seed
            self._random = Random((entropy << 128) | (self.index << 64) | place)
        return self._random


class ResultTooLarge(ValueError):
    """A result has more bytes than there is room for."""

    def __init__(self, what: str, size: int) -> None:
        super().__init__(f"the result of {what} has {size} bytes, which is too much. Return it in parts.")
        self.size = size


class ObjectState:
    """An object in one version. It stands behind its instance (replicated_method.Face).

    I1  between commands, the live state is what the cells decode to.
    """

    def __init__(self, schema: ClassSchema, instance: Any = None, is_local: bool = False) -> None:
        self.schema = schema
        self.version = 0
        self.cells = Cells()
        self.instance = object.__new__(schema.cls) if instance is None else instance
        object.__setattr__(self.instance, "_face", self)
        self._live: dict[str, Any] = vars(self.instance)
        self._live.clear()
        self._fields: dict[str, FieldSchema] = {}
        self._access = Access(schema.text)
        self._context: Context | None = None
        self._sealed: dict[str, bytes] = {}  # fields that can be changed in place, as bytes
        self._open: dict[str, Any] = {}  # the copies of them that the present command or query looked at
        self._assigned: dict[str, None] = {}
        self._local_index = 0
        if is_local:
            self._local_index = 1
            self.raise_version(schema.version, self._local_context())

    # Transactions.

    def raise_version(self, version: int, context: Context) -> None:
        """Bring the object into existence (from version 0), or into a newer version by its class's `upgrade`.

        Whatever `upgrade` raises is passed on, and the object is as it was.
        """
        before, added = self.version, []
        self._begin(Mode.WRITING, context)
        try:
            for field in self.schema.fields_at(version):
                if field.name not in self._fields:
                    added.append(field.name)
                    self._add(field)
            self.version = version
            if before:
                self.instance.upgrade(before)
            self._commit()
        except BaseException:
            self.version = before
            for name in added:
                self._fields.pop(name)
                self._live.pop(name, None)
                self._sealed.pop(name, None)
                self._assigned.pop(name, None)
            self._revert()
            raise
        finally:
            self._end()

    def execute(self, method: MethodSchema, arguments: Any, context: Context, result_bytes_max: int) -> bytes:
        """Run a command on decoded arguments; return its encoded result.

        Whatever the method raises is passed on, and so is what is wrong with its result or the state it leaves
        (TypeError, ValueError, OverflowError, ResultTooLarge); the object is then as it was.
        """
        self._begin(Mode.WRITING, context)
        try:
            result = self._result_of(method, arguments, result_bytes_max)
            self._commit()
        except BaseException:
            self._revert()
            raise
        finally:
            self._end()
        return result

    def ask(self, method: MethodSchema, arguments: Any, result_bytes_max: int) -> bytes:
        """Run a query on decoded arguments; return its encoded result. Raises as `execute` does."""
        self._begin(Mode.READING, None)
        try:
            return self._result_of(method, arguments, result_bytes_max)
        finally:
            self._end_reading()

    def look(self, look: Callable[[Any], T]) -> T:
        """What a plain function finds in the instance, which it may not change. Raises whatever it raises."""
        self._begin(Mode.READING, None)
        try:
            return look(self.instance)
        finally:
            self._end_reading()

    def _result_of(self, method: MethodSchema, arguments: Any, result_bytes_max: int) -> bytes:
        result = method.run(self.instance, arguments)
        data, _ = method.result.settle(result, f"the result of {method.what}")
        if len(data) > result_bytes_max:
            raise ResultTooLarge(method.what, len(data))
        return data

    def _begin(self, mode: Mode, context: Context | None) -> None:
        assert self._access.mode is Mode.IDLE, "commands and queries of an object run one after the other"
        self._access.mode = mode
        self._context = context

    def _end(self) -> None:
        access = self._access
        access.mode = Mode.IDLE
        if access.changed:
            access.changed = {}
        if access.opened:
            access.opened = {}
        self._context = None

    def _end_reading(self) -> None:
        self._open = {}
        for container in self._access.opened.values():
            container.close()
        self._end()

    def _touched(self) -> Iterable[Container]:
        access = self._access
        if not access.opened:
            return access.changed.values()
        return (access.changed | access.opened).values()

    def _commit(self) -> None:
        """Write what was touched to its cells: all of it, or nothing where something cannot be encoded."""
        writes: list[Write] = []
        sealed: dict[str, bytes] = {}
        for name in self._assigned:
            writes.append(Write(prefix_of(name), self._fields[name].whole.encode(self._live[name])))
        for name, value in self._open.items():
            data, _ = self._fields[name].whole.settle(value, f"{self.schema.text}.{name}")
            if data != self._sealed.get(name):
                writes.append(Write(prefix_of(name), data))
                sealed[name] = data
        touched = list(self._touched())
        for container in touched:
            writes += container.stage()
        self.cells.write(writes)
        for container in touched:
            container.settle()
        self._sealed.update(sealed)
        self._forget()

    def _revert(self) -> None:
        for name in self._assigned:
            data = self.cells.get(prefix_of(name))
            assert data is not None, "a field has a cell from its creation on"
            self._live[name] = self._fields[name].whole.decode(data)
        for container in self._touched():
            container.revert()
        self._forget()

    def _forget(self) -> None:
        if self._assigned:
            self._assigned = {}
        if self._open:
            self._open = {}

    def _add(self, field: FieldSchema) -> None:
        """A new field, with its default."""
        self._fields[field.name] = field
        default = field.whole.decode(field.default)
        if field.is_container:
            container = self._container(field)
            self._live[field.name] = container
            container.replace(default)
        elif field.whole.is_mutable:
            self._open[field.name] = default
        else:
            self._live[field.name] = default
            self._assigned[field.name] = None

    def _container(self, field: FieldSchema) -> Any:
        if field.key is not None and field.value is not None:
            return StateDict(field.name, field.key, field.value, self.cells, self._access)
        assert field.element is not None
        if field.is_set:
            return StateSet(field.name, field.element, self.cells, self._access)
        return StateList(field.name, field.element, field.whole, self.cells, self._access)

    # Cells in and out.

    def digest(self) -> bytes:
        """The root over the version and the cells: 32 bytes. Costs what changed since the last time."""
        root = blake2b(self.version.to_bytes(8, "little"), digest_size=DIGEST_BYTES)
        root.update(self.cells.revision.to_bytes(8, "little"))
        root.update(self.cells.leaves.digest())
        return root.digest()

    def load(self, version: int, revision: int, chunks: Iterable[bytes]) -> None:
        """Become what a view of the cells says. Raises ValueError if it is damaged; the object is then useless."""
        self.version = version
        self.cells.revision = revision
        self.cells.leaves.load(chunks)
        self._live.clear()
        self._sealed.clear()
        self._fields = {field.name: field for field in self.schema.fields_at(version)}
        self._check_cells()
        for field in self._fields.values():
            if field.is_container:
                self._live[field.name] = self._container(field)
                continue
            data = self.cells.get(prefix_of(field.name))
            try:
                value = field.whole.decode(b"" if data is None else data)
            except ValueError as error:
                raise ValueError(f"{self.schema.text}.{field.name} was to be read, but {error}") from None
            if field.whole.is_mutable:
                assert data is not None, "no value is decoded from nothing"
                self._sealed[field.name] = data
            else:
                self._live[field.name] = value

    def _check_cells(self) -> None:
        """Every cell belongs to a field, and none was written after the newest write."""
        for key, stored in self.cells.leaves.scan(b"", None):
            name, _, rest = key.partition(b"\0")
            field = self._fields.get(name.decode(errors="replace"))
            if field is None or (rest and not field.is_container) or stored.mod_revision > self.cells.revision:
                raise ValueError(
                    f"{self.schema.text} was to be read, but the cell {key[:80]!r} belongs to nothing"
                )

    # What the instance asks (replicated_method.Face).

    def assign(self, name: str, value: Any) -> None:
        field = self._fields.get(name)
        if field is None:
            raise AttributeError(
                f"{self.schema.text}.{name} was assigned, but the class declares no such state, and what is not "
                f"declared is not replicated. Write `{name}: ... = ...` in the class, or use a local variable."
            )
        if self._access.mode is not Mode.WRITING:
            raise not_writable(self.schema.text, self._access.mode)
        if field.is_container:
            self._replace(self._live[name], value)
        elif field.whole.is_mutable:
            self._open[name] = value
        else:
            if type(value) is not field.whole.exact:
                value = field.whole.settle(value, f"{self.schema.text}.{name}")[1]
            self._live[name] = value
            self._assigned[name] = None

    def _replace(self, container: Any, value: Any) -> None:
        if value is container:
            return  # `self.seen |= more` assigns what it changed
        fitting: tuple[type, ...] = (dict, StateDict)
        if isinstance(container, StateSet):
            fitting = (set, frozenset, OrderedSet)
        elif isinstance(container, StateList):
            fitting = (list, tuple, StateList)
        if not isinstance(value, fitting):
            raise TypeError(
                f"{container.where} was to hold a {fitting[0].__name__}, but it was given a "
                f"{type(value).__name__}. Make a {fitting[0].__name__} of it."
            )
        container.replace(value)

    def read(self, name: str) -> Any:
        if name in self._open:
            return self._open[name]
        data = self._sealed.get(name)
        if data is None:
            known = ", ".join(sorted({*self._fields, *self.schema.methods}))
            raise AttributeError(
                f"{self.schema.text} has no attribute {name!r} in version {self.version}. It has {known}."
            )
        value = self._fields[name].whole.decode(data)
        if self._access.mode is not Mode.IDLE:
            self._open[name] = value
        return value

    def context(self) -> Context:
        if self._context is None:
            raise LocalProtocolError(
                "self.context was asked for outside of a command, but only a command has a place in the log. Pass "
                "the value as an argument."
            )
        return self._context

    def call(
        self, method: Method[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], consistency: str
    ) -> Awaitable[Any]:
        if self._access.mode is not Mode.IDLE:
            raise LocalProtocolError(
                f"{method.name} was called inside its object as if from outside, but nothing can be awaited "
                f"there. Call self.{method.name}.sync(...), or move the common part to a plain method."
            )
        return _Done(self.call_sync(method, args, kwargs, consistency))

    def call_sync(
        self, method: Method[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], consistency: str
    ) -> Any:
        if method.since > self.version:
            raise not_yet(self.schema.text, method.name, method.since, self.version)
        if self._access.mode is Mode.IDLE:
            return self._call_locally(self.schema.methods[method.name], args, kwargs)
        if isinstance(method, Command) and self._access.mode is Mode.READING:
            raise not_writable(self.schema.text, Mode.READING)
        return method.function(self.instance, *args, **kwargs)

    def _call_locally(self, method: MethodSchema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._local_index:
            raise LocalProtocolError(
                f"{method.what} was called on a replica's own instance, but only the log may do that. Use the "
                "handle that quorum.start or client.object gives."
            )
        arguments = method.decode(method.encode(args, kwargs))
        if not method.is_command:
            return method.result.decode(self.ask(method, arguments, LOCAL_RESULT_BYTES_MAX))
        self._local_index += 1
        context = self._local_context()
        return method.result.decode(self.execute(method, arguments, context, LOCAL_RESULT_BYTES_MAX))

    def _local_context(self) -> Context:
        return Context(0, self._local_index, 0, self.version or self.schema.version, (self._local_index, 0))


LOCAL_RESULT_BYTES_MAX = 1 << 30


def not_yet(text: str, name: str, since: int, version: int) -> LocalProtocolError:
    """Why a method cannot be called in this version."""
    return LocalProtocolError(
        f"{text}.{name} was called, but it is there since version {since} and the object is at version {version}. "
        "Raise the object's version once every node runs the newer program."
    )


class _Done(Awaitable[Any]):
    """Something that need not be waited for."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Any]:
        return self._value
        yield
