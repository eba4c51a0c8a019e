"""Watches of keys as programs use them: begin, wait, be slow, end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from quorum.apps.catalogue import KV_APP
from quorum.apps.kv import Compact, Put, PutWithTtl, encode_batch
from quorum.entry import COMMAND
from quorum.errors import Compacted, LocalProtocolError, NotLeader
from quorum.runtime.key_subscription import EVENTS_MAX
from quorum.runtime.messages import Submit
from quorum.runtime.sync_client import SyncClient
from runtime.lock_node import LockNode
from runtime.test_sync_lock import Place


def run(act):
    """What `act(node, client)` gives."""

    async def main():
        node = LockNode()
        async with node.client(timeout=0.3) as client, asyncio.timeout(30):
            return await act(node, client)

    return asyncio.run(main())


def write(node: LockNode, *commands) -> None:
    """As another client does."""
    node.apply(COMMAND, Submit(0, KV_APP, 0, 0, 0, len(commands)), encode_batch(commands))
    node.hub.pump()


def numbers(first: int, count: int) -> list[Put]:
    return [Put(b"n", b"%d" % number) for number in range(first, first + count)]


def test_a_watch_has_begun_when_its_body_starts():
    async def act(node, client):
        await client.kv.put(b"a", b"0")
        async with client.kv.watch(b"a", previous=True) as watch:
            assert watch.revision == 1
            await client.kv.put(b"a", b"1")
            await client.kv.delete(b"a")
            put, delete = await anext(watch), await anext(watch)
        assert (put.kind, put.value, put.revision, put.previous.value) == ("put", b"1", 2, b"0")
        assert (delete.kind, delete.value, delete.revision, delete.previous.value) == ("delete", None, 3, b"1")
        await asyncio.sleep(0)  # what is to be sent leaves at the end of a turn
        assert len(node.hub) == 0

    run(act)


def test_a_range_reads_all_keys_with_a_prefix():
    async def act(node, client):
        write(node, Put(b"a", b""), Put(b"b/1", b""), Put(b"b/\xff", b""), Put(b"b0", b""))
        found = await client.kv.range(b"b/", prefix=True)
        assert [item.key for item in found.items] == [b"b/1", b"b/\xff"]
        assert (await client.kv.range(b"", prefix=True, limit=1)).more
        with pytest.raises(LocalProtocolError, match="Give one of them"):
            await client.kv.range(b"b/", b"c", prefix=True)
        with pytest.raises(TypeError, match="Encode it first"):
            await client.kv.range("b/", prefix=True)

    run(act)


def test_a_prefix_a_range_one_kind_and_an_earlier_revision_can_be_watched():
    async def act(node, client):
        write(node, Put(b"a1", b""), Put(b"a2", b""), Put(b"b", b""))
        found = []
        for watch in (
            client.kv.watch(b"a", prefix=True, start_revision=1),
            client.kv.watch(b"a2", b"c", start_revision=1, only="put"),
            client.kv.watch(bytearray(b"b"), start_revision=1),
            client.kv.watch(b"", prefix=True, start_revision=2),
        ):
            async with watch:
                found.append([event.key for event in await watch.batch()])
        assert found == [[b"a1", b"a2"], [b"a2", b"b"], [b"b"], [b"a2", b"b"]]

    run(act)


def test_a_watch_is_iterated_without_a_body_and_ends_when_it_is_closed():
    async def act(node, client):
        watch = client.kv.watch(b"n")
        taken = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        write(node, Put(b"n", b"1"))
        assert (await taken).value == b"1"
        waiting = asyncio.create_task(anext(watch, None))
        await asyncio.sleep(0)
        await watch.aclose()
        await watch.aclose()
        assert await waiting is None and await watch.batch() == []
        await asyncio.sleep(0)
        assert len(node.hub) == 0

    run(act)


def test_what_is_not_kept_any_more_is_said_at_the_begin():
    async def act(node, client):
        write(node, *numbers(1, 5))
        write(node, Compact(4))
        with pytest.raises(Compacted) as caught:
            async with client.kv.watch(b"n", start_revision=2):
                raise AssertionError("it has not begun")
        assert (caught.value.asked, caught.value.first) == (2, 5)
        with pytest.raises(Compacted):
            await anext(client.kv.watch(b"n", start_revision=2))
        assert not client._key_watches

    run(act)


def test_who_reads_slowly_holds_a_bounded_number_of_events_and_misses_none():
    async def act(node, client):
        async with client.kv.watch(b"n") as watch:
            for first in range(1, 20 * EVENTS_MAX, 256):
                write(node, *numbers(first, 256))
                await asyncio.sleep(0)
                assert len(watch._incoming) < 4 * EVENTS_MAX  # the bound, and what one message brings
            seen = []
            async for event in watch:
                seen.append(int(event.value))
                if len(seen) == 20 * EVENTS_MAX:
                    break
            assert seen == list(range(1, 20 * EVENTS_MAX + 1))

    run(act)


def test_large_values_fill_a_watch_as_many_events_do():
    async def act(node, client):
        async with client.kv.watch(b"n") as watch:
            for _ in range(40):
                write(node, Put(b"n", bytes(100_000)))
                await asyncio.sleep(0)
            assert len(watch._incoming) < 14
            for _ in range(40):
                await anext(watch)

    run(act)


def test_one_that_was_paused_and_comes_too_late_hears_so_behind_what_it_has():
    async def act(node, client):
        async with client.kv.watch(b"n") as watch:
            write(node, *numbers(1, 3 * EVENTS_MAX))
            await asyncio.sleep(0)
            write(node, *numbers(1, 10))
            write(node, Compact(3 * EVENTS_MAX + 5))
            last = (await watch.batch())[-1].revision
            with pytest.raises(Compacted) as caught:
                await watch.batch()
            assert caught.value.asked == last + 1
            assert caught.value.first == 3 * EVENTS_MAX + 6

    run(act)


def test_the_end_of_a_lease_is_told_as_a_delete():
    async def act(node, client):
        async with client.kv.watch(b"n", previous=True) as watch:
            write(node, PutWithTtl(b"n", b"for a while", 5_000_000))
            assert (await anext(watch)).kind == "put"
            node.pass_time(6_000_000)
            end = await anext(watch)
        assert (end.kind, end.previous.value) == ("delete", b"for a while")

    run(act)


def test_a_watch_that_no_node_takes_in_time_says_so():
    async def act(node, client):
        node.is_silent = True
        with pytest.raises(NotLeader):
            async with client.kv.watch(b"n"):
                raise AssertionError("it has not begun")
        assert not client._key_watches

    run(act)


def test_a_watch_is_one_readers():
    async def act(node, client):
        async with client.kv.watch(b"n") as watch:
            first = asyncio.create_task(anext(watch))
            await asyncio.sleep(0)
            with pytest.raises(LocalProtocolError, match="two tasks"):
                await anext(watch)
            first.cancel()

    run(act)


def test_closing_the_client_ends_its_watches():
    async def act(node, client):
        watch = client.kv.watch(b"n")
        waiting = asyncio.create_task(watch.batch())
        await asyncio.sleep(0)
        await client.aclose()
        assert await waiting == []
        with pytest.raises(LocalProtocolError, match="closed client"):
            client.kv.watch(b"n")

    run(act)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"key": "text"}, "Encode it first"),
        ({"key": b""}, "empty key"),
        ({"key": b"b", "end": b"a"}, "end is not behind its start"),
        ({"key": b"a", "end": b"b", "prefix": True}, "Give one"),
        ({"key": b"a", "only": "get"}, "Use one of these"),
        ({"key": b"a", "start_revision": -1}, "revision -1"),
        ({"key": b"a", "start_revision": "5"}, "revision='5'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(arguments, reason):
    async def act(node, client):
        with pytest.raises(LocalProtocolError, match=reason):
            client.kv.watch(**arguments)
        assert node.commands == 0

    run(act)


# Without an event loop.


@pytest.fixture
def node() -> LockNode:
    return LockNode()


@pytest.fixture
def client(node) -> Iterator[SyncClient]:
    with SyncClient(Place(node), 10) as made:  # type: ignore[arg-type]
        yield made


def test_a_blocking_watch_is_looped_over_and_left(client, node):
    client.kv.put(b"a", b"0")
    with client.kv.watch(b"a", previous=True) as watch:
        assert watch.revision == 1
        client.kv.put(b"a", b"1")
        client.kv.delete(b"a")
        seen = []
        for event in watch:
            seen.append((event.kind, event.value))
            if event.kind == "delete":
                break
    assert seen == [("put", b"1"), ("delete", None)]
    assert len(node.hub) == 0 and list(watch) == []


def test_a_blocking_watch_without_a_body_begins_with_its_first_event(client, node):
    client.kv.put(b"a", b"0")
    watch = client.kv.watch(b"a", start_revision=1)
    client.kv.put(b"a", b"1")
    assert next(watch).value == b"0"
    assert [event.value for event in watch.batch()] == [b"1"]
    watch.close()
    watch.close()
    assert len(node.hub) == 0


def test_a_blocking_watch_says_what_is_wrong(client):
    with pytest.raises(LocalProtocolError):
        client.kv.watch("text")
    client.kv.put(b"a", b"0")

    async def compact(made):
        await made.ask("kv", Compact(1), object)

    client.call(compact)
    with pytest.raises(Compacted):
        client.kv.watch(b"a", start_revision=1).__enter__()


def test_a_client_that_is_closed_ends_a_blocking_watch(node):
    with SyncClient(Place(node), 10) as client:  # type: ignore[arg-type]
        watch = client.kv.watch(b"a").__enter__()
    watch.close()
    assert list(watch) == []
