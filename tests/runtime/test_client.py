"""The asyncio client before a node of its own making: what is batched, split, and failed alone."""

from __future__ import annotations

import asyncio
import errno
import socket

import msgspec
import pytest

from quorum.apps import kv
from quorum.apps.answer import OK
from quorum.apps.catalogue import KV_APP
from quorum.apps.host import CLOSE, OPEN, Host
from quorum.apps.kv_store import KeyValueStore
from quorum.entry import COMMAND, ENTRY_BYTES_MAX
from quorum.errors import LocalProtocolError, NotLeader, Overloaded, RemoteProtocolError, WrongType
from quorum.header import Header
from quorum.runtime import batches
from quorum.runtime.batches import BATCH_BYTES_MAX
from quorum.runtime.client import Client
from quorum.runtime.handshake import HelloRejected
from quorum.runtime.messages import Query, Result, Submit


class OneNode:
    """A dialler whose other end is a host that applies at once. `bodies` is what it was sent."""

    is_authenticated = False

    def __init__(self, answers: bool = True) -> None:
        self.host = Host({KV_APP: KeyValueStore()})
        self.bodies: list[bytes] = []
        self._answers = answers
        self._waiting: list[tuple[object, bytes]] = []
        self._index = 0

    async def open(self, endpoint, on_messages, on_closed, node="") -> None:
        self._on_messages = on_messages

    def send(self, message: object, body: bytes) -> None:
        self._waiting.append((message, body))

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for message, body in waiting:
            if body not in (OPEN, CLOSE):
                self.bodies.append(body)
            if self._answers or body == OPEN:
                reply = self._answer(message, body)
                asyncio.get_running_loop().call_soon(self._on_messages, [reply])

    def close(self) -> None: ...

    async def aclose(self) -> None: ...

    def _answer(self, message: object, body: bytes) -> tuple[Result, bytes]:
        if isinstance(message, Query):
            answer = self.host.query(message.app, body)
            return Result(message.request, answer.status), answer.body
        assert isinstance(message, Submit)
        self._index += 1
        applied = self.host.apply(
            Header(
                self._index,
                1,
                COMMAND,
                message.app,
                1,
                0,
                0,
                message.client,
                message.first_sequence,
                message.acked_below,
                message.count,
                b"",
            ),
            body,
        )
        return Result(message.request, applied.status), applied.body


def with_client(act, answers: bool = True):
    """What `act(client, node)` gives."""

    async def main():
        node = OneNode(answers)
        async with Client(["n1:1"], node, discover=False) as client, asyncio.timeout(30):  # type: ignore[arg-type]
            return await act(client, node)

    return asyncio.run(main())


def test_what_is_asked_in_one_turn_travels_together():
    async def act(client, node):
        await asyncio.gather(*(client.kv.put(b"%d" % number, b"v") for number in range(100)))
        return node.bodies

    assert [len(msgspec.msgpack.decode(body)) for body in with_client(act)] == [100]


def test_who_asks_again_at_each_answer_stays_together():
    """A batch that was cut once would stay cut: each part is answered, and asked again, by itself."""

    async def act(client, node):
        async def ask(name):
            for _ in range(3):
                await client.kv.put(name, b"v")

        await asyncio.gather(*(ask(b"%d" % number) for number in range(64)))
        return node.bodies

    assert [len(msgspec.msgpack.decode(body)) for body in with_client(act)] == [64] * 3


def test_a_request_after_one_that_was_alone_waits_for_no_company():
    """It leaves at once, not in the next turn of the loop."""

    async def act(client, node):
        await client.kv.put(b"a", b"1")
        before = len(node.bodies)
        futures = [client.kv.put_soon(b"b", b"2"), client.kv.put_soon(b"c", b"3")]
        await asyncio.gather(*futures)
        return [len(msgspec.msgpack.decode(body)) for body in node.bodies[before:]]

    assert with_client(act) == [1, 1]


def test_large_values_at_once_are_written_in_batches_that_fit():
    async def act(client, node):
        value = bytes(kv.VALUE_BYTES_MAX)
        written = await asyncio.gather(*(client.kv.put(b"%d" % number, value) for number in range(20)))
        assert [one.revision for one in written] == list(range(1, 21))
        return node.bodies

    assert all(len(body) <= BATCH_BYTES_MAX for body in with_client(act))


def test_large_values_are_read_at_once_however_many_fit_into_one_answer():
    async def act(client, node):
        value = bytes(kv.VALUE_BYTES_MAX)
        await asyncio.gather(*(client.kv.put(b"%d" % number, value) for number in range(20)))
        items = await asyncio.gather(*(client.kv.get(b"%d" % number) for number in range(20)))
        assert [item.key for item in items] == [b"%d" % number for number in range(20)]

    with_client(act)


class Unknown:
    """No msgpack type."""


@pytest.mark.parametrize("bad", [Unknown(), 1 << 70, "\ud800", bytes(ENTRY_BYTES_MAX), None], ids=range(5))
def test_what_cannot_be_sent_fails_alone(bad):
    async def act(client, node):
        before, wrong, after = await asyncio.gather(
            client.kv.put(b"a", b"1"), client.kv.put(b"b", bad), client.kv.put(b"c", b"3"), return_exceptions=True
        )
        assert type(before) is type(after) is kv.Written
        assert isinstance(wrong, LocalProtocolError) and "was to be sent" in str(wrong)
        assert await client.kv.get(b"b") is None

    with_client(act)


WRONG = {
    "a key of text": (lambda client: client.kv.put("text", b"1"), "key='text' of type str, but key is bytes"),
    "a value that is a number": (lambda client: client.kv.put(b"a", 7), "value=7 of type int"),
    "text to read": (lambda client: client.kv.get("text"), "Encode it first"),
    "text to delete": (lambda client: client.kv.delete("text"), "key is bytes"),
    "an end of text": (lambda client: client.kv.range(b"a", "b"), "end is bytes or None"),
    "a limit of text": (lambda client: client.kv.range(b"a", None, "3"), "limit is int"),
    "a swap of text": (lambda client: client.kv.compare_and_swap(b"a", None, "new"), "value is bytes or None"),
    "an unknown relation": (
        lambda client: client.kv.txn([kv.Compare(b"a", "value", "==", b"1")], []),
        "relation is one of =, !=, <, >",
    ),
    "text inside a transaction": (lambda client: client.kv.txn([], [kv.Put("k", b"1")]), "key='k'"),
    "a swap inside a transaction": (
        lambda client: client.kv.txn([], [], [kv.CompareAndSwap(b"a", None, b"1")]),
        "otherwise is a list of Put or Delete",
    ),
    "a topic of bytes": (lambda client: client.decide(b"topic", b"1"), "topic is str"),
    "a decision of text": (lambda client: client.decide("topic", "1"), "value is bytes"),
    "a topic of bytes to read": (lambda client: client.decision(b"topic"), "topic is str"),
}


@pytest.mark.parametrize(("ask", "says"), WRONG.values(), ids=WRONG)
def test_an_argument_of_a_wrong_type_is_refused_before_anything_is_sent(ask, says):
    async def act(client, node):
        wrong, right = await asyncio.gather(ask(client), client.kv.put(b"c", b"3"), return_exceptions=True)
        assert isinstance(wrong, WrongType) and isinstance(wrong, TypeError) and says in str(wrong)
        assert type(right) is kv.Written
        assert len(node.bodies) == 1

    with_client(act)


def test_any_kind_of_bytes_may_be_written():
    async def act(client, node):
        await client.kv.put(bytearray(b"a"), memoryview(b"1"))
        item = await client.kv.get(b"a")
        assert item is not None and item.value == b"1"

    with_client(act)


def test_the_commands_with_right_types_pass():
    async def act(client, node):
        assert (await client.kv.txn([kv.Compare(b"a", "version", "=", 0)], [kv.Put(b"a", b"1")])).succeeded
        assert (await client.kv.compare_and_swap(b"a", b"1", None)).succeeded
        assert (await client.kv.range(b"", None, 3)).items == []

    with_client(act)


def test_closing_cancels_what_was_sent_and_what_was_only_asked():
    async def act(client, node):
        sent = client.kv.put_soon(b"a", b"1")
        while not node.bodies:
            await asyncio.sleep(0)
        asked = client.kv.put_soon(b"b", b"2")
        await client.aclose()
        assert sent.cancelled() and asked.cancelled()

    with_client(act, answers=False)


def test_an_answer_that_is_none_fails_its_requests():
    async def act(client, node):
        node._answer = lambda message, body: (Result(message.request, OK), b"\xc1")
        with pytest.raises(RemoteProtocolError):
            await client.kv.put(b"a", b"1")

    async def opened(client, node):
        await client.kv.put(b"a", b"0")
        await act(client, node)

    with_client(opened)


def test_who_waits_in_vain_is_told_why_no_node_could_be_reached():
    reasons = {
        "n1:1": HelloRejected("n1:1 will not talk to us: n1 has no room. Retry later."),
        "n2:1": ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.2', 1)"),
        "n3:1": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    }

    class Nobody(OneNode):
        async def open(self, endpoint, on_messages, on_closed, node=""):
            raise reasons[endpoint]

    async def main():
        async with Client(list(reasons), Nobody(), timeout=0.2) as client:  # type: ignore[arg-type]
            for ask in (client.kv.get(b"a"), client.kv.put(b"a", b"1")):
                with pytest.raises(NotLeader) as told:
                    await ask
                assert str(told.value) == (
                    "the request needs the leader, but none was reached in time (n1:1: will not talk to us: n1 "
                    "has no room. Retry later; n2:1: Connection refused; n3:1: Name or service not known). Mend "
                    "that, or retry."
                )

    asyncio.run(main())


def test_a_client_that_only_reads_leaves_no_session_and_one_that_writes_gives_it_back():
    hosts = []

    async def read(client, node):
        hosts.append(node.host)
        await client.kv.get(b"a")
        assert node.host.session_count == 0

    async def write(client, node):
        hosts.append(node.host)
        await client.kv.put(b"a", b"1")
        assert node.host.session_count == 1

    with_client(read)
    with_client(write)
    assert [host.session_count for host in hosts] == [0, 0]


def test_a_client_holds_so_many_requests_and_says_so_then(monkeypatch):
    monkeypatch.setattr(batches, "WAITING_MAX", 10)

    async def act(client, node):
        waiting = [client.kv.put_soon(b"%d" % number, b"") for number in range(10)]
        with pytest.raises(Overloaded, match=r"a request was made, but 10 with .* Await some first"):
            await client.kv.get(b"a")
        with pytest.raises(Overloaded):
            client.kv.put_soon(b"a", b"")
        await asyncio.gather(*waiting)
        await client.kv.put(b"a", b"")
        assert (client._batches.waiting, client._batches.waiting_bytes) == (0, 0)

    with_client(act)


def test_a_client_holds_so_many_bytes_and_says_so_then(monkeypatch):
    monkeypatch.setattr(batches, "WAITING_BYTES_MAX", 1000)

    async def act(client, node):
        first = client.kv.put_soon(b"a", b"x" * 1000)
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            client.kv.put_soon(b"b", b"x")
        await first
        await client.kv.put(b"b", b"x")

    with_client(act)


def test_whatever_becomes_of_requests_their_places_are_free_again(monkeypatch):
    """Answered, refused, too large, without an answer, cancelled."""

    async def act(client, node):
        await asyncio.gather(
            client.kv.put(b"a", b"1"),
            client.kv.range(b"b", b"a"),
            client.kv.put(b"", b"x" * (32 * 1024 * 1024)),
            return_exceptions=True,
        )
        assert (client._batches.waiting, client._batches.waiting_bytes) == (0, 0)
        node._answers = False
        pending = [asyncio.ensure_future(client.kv.put(b"a", b"1")) for _ in range(5)]
        await asyncio.sleep(0)
        for task in pending[:2]:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        assert (client._batches.waiting, client._batches.waiting_bytes) == (0, 0)

    async def main():
        node = OneNode()
        async with Client(["n1:1"], node, timeout=0.3, discover=False) as client, asyncio.timeout(30):  # type: ignore[arg-type]
            await act(client, node)

    asyncio.run(main())
