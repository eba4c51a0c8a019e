"""Handles of replicated objects: instances of their classes whose commands and queries go to the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from quorum.apps.catalogue import OBJECTS_APP
from quorum.apps.objects import (
    DESCRIBE,
    Ask,
    Call,
    Description,
    Done,
    Raise,
    Raised,
    decode_descriptions,
    decode_results,
    encode_raise,
    error_of,
)
from quorum.apps.replicated_method import Method
from quorum.apps.replicated_schema import ClassSchema, MethodSchema, schema_of
from quorum.errors import ApplicationError, LocalProtocolError, RemoteProtocolError

T = TypeVar("T")
_CONSISTENCIES = ("linearizable", "nearest", "stale")
_DECODE_VERSION = msgspec.msgpack.Decoder(int)


class Asker(Protocol):
    """What a handle needs of a client (runtime.client.Client)."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def ask(self, queue: str, item: Any, expected: type[Any]) -> asyncio.Future[Any]: ...

    def ask_alone(
        self, app: int, body: bytes, decode: Callable[[bytes], Sequence[Any]], is_query: bool
    ) -> asyncio.Future[Sequence[Any]]: ...

    @property
    def background(self) -> Asker:
        """What asks where no call waits."""
        ...

    def for_one_call(self) -> Asker:
        """The same for one call of several requests, which begins now: they share its time, where it has one."""
        ...

    async def wait_for(self, first: asyncio.Future[None]) -> None:
        """Wait for what must be done before a command or query is sent. Whoever stops waiting does not stop it."""
        ...


class ObjectFace:
    """Stands behind a handle (apps.replicated_method.Face). Calls travel with all others of the loop's turn.

    Before its first call the object is looked for, and brought into existence if it is not there yet.
    """

    def __init__(self, client: Asker, name: str, schema: ClassSchema) -> None:
        self._client = client
        self._name = name
        self._schema = schema
        self._is_ready = False
        self._preparing: asyncio.Task[None] | None = None

    def call(
        self, method: Method[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], consistency: str
    ) -> Awaitable[Any]:
        spec, data = self._encode(method, args, kwargs, consistency)
        running = _running_loop()
        if running is None:
            raise LocalProtocolError(
                f"{spec.what} was called where no event loop runs. Await it in a coroutine, or call "
                f"{method.name}.sync(...)."
            )
        if running is not self._client.loop:
            asked = asyncio.run_coroutine_threadsafe(self._asked(spec, data, consistency), self._client.loop)
            return asyncio.wrap_future(asked)
        if self._is_ready:
            return _Answer(spec, self._send(self._client, spec, data, consistency))
        return self._client.loop.create_task(self._asked(spec, data, consistency))

    def call_sync(
        self, method: Method[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], consistency: str
    ) -> Any:
        spec, data = self._encode(method, args, kwargs, consistency)
        return waited(self._asked(spec, data, consistency), self._client.loop, spec.what)

    def read(self, name: str) -> Any:
        if name not in self._schema.fields:
            methods = ", ".join(sorted(self._schema.methods))
            raise AttributeError(f"{self._schema.text} has no {name!r} to be called. It has {methods}.")
        raise AttributeError(
            f"{self._schema.text}.{name} was read on a handle, but the state is on the nodes. Read it in a @query."
        )

    def assign(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{self._schema.text}.{name} was assigned on a handle, but the state is on the nodes. Change it in a "
            "@command."
        )

    def context(self) -> Any:
        raise LocalProtocolError(
            "self.context was asked for on a handle, but only a command that runs has a place in the log."
        )

    async def prepare(self) -> None:
        """See that the object exists, and that this program's class is the cluster's.

        Raises LocalProtocolError where they do not fit, ApplicationError for an `upgrade` that failed, and what
        Client says.
        """
        await self._prepared(self._client)

    async def _prepared(self, client: Asker) -> None:
        if self._is_ready:
            return
        if self._preparing is None or self._preparing.done():
            self._preparing = self._client.loop.create_task(self._prepare())
        await client.wait_for(self._preparing)

    async def _prepare(self) -> None:
        client = self._client.background
        described = found(await describe(client), self._name)
        if described.version == 0:
            version = min(self._schema.version, described.newest)
            if version < self._schema.oldest:
                raise _unfitting(self._schema, described)
            await raise_version(client, self._name, version, self._schema.fingerprint(version))
        elif self._schema.oldest <= described.version <= self._schema.version:
            if described.fingerprint_of(described.version) != self._schema.fingerprint(described.version):
                raise _unfitting(self._schema, described)
        elif described.version < self._schema.oldest:
            raise _unfitting(self._schema, described)
        self._is_ready = True

    async def _asked(self, spec: MethodSchema, data: bytes, consistency: str) -> Any:
        client = self._client.for_one_call()
        if not self._is_ready and consistency != "stale":
            await self._prepared(client)
        return result_of(spec, await self._send(client, spec, data, consistency))

    def _send(self, client: Asker, spec: MethodSchema, data: bytes, consistency: str) -> asyncio.Future[Any]:
        if spec.is_command:
            return client.ask("object", Call(self._name, spec.name, spec.since, data), object)
        return client.ask(f"object {consistency}", Ask(self._name, spec.name, spec.since, data), object)

    def _encode(
        self, method: Method[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], consistency: str
    ) -> tuple[MethodSchema, bytes]:
        spec = self._schema.methods[method.name]
        if consistency not in _CONSISTENCIES:
            raise LocalProtocolError(
                f"consistency={consistency!r} was asked for, but queries are linearizable, nearest or stale. Use "
                "one of these."
            )
        return spec, spec.encode(args, kwargs)


class _Answer(Awaitable[Any]):
    """A result that is on its way; whoever awaits it decodes it."""

    __slots__ = ("_future", "_spec")

    def __init__(self, spec: MethodSchema, future: asyncio.Future[Any]) -> None:
        self._spec = spec
        self._future = future

    def __await__(self) -> Generator[Any, None, Any]:
        return result_of(self._spec, (yield from self._future))


def handle_of(client: Asker, name: str, kind: type[T]) -> T:
    """A handle of object `name`: an instance of its class. Raises NotReplicable for a class that is none."""
    schema = schema_of(kind)
    handle: T = object.__new__(schema.cls)
    object.__setattr__(handle, "_face", ObjectFace(client, name, schema))
    return handle


def result_of(spec: MethodSchema, result: Done | Raised) -> Any:
    """What a method returned. Raises what it raised, as ApplicationError, and RemoteProtocolError for bytes that
    are no such result."""
    if isinstance(result, Done):
        try:
            return spec.result.decode(result.result)
        except ValueError as error:
            what = f"answered {spec.what} with something else than {spec.result.text} ({error}). Run one program."
            raise RemoteProtocolError("the cluster", what) from None
    raise error_of(result)


async def describe(client: Asker) -> list[Description]:
    """What the cluster hosts, read linearizably."""
    described: list[Description] = list(await client.ask_alone(OBJECTS_APP, DESCRIBE, decode_descriptions, True))
    return described


def found(described: Sequence[Description], name: str) -> Description:
    """The description of object `name`. Raises LocalProtocolError if there is none."""
    for each in described:
        if each.object == name:
            return each
    names = ", ".join(each.object for each in described) or "none"
    raise LocalProtocolError(
        f"object {name!r} was asked for, but the cluster hosts no such object; it hosts {names}. Name one of "
        "them, or start every node with it."
    )


async def raise_version(client: Asker, name: str, version: int, fingerprint: bytes) -> int:
    """Bring object `name` into existence in `version`, or raise it to that; return the version that it is at.

    Raises ApplicationError where the class's `upgrade` fails or the leader's program cannot run that version.
    """
    body = encode_raise(Raise(name, version, fingerprint))
    (result,) = await client.ask_alone(OBJECTS_APP, body, decode_results, False)
    if isinstance(result, Done):
        return _DECODE_VERSION.decode(result.result)
    if isinstance(result, Raised):
        raise error_of(result)
    raise ApplicationError(result.reason, result.message)


def waited(asked: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, what: str) -> T:
    """Run a coroutine on another thread's loop and wait for it. Raises LocalProtocolError on that loop itself."""
    if loop.is_closed() or _running_loop() is loop:
        asked.close()
        why = "its client is closed" if loop.is_closed() else "that would stop the event loop it waits for"
        raise LocalProtocolError(f"{what} was called with .sync, but {why}. Await it, or use another thread.")
    future = asyncio.run_coroutine_threadsafe(asked, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _unfitting(schema: ClassSchema, described: Description) -> LocalProtocolError:
    return LocalProtocolError(
        f"object {described.object!r} was to be used as {schema.text} of versions {schema.oldest} to "
        f"{schema.version}, but the cluster has {described.cls} of version "
        f"{described.version or described.newest}, with other fields, defaults, commands, arguments or results. "
        "Use the program of the nodes."
    )
