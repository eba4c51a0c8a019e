"""The blocking faces of locks and elections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quorum.errors import LockBusy, LockLost
from quorum.runtime import lock_session
from quorum.runtime.clock import steady_us
from quorum.runtime.connect import SyncClient
from runtime.lock_node import LockNode


class Place:
    def __init__(self, node: LockNode) -> None:
        self.node = node

    def client(self, timeout: float):
        return self.node.client()


@pytest.fixture
def node() -> LockNode:
    return LockNode()


@pytest.fixture
def client(node) -> Iterator[SyncClient]:
    with SyncClient(Place(node), 10) as made:  # type: ignore[arg-type]
        yield made


def test_a_lock_is_held_while_the_body_runs(client, node):
    with client.lock("x", value=b"mine") as lock:
        assert lock.look().holder.token == lock.token and lock.look().place == 0
        assert lock.is_held and lock.remaining > 8
        lock.check()
        with pytest.raises(LockBusy):
            client.lock("x", wait=0).acquire()
    assert lock.look().holder is None and not lock.is_held
    with pytest.raises(LockLost):
        lock.check()


def test_a_body_that_outlives_its_session_ends_with_the_loss(client, monkeypatch):
    def body():
        with client.lock("x"):
            later = lambda: steady_us() + 9_000_000  # noqa: E731
            monkeypatch.setattr(lock_session, "steady_us", later)

    with pytest.raises(LockLost):
        body()


def test_an_error_of_the_body_is_not_hidden(client):
    with pytest.raises(ZeroDivisionError), client.lock("x"):
        raise ZeroDivisionError
    assert client.lock("x").look().holder is None


def test_an_election_has_all_its_steps(client):
    election = client.election("boss")
    changes = election.observe()
    assert next(changes) is None and election.leader() is None
    token = election.campaign(b"one")
    assert election.is_leading and election.token == token
    assert next(changes).value == b"one"
    election.proclaim(b"more")
    assert next(changes).value == election.leader().value == b"more"
    election.check()
    election.resign()
    assert next(changes) is None and not election.is_leading
    changes.close()
    with pytest.raises(LockLost):
        election.check()
    with election.lead(b"two") as leading:
        assert leading.token > token and election.is_leading
