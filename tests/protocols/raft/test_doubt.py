"""A replica whose state differs from a quorum's does not lead: it hands over, and does not stand."""

from __future__ import annotations

from protocols.raft.members import Cluster, messages_in
from quorum.protocols.events import StateDoubted
from quorum.protocols.raft.messages import TimeoutNow
from quorum.protocols.raft.state import FOLLOWER, LEADER


def doubt(cluster: Cluster, node: str, differs: bool = True) -> None:
    member = cluster.members[node]
    member.step(StateDoubted(member.now_us, differs))


def test_a_leader_whose_state_differs_hands_over_to_one_that_keeps_up() -> None:
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.propose(b"a")
    cluster.settle()
    doubt(cluster, "n1")
    cluster.settle()
    assert leader.state.role == FOLLOWER
    (new,) = [member for member in cluster.members.values() if member.state.role == LEADER]
    assert new.state.node != "n1" and new.bodies()[1:] == leader.bodies()[1:], "nothing is lost"


def test_a_replica_whose_state_differs_does_not_stand_until_it_agrees_again() -> None:
    cluster = Cluster()
    cluster.elect("n1")
    doubt(cluster, "n2")
    cluster.campaign("n2")
    cluster.settle()
    assert cluster["n2"].state.role == FOLLOWER
    doubt(cluster, "n2", differs=False)
    cluster.elect("n2")
    assert cluster["n2"].state.role == LEADER


def test_one_that_will_not_stand_either_is_not_asked_for_ever() -> None:
    """Two of three differ: the third becomes leader, whichever is asked first."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.propose(b"a")
    cluster.settle()
    doubt(cluster, "n2")
    doubt(cluster, "n1")
    for _ in range(30):
        cluster.settle()
        if leader.state.role == LEADER:
            cluster.wait(leader.state.settings.heartbeat_us)
            cluster.beat("n1")
    assert cluster["n3"].state.role == LEADER


def test_who_differs_alone_leads_on_because_somebody_must() -> None:
    cluster = Cluster()
    leader = cluster.elect("n1")
    doubt(cluster, "n2")
    doubt(cluster, "n3")
    doubt(cluster, "n1")
    cluster.settle()
    assert leader.state.role == LEADER
    assert len(messages_in(leader.did, TimeoutNow)) <= 1
