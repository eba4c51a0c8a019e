"""`Replicated`: an ordinary typed class whose objects every node of a cluster keeps alike.

    class Counter(Replicated):
        value: int = 0

        @command
        def add(self, n: int) -> int:
            self.value += n
            return self.value

Annotated attributes with defaults are the state. Commands change it, through the log; queries read it. Everything
is encoded by its annotation. An instance made by hand, `Counter()`, is one that is not replicated: for tests.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from quorum.apps.object_state import Context, ObjectState
from quorum.apps.replicated_method import Command, Face, Method, Query, command, invariant, query
from quorum.apps.replicated_schema import (
    VERSION_MAX,
    Since,
    check_class,
    default_of,
    is_constant,
    missing_default,
    name_of,
    schema_of,
)
from quorum.errors import NotReplicable

T = TypeVar("T")
_RESERVED = frozenset(("context", "version", "oldest", "upgrade"))
_HOOKS = ("__init__", "__new__", "__setattr__", "__getattr__", "__getattribute__", "__delattr__")

__all__ = ["Command", "Context", "Query", "Replicated", "command", "invariant", "query", "state"]


def state(default: T, *, since: int = 1) -> T:
    """The default of a field that version `since` of the class brought: `limit: int = state(10, since=2)`.

    Until the object is raised to that version, the field does not exist.
    """
    return Since(since, default)  # type: ignore[return-value]


class Replicated:
    """Base of replicated classes. Raises NotReplicable, when a class is defined, for what cannot be replicated.

    `version` counts the changes of a class that nodes must agree on: raise it when fields or commands are added,
    and mark those with `since`. `oldest` is the first version that the code still understands.
    """

    __slots__ = ("__dict__", "__weakref__", "_face")
    _face: Face
    version: ClassVar[int] = 1
    oldest: ClassVar[int] = 1
    _quorum_defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        ObjectState(schema_of(type(self)), self, is_local=True)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _check_names(cls)
        cls._quorum_defaults = _take_defaults(cls)
        check_class(cls)

    @property
    def context(self) -> Context:
        """What the running command may know of its place in the log: time, randomness, index."""
        found = self._face.context()
        assert isinstance(found, Context)
        return found

    def upgrade(self, from_version: int) -> None:
        """Called once, on every replica at the same place in the log, when the object is raised from
        `from_version`; the new fields are there, with their defaults. Override it to fill them."""

    if not TYPE_CHECKING:  # what a class declares is all that it has

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "__orig_class__":  # set by typing on what ReplicatedDict[str, int]() gives
                ObjectState(schema_of(value), self, is_local=True)
                return
            self._face.assign(name, value)

        def __delattr__(self, name: str) -> None:
            raise AttributeError(
                f"{name} of {name_of(type(self))} was to be deleted, but state is declared. Assign it."
            )

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"{name_of(type(self))!r} object has no attribute {name!r}")
            return self._face.read(name)


def _check_names(cls: type) -> None:
    """Raise NotReplicable for what a replicated class may not define."""
    where = name_of(cls)
    for hook in _HOOKS:
        if hook in vars(cls):
            raise NotReplicable(
                f"{where} defines {hook}, but every replica must begin, and be changed, in the same way. Give the "
                "fields defaults, and change them in commands."
            )
    if "__slots__" in vars(cls):
        raise NotReplicable(f"{where} defines __slots__, but its fields have defaults. Leave __slots__ out.")
    for name in ("version", "oldest"):
        value = vars(cls).get(name, 1)
        if type(value) is not int or not 1 <= value <= VERSION_MAX:
            raise NotReplicable(
                f"{where}.{name} is {value!r}, but versions are counted. Write a number from 1 on."
            )
    annotations: dict[str, Any] = vars(cls).get("__annotations__", {})
    for name, hint in annotations.items():
        if is_constant(hint):
            continue
        if name.startswith("_"):
            raise NotReplicable(
                f"{where}.{name} was declared as state, but names that begin with an underscore are not "
                "replicated. Rename it, or write ClassVar if it is a constant."
            )
        if name in _RESERVED or hasattr(_method_of(cls, name), "__code__"):
            raise NotReplicable(f"{where}.{name} was declared as state, but that name has a meaning. Rename it.")
    for name, value in vars(cls).items():
        if isinstance(value, list | dict | set | bytearray) and name not in annotations and name[:2] != "__":
            raise NotReplicable(
                f"{where}.{name} has no annotation, so it would be shared and not replicated. Write "
                f"`{name}: {type(value).__name__}[...] = ...` for state, or ClassVar for a constant."
            )
        if name in _RESERVED - {"version", "oldest"} and not (
            name == "upgrade" and isinstance(value, FunctionType)
        ):
            raise NotReplicable(f"{where} defines {name}, but that name has a meaning here. Rename it.")


def _method_of(cls: type, name: str) -> Any:
    for owner in cls.__mro__:
        found = vars(owner).get(name)
        if isinstance(found, Method | FunctionType):
            return found if isinstance(found, FunctionType) else found.function
    return None


def _take_defaults(cls: type) -> dict[str, Any]:
    """Take the defaults of the state out of the class, so that nothing is shared by its objects."""
    defaults: dict[str, Any] = {}
    for name, hint in vars(cls).get("__annotations__", {}).items():
        if is_constant(hint):
            continue
        if name in vars(cls):
            defaults[name] = default_of(vars(cls)[name])
            delattr(cls, name)
        else:
            defaults[name] = missing_default()
    return defaults
