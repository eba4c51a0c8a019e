"""The blocking faces of leases, keys that are put with them, scans and compaction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quorum.errors import LeaseLost
from quorum.runtime import kept
from quorum.runtime.clock import steady_us
from quorum.runtime.sync_client import SyncClient
from runtime.lock_node import LockNode


class Place:
    def __init__(self, node: LockNode) -> None:
        self.node = node

    def client(self, timeout: float):
        return self.node.client()


@pytest.fixture
def client() -> Iterator[SyncClient]:
    with SyncClient(Place(LockNode()), 10) as made:  # type: ignore[arg-type]
        yield made


def test_keys_are_there_as_long_as_the_body_runs(client):
    with client.kv.lease(ttl=10) as lease:
        client.kv.put(b"k", b"1", lease=lease)
        assert client.kv.get(b"k").lease == lease.id and lease.look().keys == [b"k"]
        assert lease.is_alive and lease.remaining > 8
        lease.check()
    assert client.kv.get(b"k") is None and not lease.is_alive
    with pytest.raises(LeaseLost):
        lease.check()


def outlive(client: SyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with client.kv.lease(ttl=10):
        monkeypatch.setattr(kept, "steady_us", lambda: steady_us() + 10_000_000)


def test_a_body_that_outlives_its_lease_ends_with_the_loss(client, monkeypatch):
    with pytest.raises(LeaseLost):
        outlive(client, monkeypatch)


def test_leases_are_used_by_their_number_and_keys_put_for_a_time(client):
    lease = client.kv.grant_lease(60).lease
    client.kv.put(b"a", b"1", lease=lease)
    client.kv.put(b"b", b"1", ttl=60)
    assert client.kv.keep_lease(lease).ttl_us == 60_000_000
    assert client.kv.look_lease(lease).keys == [b"a"]
    listed = client.kv.leases(limit=1)
    assert (listed.leases[0].lease, listed.leases[0].count, listed.more, listed.total) == (lease, 1, True, 2)
    assert [each.is_own for each in client.kv.leases(after=lease).leases] == [True]
    assert client.kv.revoke_lease(lease).count == 1
    assert client.kv.revoke_lease(client.kv.get(b"b").lease).count == 1


def test_a_scan_gives_every_key_and_compaction_leaves_them(client):
    for number in range(5):
        client.kv.put(b"a/%d" % number, b"")
    client.kv.compact(3)
    scan = client.kv.scan(b"a/", prefix=True, page=2, after=b"a/0")
    assert [item.key for item in scan] == [b"a/1", b"a/2", b"a/3", b"a/4"]
    assert scan.revision == scan.last_revision == 5
    assert next(iter(client.kv.scan())).key == b"a/0"
    found = []
    for item in client.kv.scan(b"a/", prefix=True, page=2, one_revision=True):
        found.append(item.key)
        client.kv.delete(b"a/4")
    assert found == [b"a/0", b"a/1", b"a/2", b"a/3", b"a/4"]
    next(iter(client.kv.scan(page=1, one_revision=True)))  # and no more of it
