"""What a client asked and nobody answered yet: what waits together leaves in one batch, and each gets its result.

It is the part of the client that every operation passes, and compiled, so that it takes what it is given:
arguments of programs are checked in the faces before it (runtime.arguments).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from quorum.apps import ballot, control, decide, kv, ledger, lock, objects
from quorum.apps.answer import Answer, reply_of
from quorum.apps.batch import Refused
from quorum.apps.catalogue import BALLOT_APP, CONTROL_APP, DECIDE_APP, KV_APP, LEDGER_APP, LOCK_APP, OBJECTS_APP
from quorum.entry import ENTRY_BYTES_MAX, HEAD_BYTES
from quorum.errors import (
    ApplicationError,
    ConfigurationError,
    LocalProtocolError,
    Overloaded,
    QuorumError,
    RemoteProtocolError,
)
from quorum.runtime.session import Session

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


class Queue:
    """Commands of one application and kind that wait for the end of this loop turn.

    `keeps`: they are kept until they are answered, and sent again where the cluster had no room for their results
    and did nothing. Queries are kept in any case. `each`: every command is a batch of its own.
    """

    __slots__ = ("app", "decode", "each", "encode", "futures", "here", "items", "keeps", "query", "stale")

    def __init__(
        self,
        app: int,
        encode: Encode,
        decode: Decode,
        query: bool = False,
        stale: bool = False,
        here: bool = False,
        keeps: bool = False,
        each: bool = False,
    ) -> None:
        self.app = app
        self.encode = encode
        self.decode = decode
        self.query = query
        self.stale = stale
        self.here = here
        self.keeps = keeps or query
        self.each = each and not query
        self.items: list[Any] = []
        self.futures: list[asyncio.Future[Any]] = []


NOT_THERE = "UnknownApplication"
"""The kind of the answer where no application has the id that was asked (apps.host)."""


class _Sent:
    """A batch until it is answered."""

    __slots__ = ("futures", "items", "queue", "size")

    def __init__(self, queue: Queue, items: list[Any], futures: list[asyncio.Future[Any]], size: int) -> None:
        self.queue = queue
        self.items = items
        self.futures = futures
        self.size = size


class Batches:
    """The requests of one client, over its session. `flush_wire` lets leave what the session transmitted. With
    `each` no two commands share a batch, where a batch is what the client signs.

    I1  `waiting` counts every future that was handed out and is not resolved yet; each is resolved once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        session: Session,
        flush_wire: Callable[[], None],
        timeout_us: int,
        explain: Callable[[QuorumError], QuorumError],
        each: bool = False,
    ) -> None:
        self._loop = loop
        self._session = session
        self._flush_wire = flush_wire
        self._timeout_us = timeout_us
        self._explain = explain
        """Adds to the reason of a failure what the client knows."""
        self._flushing = False
        self._is_alone = False
        """Whether the batch answered last held one request. After more than one, the next come together, too: to
        send the first of them at once would make two batches of one, each time."""
        self._is_ending = False
        self._sent: dict[int, _Sent] = {}
        self.waiting = self.waiting_bytes = 0
        self._room = WAITING_MAX
        """How many requests may wait; 0 while there are too many bytes, and at the end."""
        self._queues = _queues(each)

    @property
    def unanswered(self) -> int:
        """How many batches wait for an answer."""
        return len(self._sent)

    def is_query(self, queue: str) -> bool:
        """Whether the requests of this queue only read."""
        return self._queues[queue].query

    def ask(self, queue: str, item: Any, expected: type[R]) -> asyncio.Future[R]:
        """Queue one command or read; it leaves at the end of this loop turn, with all others of its kind.

        Raises Overloaded, at once, where too much waits for answers already.
        """
        if self.waiting >= self._room:
            self._refuse()
        self.waiting += 1
        future: asyncio.Future[R] = self._loop.create_future()
        self._enqueue(self._queues[queue], item, future)
        return future

    def ask_alone(self, app: int, body: bytes, decode: Decode, is_query: bool) -> asyncio.Future[Sequence[Any]]:
        """Send one command or read in a batch of its own; `decode` reads the whole answer."""
        if self.waiting >= self._room:
            self._refuse()
        self.waiting += 1
        future: asyncio.Future[Sequence[Any]] = self._loop.create_future()
        queue = Queue(app, lambda items: bytes(items[0]), lambda answer: [decode(answer)], query=is_query)
        self._send_batch(queue, [body], [future])
        self._flush_wire()
        return future

    def end(self) -> None:
        """Take nothing more. What was asked is still answered."""
        self._room, self._is_ending = 0, True

    def cancel(self) -> None:
        """Cancel whatever waits."""
        futures = [future for sent in self._sent.values() for future in sent.futures]
        for queue in self._queues.values():
            futures += queue.futures
            queue.items, queue.futures = [], []
        self._sent.clear()
        for future in futures:
            future.cancel()

    def _refuse(self) -> None:
        """Raise LocalProtocolError on a closed client, Overloaded on one that has no room for another request."""
        if self._is_ending:
            raise LocalProtocolError("a request was made on a closed client. Open another with quorum.connect.")
        raise Overloaded(
            f"a request was made, but {self.waiting} with {self.waiting_bytes} bytes wait for answers "
            f"in this client, which holds {WAITING_MAX} or {WAITING_BYTES_MAX} bytes. Await some first."
        )

    # Out.

    def _enqueue(self, queue: Queue, item: Any, future: asyncio.Future[Any]) -> None:
        queue.items.append(item)
        queue.futures.append(future)
        if self._is_alone and not self._sent and not self._flushing:
            self.flush()  # nothing is under way, and nobody else was lately: wait for no company
        else:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Flush at the end of this loop turn."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what was queued."""
        self._flushing = False
        for queue in self._queues.values():
            if not queue.items:
                continue
            items, futures = queue.items, queue.futures
            queue.items, queue.futures = [], []
            most = 1 if queue.each else BATCH_COMMANDS_MAX
            for at in range(0, len(items), most):
                self._send_batch(queue, items[at : at + most], futures[at : at + most])
        self._flush_wire()

    def _send_batch(self, queue: Queue, items: list[Any], futures: list[asyncio.Future[Any]]) -> None:
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
            self.waiting -= len(futures)
            _fail(futures, _unsendable(items[0], reason))
            return
        self._count_bytes(len(body))
        now_us, timeout_us = int(self._loop.time() * 1e6), self._timeout_us
        if queue.query:
            handle = self._session.query(now_us, queue.app, body, queue.stale, timeout_us, here=queue.here)
        else:
            handle = self._session.submit(now_us, queue.app, len(items), body, timeout_us)
        self._sent[handle] = _Sent(queue, items if queue.keeps else [], futures, len(body))

    def _count_bytes(self, size: int) -> None:
        self.waiting_bytes += size
        self._room = 0 if self._is_ending or self.waiting_bytes >= WAITING_BYTES_MAX else WAITING_MAX

    # Back.

    def finished(self, handle: int, status: int, body: bytes) -> None:
        """The answer to a batch: each future gets its own result, or all of them why there is none."""
        sent = self._take(handle)
        futures = sent.futures
        self._is_alone = len(futures) == 1
        try:
            results = sent.queue.decode(reply_of(Answer(status, body)))
        except QuorumError as error:
            is_absent = isinstance(error, ApplicationError) and error.kind == NOT_THERE
            _fail(futures, _no_ledger() if is_absent and sent.queue.app == LEDGER_APP else error)
            return
        except (ValueError, msgspec.DecodeError):
            what = "answered with bytes that are no answer. Check that both ends run compatible versions."
            _fail(futures, RemoteProtocolError(self._session.endpoint, what))
            return
        if len(results) != len(futures):
            what = f"answered {len(futures)} commands with {len(results)} results. Run compatible versions."
            _fail(futures, RemoteProtocolError(self._session.endpoint, what))
            return
        for at, result in enumerate(results):
            future = futures[at]
            if future.done():
                continue
            if not isinstance(result, Refused):
                future.set_result(result)
            elif result.reason == "read" and sent.queue.keeps and at > 0:
                self.waiting += 1
                self._enqueue(sent.queue, sent.items[at], future)  # there was no room for it behind the others
            else:
                future.set_exception(ApplicationError(result.reason, result.message))

    def failed(self, handle: int, error: QuorumError) -> None:
        """A batch that gets no answer."""
        _fail(self._take(handle).futures, self._explain(error))

    def _take(self, handle: int) -> _Sent:
        sent = self._sent.pop(handle)
        self.waiting -= len(sent.futures)
        self._count_bytes(-sent.size)
        return sent


def _queues(each: bool) -> dict[str, Queue]:
    encode, decode = objects.encode_query, objects.decode_results
    return {
        "kv": Queue(KV_APP, kv.encode_batch, kv.decode_results, each=each),
        "kv read": Queue(KV_APP, kv.encode_query, kv.decode_results, query=True),
        "kv stale": Queue(KV_APP, kv.encode_query, kv.decode_results, query=True, stale=True),
        "kv here": Queue(KV_APP, kv.encode_query, kv.decode_results, query=True, here=True),
        "decide": Queue(DECIDE_APP, decide.encode_batch, decide.decode_results, each=each),
        "decided": Queue(DECIDE_APP, decide.encode_query, decide.decode_answers, query=True),
        "lock": Queue(LOCK_APP, lock.encode_batch, lock.decode_results, each=each),
        "lock read": Queue(LOCK_APP, lock.encode_query, lock.decode_results, query=True),
        "ballot": Queue(BALLOT_APP, ballot.encode_batch, ballot.decode_results, each=each),
        "ballot read": Queue(BALLOT_APP, ballot.encode_query, ballot.decode_results, query=True),
        "control": Queue(CONTROL_APP, control.encode_batch, control.decode_results, each=each),
        "control read": Queue(CONTROL_APP, control.encode_query, control.decode_results, query=True),
        "control stale": Queue(CONTROL_APP, control.encode_query, control.decode_results, query=True, stale=True),
        "ledger": Queue(LEDGER_APP, ledger.encode_batch, ledger.decode_results, each=each),
        "ledger each": Queue(LEDGER_APP, ledger.encode_batch, ledger.decode_results, each=True),
        "ledger read": Queue(LEDGER_APP, ledger.encode_query, ledger.decode_results, query=True),
        "object": Queue(OBJECTS_APP, objects.encode_batch, decode, keeps=True, each=each),
        "object linearizable": Queue(OBJECTS_APP, encode, decode, query=True),
        "object nearest": Queue(OBJECTS_APP, encode, decode, query=True, here=True),
        "object stale": Queue(OBJECTS_APP, encode, decode, query=True, stale=True),
    }


def _unsendable(item: object, reason: str) -> LocalProtocolError:
    name = "topic" if isinstance(item, str) else type(item).__name__
    return LocalProtocolError(
        f"a {name} was to be sent, but {reason}. Keys and values are bytes, names and topics are text; store what "
        "is larger in pieces."
    )


def _no_ledger() -> ConfigurationError:
    return ConfigurationError(
        "a ledger was asked, but the nodes of this cluster run none. Begin a new cluster whose cluster.toml names "
        'its application, on every node: ledger = "MODULE:CLASS".'
    )


def _fail(futures: Sequence[asyncio.Future[Any]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
