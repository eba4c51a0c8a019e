"""Changes of the configuration, rule by rule. Thesis: Ongaro, "Consensus: Bridging Theory and Practice" (2014)."""

from __future__ import annotations

from msgspec.structs import replace

from protocols.raft.members import FIVE, THREE, Cluster, Member, effects_in, messages_in, refusal
from quorum.errors import ConfigurationError, NotLeader, OutcomeUnknown, Overloaded, QuorumError
from quorum.model import Configuration
from quorum.protocols import events
from quorum.protocols.effects import Completed, Refused, Send
from quorum.protocols.raft.messages import Append, AppendReply, RequestVote, TimeoutNow, VoteReply
from quorum.protocols.raft.state import FOLLOWER, LEADER
from quorum.systems.algebra import DEPTH_MAX

FOUR = ("n1", "n2", "n3", "n4")


def led(configuration: Configuration = THREE) -> Cluster:
    """A cluster that n1 leads, at rest."""
    cluster = Cluster(configuration)
    cluster.elect("n1")
    return cluster


def run(cluster: Cluster, beats: int = 3) -> None:
    """Let everything that was begun come to its end."""
    for _ in range(beats):
        cluster.settle()
        for node, member in cluster.members.items():
            if member.up and member.state.role == LEADER:
                cluster.beat(node)
    cluster.settle()


def completed(member: Member) -> list[int]:
    return [token for effect in effects_in(member.did, Completed) for token in effect.tokens]


def epochs(member: Member) -> list[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    """(epoch, voters, outgoing voters) of each configuration in the log."""
    return [
        (c.epoch, c.voters, c.outgoing.voters if c.outgoing is not None else ())
        for _, c in member.state.configurations
    ]


def test_a_new_voter_is_a_learner_first_then_joint_then_a_voter() -> None:
    """Thesis, sections 4.2.1 and 4.3: it stores the log before its vote is needed."""
    cluster = led()
    cluster["n1"].propose(b"a")
    cluster.settle()
    cluster.join("n4")
    cluster["n1"].change(7, voters=FOUR)
    present = cluster["n1"].state.configuration
    assert (present.epoch, present.voters, present.learners) == (2, THREE.voters, ("n4",))
    run(cluster)
    assert epochs(cluster["n1"])[1:] == [(2, THREE.voters, ()), (3, FOUR, THREE.voters), (4, FOUR, ())]
    assert completed(cluster["n1"]) == [7]
    assert cluster["n4"].bodies() == [b"a"]
    assert all(member.state.configuration.voters == FOUR for member in cluster.members.values())


def test_a_learner_counts_neither_for_elections_nor_for_commitment() -> None:
    """Thesis, section 4.2.1."""
    cluster = led()
    cluster.join("n4")
    cluster["n1"].change(7, learners=("n4",))
    run(cluster)
    assert completed(cluster["n1"]) == [7] and cluster["n4"].state.commit_index > 0
    cluster.cut = {"n2", "n3"}
    cluster["n1"].propose(b"a")
    cluster.settle()
    assert cluster["n1"].state.commit_index < cluster["n1"].state.log.last_index
    learner = cluster["n4"]
    learner.now_us = learner.state.election_deadline_us
    learner.fire_election()
    assert learner.state.role == FOLLOWER and not messages_in(learner.did, RequestVote)


def test_a_weight_that_a_learner_has_for_later_stops_no_change() -> None:
    """It stands in no outgoing configuration, so its weight must not, either."""
    cluster = led()
    cluster.join("n4", "n5")
    cluster["n1"].change(7, learners=("n4",), weights=(("n4", 3),))
    run(cluster)
    cluster["n1"].change(8, voters=("n1", "n2", "n3", "n5"))
    run(cluster)
    assert completed(cluster["n1"]) == [7, 8]
    assert cluster["n4"].state.configuration.weights == (("n4", 3),)


def test_while_joint_both_configurations_must_agree() -> None:
    """Thesis, section 4.3: neither the old nor the new majority alone commits."""
    cluster = led()
    cluster.join("n4", "n5", "n6")
    leader = cluster["n1"]
    leader.change(7, voters=("n4", "n5", "n6"))
    for _ in range(20):
        cluster.store()
        cluster.deliver()
        if leader.state.configuration.outgoing is not None:
            break
        if not cluster.packets and not any(m.outbox for m in cluster.members.values()):
            cluster.beat("n1")
    assert leader.state.configuration.outgoing is not None
    index = leader.state.log.last_index
    assert leader.state.commit_index < index
    cluster.cut = {"n4", "n5", "n6"}
    cluster.settle()
    assert leader.state.commit_index < index, "the old majority alone"
    cluster.cut = set()
    run(cluster)
    assert completed(leader) == [7]


def test_a_joint_entry_is_not_committed_by_the_new_majority_alone() -> None:
    """Thesis, section 4.3."""
    leader = Member("n1", Configuration(epoch=1, voters=("n1", "n2", "n3"), learners=("n4", "n5", "n6")))
    leader.fire_election()
    for pre in (True, False):
        leader.store()
        leader.receive("n2", VoteReply(2, True, pre))
    leader.store()
    everyone = ("n2", "n3", "n4", "n5", "n6")
    for node in everyone:
        leader.receive(node, AppendReply(2, 0, True, 2))
    leader.change(7, voters=("n4", "n5", "n6"), learners=())
    for node in everyone:
        leader.receive(node, AppendReply(2, 0, True, 2))
    index = leader.state.log.last_index
    assert leader.state.configuration.outgoing is not None
    for node in ("n4", "n5", "n6"):
        leader.receive(node, AppendReply(2, 0, True, index))
    assert leader.state.commit_index < index
    leader.receive("n2", AppendReply(2, 0, True, index))
    leader.receive("n3", AppendReply(2, 0, True, index))
    assert leader.state.commit_index >= index


def test_one_change_is_in_flight_at_a_time() -> None:
    """Thesis, section 4.1: two at once could make two majorities that share nobody."""
    cluster = led()
    cluster.join("n4")
    cluster["n1"].change(7, voters=FOUR)
    error = refusal(cluster["n1"].change(8, voters=("n1", "n2")))
    assert isinstance(error, Overloaded)
    run(cluster)
    assert completed(cluster["n1"]) == [7]


def test_a_leader_changes_nothing_before_an_entry_of_its_term_is_committed() -> None:
    """The correction of 2015 to single-server changes; here for every change."""
    leader = Member("n1")
    leader.fire_election()
    for pre in (True, False):
        leader.store()
        leader.receive("n2", VoteReply(2, True, pre))
    assert leader.state.role == LEADER
    assert isinstance(refusal(leader.change(7, voters=("n1", "n2"))), Overloaded)


def test_a_change_must_follow_the_epoch_in_force() -> None:
    """An operator who looked before another changed the members is told so."""
    cluster = led()
    late = replace(THREE, epoch=5, voters=("n1", "n2"))
    leader = cluster["n1"]
    error = refusal(leader.step(events.ChangeProposed(leader.now_us, 7, late)))
    assert isinstance(error, ConfigurationError) and "Look again" in str(error)


def test_a_system_whose_quorums_do_not_meet_is_refused_with_the_witness() -> None:
    cluster = led()
    error = refusal(cluster["n1"].change(7, reads="n1 + n2", writes="n1 * n2"))
    assert isinstance(error, ConfigurationError) and "share no node" in str(error)
    assert cluster["n1"].state.configuration == THREE


def test_a_target_that_cannot_be_joined_with_the_present_is_refused_and_nothing_is_ordered() -> None:
    """By itself it is as deep as an expression may be; the joint configuration is one level deeper."""
    text = "n1"
    for level in range(DEPTH_MAX - 1):
        text = f"(n2 + {text})" if level % 2 else f"(n1 * {text})"
    cluster = led()
    leader = cluster["n1"]
    last = leader.state.log.last_index
    error = refusal(leader.change(7, reads=text))
    assert isinstance(error, ConfigurationError) and "cannot be joined with epoch 1" in str(error)
    assert leader.state.log.last_index == last and leader.state.configuration == THREE
    leader.change(8, voters=("n1", "n2"))
    run(cluster)
    assert completed(leader) == [8]


def test_a_follower_refuses_a_change_and_names_the_leader() -> None:
    cluster = led()
    error = refusal(cluster["n2"].change(7, voters=("n1", "n2")))
    assert isinstance(error, NotLeader) and error.leader == "n1"


def test_several_members_and_the_quorums_change_at_once() -> None:
    """Thesis, section 4.3: any change."""
    cluster = led()
    cluster.join("n4", "n5", "n6")
    writes = "choose(2, n1, n4, n5, n6)"
    reads = "choose(3, n1, n4, n5, n6)"
    cluster["n1"].change(7, voters=("n1", "n4", "n5", "n6"), reads=reads, writes=writes)
    run(cluster, 4)
    assert completed(cluster["n1"]) == [7]
    assert cluster["n5"].state.configuration.writes == writes
    cluster.cut = {"n5", "n6", "n2", "n3"}
    cluster["n1"].propose(b"a")
    run(cluster)
    assert (
        b"a" in cluster["n4"].bodies() and cluster["n1"].state.commit_index == cluster["n1"].state.log.last_index
    )


def test_a_leader_that_is_removed_hands_over_once_that_is_committed() -> None:
    """Thesis, section 4.2.2: until then it leads a configuration that it does not count in."""
    cluster = led()
    cluster["n1"].change(7, voters=("n2", "n3"))
    run(cluster)
    assert completed(cluster["n1"]) == [7]
    assert cluster["n1"].state.role == FOLLOWER
    leaders = [node for node, member in cluster.members.items() if member.state.role == LEADER]
    assert leaders in (["n2"], ["n3"])
    gone = cluster["n1"]
    gone.now_us = gone.state.election_deadline_us
    gone.fire_election()
    assert gone.state.role == FOLLOWER, "who has left does not campaign"


def test_a_removed_member_learns_that_it_is_and_stays_quiet() -> None:
    """Thesis, section 4.2.3: otherwise it would campaign for ever."""
    cluster = led(FIVE)
    cluster["n1"].change(7, voters=("n1", "n2", "n3"))
    run(cluster, 3)
    for node in ("n4", "n5"):
        assert node not in cluster[node].state.electors
        assert cluster[node].state.configurations[-1][0] <= cluster[node].state.commit_index
    assert not cluster["n1"].state.departing and "n4" not in cluster["n1"].state.progress


def test_a_member_that_was_cut_off_while_it_was_removed_disturbs_nobody() -> None:
    """Thesis, section 4.2.3: its pre-votes are refused while the leader is heard."""
    cluster = led(FIVE)
    cluster.cut = {"n5"}
    cluster["n1"].change(7, voters=FOUR)
    run(cluster, 40)
    cluster.cut = set()
    term = cluster["n1"].state.term
    cluster.beat("n1")
    cluster.settle()
    cluster["n5"].now_us = max(cluster["n5"].now_us, cluster["n5"].state.election_deadline_us)
    cluster["n5"].fire_election()
    cluster.settle()
    assert cluster["n1"].state.role == LEADER and cluster["n1"].state.term == term


def test_the_next_leader_finishes_a_joint_change() -> None:
    """Thesis, section 4.3: whoever leads then orders the new configuration."""
    cluster = led(FIVE)
    leader = cluster["n1"]
    leader.change(7, voters=("n1", "n2", "n3"))
    assert leader.state.configuration.outgoing is not None
    leader.store()
    cluster.deliver()
    cluster.store()
    cluster.deliver()
    leader.crash()
    cluster.packets.clear()
    cluster.elect("n2")
    run(cluster)
    assert cluster["n2"].state.role == LEADER
    assert cluster["n2"].state.configuration.voters == ("n1", "n2", "n3")
    assert cluster["n2"].state.configuration.outgoing is None


def test_a_leader_that_is_deposed_says_that_the_outcome_is_unknown() -> None:
    cluster = led()
    cluster.cut = {"n2", "n3"}
    leader = cluster["n1"]
    leader.change(7, voters=("n1", "n2"))
    produced = leader.receive("n2", Append(9, 0, 0, 0, 0))
    assert [e.tokens for e in effects_in(produced, Refused)] == [(7,)]
    assert isinstance(refusal(produced), OutcomeUnknown)


def test_a_learner_that_does_not_catch_up_is_not_made_a_voter() -> None:
    cluster = led()
    cluster["n1"].change(7, voters=FOUR)
    cluster.settle()
    cluster.wait(cluster["n1"].settings.catch_up_timeout_us)
    for node in ("n2", "n3"):
        cluster["n1"].state.progress[node].active = True
    cluster.beat("n1")
    (refused,) = [e for e in cluster["n1"].did if isinstance(e, Refused)]
    assert refused.tokens == (7,) and isinstance(refused.error, QuorumError) and "n4" in str(refused.error)
    present = cluster["n1"].state.configuration
    assert (present.voters, present.learners) == (THREE.voters, ("n4",))


def test_evicting_a_newcomer_that_never_comes_ends_the_waiting_for_it() -> None:
    """Else it would keep every other change back for the time to catch up."""
    cluster = led()
    leader = cluster["n1"]
    leader.change(7, voters=FOUR)
    cluster.settle()
    busy = leader.change(8, voters=("n1", "n2", "n5"))
    assert isinstance(refusal(busy), Overloaded), "any other change waits"
    leader.change(9, voters=THREE.voters, learners=())
    cluster.settle()
    (refused,) = [e for e in leader.did if isinstance(e, Refused) and e.tokens == (7,)]
    assert "n4 was to vote, but is to leave before it caught up" in str(refused.error)
    assert [e.tokens for e in leader.did if isinstance(e, Completed)] == [(9,)]
    assert leader.state.configuration.members == THREE.voters
    leader.change(10, voters=("n1", "n2"))
    cluster.settle()
    assert leader.state.configuration.voters == ("n1", "n2")


def test_a_newcomer_that_is_silent_keeps_nobody_back_who_is_to_lose_its_vote() -> None:
    """Else the lost could stay, and the next loss stop the cluster, for all the time that catching up may take."""
    cluster = led(FIVE)
    leader = cluster["n1"]
    leader.change(7, voters=("n1", "n2", "n3", "n4", "n5", "n6"))
    cluster.settle()
    assert isinstance(refusal(leader.change(8, voters=("n1", "n2", "n3", "n6"))), Overloaded), (
        "n6 is to vote there"
    )
    leader.change(9, voters=("n1", "n2", "n3"), learners=("n4", "n5", "n6"))
    run(cluster)
    (refused,) = [e for e in leader.did if isinstance(e, Refused) and e.tokens == (7,)]
    assert isinstance(refused.error, Overloaded) and "n6 was to vote, but is not heard" in str(refused.error)
    assert completed(leader) == [9]
    present = leader.state.configuration
    assert (present.voters, present.learners) == (("n1", "n2", "n3"), ("n4", "n5", "n6"))


def test_who_asked_for_a_change_that_waits_may_ask_for_another_one_instead() -> None:
    """Nothing of it is in the log yet. It is the token that tells who asks: others wait."""
    cluster = led(FIVE)
    leader = cluster["n1"]
    cluster.join("n7")
    leader.change(8, learners=("n6", "n7"))
    run(cluster)
    leader.change(-1, voters=("n1", "n2", "n3", "n4", "n6"), learners=("n5", "n7"))
    assert leader.state.pending_change.arriving == {"n6"}, "which does not run"
    instead = {"voters": ("n1", "n2", "n3", "n4", "n7"), "learners": ("n5", "n6")}
    assert isinstance(refusal(leader.change(9, **instead)), Overloaded)
    epoch = leader.state.configuration.epoch
    assert effects_in(leader.change(-1, **instead), Refused) == []
    run(cluster)
    assert leader.state.configuration.voters == instead["voters"]
    assert completed(leader) == [8, -1] and leader.state.configuration.epoch == epoch + 2


def test_a_change_that_is_in_the_log_is_not_replaced_by_another_one_of_who_asked_for_it() -> None:
    cluster = led(FIVE)
    leader = cluster["n1"]
    leader.change(-1, voters=("n1", "n2", "n3"))
    assert leader.state.pending_change.entered
    assert isinstance(refusal(leader.change(-1, voters=("n1", "n2", "n4"))), Overloaded)


def test_a_newcomer_that_is_heard_is_waited_for() -> None:
    """One change is in flight at a time."""
    cluster = led(FIVE)
    leader = cluster["n1"]
    leader.change(7, voters=("n1", "n2", "n3", "n4", "n5", "n6"))
    cluster.settle()
    leader.state.progress["n6"].heard_us = leader.state.now_us
    produced = leader.change(9, voters=("n1", "n2", "n3"), learners=("n4", "n5", "n6"))
    assert isinstance(refusal(produced), Overloaded) and leader.state.pending_change is not None


def test_an_eviction_that_cannot_be_does_not_end_the_waiting() -> None:
    cluster = led()
    leader = cluster["n1"]
    leader.change(7, voters=FOUR)
    cluster.settle()
    before = leader.state.pending_change
    produced = leader.change(9, voters=(), learners=())
    assert isinstance(refusal(produced), ConfigurationError)
    assert leader.state.pending_change is before


def test_a_node_that_joins_has_no_vote_in_the_term_of_the_leader_it_meets() -> None:
    """Should its disk have been emptied, it may have voted in that term already."""
    cluster = led()
    cluster.join("n4")
    cluster["n1"].change(7, learners=("n4",))
    cluster.settle()
    assert cluster["n4"].state.vote == "n1"


def test_an_uncommitted_change_is_taken_back_with_its_entry() -> None:
    """Thesis, section 4.1: the newest configuration in the log counts, committed or not."""
    cluster = led(FIVE)
    cluster.cut = {"n2", "n3", "n4", "n5"}
    cluster["n1"].change(7, voters=("n1", "n2", "n3"))
    cluster["n1"].store()
    assert cluster["n1"].state.configuration.outgoing is not None
    cluster.cut = {"n1"}
    cluster.packets.clear()
    cluster.elect("n2")
    cluster["n2"].propose(b"a")
    cluster.settle()
    cluster.cut = set()
    cluster.beat("n2")
    run(cluster)
    assert cluster["n1"].state.configuration == FIVE


# Witnesses.

WITNESSED = Configuration(epoch=1, voters=("n1", "n2"), witnesses=("n3",))


def test_a_witness_gets_commands_without_their_bodies() -> None:
    cluster = led(WITNESSED)
    cluster["n1"].propose(b"a secret")
    cluster.settle()
    assert cluster["n2"].bodies() == [b"a secret"] and cluster["n3"].bodies() == [b""]
    assert cluster["n3"].terms() == cluster["n1"].terms()
    sent = [e for e in cluster["n1"].did if isinstance(e, Send) and e.first <= e.last]
    assert all(e.hollow == (e.to == "n3") for e in sent)


def test_a_witness_counts_but_never_leads() -> None:
    cluster = led(WITNESSED)
    cluster.cut = {"n2"}
    cluster["n1"].propose(b"a")
    cluster.settle()
    assert cluster["n1"].state.commit_index == cluster["n1"].state.log.last_index
    witness = cluster["n3"]
    witness.now_us = witness.state.election_deadline_us
    witness.fire_election()
    assert witness.state.role == FOLLOWER


def test_a_witness_lets_nobody_lead_without_the_newest_commits() -> None:
    """A witness that looks at no log would elect n2 here, and what n1 and the witness committed would be lost.
    Ours keeps the term of every entry and refuses; the cluster waits until n1 is back."""
    cluster = led(WITNESSED)
    cluster.cut = {"n2"}
    cluster["n1"].propose(b"newest")
    cluster.settle()
    assert cluster["n1"].state.commit_index == cluster["n1"].state.log.last_index
    cluster["n1"].crash()
    cluster.cut = set()
    for _ in range(3):
        cluster.elect("n2")
        assert cluster["n2"].state.role != LEADER
    cluster["n1"].start()
    cluster.elect("n1")
    run(cluster)
    assert b"newest" in cluster["n2"].bodies()


def test_a_naive_witness_loses_the_newest_commits() -> None:
    """The negative control of the test above: this witness votes without looking at the log."""
    cluster = led(WITNESSED)
    cluster.cut = {"n2"}
    cluster["n1"].propose(b"newest")
    cluster.settle()
    index = cluster["n1"].state.log.last_index
    assert cluster["n1"].state.commit_index == index
    cluster["n1"].crash()
    cluster.cut = {"n3"}
    cluster.campaign("n2")
    for pre in (True, False):
        cluster["n2"].store()
        cluster["n2"].receive("n3", VoteReply(cluster["n2"].state.term + pre, True, pre))
    assert cluster["n2"].state.role == LEADER
    assert b"newest" not in cluster["n2"].bodies(), "another entry stands where a committed one was"


def test_a_witness_becomes_nothing_else_and_nobody_becomes_a_witness() -> None:
    """Its state would be empty, or grow old unseen."""
    cluster = led(WITNESSED)
    for parts in ({"voters": ("n1", "n2", "n3"), "witnesses": ()}, {"voters": ("n1",), "witnesses": ("n2", "n3")}):
        error = refusal(cluster["n1"].change(7, **parts))
        assert isinstance(error, ConfigurationError) and "empty data folder" in str(error)


# Handing leadership over.


def test_a_transfer_waits_for_the_targets_log_then_lets_it_stand() -> None:
    """Thesis, section 3.10."""
    cluster = led()
    cluster.cut = {"n2"}
    cluster["n1"].propose(b"a")
    cluster.settle()
    cluster.cut = set()
    produced = cluster["n1"].transfer(7, "n2")
    assert not messages_in(produced, TimeoutNow)
    cluster.beat("n1")
    cluster.settle()
    assert cluster["n2"].state.role == LEADER and b"a" in cluster["n2"].bodies()
    assert completed(cluster["n1"]) == [7]


def test_others_vote_for_the_target_although_they_hear_the_leader() -> None:
    """Thesis, section 4.2.3: the exception to it."""
    cluster = led()
    cluster.beat("n1")
    cluster.settle()
    before = cluster["n1"].state.term
    cluster["n1"].transfer(7, "n3")
    cluster.settle()
    assert cluster["n3"].state.role == LEADER and cluster["n3"].state.term == before + 1


def test_proposals_are_refused_definitely_while_leadership_moves() -> None:
    cluster = led()
    cluster.cut = {"n2"}
    cluster["n1"].propose(b"a")
    cluster.settle()
    cluster["n1"].transfer(7, "n2")
    assert isinstance(refusal(cluster["n1"].propose(b"b")), Overloaded)


def test_a_transfer_that_takes_an_election_timeout_is_given_up() -> None:
    cluster = led()
    cluster["n1"].propose(b"a")
    cluster.cut = {"n2"}
    cluster.settle()
    cluster["n1"].transfer(7, "n2")
    for _ in range(11):
        cluster.beat("n1")
        cluster.settle()
    (refused,) = effects_in(cluster["n1"].did, Refused)
    assert refused.tokens == (7,) and cluster["n1"].state.role == LEADER
    cluster["n1"].propose(b"b")
    cluster.settle()
    assert cluster["n1"].state.commit_index == cluster["n1"].state.log.last_index


def test_only_a_candidate_can_be_handed_leadership() -> None:
    cluster = led(replace(THREE, learners=("n4",), priorities=(("n3", 0),)))
    for target in ("n3", "n4", "nobody"):
        error = refusal(cluster["n1"].transfer(7, target))
        assert isinstance(error, ConfigurationError) and "n2" in str(error)


def test_an_order_to_stand_from_anybody_but_the_leader_is_ignored() -> None:
    cluster = led()
    follower = cluster["n2"]
    follower.receive("n3", TimeoutNow(follower.state.term))
    follower.receive("n1", TimeoutNow(follower.state.term - 1))
    assert follower.state.role == FOLLOWER


def test_a_node_of_priority_zero_never_stands() -> None:
    cluster = Cluster(replace(THREE, priorities=(("n3", 0),)))
    cluster.campaign("n3")
    cluster["n3"].fire_election()
    cluster.settle()
    assert cluster["n3"].state.role == FOLLOWER


def test_leadership_moves_to_the_preferred_node_once_it_has_kept_up() -> None:
    """Thesis, section 3.10 names the use."""
    cluster = led(replace(THREE, priorities=(("n3", 5),)))
    for _ in range(25):
        cluster.beat("n1")
        cluster.settle()
        if cluster["n3"].state.role == LEADER:
            break
    assert cluster["n3"].state.role == LEADER
