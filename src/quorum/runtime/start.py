"""`quorum.start`: a node in this process that hosts replicated objects, and handles of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from quorum.apps.replicated_schema import name_of, schema_of
from quorum.errors import ConfigurationError, LocalProtocolError, QuorumError
from quorum.runtime.config import ClusterConfig, NodeConfig, find_config, load_cluster, load_node, node_beside
from quorum.runtime.connect import Connection, place_of
from quorum.runtime.first_runs import FirstRuns
from quorum.runtime.node import Node
from quorum.runtime.object_classes import load_classes
from quorum.runtime.object_client import describe
from quorum.runtime.object_versions import raise_where_known
from quorum.runtime.place import TIMEOUT_S, Place
from quorum.runtime.setup import NODE_FILE

T = TypeVar("T")
RAISE_PAUSE_S = 5.0
"""So often it is tried to raise objects to the versions of this program, while a node of an older one runs."""
THREAD_END_S = 10.0
log = logging.getLogger("quorum.objects")
logging.getLogger("quorum").addHandler(logging.NullHandler())  # in another's program, its own handlers decide


class Hosting(Generic[T]):
    """A node of this process, from the beginning of a `with` to its end.

    `async with` gives a handle that belongs to the running loop. Plain `with` runs the node on a thread of its
    own, and handles are used by `.sync`. At the end, whatever made the node stop by itself is raised.
    """

    def __init__(
        self, config: NodeConfig, objects: Mapping[str, Any], place: Place, timeout: float, **how: bool | None
    ) -> None:
        self._config = config
        self._objects = objects
        self._place = place
        self._timeout = timeout
        self._how = how
        self._take: Callable[[Connection], T]
        self._node: Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def giving(self, take: Callable[[Connection], T]) -> Hosting[T]:
        """Itself; `take` makes what the `with` gives."""
        self._take = take
        return self

    async def __aenter__(self) -> T:
        """Start the node and wait until it serves; a quorum of nodes need not be there yet. Raises
        ConfigurationError, StorageCorrupt or StorageError."""
        if self._node is not None:
            raise LocalProtocolError("a node was started twice, but it can be used once. Call quorum.start again.")
        first_runs = FirstRuns(self._config.cluster.parent)
        bootstrap = self._how["bootstrap"]
        if bootstrap is None:
            cluster = load_cluster(self._config.cluster)
            bootstrap = not self._how["join"] and first_runs.may_begin(
                cluster, self._config.node, self._config.data
            )
        self._node = Node(self._config, bootstrap, bool(self._how["join"]), objects=self._objects, is_guest=True)
        started = asyncio.Event()
        self._serving = asyncio.create_task(self._node.run(lambda _: started.set()))
        waiter = asyncio.create_task(started.wait())
        try:
            await asyncio.wait((waiter, self._serving), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._serving.cancel()
            await asyncio.wait((self._serving,))
            raise
        finally:
            waiter.cancel()
        if self._serving.done():
            await self._serving
            raise LocalProtocolError("a node ended before it served. Look at its log.")
        self._serving.add_done_callback(self._has_ended)
        first_runs.has_begun(self._config.node)
        self._connection = Connection(self._place, self._timeout)
        await self._connection.__aenter__()
        self._raising = asyncio.create_task(self._raise_versions())
        return self._take(self._connection)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._node is not None, "what ends has begun"
        self._raising.cancel()
        await self._connection.aclose()
        self._node.stop()
        try:
            await self._serving
        except QuorumError:
            if kind is None:
                raise  # else the body's own error says more; the node has logged its

    def __enter__(self) -> T:
        """As `async with`, on a thread of its own."""
        loop = self._loop = _new_loop()
        self._thread = threading.Thread(
            target=loop.run_forever, name=f"quorum node {self._config.node}", daemon=True
        )
        self._thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(self.__aenter__(), loop).result()
        except BaseException:
            self._end_thread()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None, "what ends has begun"
        try:
            asyncio.run_coroutine_threadsafe(self.__aexit__(kind, error, trace), self._loop).result()
        finally:
            self._end_thread()

    def _end_thread(self) -> None:
        assert self._loop is not None and self._thread is not None
        ending = asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop)
        with contextlib.suppress(TimeoutError):
            ending.result(THREAD_END_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(THREAD_END_S)
        self._loop.close()

    def _has_ended(self, serving: asyncio.Task[None]) -> None:
        """Where nobody listens to the node's log, say on stderr that it stopped: handles go on by others."""
        error = None if serving.cancelled() else serving.exception()
        if error is not None and not _is_heard():
            print(f"quorum: node {self._config.node} of this program stopped: {error}", file=sys.stderr)

    async def _raise_versions(self) -> None:
        """Raise every object that exists to the version of this program, once all nodes know it."""
        waiting = {name for name, kind in self._objects.items() if schema_of(kind).version > 1}
        while waiting:
            try:
                client = self._connection.client()
                for described in await describe(client):
                    if described.object not in waiting or described.version == 0:
                        continue
                    if described.version < schema_of(self._objects[described.object]).version:
                        raised = await raise_where_known(self._place, client, described.object)
                        if raised.version > raised.before:
                            log.info("object %s is raised to version %d", described.object, raised.version)
                    else:
                        waiting.discard(described.object)
            except QuorumError as error:
                log.debug("objects are not raised as yet: %s", error)
            await asyncio.sleep(RAISE_PAUSE_S)


@overload
def start(
    what: Mapping[str, Any],
    *,
    node: str,
    config: Path | str | None = ...,
    data: Path | str | None = ...,
    keys: Path | str | None = ...,
    identity: str | None = ...,
    insecure: bool = ...,
    bootstrap: bool | None = ...,
    join: bool = ...,
    timeout: float = ...,
) -> Hosting[Connection]: ...
@overload
def start(
    what: type[T],
    *,
    node: str,
    config: Path | str | None = ...,
    name: str | None = ...,
    data: Path | str | None = ...,
    keys: Path | str | None = ...,
    identity: str | None = ...,
    insecure: bool = ...,
    bootstrap: bool | None = ...,
    join: bool = ...,
    timeout: float = ...,
) -> Hosting[T]: ...
def start(
    what: Any,
    *,
    node: str,
    config: Path | str | None = None,
    name: str | None = None,
    data: Path | str | None = None,
    keys: Path | str | None = None,
    identity: str | None = None,
    insecure: bool = False,
    bootstrap: bool | None = None,
    join: bool = False,
    timeout: float = TIMEOUT_S,
) -> Hosting[Any]:
    """Run node `node` of the cluster of `config`, a cluster.toml, in this process, hosting `what`.

    `what` is a replicated class, and the `with` gives a handle of its object, which is called `name` (the class's
    in small letters); or classes by the names of their objects, and the `with` gives a connection, of which
    `object(name, cls)` gives handles. What cluster.toml names is hosted, too. Every node must host the same.

    Where a node.toml stands beside, in the folder of the node, it says the rest; else `data` (NODE/data beside
    cluster.toml), `keys` (keys beside it) and `insecure`. `identity` is the client whose certificate handles use.

    `bootstrap` begins a new cluster, `join` joins one that runs; each is for the first start of a node, as for
    `quorum node`. None finds out by itself on one machine: a node of a cluster on loopback that never ran begins.

    Raises ConfigurationError, and NotReplicable for a class that cannot be replicated.
    """
    path = find_config(config).resolve()
    cluster = load_cluster(path)
    objects, own = _objects_of(what, name)
    objects = load_classes(cluster.objects, path.parent) | objects
    settings = _settings(path, cluster, node, data, keys, insecure)
    place = place_of(cluster, None if settings.insecure else settings.keys, identity, first=node)
    hosting: Hosting[Any] = Hosting(settings, objects, place, timeout, bootstrap=bootstrap, join=join)
    return hosting.giving(lambda connection: connection if own is None else connection.object(own, what))


def _objects_of(what: Any, name: str | None) -> tuple[dict[str, Any], str | None]:
    """The classes by the names of their objects, and the name of the only one where a class was given."""
    if isinstance(what, Mapping):
        if name is not None:
            raise ConfigurationError(
                f"the name {name!r} was given beside objects that have names. Leave it out, or give one class."
            )
        for kind in what.values():
            schema_of(kind)
        return dict(what), None
    if isinstance(what, list | tuple | set | frozenset):
        raise ConfigurationError(
            f"{len(what)} objects without names were to be hosted, but each object has a name of its own. Give a "
            'dict such as {"counter": Counter}, or one class.'
        )
    schema = schema_of(what)
    own = name_of(schema.cls).rpartition(".")[2].lower() if name is None else name
    return {own: what}, own


def _settings(
    path: Path,
    cluster: ClusterConfig,
    node: str,
    data: Path | str | None,
    keys: Path | str | None,
    insecure: bool,
) -> NodeConfig:
    file = path.parent / cluster.member(node).id / NODE_FILE
    if data is None and keys is None and not insecure and file.is_file():
        return load_node(file)
    return node_beside(path, node, data, keys, insecure)


def _is_heard() -> bool:
    """Whether what is logged here reaches anybody."""
    logger: logging.Logger | None = log
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


async def _end_tasks() -> None:
    """Cancel whatever is left on a loop that ends."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed, else what asyncio would choose."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
