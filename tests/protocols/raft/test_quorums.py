"""Raft over any quorum system: elections ask `reads`, replication asks `writes`, never a count of nodes."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocols.raft.members import Cluster, Member, effects_in
from quorum.errors import ConfigurationError
from quorum.model import Configuration
from quorum.protocols.effects import Commit, ReadReady
from quorum.protocols.raft.messages import AppendReply, VoteReply
from quorum.protocols.raft.state import FOLLOWER, LEADER, PRE_CANDIDATE
from quorum.systems.build import build

NODES = tuple(f"n{i}" for i in range(1, 7))
FLEXIBLE = Configuration(
    epoch=1, voters=NODES, reads="choose(5, n1, n2, n3, n4, n5, n6)", writes="choose(2, n1, n2, n3, n4, n5, n6)"
)
GRID = Configuration(
    epoch=1,
    voters=NODES,
    reads="n1*n2*n3*(n4 + n5 + n6) + n4*n5*n6*(n1 + n2 + n3)",
    writes="n1*n2*n3*(n4 + n5 + n6) + n4*n5*n6*(n1 + n2 + n3)",
)
WEIGHTED = Configuration(epoch=1, voters=NODES[:4], weights=(("n1", 4),))
JOINT = Configuration(
    epoch=2, voters=("n4", "n5", "n6"), outgoing=Configuration(epoch=1, voters=("n1", "n2", "n3"))
)
LEARNING = Configuration(epoch=1, voters=("n1", "n2"), witnesses=("n3",), learners=("n4", "n5"))
SYSTEMS = {"flexible": FLEXIBLE, "grid": GRID, "weighted": WEIGHTED, "joint": JOINT, "learners": LEARNING}


def _campaign(configuration: Configuration, voters: frozenset[str], stored: bool = True) -> Member:
    """n1's election, with the votes of `voters`, itself always among them. With `stored` its disk has all."""
    member = Member("n1", configuration)
    member.fire_election()
    for pre in (True, False):
        if not pre:
            member.store()
        for voter in sorted(voters - {"n1"}):
            member.receive(voter, VoteReply(2, True, pre))
    if stored:
        member.store()
    return member


@pytest.mark.parametrize("configuration", SYSTEMS.values(), ids=SYSTEMS)
@given(voters=st.frozensets(st.sampled_from(NODES)))
def test_an_election_is_won_exactly_by_an_election_quorum(
    configuration: Configuration, voters: frozenset[str]
) -> None:
    """Whatever the number of votes is."""
    voters |= {"n1"}
    member = _campaign(configuration, voters)
    assert (member.state.role == LEADER) == build(configuration).is_read_quorum(voters)


@pytest.mark.parametrize("configuration", SYSTEMS.values(), ids=SYSTEMS)
@given(holders=st.frozensets(st.sampled_from(NODES)), own=st.booleans())
def test_an_entry_is_committed_exactly_by_a_replication_quorum(
    configuration: Configuration, holders: frozenset[str], own: bool
) -> None:
    """The leader is one of those who store, if and only if its own disk has the entry."""
    leader = _campaign(configuration, frozenset(NODES), stored=False)
    assert leader.state.role == LEADER
    index = leader.state.log.last_index
    for holder in sorted(holders - {"n1"}):
        if holder in configuration.members:
            leader.receive(holder, AppendReply(2, 0, True, index))
    if own:
        leader.store()
    stored = (holders - {"n1"}) | ({"n1"} if own else set())
    assert (leader.state.commit_index == index) == build(configuration).is_write_quorum(stored)


def test_an_old_entry_is_not_committed_by_counting_under_flexible_quorums() -> None:
    """Raft, section 5.4.2, figure 8, where two copies are a replication quorum: a copy of an old entry on two
    nodes decides nothing until an entry of the new term is there, too."""
    leader = Member("n1", FLEXIBLE, terms=(1, 2), term=3)
    leader.fire_election()
    for pre in (True, False):
        for voter in NODES[1:5]:
            leader.receive(voter, VoteReply(4, True, pre))
    leader.store()
    assert leader.state.role == LEADER and leader.terms() == [1, 2, 4]
    for follower in ("n2", "n3"):
        leader.receive(follower, AppendReply(4, 0, True, 2))
    assert leader.state.commit_index == 0
    leader.store()
    assert leader.state.commit_index == 0
    produced = leader.receive("n2", AppendReply(4, 0, True, 3))
    assert effects_in(produced, Commit) == [Commit(1, 3)]


def test_reads_are_confirmed_by_a_replication_quorum() -> None:
    """It meets every election quorum, so nobody else led: here two of six are enough."""
    leader = _campaign(FLEXIBLE, frozenset(NODES))
    leader.receive("n2", AppendReply(2, 0, True, 2))
    leader.store()
    leader.read(1)
    produced = leader.receive("n5", AppendReply(2, leader.state.round, True, 1))
    assert effects_in(produced, ReadReady) == [ReadReady((1,), 2)]


def test_check_quorum_asks_for_a_replication_quorum() -> None:
    """A leader that hears one of five others still can replicate, and stays; alone it steps down."""
    cluster = Cluster(FLEXIBLE)
    leader = cluster.elect("n1")
    cluster.cut = set(NODES[2:])
    for _ in range(30):
        cluster.beat("n1")
        cluster.settle()
    assert leader.state.role == LEADER
    cluster.cut = set(NODES[1:])
    for _ in range(30):
        cluster.beat("n1")
        cluster.settle()
    assert leader.state.role == FOLLOWER


def test_an_election_is_given_up_once_it_cannot_be_won() -> None:
    """Two refusals of six leave no five voters."""
    member = Member("n1", FLEXIBLE)
    member.fire_election()
    member.receive("n2", VoteReply(1, False, True))
    assert member.state.role == PRE_CANDIDATE
    member.receive("n3", VoteReply(1, False, True))
    assert member.state.role == FOLLOWER


def test_learners_are_sent_entries_but_never_asked_for_votes() -> None:
    """Ongaro 2014, section 4.2.1: a non-voting server is not counted for elections or commitment."""
    cluster = Cluster(LEARNING)
    cluster.campaign("n1")
    cluster.collect()
    assert {packet.to for packet in cluster.packets} == {"n2", "n3"}
    cluster.settle()
    cluster["n1"].propose(b"a")
    cluster.settle()
    assert cluster["n4"].bodies() == [b"a"]
    learner = cluster["n4"]
    learner.fire_election()
    assert learner.state.role == FOLLOWER and learner.take_outbox() == []


@given(
    reads=st.integers(1, 5),
    writes=st.integers(1, 5),
)
def test_a_configuration_whose_quorums_do_not_meet_is_refused(reads: int, writes: int) -> None:
    """Election quorums must meet each other and every replication quorum."""
    nodes = NODES[:5]
    names = ", ".join(nodes)
    configuration = Configuration(
        epoch=1, voters=nodes, reads=f"choose({reads}, {names})", writes=f"choose({writes}, {names})"
    )
    assume(reads + writes <= 5 or 2 * reads <= 5)
    with pytest.raises(ConfigurationError, match="share no node"):
        Member("n1", configuration)


def test_a_cluster_without_voters_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="without voters"):
        Member("n1", Configuration(epoch=1))
