"""Who takes part in the in-process quorum: policies that follow who is well, and an operator's own word."""

from __future__ import annotations

import pytest

from quorum import Quorum
from quorum.errors import ConfigurationError, NodeFailed, NoQuorum
from quorum.membership.observation import Situation


def test_seven_sequential_losses_of_nine_leave_a_committee_that_decides() -> None:
    quorum = Quorum(N=9)
    assert quorum.policy == "adaptive" and quorum.participants() == tuple(range(1, 10))
    for node in (9, 8, 7, 6, 5, 4):
        quorum.fail(node)
        quorum.wait()
    assert quorum.participants() == (1, 2, 3)
    quorum.fail(3)
    quorum.send_message(node_id=1)
    assert quorum.check_state(2).threshold == 2
    assert quorum.make_decision(node_id=2) == 1


def test_a_fixed_committee_stops_at_the_fifth_loss() -> None:
    quorum = Quorum(N=9, policy="fixed")
    for node in (9, 8, 7, 6, 5):
        quorum.fail(node)
        quorum.wait()
    quorum.send_message(node_id=1)
    with pytest.raises(NoQuorum, match="5, 6, 7, 8, 9"):
        quorum.make_decision(node_id=1)


def test_who_returns_has_its_vote_back() -> None:
    quorum = Quorum(N=5)
    quorum.fail(5)
    quorum.wait()
    assert quorum.participants() == (1, 2, 3), "an odd number"
    quorum.recover(5)
    quorum.wait()
    assert quorum.participants() == (1, 2, 3, 4, 5)


def test_the_participation_policy_takes_n_of_them_and_replaces_who_is_lost() -> None:
    quorum = Quorum(N=5, T=2, policy="participation")
    assert len(quorum.participants()) == quorum.n == 4
    lost = quorum.participants()[-1]
    quorum.fail(lost)
    quorum.wait()
    assert len(quorum.participants()) == 4 and lost not in quorum.participants()


def test_a_function_of_ones_own_chooses() -> None:
    def three(situation: Situation) -> list[str]:
        return sorted(situation.fit)[:3]

    quorum = Quorum(N=5, policy=three)
    assert (quorum.policy, quorum.participants()) == ("custom", (1, 2, 3))


@pytest.mark.parametrize("model", ["crash", "byzantine"])
def test_an_operator_takes_a_vote_and_gives_it_back(model) -> None:
    quorum = Quorum(N=5, T=1, model=model, policy="fixed")
    quorum.evict(2)
    quorum.wait(60)
    assert quorum.participants() == (1, 3, 4, 5)
    quorum.send_message(node_id=1, value="green")
    state = quorum.check_state(3)
    assert (state.participants, state.votes, state.threshold) == ((1, 3, 4, 5), 4, 3)
    assert quorum.make_decision(node_id=3) == "green"
    quorum.readmit(2)
    assert quorum.participants() == (1, 2, 3, 4, 5)
    assert quorum.make_decision(node_id=2) == "green", "it has what was decided without it"


def test_no_policy_gives_back_what_an_operator_took() -> None:
    quorum = Quorum(N=7)
    quorum.evict(2)
    quorum.wait(120)
    assert 2 not in quorum.participants()


def test_an_eviction_that_cannot_be_is_refused_with_the_reason() -> None:
    quorum = Quorum(N=4, T=1, model="byzantine")
    with pytest.raises(ConfigurationError, match=r"node 3 was to be put out.*3T\+1 = 4"):
        quorum.evict(3)
    assert quorum.participants() == (1, 2, 3, 4)
    quorum = Quorum(N=3, policy="fixed")
    with pytest.raises(ConfigurationError, match="node 1 was to be promoted, but it is a voter"):
        quorum.readmit(1)
    quorum.fail(2)
    quorum.fail(3)
    with pytest.raises(NoQuorum, match="Missing: 2, 3") as caught:
        quorum.evict(3)
    assert caught.value.missing == (2, 3)
    with pytest.raises(NodeFailed):
        quorum.readmit(3)


@pytest.mark.parametrize("policy", ["adaptiv", "custom", 3])
def test_a_policy_that_is_none_is_refused(policy) -> None:
    with pytest.raises(ConfigurationError, match="policy"):
        Quorum(N=5, policy=policy)


def test_participation_needs_a_fault_to_tolerate() -> None:
    with pytest.raises(ConfigurationError, match="N-T\\+1 = 6"):
        Quorum(N=5, T=0, policy="participation")


def test_a_liar_that_is_caught_loses_its_vote_and_a_lost_member_gets_its_own_back() -> None:
    quorum = Quorum(N=6, T=1, model="byzantine")
    assert quorum.policy == "adaptive", "usual from 3T+2 members on"
    quorum.corrupt(2, "vote-twice")
    quorum.send_message(node_id=1, value="green")
    assert quorum.make_decision(node_id=3) == "green"
    quorum.wait(60)
    assert quorum.participants() == (1, 3, 4, 5, 6), "there is evidence against 2"
    quorum.fail(5)
    quorum.wait(60)
    assert quorum.participants() == (1, 3, 4, 6), "four complain of 5"
    quorum.recover(5)
    quorum.wait(120)
    assert quorum.participants() == (1, 3, 4, 5, 6), "and it returns with a fresh key"
    assert quorum.make_decision(node_id=5) == "green"


def test_at_the_floor_nobody_leaves() -> None:
    """N = 3T+1: the liar stays, as one of the T that are tolerated."""
    quorum = Quorum(N=4, T=1, model="byzantine", policy="adaptive")
    quorum.corrupt(2, "vote-twice")
    quorum.send_message(node_id=1)
    assert quorum.make_decision(node_id=3) == 1
    quorum.wait(60)
    assert quorum.participants() == (1, 2, 3, 4)


def test_where_nodes_may_lie_no_leader_chooses() -> None:
    with pytest.raises(ConfigurationError, match="fixed or adaptive"):
        Quorum(N=7, T=1, model="byzantine", policy="participation")


@pytest.mark.parametrize("seconds", ["30", None, float("nan"), -1, 1e9])
def test_what_is_no_time_does_not_pass(seconds) -> None:
    with pytest.raises(ConfigurationError, match="no time"):
        Quorum(N=3).wait(seconds)
