"""Leases of keys as programs use them: holding, losing, giving up; keys that are put with them."""

from __future__ import annotations

import asyncio

import pytest

from quorum.apps.catalogue import KV_APP
from quorum.apps.kv import Get, LeaseView, PutWithLease, decode_results, encode_query
from quorum.apps.kv_leases import OWN
from quorum.errors import ApplicationError, ConfigurationError, LeaseLost, LocalProtocolError
from quorum.runtime import kept
from quorum.runtime.clock import steady_us
from quorum.runtime.kept import KEPT_ALIVE, TRUSTED
from runtime.lock_node import LockNode

SECOND_US = 1_000_000
SHORT = 0.2
"""A lease's time where a test waits until it is over."""


def run(act):
    """What `act(node, client)` gives."""

    async def main():
        node = LockNode()
        async with node.client() as client, asyncio.timeout(30):
            return await act(node, client)

    return asyncio.run(main())


def value(node: LockNode, key: bytes) -> bytes | None:
    """What the node has under a key, without asking it as a client."""
    (got,) = decode_results(node.host.query(KV_APP, encode_query([Get(key)])).body)
    return None if got.item is None else got.item.value


# Holding.


def test_keys_are_there_as_long_as_the_body_runs():
    async def act(node, client):
        async with client.kv.lease(ttl=10) as lease:
            await client.kv.put(b"k", b"1", lease=lease)
            assert (await client.kv.get(b"k")).lease == lease.id > 0
            assert lease.is_alive and 8 < lease.remaining <= 9 and not lease.lost.is_set()
            assert await lease.look() == LeaseView(lease.id, 10 * SECOND_US, 10 * SECOND_US, 1, [b"k"], False)
            lease.check()
        assert value(node, b"k") is None
        assert not lease.is_alive and lease.remaining == 0 and not lease.lost.is_set()
        with pytest.raises(LeaseLost):
            lease.check()

    run(act)


def test_an_error_in_the_body_revokes_the_lease_and_goes_on():
    async def act(node, client):
        async def body():
            async with client.kv.lease() as lease:
                await client.kv.put(b"k", b"1", lease=lease)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await body()
        assert value(node, b"k") is None

    run(act)


def test_without_a_body_it_is_opened_and_closed_and_used_once():
    async def act(node, client):
        lease = client.kv.lease(5)
        assert lease.id == 0 and lease.ttl == 5.0
        await lease.close()
        await lease.open()
        await client.kv.put(b"k", b"1", lease=lease)
        with pytest.raises(LocalProtocolError, match="Make another"):
            await lease.open()
        assert lease.is_alive
        await lease.close()
        assert value(node, b"k") is None and lease.id == 0
        with pytest.raises(LeaseLost):
            await client.kv.put(b"k", b"2", lease=lease)

    run(act)


def test_it_is_kept_alive_in_the_background():
    async def act(node, client):
        async with client.kv.lease(SHORT) as lease:
            await client.kv.put(b"k", b"1", lease=lease)
            for _ in range(3):
                before = node.commands
                while node.commands == before:
                    await asyncio.sleep(SHORT * KEPT_ALIVE / 10)
                node.pass_time(int(SHORT * 0.5 * 1e6))
            assert value(node, b"k") == b"1"

    run(act)


def test_closing_the_client_gives_its_leases_up():
    async def act(node, client):
        lease = client.kv.lease()
        await lease.open()
        await client.kv.put(b"k", b"1", lease=lease)
        await client.aclose()
        assert value(node, b"k") is None and lease.lost.is_set()

    run(act)


# Losing.


def test_the_body_is_cancelled_when_the_cluster_cannot_be_reached_in_time():
    async def act(node, client):
        lease = client.kv.lease(SHORT)

        async def body():
            async with lease:
                await client.kv.put(b"k", b"1", lease=lease)
                node.is_silent = True
                await asyncio.sleep(20)

        with pytest.raises(LeaseLost):
            await body()
        assert lease.lost.is_set() and not lease.is_alive
        assert value(node, b"k") == b"1", "it knew before the cluster removed the key"

    run(act)


def test_a_lease_that_the_cluster_has_ended_is_lost():
    async def act(node, client):
        lease = client.kv.lease(SHORT)

        async def body():
            async with lease:
                node.pass_time(SECOND_US)
                await asyncio.sleep(20)

        with pytest.raises(LeaseLost):
            await body()
        assert lease.lost.is_set()

    run(act)


def test_who_slept_through_its_time_finds_out_by_the_clock(monkeypatch):
    """Before the event loop ran again, so that no timer could."""

    async def act(node, client):
        async def body():
            async with client.kv.lease(10) as lease:
                monkeypatch.setattr(kept, "steady_us", lambda: steady_us() + int(10 * TRUSTED * 1e6))
                assert not lease.is_alive
                with pytest.raises(LeaseLost):
                    lease.check()
                with pytest.raises(LeaseLost):
                    await client.kv.put(b"k", b"1", lease=lease)
                assert value(node, b"k") is None

        with pytest.raises(LeaseLost):
            await body()

    run(act)


def test_its_time_counts_from_before_it_was_asked_for():
    async def act(node, client):
        lease = client.kv.lease(10)
        began_us = steady_us()
        await lease.open()
        assert lease.remaining <= 10 * TRUSTED - (steady_us() - began_us) / 1e6 + 0.001
        await lease.close()

    run(act)


def test_another_cancellation_goes_on_although_the_lease_is_lost_too():
    async def act(node, client):
        async def body():
            async with client.kv.lease(SHORT) as lease:
                node.is_silent = True
                await lease.lost.wait()
                await asyncio.sleep(20)

        task = asyncio.create_task(body())
        while not task.done() and node.commands < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(act)


# Keys with a time, and leases by their number.


def test_a_key_is_put_for_a_time():
    async def act(node, client):
        written = await client.kv.put(b"k", b"1", ttl=2)
        item = await client.kv.get(b"k")
        assert item.mod_revision == written.revision and item.lease >= OWN
        node.pass_time(2 * SECOND_US - 1)
        assert value(node, b"k") == b"1"
        node.pass_time(1)
        assert value(node, b"k") is None

    run(act)


def test_leases_are_used_by_their_number():
    async def act(node, client):
        granted = await client.kv.grant_lease(5)
        for key in (b"a", b"b", b"c"):
            await client.kv.put(key, b"", lease=granted.lease)
        node.pass_time(2 * SECOND_US)
        assert (await client.kv.look_lease(granted.lease)).remaining_us == 3 * SECOND_US
        assert (await client.kv.keep_lease(granted.lease)).ttl_us == 5 * SECOND_US
        view = await client.kv.look_lease(granted.lease, b"b", 1)
        assert (view.keys, view.more, view.remaining_us) == ([b"b"], True, 5 * SECOND_US)
        assert (await client.kv.revoke_lease(granted.lease)).count == 3
        assert not (await client.kv.revoke_lease(granted.lease)).existed
        for request in (client.kv.keep_lease, client.kv.look_lease):
            with pytest.raises(ApplicationError) as caught:
                await request(granted.lease)
            assert caught.value.kind == "ended"

    run(act)


def test_many_leases_with_many_keys_may_be_revoked_at_once():
    async def act(node, client):
        leases = [(await client.kv.grant_lease(5)).lease for _ in range(3)]
        keys = [PutWithLease(b"%d/%d" % (lease, number), b"", lease) for lease in leases for number in range(3000)]
        await asyncio.gather(*(client.kv.put(put.key, b"", lease=put.lease) for put in keys))
        revoked = await asyncio.gather(*map(client.kv.revoke_lease, leases))
        assert [each.count for each in revoked] == [3000] * 3

    run(act)


@pytest.mark.parametrize("ttl", [0, -1, 0.05, 1e12, "5", None, float("nan")])
def test_a_time_that_no_lease_may_have_is_refused_before_anything_is_sent(ttl):
    async def act(node, client):
        with pytest.raises(ConfigurationError, match="Give a number between them"):
            client.kv.lease(ttl)
        with pytest.raises(ConfigurationError):
            await client.kv.grant_lease(ttl)
        if ttl is not None:
            with pytest.raises(ConfigurationError):
                await client.kv.put(b"k", b"", ttl=ttl)
        assert node.commands == 0

    run(act)


def test_a_lease_and_a_time_exclude_each_other():
    async def act(node, client):
        with pytest.raises(LocalProtocolError, match="Give one of them"):
            await client.kv.put(b"k", b"1", lease=1, ttl=1)
        with pytest.raises(LocalProtocolError):
            await client.kv.put(b"k", b"1", lease="1")

    run(act)
