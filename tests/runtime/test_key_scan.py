"""Scans: every key once, in order, page by page, whatever is written meanwhile; and compaction by clients."""

from __future__ import annotations

import asyncio

import pytest

from quorum.errors import ApplicationError, LocalProtocolError
from runtime.lock_node import LockNode


def run(act):
    """What `act(client)` gives, on a store with the keys a/00 to a/24, and b."""

    async def main():
        async with LockNode().client() as client, asyncio.timeout(30):
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
        rest = [item async for page in _rest(pages) for item in page.items]
        found = [*first.items, *rest]
        there = [b"a/%02d" % number for number in range(25) if number != 12]
        assert [item.key for item in found] == [*there, b"a/245"]
        assert {item.key for item in found if item.value == b"new"} == {b"a/24", b"a/245"}
        assert (scan.revision, scan.last_revision) == (26, 31)

    async def _rest(pages):
        async for page in pages:
            yield page

    run(act)


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
