"""Handles of replicated objects: what they send, what they give, and what they say when something does not fit."""

from __future__ import annotations

import asyncio
import threading

import pytest

from quorum.apps.catalogue import OBJECTS_APP, new_host
from quorum.apps.objects import COMMAND_RESULTS_BYTES_MAX, Raise, encode_raise
from quorum.apps.replicated import Replicated, command, query, state
from quorum.apps.replicated_schema import schema_of
from quorum.apps.replicated_types import ReplicatedDict
from quorum.errors import ApplicationError, LocalProtocolError, NotReplicable, OutcomeUnknown, RemoteProtocolError
from quorum.runtime.messages import Result, Submit
from runtime.lock_node import LockNode


class Counter(Replicated):
    value: int = 0

    @command
    def add(self, n: int, *, twice: bool = False) -> int:
        if n < 0:
            raise ValueError(f"{n} is negative")
        self.value += 2 * n if twice else n
        return self.value

    @command
    def fill(self, size: int) -> bytes:
        self.value += 1
        return bytes(size)

    @command
    def fail(self, kind: str) -> None:
        raise {"KeyError": KeyError("k"), "Odd": type("Odd", (Exception,), {})("odd")}[kind]

    @query
    def get(self) -> int:
        return self.value

    @query
    def dump(self, size: int) -> bytes:
        return bytes(size)


class NewCounter(Counter):
    version = 2
    step: int = state(1, since=2)

    @command(since=2)
    def advance(self) -> int:
        self.value += self.step
        return self.value


class OtherCounter(Replicated):
    value: str = ""

    @query
    def get(self) -> str:
        return self.value


class LatestCounter(NewCounter):
    version = 3
    oldest = 3


def node_of(**objects) -> LockNode:
    node = LockNode()
    node.host = new_host(objects)
    return node


def run(act, **objects):
    """What `act(node, client)` gives."""

    async def main():
        node = node_of(**objects)
        async with node.client() as client, asyncio.timeout(30):
            return await act(node, client)

    return asyncio.run(main())


def test_a_handle_is_an_instance_of_its_class_and_calls_the_cluster():
    async def act(node, client):
        counter = client.object("c", Counter)
        assert isinstance(counter, Counter)
        assert await counter.add(3) == 3
        assert await counter.add(4, twice=True) == 11
        assert await counter.get() == 11
        assert await counter.get(consistency="stale") == await counter.get(consistency="nearest") == 11
        scores = client.object("d", ReplicatedDict[str, float])
        await scores.set("a", 1)
        assert await scores.items() == {"a": 1.0}

    run(act, c=Counter, d=ReplicatedDict[str, float])


def test_calls_of_one_turn_travel_together_and_exactly_once():
    async def act(node, client):
        counter = client.object("c", Counter)
        await counter.get()
        before = node.commands
        first = counter.add(1)  # nothing is under way: it leaves at once
        results = await asyncio.gather(first, *(counter.add(1) for _ in range(100)))
        assert results == list(range(1, 102))
        assert node.commands == before + 2

    run(act, c=Counter)


def test_the_object_comes_into_existence_with_the_first_call_and_once():
    async def act(node, client):
        one, other = client.object("c", Counter), client.object("c", Counter)
        assert sorted(await asyncio.gather(one.add(1), other.add(1), one.add(1), other.add(1))) == [1, 2, 3, 4]

    run(act, c=Counter)


def test_what_a_method_raises_is_raised_here():
    async def act(node, client):
        counter = client.object("c", Counter)
        with pytest.raises(ValueError, match="-1 is negative") as raised:
            await counter.add(-1)
        assert isinstance(raised.value, ApplicationError)
        assert (raised.value.kind, str(raised.value)) == ("ValueError", "ValueError: -1 is negative")
        with pytest.raises(KeyError) as missing:
            await counter.fail("KeyError")
        assert str(missing.value) == "KeyError: 'k'"
        with pytest.raises(ApplicationError, match=r"^Odd: odd$"):
            await counter.fail("Odd")
        assert await counter.get() == 0

    run(act, c=Counter)


def test_wrong_arguments_are_refused_before_anything_is_sent():
    async def act(node, client):
        counter = client.object("c", Counter)
        await counter.get()
        before = node.commands
        with pytest.raises(TypeError, match=r"Counter\.add .*Expected `int`, got `str` - at `n`"):
            await counter.add("3")
        with pytest.raises(LocalProtocolError, match="linearizable, nearest or stale"):
            await counter.get(consistency="fresh")
        assert node.commands == before

    run(act, c=Counter)


def test_a_handle_has_no_state_of_its_own():
    async def act(node, client):
        counter = client.object("c", Counter)
        with pytest.raises(AttributeError, match="Read it in a @query"):
            _ = counter.value
        with pytest.raises(AttributeError, match="Change it in a @command"):
            counter.value = 3
        with pytest.raises(LocalProtocolError, match="on a handle"):
            _ = counter.context
        with pytest.raises(NotReplicable):
            client.object("c", int)

    run(act, c=Counter)


def test_results_that_have_no_room_beside_others_are_asked_for_again():
    async def act(node, client):
        counter = client.object("c", Counter)
        await counter.get()
        size = COMMAND_RESULTS_BYTES_MAX // 3
        first = counter.get()
        commands = [counter.fill(size) for _ in range(5)]
        queries = [counter.dump(20 * size) for _ in range(5)]
        results = await asyncio.gather(first, *commands, *queries)
        assert results[1:] == [bytes(size)] * 5 + [bytes(20 * size)] * 5
        assert await counter.get() == 5

    run(act, c=Counter)


def test_an_object_that_is_not_hosted_is_named_with_those_that_are():
    async def act(node, client):
        with pytest.raises(LocalProtocolError, match=r"object 'x' .* it hosts a, c"):
            await client.object("x", Counter).get()
        with pytest.raises(ApplicationError, match="absent"):
            await client.object("x", Counter).get(consistency="stale")

    run(act, a=Counter, c=Counter)


def test_programs_must_mean_the_same_class():
    async def act(node, client):
        assert await client.object("c", Counter).add(1) == 1
        for other in (OtherCounter, LatestCounter):
            with pytest.raises(LocalProtocolError, match="Use the program of the nodes"):
                await client.object("c", other).get()

    run(act, c=Counter)


def test_an_older_program_and_a_newer_one_use_the_same_object():
    """During a rolling upgrade of the clients."""

    async def act(node, client):
        new, old = client.object("c", NewCounter), client.object("c", Counter)
        assert await old.add(1) == 1
        assert await new.add(1) == 2
        with pytest.raises(ApplicationError, match=r"version: c\.advance was called as of version 2"):
            await new.advance()
        body = encode_raise(Raise("c", 2, schema_of(NewCounter).fingerprint(2)))
        node.apply(1, Submit(1, OBJECTS_APP, 0, 0, 0, 1), body)
        assert await new.advance() == 3
        assert await old.add(1) == 4
        assert await client.object("c", Counter).get() == 4

    run(act, c=NewCounter)


def test_an_object_begins_in_the_newest_version_that_both_know():
    async def act(node, client):
        counter = client.object("c", NewCounter)
        assert await counter.add(1) == 1
        with pytest.raises(ApplicationError, match="version 1"):
            await counter.advance()

    run(act, c=Counter)

    async def newest(node, client):
        assert await client.object("c", NewCounter).advance() == 1

    run(newest, c=NewCounter)


def test_a_call_that_is_not_answered_may_yet_happen():
    async def main():
        node = node_of(c=Counter)
        async with node.client(timeout=0.3) as client:
            counter = client.object("c", Counter)
            await counter.get()
            node.is_silent = True
            with pytest.raises(OutcomeUnknown):
                await counter.add(1)

    asyncio.run(main())


def test_bytes_that_are_no_result_are_the_clusters_fault():
    class Lying(Counter):
        @query
        def get(self) -> str:
            return "text"

    async def act(node, client):
        with pytest.raises(RemoteProtocolError, match="something else than int"):
            await client.object("c", Counter).get()

    run(act, c=Lying)


def test_a_failed_preparation_is_tried_again():
    async def act(node, client):
        counter = client.object("c", Counter)
        with pytest.raises(LocalProtocolError, match="it hosts none"):
            await counter.get()
        node.host = new_host({"c": Counter})
        assert await counter.get() == 0

    run(act)


def test_other_threads_use_a_handle_by_sync_and_its_loop_by_await():
    async def act(node, client):
        counter = client.object("c", Counter)
        assert await asyncio.to_thread(counter.add.sync, 3) == 3
        assert await asyncio.to_thread(counter.get.sync, consistency="stale") == 3
        with pytest.raises(ValueError, match="negative"):
            await asyncio.to_thread(counter.add.sync, -1)
        with pytest.raises(LocalProtocolError, match="would stop the event loop"):
            counter.add.sync(1)
        assert await asyncio.to_thread(asyncio.run, elsewhere(counter)) == 4
        return counter

    async def elsewhere(counter):
        return await counter.add(1)

    counter = run(act, c=Counter)
    with pytest.raises(LocalProtocolError, match="no event loop runs"):
        counter.add(1)
    with pytest.raises(LocalProtocolError, match="its client is closed"):
        counter.add.sync(1)
    assert threading.active_count() < 20


def test_a_closed_client_sends_nothing():
    async def act(node, client):
        counter = client.object("c", Counter)
        await counter.get()
        await client.aclose()
        with pytest.raises(LocalProtocolError, match="closed client"):
            await counter.add(1)

    run(act, c=Counter)


def test_an_answer_of_the_wrong_length_is_a_broken_protocol():
    async def act(node, client):
        counter = client.object("c", Counter)
        await counter.get()
        node.receive = lambda line, message, body: line.answer(Result(message.request, 0), (b"\x90",))
        with pytest.raises(RemoteProtocolError, match="answered 1 commands with 0 results"):
            await counter.add(1)

    run(act, c=Counter)
