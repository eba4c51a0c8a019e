"""A replica whose disk is full: it orders nothing, does not stand, and lets one lead that has space."""

from __future__ import annotations

from protocols.raft.members import Cluster, effects_in
from quorum.errors import NoSpace
from quorum.protocols.effects import Admitted, ReadReady, Refused
from quorum.protocols.events import ReadRequested, StorageBack, StorageFull
from quorum.protocols.raft.state import FOLLOWER, LEADER


def test_a_leader_without_space_refuses_proposals_for_sure_and_serves_reads() -> None:
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.step(StorageFull(leader.now_us))
    (refused,) = effects_in(leader.propose(b"a"), Refused)
    assert isinstance(refused.error, NoSpace)
    leader.step(ReadRequested(leader.now_us, (99,)))
    cluster.settle()
    assert any(99 in ready.tokens for ready in effects_in(leader.did, ReadReady))
    leader.step(StorageBack(leader.now_us))
    assert effects_in(leader.propose(b"b"), Admitted)


def test_a_leader_whose_disk_holds_everything_stays_leader() -> None:
    """There is no proof that another has space: leadership that moves in a circle would help nobody."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.step(StorageFull(leader.now_us))
    cluster.settle()
    assert leader.state.role == LEADER and leader.state.transfer is None


def test_a_replica_without_space_does_not_stand() -> None:
    cluster = Cluster()
    follower = cluster.members["n2"]
    follower.step(StorageFull(follower.now_us))
    cluster.campaign("n2")
    cluster.settle()
    assert follower.state.role == FOLLOWER
