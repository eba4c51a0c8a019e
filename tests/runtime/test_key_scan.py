"""Scans: every key once, in order, page by page, whatever is written meanwhile; and compaction by clients."""

from __future__ import annotations

import asyncio
from random import Random
from unittest.mock import patch

import pytest

from quorum.apps.kv import KEY_BYTES_MAX, DeleteRange, Put
from quorum.errors import ApplicationError, Compacted, LocalProtocolError
from quorum.runtime.key_subscription import EVENTS_MAX, KeyWatch
from quorum.runtime.messages import Pulse, Watch
from runtime.lock_node import LockNode


class LateNode(LockNode):
    """Tells watchers nothing of its own accord: only when they are new, or ask how far it is."""

    def tell(self, message):
        if isinstance(message, Watch | Pulse):
            super().tell(message)


def run(act, node=LockNode):
    """What `act(client)` gives, on a store with the keys a/00 to a/24, and b."""

    async def main():
        async with node().client() as client, asyncio.timeout(30):
            await asyncio.gather(*(client.kv.put(b"a/%02d" % number, b"old") for number in range(25)))
            await client.kv.put(b"b", b"")
            return await act(client)

    return asyncio.run(main())


async def keys_of(scan) -> list[bytes]:
    return [item.key async for item in scan]


@pytest.mark.parametrize("page", [1, 7, 25, 26, 10_000])
def test_a_scan_gives_every_key_once_in_order(page):
    async def act(client):
        scan = client.kv.scan(page=page)
        assert await keys_of(scan) == [*(b"a/%02d" % number for number in range(25)), b"b"]
        assert scan.revision == scan.last_revision == 26

    run(act)


def test_a_scan_is_bounded_by_start_and_end_or_by_a_prefix_and_goes_on_behind_a_key():
    async def act(client):
        assert await keys_of(client.kv.scan(b"a/23", b"b")) == [b"a/23", b"a/24"]
        assert await keys_of(client.kv.scan(b"a/2", prefix=True, page=2)) == [b"a/2%d" % last for last in range(5)]
        assert await keys_of(client.kv.scan(b"a/", prefix=True, after=b"a/23", page=2)) == [b"a/24"]
        assert await keys_of(client.kv.scan(b"a/23", after=b"a/00", page=2)) == [b"a/23", b"a/24", b"b"]
        assert await keys_of(client.kv.scan(b"c")) == []

    run(act)


def test_what_is_written_between_pages_shows_in_later_ones_and_the_revisions_tell():
    async def act(client):
        scan = client.kv.scan(b"a/", prefix=True, page=10)
        pages = scan.pages()
        first = await anext(pages)
        for key in (b"a/00", b"a/24", b"a/005", b"a/245"):
            await client.kv.put(key, b"new")
        await client.kv.delete(b"a/12")
        rest = [item async for page in _rest_of(pages) for item in page.items]
        found = [*first.items, *rest]
        there = [b"a/%02d" % number for number in range(25) if number != 12]
        assert [item.key for item in found] == [*there, b"a/245"]
        assert {item.key for item in found if item.value == b"new"} == {b"a/24", b"a/245"}
        assert (scan.revision, scan.last_revision) == (26, 31)

    run(act)


@pytest.mark.parametrize("node", [LockNode, LateNode])
@pytest.mark.parametrize("seed", range(10))
def test_a_scan_of_one_revision_gives_the_store_as_it_was_at_its_first_page(seed, node):
    """Whatever is put, removed, put anew or removed by ranges between any two pages."""
    draw = Random(seed)

    async def write(client):
        key = b"a/%02d" % draw.randrange(30)
        match draw.randrange(5):
            case 0:
                await client.kv.delete(key)
            case 1:
                await client.kv.txn([], [DeleteRange(key, key + b"~"), Put(b"b/%d" % draw.randrange(9), b"new")])
            case 2:
                await asyncio.gather(*(client.kv.put(key + b"%d" % n, b"new") for n in range(draw.randrange(4))))
            case _:
                await client.kv.put(key, b"new %d" % draw.randrange(9))

    async def act(client):
        for _ in range(20):
            await write(client)
        expected = (await client.kv.range(b"a/")).items
        scan = client.kv.scan(b"a/", page=draw.choice((1, 3, 10)), one_revision=True)
        found = []
        async for page in scan.pages():
            assert page.revision == scan.revision == scan.last_revision
            found += page.items
            await client.kv.put(b"a/29", b"later")
            for _ in range(draw.choice((0, 1, 30))):
                await write(client)
        assert found == expected
        assert (await client.kv.range(b"a/")).items != expected, "nothing was written meanwhile"

    run(act, node)


def test_a_scan_that_did_not_wait_for_its_watch_would_show_later_values():
    """The test above can fail."""

    async def hurried(watch, revision):
        return watch._take()

    with patch.object(KeyWatch, "up_to", hurried), pytest.raises(AssertionError):
        test_a_scan_of_one_revision_gives_the_store_as_it_was_at_its_first_page(0, LateNode)


def test_a_scan_of_one_revision_hears_of_more_than_a_watch_holds():
    """The watch is paused meanwhile, and goes on where it was."""

    async def act(client):
        expected = (await client.kv.range(b"a/")).items
        scan = client.kv.scan(b"a/", page=10, one_revision=True)
        pages = scan.pages()
        found = (await anext(pages)).items + (await anext(pages)).items
        for number in range(3 * EVENTS_MAX // 100):
            puts = (client.kv.put(b"a/%02d" % (20 + n % 7), b"%d" % number) for n in range(100))
            await asyncio.gather(*puts)
        async for page in pages:
            found += page.items
        assert found == expected and len(found) == 26

    run(act)


def test_a_scan_of_one_revision_says_when_changes_are_no_longer_kept():
    async def act(client):
        pages = client.kv.scan(b"a/", page=10, one_revision=True).pages()
        first = await anext(pages)
        await client.kv.put(b"a/24", b"new")
        await client.kv.compact(first.revision + 1)
        with pytest.raises(Compacted):
            await anext(pages)

    run(act)


def test_a_scan_of_one_revision_of_a_single_page_watches_nothing():
    node = LockNode()

    async def main():
        async with node.client() as client, asyncio.timeout(30):
            await client.kv.put(b"k", b"")
            assert [item.key async for item in client.kv.scan(one_revision=True)] == [b"k"]
            assert len(node.hub) == 0
            with pytest.raises(LocalProtocolError, match="Leave one of them out"):
                client.kv.scan(one_revision=True, consistency="stale")

    asyncio.run(main())


def test_a_scan_of_one_revision_begins_behind_the_longest_key_there_may_be():
    async def act(client):
        longest = b"c" * KEY_BYTES_MAX
        for key in (longest, b"d", b"e"):
            await client.kv.put(key, b"old")
        pages = client.kv.scan(b"c", page=1, one_revision=True).pages()
        assert [item.key for item in (await anext(pages)).items] == [longest]
        await client.kv.delete(b"e")
        assert [item.value async for page in _rest_of(pages) for item in page.items] == [b"old", b"old"]

    run(act)


async def _rest_of(pages):
    async for page in pages:
        yield page


@pytest.mark.parametrize("page", [0, -1, 10_001, True, "5"])
def test_a_page_that_makes_no_sense_is_refused(page):
    async def act(client):
        with pytest.raises(LocalProtocolError, match="Give a number between them"):
            client.kv.scan(page=page)
        with pytest.raises(LocalProtocolError, match="Give one of them"):
            client.kv.scan(b"a", b"b", prefix=True)

    run(act)


def test_a_client_compacts_the_history():
    async def act(client):
        assert (await client.kv.compact(20)).revision == 20
        assert (await client.kv.compact(10)).revision == 20
        with pytest.raises(ApplicationError, match="Give a revision from 0 to that"):
            await client.kv.compact(100)
        assert len(await keys_of(client.kv.scan())) == 26

    run(act)
