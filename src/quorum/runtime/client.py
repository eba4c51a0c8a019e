"""The asyncio client: operations that wait together travel together, and each is applied once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from quorum.apps import decide, kv, lock, objects
from quorum.apps.answer import Answer, reply_of
from quorum.apps.batch import Refused
from quorum.apps.catalogue import DECIDE_APP, KV_APP, LOCK_APP, OBJECTS_APP
from quorum.apps.decide import Decide, Decision
from quorum.apps.kv_watch import Event, Interest
from quorum.entry import ENTRY_BYTES_MAX, HEAD_BYTES
from quorum.errors import (
    ApplicationError,
    LocalProtocolError,
    NotLeader,
    Overloaded,
    QuorumError,
    RemoteProtocolError,
)
from quorum.runtime.arguments import checked
from quorum.runtime.connection import tls_reason
from quorum.runtime.dialler import Dialler
from quorum.runtime.directory import Directory, anywhere, loopback_only, nowhere
from quorum.runtime.kept import CLOSE_S, Kept
from quorum.runtime.key_client import KeyValueClient
from quorum.runtime.key_subscription import KeyWatch
from quorum.runtime.lock_client import Election, Lock
from quorum.runtime.messages import (
    NodeMessage,
)
from quorum.runtime.object_client import handle_of
from quorum.runtime.session import FOREVER_US, Session
from quorum.runtime.subscription import TopicWatch

BATCH_COMMANDS_MAX = 1024
BATCH_BYTES_MAX = 4 * 1024 * 1024
"""A batch of several commands is split when it has more."""
BODY_BYTES_MAX = ENTRY_BYTES_MAX - HEAD_BYTES
"""One command with more bytes fits in no entry."""
Decode = Callable[[bytes], Sequence[Any]]
Encode = Callable[[Sequence[Any]], bytes]
WAITING_MAX = 200_000
"""Requests that may wait for an answer in one client."""
WAITING_BYTES_MAX = 256 * 1024 * 1024
"""Bytes of those of them that were put into batches. Above it nothing more is taken."""
R = TypeVar("R")
T = TypeVar("T")


class _Queue:
    """Commands of one application and kind that wait for the end of this loop turn.

    `keeps`: they are kept until they are answered, and sent again where the cluster had no room for their results
    and did nothing. Queries are kept in any case.
    """

    __slots__ = ("app", "decode", "encode", "futures", "here", "items", "keeps", "query", "stale")

    def __init__(
        self,
        app: int,
        encode: Encode,
        decode: Decode,
        query: bool = False,
        stale: bool = False,
        here: bool = False,
        keeps: bool = False,
    ) -> None:
        self.app = app
        self.encode = encode
        self.decode = decode
        self.query = query
        self.stale = stale
        self.here = here
        self.keeps = keeps or query
        self.items: list[Any] = []
        self.futures: list[asyncio.Future[Any]] = []


class Client:
    """One session with a cluster. Use it as `async with`; its methods may be awaited concurrently.

    A lost connection, a deposed leader and a restart are retried under the same request id until `timeout`
    seconds have passed; then OutcomeUnknown (a command that may yet happen) or NotLeader (it will not) is raised.

    With `discover` the nodes tell who the members are, and those are dialled, each at the address that it
    advertises and, with TLS, under its own name; in plain text only addresses of this machine are followed.
    Without, only `endpoints` are dialled: for proxies.
    """

    def __init__(
        self, endpoints: Sequence[str], dialler: Dialler, timeout: float = 10.0, discover: bool = True
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialler = dialler
        self._timeout_s = None if timeout <= 0 else timeout
        self._timeout_us = FOREVER_US if timeout <= 0 else int(timeout * 1e6)
        follows = anywhere if dialler.is_authenticated else loopback_only
        directory = Directory(endpoints, discover, follows if discover else nowhere)
        self._session = Session(endpoints, self, directory=directory)
        self._alarm: asyncio.TimerHandle | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._flushing = False
        self._is_alone = False
        """Whether the batch answered last held one request. After more than one, the next come together, too: to
        send the first of them at once would make two batches of one, each time."""
        self._is_ending = self._closed = False
        self._refusals: dict[str, str] = {}
        """Nodes that could not be reached when they were called last, and why."""
        self._topics: dict[int, TopicWatch] = {}
        self._key_watches: dict[int, KeyWatch] = {}
        self._inflight: dict[int, tuple[_Queue, list[Any], list[asyncio.Future[Any]], int]] = {}
        self._waiting = self._waiting_bytes = 0
        self._room = WAITING_MAX
        """How many requests may wait; 0 while there are too many bytes, and at the end."""
        self._queues = {
            "kv": _Queue(KV_APP, kv.encode_batch, kv.decode_results),
            "kv read": _Queue(KV_APP, kv.encode_query, kv.decode_results, query=True),
            "kv stale": _Queue(KV_APP, kv.encode_query, kv.decode_results, query=True, stale=True),
            "kv here": _Queue(KV_APP, kv.encode_query, kv.decode_results, query=True, here=True),
            "decide": _Queue(DECIDE_APP, decide.encode_batch, decide.decode_results),
            "decided": _Queue(DECIDE_APP, decide.encode_query, decide.decode_answers, query=True),
            "lock": _Queue(LOCK_APP, lock.encode_batch, lock.decode_results),
            "lock read": _Queue(LOCK_APP, lock.encode_query, lock.decode_results, query=True),
            **_object_queues(),
        }
        self.held: set[Kept] = set()
        """Sessions of locks that are open."""
        self.kv = KeyValueClient(self)
        self._session.start(self._now_us())

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session and the connection; requests that still wait are cancelled, watches end.

        Locks and elections that are still held are lost at once, and given up: others need not wait until their
        time is over. That is waited for, but no longer than CLOSE_S, and not where no node is connected.
        """
        await self._give_up_locks()
        if not self._closed:
            self._session.close(self._now_us())
            self._dialler.flush()  # it leaves before the connection ends; whether it arrives is not waited for
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        waiting = [futures for _, _, futures, _ in self._inflight.values()]
        for queue in self._queues.values():
            waiting.append(queue.futures)
            queue.items, queue.futures = [], []
        self._inflight.clear()
        for topic in list(self._topics.values()):
            await topic.aclose()
        for watch in list(self._key_watches.values()):
            await watch.aclose()
        for futures in waiting:
            for future in futures:
                future.cancel()
        await self._dialler.aclose()

    async def _give_up_locks(self) -> None:
        closing = [future for session in tuple(self.held) if (future := session.give_up()) is not None]
        self._room, self._is_ending = 0, True  # nothing new is begun, such as another place in a queue
        if closing and self._session.is_connected:
            await asyncio.wait(closing, timeout=CLOSE_S)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where nodes are looked for, the present members first."""
        return self._session.directory.endpoints

    @property
    def unanswered(self) -> int:
        """How many batches wait for an answer."""
        return len(self._inflight)

    async def decide(self, topic: str, value: bytes) -> Decision:
        """Propose `value` on `topic`; return the decision, which is the first value that was committed."""
        return await self.ask("decide", checked(Decide(topic, value)), Decision)

    async def decision(self, topic: str) -> Decision | None:
        """What was decided on `topic`, read linearizably; None if nothing was."""
        checked(Decide(topic, b""))
        found = await self.ask("decided", topic, object)
        assert found is None or isinstance(found, Decision)
        return found

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it belongs to."""
        return self._loop

    def lock(self, name: str, ttl: float = 10.0, wait: float | None = None, value: bytes = b"") -> Lock:
        """A lock, to be used as `async with`: see runtime.lock_client.Lock. `wait` bounds the seconds in its queue
        (None: no bound, 0: do not queue); then LockBusy is raised."""
        return Lock(self, name, ttl, wait, value)

    def election(self, name: str, ttl: float = 10.0) -> Election:
        """An election: see runtime.lock_client.Election."""
        return Election(self, name, ttl)

    def watch_topic(self, app: int, topic: bytes) -> TopicWatch:
        """Hear of `topic` of an application whenever its `Outputs.notices` name it: only the newest notice, and
        first of all that the state is to be read. Goes on across connections until it is closed."""
        if self._is_ending:
            raise LocalProtocolError("a watch was begun on a closed client. Open another with quorum.connect.")

        def close() -> None:
            del self._topics[handle]
            if not self._closed:
                self._session.unwatch(self._now_us(), handle)
                self._dialler.flush()

        handle = self._session.watch_topic(self._now_us(), app, topic)
        watch = self._topics[handle] = TopicWatch(close)
        self._dialler.flush()
        return watch

    def watch_keys(self, interest: Interest) -> KeyWatch:
        """Hear of every change of keys; `KeyValueClient.watch` says how."""
        if self._is_ending:
            raise LocalProtocolError("a watch was begun on a closed client. Open another with quorum.connect.")

        def close() -> None:
            del self._key_watches[handle]
            if not self._closed:
                self._session.unwatch(self._now_us(), handle)
                self._flush_soon()

        def pause(is_paused: bool) -> None:
            self._session.pause_watch(handle, is_paused)
            self._flush_soon()

        def reach(revision: int, tell: Callable[[], None]) -> None:
            self._session.reach_watch(self._now_us(), handle, revision, tell)
            self._flush_soon()

        handle = self._session.watch_keys(self._now_us(), interest)
        watch = self._key_watches[handle] = KeyWatch(close, pause, reach, self._begin_error, self._timeout_s)
        self._flush_soon()
        return watch

    def _begin_error(self) -> QuorumError:
        """Why a watch has not begun in time."""
        return self._with_refusals(NotLeader())

    def ask(self, queue: str, item: Any, expected: type[R]) -> asyncio.Future[R]:
        """Queue one command or read; it leaves at the end of this loop turn, with all others of its kind.

        Raises Overloaded, at once, where too much waits for answers already."""
        if self._waiting >= self._room:
            self._refuse()
        self._waiting += 1
        future: asyncio.Future[R] = self._loop.create_future()
        self._enqueue(self._queues[queue], item, future)
        return future

    def ask_alone(self, app: int, body: bytes, decode: Decode, is_query: bool) -> asyncio.Future[Sequence[Any]]:
        """Send one command or read in a batch of its own; `decode` reads the whole answer."""
        if self._waiting >= self._room:
            self._refuse()
        self._waiting += 1
        future: asyncio.Future[Sequence[Any]] = self._loop.create_future()
        queue = _Queue(app, lambda items: bytes(items[0]), lambda answer: [decode(answer)], query=is_query)
        self._send_batch(queue, [body], [future])
        self._dialler.flush()
        return future

    def _refuse(self) -> None:
        """Raise LocalProtocolError on a closed client, Overloaded on one that has no room for another request."""
        if self._is_ending:
            raise LocalProtocolError("a request was made on a closed client. Open another with quorum.connect.")
        raise Overloaded(
            f"a request was made, but {self._waiting} with {self._waiting_bytes} bytes wait for answers "
            f"in this client, which holds {WAITING_MAX} or {WAITING_BYTES_MAX} bytes. Await some first."
        )

    def _enqueue(self, queue: _Queue, item: Any, future: asyncio.Future[Any]) -> None:
        queue.items.append(item)
        queue.futures.append(future)
        if self._is_alone and not self._inflight and not self._flushing:
            self._flush()  # nothing is under way, and nobody else was lately: wait for no company
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        for queue in self._queues.values():
            while queue.items:
                items, queue.items = queue.items[:BATCH_COMMANDS_MAX], queue.items[BATCH_COMMANDS_MAX:]
                futures, queue.futures = queue.futures[:BATCH_COMMANDS_MAX], queue.futures[BATCH_COMMANDS_MAX:]
                self._send_batch(queue, items, futures)
        self._dialler.flush()

    def _send_batch(self, queue: _Queue, items: list[Any], futures: list[asyncio.Future[Any]]) -> None:
        """Send one batch, or its halves where it is too large. What cannot be sent fails alone."""
        reason = ""
        try:
            body = queue.encode(items)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            body, reason = b"", f"it cannot be encoded ({error})"
        if len(items) > 1 and (reason or len(body) > BATCH_BYTES_MAX):
            half = len(items) // 2
            self._send_batch(queue, items[:half], futures[:half])
            self._send_batch(queue, items[half:], futures[half:])
            return
        if len(body) > BODY_BYTES_MAX:
            reason = f"it has {len(body)} bytes and at most {BODY_BYTES_MAX} fit"
        if reason:
            self._waiting -= len(futures)
            _fail(
                futures,
                LocalProtocolError(
                    f"a {_name_of(items[0])} was to be sent, but {reason}. Keys and values are bytes, names and "
                    "topics are text; store what is larger in pieces."
                ),
            )
        elif queue.query:
            self._count_bytes(len(body))
            handle = self._session.query(
                self._now_us(), queue.app, body, queue.stale, self._timeout_us, here=queue.here
            )
            self._inflight[handle] = (queue, items, futures, len(body))
        else:
            self._count_bytes(len(body))
            handle = self._session.submit(self._now_us(), queue.app, len(items), body, self._timeout_us)
            self._inflight[handle] = (queue, items if queue.keeps else [], futures, len(body))

    # What the session wants (runtime.session.Wire).

    def connect(self, endpoint: str, delay_us: int) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        self._dialler.close()
        if not self._closed:
            self._attempt = self._loop.create_task(self._dial(endpoint, delay_us))

    async def _dial(self, endpoint: str, delay_us: int) -> None:
        if delay_us:
            await asyncio.sleep(delay_us / 1e6)
        try:
            node = self._session.directory.node_at(endpoint)
            await self._dialler.open(endpoint, self._on_messages, self._on_closed, node)
        except (OSError, QuorumError) as error:
            reason = str(error) if isinstance(error, QuorumError) else tls_reason(error)
            self._refusals[endpoint] = reason.removeprefix(endpoint).strip(" .:")
            self._attempt = None
            self._session.disconnected(self._now_us())
            return
        self._attempt = None
        self._refusals.pop(endpoint, None)
        self._session.connected(self._now_us())
        self._dialler.flush()

    def _on_messages(self, received: Sequence[tuple[NodeMessage, bytes]]) -> None:
        if self._closed:
            return
        now_us = self._now_us()
        for message, body in received:
            self._session.received(now_us, message, body)
        self._dialler.flush()

    def _on_closed(self) -> None:
        if not self._closed:
            self._session.disconnected(self._now_us())

    def transmit(self, message: object, body: bytes) -> None:
        self._dialler.send(message, body)

    def wake(self, delay_us: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(delay_us / 1e6, self._tick)

    def _tick(self) -> None:
        if not self._closed:
            self._session.tick(self._now_us())
            self._dialler.flush()

    def finished(self, handle: int, status: int, body: bytes) -> None:
        queue, items, futures = self._answered(handle)
        self._is_alone = len(futures) == 1
        try:
            results = queue.decode(reply_of(Answer(status, body)))
        except QuorumError as error:
            _fail(futures, error)
            return
        except (ValueError, msgspec.DecodeError):
            what = "answered with bytes that are no answer. Check that both ends run compatible versions."
            _fail(futures, RemoteProtocolError(self._session.endpoint, what))
            return
        if len(results) != len(futures):
            what = f"answered {len(futures)} commands with {len(results)} results. Run compatible versions."
            _fail(futures, RemoteProtocolError(self._session.endpoint, what))
            return
        for at, (future, result) in enumerate(zip(futures, results, strict=True)):
            if future.done():
                continue
            if not isinstance(result, Refused):
                future.set_result(result)
            elif result.reason == "read" and queue.keeps and at > 0:
                self._waiting += 1
                self._enqueue(queue, items[at], future)  # there was no room for it behind the others
            else:
                future.set_exception(ApplicationError(result.reason, result.message))

    def _count_bytes(self, size: int) -> None:
        self._waiting_bytes += size
        self._room = 0 if self._is_ending or self._waiting_bytes >= WAITING_BYTES_MAX else WAITING_MAX

    def _answered(self, handle: int) -> tuple[_Queue, list[Any], list[asyncio.Future[Any]]]:
        queue, items, futures, size = self._inflight.pop(handle)
        self._waiting -= len(futures)
        self._count_bytes(-size)
        return queue, items, futures

    def noticed(self, handle: int, index: int, body: bytes | None) -> None:
        self._topics[handle].put(index, body)

    def begun(self, handle: int, revision: int) -> None:
        self._key_watches[handle].begun(revision)

    def changed(self, handle: int, event: Event) -> None:
        self._key_watches[handle].put(event)

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        if handle in self._topics:
            self._topics.pop(handle).finish(error)
        else:
            self._key_watches.pop(handle).finish(error)

    def failed(self, handle: int, error: QuorumError) -> None:
        _, _, futures = self._answered(handle)
        _fail(futures, self._with_refusals(error))

    def _with_refusals(self, error: QuorumError) -> QuorumError:
        if isinstance(error, NotLeader) and error.leader is None and self._refusals:
            return NotLeader(refusals="; ".join(f"{node}: {why}" for node, why in sorted(self._refusals.items())))
        return error

    def _now_us(self) -> int:
        return int(self._loop.time() * 1e6)

    def object(self, name: str, kind: type[T]) -> T:
        """A handle of the replicated object `name`, which is of class `kind`: await its commands and queries.

        Raises NotReplicable for a class that is none.
        """
        return handle_of(self, name, kind)


def _object_queues() -> dict[str, _Queue]:
    encode, decode = objects.encode_query, objects.decode_results
    return {
        "object": _Queue(OBJECTS_APP, objects.encode_batch, decode, keeps=True),
        "object linearizable": _Queue(OBJECTS_APP, encode, decode, query=True),
        "object nearest": _Queue(OBJECTS_APP, encode, decode, query=True, here=True),
        "object stale": _Queue(OBJECTS_APP, encode, decode, query=True, stale=True),
    }


def _name_of(item: object) -> str:
    return "topic" if isinstance(item, str) else type(item).__name__


def _fail(futures: Sequence[asyncio.Future[Any]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
