"""The blocking faces of locks and elections."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Timer

import pytest

from quorum.apps.catalogue import LOCK_APP
from quorum.errors import LocalProtocolError, LockBusy, LockLost, OutcomeUnknown
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
            monkeypatch.setattr(kept, "steady_us", later)

    with pytest.raises(LockLost):
        body()


def test_an_error_of_the_body_is_not_hidden(client):
    with pytest.raises(ZeroDivisionError), client.lock("x"):
        raise ZeroDivisionError
    assert client.lock("x").look().holder is None


def test_who_observes_hears_of_nothing_more_when_another_thread_closes_the_client(client):
    changes = client.election("boss").observe()
    assert next(changes) is None
    closing = Timer(0.05, client.close)
    closing.start()
    assert list(changes) == []
    closing.join()


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


def test_a_topic_is_watched_step_by_step_and_closed_from_another_thread(client, node):
    with client.watch_topic(LOCK_APP, b"x") as watch:
        assert next(watch).body is None
        with client.lock("x"):
            assert next(watch).body is not None
        for _ in watch:
            Timer(0.05, watch.close).start()
    assert list(watch) == []
    client.close()
    with pytest.raises(LocalProtocolError, match="closed client"):
        next(watch)


def test_whoever_waits_while_the_client_is_closed_hears_that_the_outcome_is_unknown(client, node):
    client.kv.get(b"a")
    node.is_silent = True
    Timer(0.05, client.close).start()
    with pytest.raises(OutcomeUnknown, match="closed before the answer came"):
        client.kv.put(b"a", b"1")
