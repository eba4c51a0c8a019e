"""Deadlines of single calls: what is raised when they are over, and what becomes of the request then."""

from __future__ import annotations

import asyncio
import errno
import inspect
import math
from collections.abc import Callable
from decimal import Decimal

import pytest

from quorum.apps.catalogue import LOCK_APP, new_host
from quorum.apps.replicated import Replicated, command, query
from quorum.errors import (
    Definite,
    Indefinite,
    LocalProtocolError,
    LockBusy,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    WrongType,
)
from quorum.runtime import unsent
from quorum.runtime.client import Client
from quorum.runtime.connect import Connection
from quorum.runtime.key_client import KeyValueClient
from quorum.runtime.sync_client import SyncClient
from quorum.runtime.sync_kv import SyncKeyValueClient
from quorum.runtime.watch import hub_of
from runtime.lock_node import Line, LockNode
from runtime.test_sync_lock import Place

SHORT = 0.02
ENOUGH = 0.3
"""A node that answers at once does so in this time."""


class Counter(Replicated):
    value: int = 0

    @command
    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @query
    def get(self) -> int:
        return self.value


class Node(LockNode):
    """One that keeps what it was sent while it is silent, as a slow one does, and is reached once it `is_up`."""

    def __init__(self) -> None:
        super().__init__()
        self.host = new_host({"counter": Counter})
        self.hub = hub_of(self.host)
        self.is_up = asyncio.Event()
        self.is_up.set()
        self._late: list[tuple[Line, object, bytes]] = []

    def client(self, timeout: float = 10.0) -> Client:
        return Client(["n1:1"], Door(self), timeout, discover=False)  # type: ignore[arg-type]

    def receive(self, line: Line, message: object, body: bytes) -> None:
        if self.is_silent:
            self._late.append((line, message, body))
        else:
            super().receive(line, message, body)

    def speak(self) -> None:
        """Answer what came meanwhile, and what will."""
        self.is_silent = False
        late, self._late = self._late, []
        for each in late:
            self.receive(*each)


class Door(Line):
    async def open(self, endpoint, on_messages, on_closed, node="") -> None:
        if not self._node.is_up.is_set():
            await asyncio.wait_for(self._node.is_up.wait(), 10)
        await super().open(endpoint, on_messages, on_closed, node)


def run(act, timeout: float = 10.0, is_up: bool = True):
    """What `act(node, client)` gives."""

    async def main():
        node = Node()
        if not is_up:
            node.is_up.clear()
        async with node.client(timeout) as client, asyncio.timeout(30):
            return await act(node, client)

    return asyncio.run(main())


async def opened(node: Node, client: Client) -> None:
    """The client has a session; from now on the node is silent."""
    await client.kv.put(b"before", b"")
    node.is_silent = True


async def settled(client: Client) -> None:
    """Everything is answered."""
    while client.unanswered:
        await asyncio.sleep(0.001)


COMMANDS: dict[str, Callable] = {
    "put": lambda client: client.kv.put(b"a", b"1"),
    "put_soon": lambda client: client.kv.put_soon(b"a", b"1"),
    "delete": lambda client: client.kv.delete(b"a"),
    "compare_and_swap": lambda client: client.kv.compare_and_swap(b"a", None, b"1"),
    "txn": lambda client: client.kv.txn([], []),
    "compact": lambda client: client.kv.compact(1),
    "grant_lease": lambda client: client.kv.grant_lease(10),
    "revoke_lease": lambda client: client.kv.revoke_lease(1),
    "lease": lambda client: client.kv.lease(10).open(),
    "decide": lambda client: client.decide("t", b"1"),
    "lock": lambda client: client.lock("l").acquire(),
    "campaign": lambda client: client.election("e").campaign(b"me"),
}
READS: dict[str, Callable] = {
    "get": lambda client: client.kv.get(b"a"),
    "a stale get": lambda client: client.kv.get(b"a", "stale"),
    "range": lambda client: client.kv.range(b"a"),
    "look_lease": lambda client: client.kv.look_lease(1),
    "leases": lambda client: client.kv.leases(),
    "decision": lambda client: client.decision("t"),
    "look": lambda client: client.lock("l").look(),
    "leader": lambda client: client.election("e").leader(),
    "scan": lambda client: anext(aiter(client.kv.scan())),
}
OBJECTS = {"a call of an object": lambda client: client.object("counter", Counter).add(1)}


@pytest.mark.parametrize("call", COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_is_not_answered_within_its_time_may_yet_happen(call):
    async def act(node, client):
        await opened(node, client)
        with pytest.raises(
            OutcomeUnknown, match=r"within 0\.02 s, but no answer came .* may yet be applied: read"
        ):
            await call(client.within(SHORT))

    run(act)


@pytest.mark.parametrize("call", (READS | OBJECTS).values(), ids=READS | OBJECTS)
def test_a_read_that_is_not_answered_within_its_time_changed_nothing(call):
    async def act(node, client):
        await opened(node, client)
        with pytest.raises(Overloaded, match=r"within 0\.02 s, but none came .* Nothing was changed: retry"):
            await call(client.within(SHORT))

    run(act)


@pytest.mark.parametrize("call", (COMMANDS | READS).values(), ids=COMMANDS | READS)
def test_what_is_asked_while_no_node_is_connected_did_not_happen_and_never_will(call):
    async def act(node, client):
        with pytest.raises(NotLeader):
            await call(client.within(SHORT))
        node.is_up.set()
        await client.kv.get(b"a")
        await settled(client)
        assert node.commands == 0

    run(act, is_up=False)


def test_an_object_may_come_into_existence_after_its_first_call_was_given_up_but_was_not_called():
    async def act(node, client):
        with pytest.raises(NotLeader):
            await client.within(SHORT).object("counter", Counter).add(1)
        node.is_up.set()
        assert await client.object("counter", Counter).get() == 0

    run(act, is_up=False)


def test_what_is_asked_before_a_node_is_connected_is_sent_to_it():
    async def act(node, client):
        prompt = client.within(5)
        written = [prompt.kv.put_soon(b"%d" % number, b"") for number in range(3)]
        found = asyncio.ensure_future(prompt.kv.get(b"a"))
        refused = asyncio.ensure_future(prompt.kv.compact(10))
        while not client.unanswered:
            await asyncio.sleep(0)
        assert client.unanswered == 1
        node.is_up.set()
        assert [(await each).revision for each in written] == [1, 2, 3]
        assert await found is None
        with pytest.raises(Exception, match="compact"):
            await refused

    run(act, is_up=False)


def test_who_was_not_reached_says_why():
    async def main():
        node = Node()

        class Nobody(Door):
            async def open(self, endpoint, on_messages, on_closed, node=""):
                raise ConnectionRefusedError(errno.ECONNREFUSED, "no")

        async with Client(["n1:1"], Nobody(node), discover=False) as client:  # type: ignore[arg-type]
            for call in (client.within(SHORT).kv.get, client.within(SHORT).kv.delete):
                with pytest.raises(NotLeader, match="n1:1: Connection refused"):
                    await call(b"a")

    asyncio.run(main())


def test_an_answer_in_time_is_the_answer_and_leaves_no_alarm_behind():
    async def act(node, client):
        prompt = client.within(5)
        assert (await prompt.kv.put(b"a", b"1")).revision == 1
        assert (await prompt.kv.get(b"a")).value == b"1"
        assert [item.key async for item in prompt.kv.scan(page=1)] == [b"a"]
        assert (await prompt.decide("t", b"1")).value == (await prompt.decision("t")).value
        async with prompt.kv.lease(10) as lease, prompt.lock("l") as lock:
            assert lease.is_alive and lock.is_held
        async with prompt.kv.watch(b"a", start_revision=1) as watch:
            assert (await anext(watch)).value == b"1"
        counter = prompt.object("counter", Counter)
        assert (await counter.add(2), await counter.get()) == (2, 2)

    run(act)


def test_a_command_goes_on_when_its_time_is_over_and_frees_its_place_when_it_is_answered():
    async def act(node, client):
        await opened(node, client)
        with pytest.raises(OutcomeUnknown):
            await client.within(SHORT).kv.put(b"a", b"1")
        assert client._batches.waiting == 1
        node.speak()
        await settled(client)
        assert (client._batches.waiting, client._batches.waiting_bytes) == (0, 0)
        assert (await client.kv.get(b"a")).value == b"1"

    run(act)


@pytest.mark.parametrize("bound", ["timeout", "wait_for", "cancel"])
def test_who_stops_waiting_for_a_call_frees_its_place_when_it_is_answered(bound):
    async def stop_waiting(call):
        if bound == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT):
                    await call
        elif bound == "wait_for":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call, SHORT)
        else:
            task = asyncio.ensure_future(call)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    async def act(node, client):
        await opened(node, client)
        calls = [client.kv.put(b"a", b"1"), client.kv.get(b"a"), client.decide("t", b"1")]
        for call in calls:
            await stop_waiting(call)
        others = [client.kv.put_soon(b"b", b"2"), asyncio.ensure_future(client.kv.get(b"b"))]
        await asyncio.sleep(0)
        assert client._batches.waiting == len(calls) + len(others)
        node.speak()
        await asyncio.gather(*others)
        await settled(client)
        assert (client._batches.waiting, client._batches.waiting_bytes) == (0, 0)
        assert (await client.kv.get(b"a")).value == b"1"
        assert (await client.decide("t", b"2")).value == b"1"

    run(act)


def test_who_stops_waiting_for_a_call_with_a_deadline_before_a_node_is_connected_has_sent_nothing():
    async def act(node, client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await client.within(5).kv.put(b"a", b"1")
        node.is_up.set()
        assert await client.kv.get(b"a") is None
        assert node.commands == 0

    run(act, is_up=False)


def test_of_those_that_travel_together_only_who_is_out_of_time_hears_so():
    async def act(node, client):
        await asyncio.gather(client.kv.put(b"a", b""), client.kv.put(b"a", b""))  # company is waited for
        node.is_silent = True
        patient, hasty = client.kv.put_soon(b"a", b"1"), client.within(SHORT).kv.put_soon(b"b", b"2")
        await asyncio.wait([hasty])
        assert client.unanswered == 1 and not patient.done()
        node.speak()
        assert (await patient).revision == 3
        with pytest.raises(OutcomeUnknown):
            await hasty

    run(act)


def test_a_longer_time_than_the_clients_changes_nothing():
    async def act(node, client):
        await opened(node, client)
        for seconds in (5, 10**400, math.inf):
            with pytest.raises(OutcomeUnknown, match="with the same request id"):
                await client.within(seconds).kv.put(b"a", b"1")
        with pytest.raises(NotLeader):
            async with client.within(5).kv.watch(b"a"):
                raise AssertionError("it has not begun")

    run(act, timeout=SHORT)


def test_a_client_that_waits_for_ever_may_be_given_a_time():
    async def act(node, client):
        await opened(node, client)
        for seconds in (SHORT, math.inf):
            with pytest.raises(OutcomeUnknown, match=r"within 0\.02 s"):
                await client.within(seconds).within(SHORT).kv.put(b"a", b"1")

    run(act, timeout=0)


def test_of_nested_times_the_shorter_wins():
    async def act(node, client):
        await opened(node, client)
        for prompt in (client.within(SHORT).within(5), client.within(5).within(SHORT)):
            with pytest.raises(OutcomeUnknown, match=r"within 0\.02 s"):
                await prompt.kv.put(b"a", b"1")

    run(act)


@pytest.mark.parametrize("seconds", [0, 0.0, -1, -math.inf, math.nan, True, False, "1", None, b"1", Decimal(1)])
def test_what_is_no_time_is_refused(seconds):
    async def act(node, client):
        for face in (client, client.within(1), Connection(Place(node), 10)):  # type: ignore[arg-type]
            with pytest.raises(LocalProtocolError, match=r"calls were to end within .*, but .*\. Give ") as told:
                face.within(seconds)
            is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
            assert isinstance(told.value, WrongType) != is_number

    run(act)


def test_a_watch_must_begin_within_the_time_and_then_goes_on():
    async def act(node, client):
        await opened(node, client)
        with pytest.raises(NotLeader):
            async with client.within(SHORT).kv.watch(b"a"):
                raise AssertionError("it has not begun")
        node.speak()
        async with client.within(ENOUGH).kv.watch(b"a") as watch:
            event = asyncio.ensure_future(anext(watch))
            await asyncio.wait([event], timeout=1.2 * ENOUGH)
            assert not event.done()
            await client.kv.put(b"a", b"1")
            assert (await event).value == b"1"

    run(act)


def test_each_page_of_a_scan_has_the_time():
    async def act(node, client):
        for number in range(4):
            await client.kv.put(b"%d" % number, b"")
        seen = []

        async def read():
            async for item in client.within(ENOUGH).kv.scan(page=2, one_revision=True):
                seen.append(item.key)
                if len(seen) == 1:
                    await client.kv.put(b"9", b"")
                    await asyncio.sleep(1.2 * ENOUGH)  # the reader's own time does not count
                node.is_silent = len(seen) >= 3

        with pytest.raises(Overloaded):
            await read()
        assert seen == [b"0", b"1", b"2", b"3"]

    run(act)


def test_a_lock_is_kept_in_the_background_for_longer_than_a_call_may_take():
    """A cluster that answers too late for a call keeps a lock all the same."""

    async def act(node, client):
        prompt = client.within(ENOUGH)
        async with prompt.lock("l", ttl=3) as lock, prompt.kv.lease(3) as lease:
            node.is_silent = True
            while client.unanswered < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(1.2 * ENOUGH)
            before = max(lock.remaining, lease.remaining)
            node.speak()
            await settled(client)
            await asyncio.sleep(0)
            assert min(lock.remaining, lease.remaining) > before > 0

    run(act)


def test_the_place_in_a_queue_is_bounded_by_its_own_time():
    async def act(node, client):
        async with client.lock("l"):
            with pytest.raises(LockBusy):
                await client.within(5).lock("l", wait=SHORT).acquire()
            waiting = asyncio.ensure_future(client.within(ENOUGH).lock("l").acquire())
            await asyncio.sleep(1.2 * ENOUGH)
            assert not waiting.done()
        assert await waiting > 0

    run(act)


def test_the_first_call_of_an_object_has_its_time_once_for_all_that_it_asks():
    async def act(node, client):
        await client.kv.get(b"a")
        prompt = client.within(5).for_one_call()
        assert prompt.timeout == 5
        prompt._end_s = client.loop.time()
        with pytest.raises(Overloaded):
            prompt.kv.put_soon(b"a", b"")
        counter = client.within(SHORT).object("counter", Counter)
        node.is_silent = True
        with pytest.raises(Definite):
            await counter.add(1)  # it was not sent, since it was not known yet whether the object exists
        node.speak()
        await settled(client)
        assert await counter.add(1) == 1
        node.is_silent = True
        with pytest.raises(Indefinite):
            await counter.add(1)
        with pytest.raises(Definite):
            await counter.get()

    run(act)


def test_closing_the_client_cancels_what_was_not_sent_and_nothing_more_is_taken():
    async def act(node, client):
        waiting = client.within(5).kv.put_soon(b"a", b"1")
        await client.aclose()
        assert waiting.cancelled()
        with pytest.raises(LocalProtocolError, match="closed client"):
            client.within(5).kv.put_soon(b"a", b"1")

    run(act, is_up=False)


def test_so_many_commands_wait_for_a_connection_and_no_more(monkeypatch):
    monkeypatch.setattr(unsent, "WAITING_MAX", 2)

    async def act(node, client):
        prompt = client.within(5)
        waiting = [prompt.kv.put_soon(b"%d" % number, b"") for number in range(2)]
        with pytest.raises(Overloaded, match="2 wait for a node"):
            prompt.kv.put_soon(b"a", b"")
        waiting.pop().cancel()
        await asyncio.sleep(0)
        waiting.append(prompt.kv.put_soon(b"a", b""))
        node.is_up.set()
        await asyncio.gather(*waiting)

    run(act, is_up=False)


# Without an event loop.


def test_a_blocking_client_gives_single_calls_a_time():
    node = LockNode()
    with SyncClient(Place(node), 10) as client:  # type: ignore[arg-type]
        prompt = client.within(5)
        assert prompt.kv.put(b"a", b"1").revision == 1
        assert [item.key for item in prompt.kv.scan()] == [b"a"]
        with prompt.kv.watch(b"a", start_revision=1) as watch:
            assert next(watch).value == b"1"
        with prompt.kv.lease(10) as lease, prompt.lock("l") as lock, prompt.election("e").lead(b"me"):
            assert lease.is_alive and lock.is_held
            prompt.kv.put(b"b", b"", lease=lease)
        assert prompt.decide("t", b"1").value == b"1"
        with prompt.watch_topic(LOCK_APP, b"l") as topic:
            assert next(topic).body is None
        node.is_silent = True
        for hasty in (client.within(SHORT), prompt.within(SHORT), client.within(SHORT).within(5)):
            with pytest.raises(OutcomeUnknown, match=r"within 0\.02 s"):
                hasty.kv.put(b"a", b"2")
            with pytest.raises(Overloaded, match=r"within 0\.02 s"):
                hasty.kv.get(b"a")
            with pytest.raises(OutcomeUnknown):
                hasty.decide("t", b"2")
            with pytest.raises(NotLeader), hasty.kv.watch(b"a"):
                raise AssertionError("it has not begun")
        with pytest.raises(WrongType):
            client.within("1")  # type: ignore[arg-type]


def test_a_blocking_handle_of_an_object_has_the_time():
    async def make():
        return Node()

    node = asyncio.run(make())
    with SyncClient(Place(node), 10) as client:  # type: ignore[arg-type]
        counter = client.within(5).object("counter", Counter)
        assert counter.add.sync(1) == 1
        hasty = client.within(ENOUGH).object("counter", Counter)
        assert hasty.add.sync(1) == 2
        node.is_silent = True
        with pytest.raises(OutcomeUnknown):
            hasty.add.sync(1)


def test_the_blocking_calls_are_documented_as_the_others_are():
    for call in (SyncKeyValueClient.get, SyncKeyValueClient.scan):
        theirs = getattr(KeyValueClient, call.__name__)
        assert call.__doc__ == theirs.__doc__ and inspect.signature(call) == inspect.signature(theirs)
