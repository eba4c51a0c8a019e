"""`@command` and `@query`: how a method of a replicated class is marked, and what calling it gives.

On a handle, `counter.add(3)` gives an awaitable and `counter.add.sync(3)` the result. The types say so: the
parameters are those of the method, and so is what is awaited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from quorum.errors import NotReplicable

Consistency = Literal["linearizable", "nearest", "stale"]
P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
F = TypeVar("F", bound=Callable[[Any], bool | None])
_INVARIANT = "_quorum_invariant"


class Face(Protocol):
    """What stands behind an instance of a replicated class: its own state, or a way to the replicas."""

    def call(
        self, method: Method[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], consistency: str
    ) -> Awaitable[Any]: ...

    def call_sync(
        self, method: Method[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], consistency: str
    ) -> Any: ...

    def read(self, name: str) -> Any:
        """The attribute `name`, which stands neither in the instance nor in its class."""
        ...

    def assign(self, name: str, value: Any) -> None: ...

    def context(self) -> Any: ...


class BoundCommand(Generic[P, R_co]):
    """A command of one object."""

    __slots__ = ("__wrapped__", "_face", "_method")

    def __init__(self, face: Face, method: Method[P, R_co]) -> None:
        self._face = face
        self._method = method
        self.__wrapped__ = method.function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R_co]:
        """Send it through the log; await the result. What the method raised comes back as ApplicationError."""
        return self._face.call(self._method, args, kwargs, "linearizable")

    def sync(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The same for code without an event loop: wait, return the result. Inside the object: run it there."""
        result: R_co = self._face.call_sync(self._method, args, kwargs, "linearizable")
        return result


class BoundQuery(Generic[P, R_co]):
    """A query of one object. With `consistency="stale"` the node at hand answers at once, and may be behind; with
    "nearest" it answers, linearizably, when it has caught up."""

    __slots__ = ("__wrapped__", "_face", "_method")

    def __init__(self, face: Face, method: Method[P, R_co]) -> None:
        self._face = face
        self._method = method
        self.__wrapped__ = method.function

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R_co]: ...
    @overload
    def __call__(self, *args: Any, consistency: Consistency, **kwargs: Any) -> Awaitable[R_co]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[R_co]:
        """Ask, linearizably by default; await the result."""
        consistency = kwargs.pop("consistency", "linearizable")
        return self._face.call(self._method, args, kwargs, consistency)

    @overload
    def sync(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def sync(self, *args: Any, consistency: Consistency, **kwargs: Any) -> R_co: ...
    def sync(self, *args: Any, **kwargs: Any) -> R_co:
        """The same for code without an event loop. Inside the object: run it there."""
        consistency = kwargs.pop("consistency", "linearizable")
        result: R_co = self._face.call_sync(self._method, args, kwargs, consistency)
        return result


class Method(Generic[P, R_co]):
    """A marked method in its class. `function` is what was written there.

    `since` is the version of the class that brought it, `allow` names what the check of its code lets pass.
    """

    kind = "method"

    def __init__(self, function: Callable[..., R_co], since: int = 1, allow: Iterable[str] = ()) -> None:
        _check_function(function, self.kind)
        self.function = function
        self.since = since
        self.allow = frozenset((allow,) if isinstance(allow, str) else allow)
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class Command(Method[P, R_co]):
    """A method that may change the state; it goes through the log."""

    kind = "command"

    @overload
    def __get__(self, instance: None, owner: type) -> Command[P, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> BoundCommand[P, R_co]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else BoundCommand(instance._face, self)


class Query(Method[P, R_co]):
    """A method that reads the state and leaves it as it is; it runs on one node."""

    kind = "query"

    @overload
    def __get__(self, instance: None, owner: type) -> Query[P, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> BoundQuery[P, R_co]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else BoundQuery(instance._face, self)


@overload
def command(function: Callable[Concatenate[Any, P], R], /) -> Command[P, R]: ...
@overload
def command(
    *, since: int = ..., allow: Iterable[str] = ...
) -> Callable[[Callable[Concatenate[Any, P], R]], Command[P, R]]: ...
def command(
    function: Callable[..., Any] | None = None, /, *, since: int = 1, allow: Iterable[str] = ()
) -> Command[Any, Any] | Callable[[Callable[..., Any]], Command[Any, Any]]:
    """Mark a method that changes the state: it goes through the log, and every replica runs it.

    It must be a function of the state, its arguments and `self.context` alone. Whatever it raises goes to the
    caller, and the object is as it was before. `since`: the version of the class that brought it. `allow`: names
    that the check for clocks, randomness and I/O shall let pass. Raises NotReplicable.
    """
    if function is None:
        return lambda marked: Command(marked, since, allow)
    return Command(function)


@overload
def query(function: Callable[Concatenate[Any, P], R], /) -> Query[P, R]: ...
@overload
def query(*, since: int = ...) -> Callable[[Callable[Concatenate[Any, P], R]], Query[P, R]]: ...
def query(
    function: Callable[..., Any] | None = None, /, *, since: int = 1
) -> Query[Any, Any] | Callable[[Callable[..., Any]], Query[Any, Any]]:
    """Mark a method that reads the state. It is linearizable, unless asked with `consistency="stale"`.

    `since`: the version of the class that brought it. Raises NotReplicable.
    """
    if function is None:
        return lambda marked: Query(marked, since)
    return Query(function)


def invariant(function: F, /) -> F:
    """Mark a method that says what is always true of an object: it raises AssertionError, or returns False, where
    it is not. `quorum.simulate` asks it after each command on each replica; nodes do not."""
    _check_function(function, "invariant")
    vars(function)[_INVARIANT] = True
    return function


def is_invariant(value: object) -> bool:
    """Whether a value in a class is a method marked by `invariant`."""
    return getattr(value, _INVARIANT, False) is True


def _check_function(function: Any, kind: str) -> None:
    """Raise NotReplicable for what cannot run at one place in the log."""
    name = getattr(function, "__qualname__", repr(function))
    if not callable(function) or not hasattr(function, "__code__"):
        raise NotReplicable(
            f"{name} was marked as a {kind}, but it is no function. Put @{kind} directly above the `def` of a "
            "method, below other decorators."
        )
    if iscoroutinefunction(function) or isasyncgenfunction(function):
        raise NotReplicable(
            f"{name} was marked as a {kind}, but it is asynchronous, and replicas would be suspended at different "
            "moments. Write it with a plain `def`; it is awaited by its caller all the same."
        )
    if isgeneratorfunction(function):
        raise NotReplicable(
            f"{name} was marked as a {kind}, but it is a generator, which would run while its caller looks at it. "
            "Return a list."
        )
