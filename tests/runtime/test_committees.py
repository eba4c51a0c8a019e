"""Which committees a client knows: nobody's word counts, only the signatures of the committee before."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from certificate.committees import committee_of
from certificate.test_epochs import change
from quorum.certificate.epochs import EpochChange
from quorum.protocols.pbft.epochs import Epochs
from quorum.runtime.committees import GIVEN_MAX, IDLE_TICKS, Addresses, Committees, changes_after
from quorum.runtime.messages import EpochsReply, EpochsRequest

COMMITTEES = [committee_of(4, epoch=epoch, first=epoch) for epoch in range(1, 40)]
FIRST = COMMITTEES[0]
CHAIN = tuple(change(old, new) for old, new in itertools.pairwise(COMMITTEES))


class Asking:
    """A client's knowledge, and the newest question to each node."""

    def __init__(self, *nodes: str) -> None:
        self.questions: dict[str, EpochsRequest] = {}
        self.count = 0
        self.known = Committees(FIRST, self.ask)
        for node in nodes:
            self.known.connected(node)

    def ask(self, node: str, question: EpochsRequest) -> None:
        self.questions[node] = question
        self.count += 1

    def tell(self, node: str, *changes: EpochChange) -> bool:
        return self.known.received(node, EpochsReply(self.questions[node].request, changes, ()))


def test_a_chain_is_followed_step_by_step_to_its_end():
    asking = Asking("n9")
    epochs = Epochs(FIRST)
    for each in CHAIN:
        epochs.append(each)
    while asking.tell("n9", *changes_after(epochs, asking.questions["n9"].epoch)):
        pass
    assert asking.known.newest == COMMITTEES[-1]


@pytest.mark.parametrize(
    "wrong",
    [
        change(FIRST, COMMITTEES[1], FIRST.nodes[:2]),
        replace(CHAIN[0], committee=committee_of(5, epoch=2)),
        CHAIN[1],
        change(FIRST, replace(COMMITTEES[1], cluster="other")),
    ],
    ids=["too few signed", "another committee", "a step is left out", "of another cluster"],
)
def test_a_change_without_a_quorum_of_the_committee_before_is_not_believed_and_its_teller_asked_no_more(wrong):
    asking = Asking("n1", "n2")
    assert not asking.tell("n1", wrong)
    assert asking.known.newest == FIRST
    count = asking.count
    asking.known.tick(is_waiting=True)
    assert asking.count == count + 1 and asking.tell("n2", CHAIN[0])


def test_an_old_committee_whose_members_all_lie_later_cannot_lead_away_who_knows_the_next():
    asking = Asking("n1", "n2")
    assert asking.tell("n1", CHAIN[0])
    assert not asking.tell("n2", change(FIRST, committee_of(4, epoch=2, first=20)))
    assert asking.known.newest == COMMITTEES[1]


def test_more_changes_than_a_message_may_hold_are_refused():
    asking = Asking("n1")
    assert not asking.tell("n1", *CHAIN[: GIVEN_MAX + 1])
    assert asking.known.newest == FIRST


def test_only_the_answer_to_the_question_asked_last_counts_and_once():
    asking = Asking("n1", "n2")
    old = asking.questions["n1"]
    asking.known.tick(is_waiting=True)
    assert not asking.known.received("n1", EpochsReply(old.request, CHAIN[:1], ()))
    assert not asking.known.received("stranger", EpochsReply(1, CHAIN[:1], ()))
    assert asking.known.newest == FIRST and asking.tell("n1", CHAIN[0])


def test_it_is_settled_by_more_members_than_may_lie_and_open_again_with_a_later_committee():
    asking = Asking("n1", "n2", "n3", "n8")
    asking.tell("n1")
    asking.tell("n8")
    assert not asking.known.is_settled
    asking.tell("n2")
    assert asking.known.is_settled
    asking.tell("n3", CHAIN[0])
    assert not asking.known.is_settled


def test_who_knows_all_asks_one_node_now_and_then():
    asking = Asking("n1", "n2")
    asking.tell("n1")
    asking.tell("n2")
    count = asking.count
    for _ in range(2 * IDLE_TICKS):
        asking.known.tick(is_waiting=False)
    assert asking.count == count + 2


def test_requests_are_vouched_for_by_one_committee_since_they_were_sent():
    asking = Asking("n1")
    asking.tell("n1", *CHAIN[:2])
    assert asking.known.vouch({"n1", "n2"}, since=1)
    assert not asking.known.vouch({"n1", "n2"}, since=2)
    assert not asking.known.vouch({"n1", "n6"}, since=1), "the first and the third committee"
    assert asking.known.vouch({"n5", "n6"}, since=2)


@given(st.lists(st.tuples(st.sampled_from(("n1", "n2", "n3")), st.sampled_from(CHAIN[:6])), max_size=20))
def test_whatever_is_told_the_newest_is_the_end_of_the_one_chain(told):
    asking = Asking("n1", "n2", "n3")
    for node, each in told:
        asking.tell(node, each) if node in asking.questions else None
        assert asking.known.newest in COMMITTEES
        asking.known.tick(is_waiting=True)


def test_told_addresses_are_tried_after_the_given_one_and_only_where_nodes_prove_who_they_are():
    members = frozenset(("n1", "n5"))
    for follows, expected in ((True, ("a:2", "a:3")), (False, ())):
        addresses = Addresses([("n1", "a:1")], follows)
        addresses.learn("n1", [("n5", "a:2"), ("n9", "a:9"), ("n1", "a:7")], members)
        addresses.learn("n2", [("n5", "a:3"), ("n1", "a:1")], members)
        addresses.learn("n2", [("n5", "a:3")], members)
        addresses.learn("n3", [("n5", "a:99999"), ("n5", "no address"), ("n5", ":7")], members)
        assert addresses.of("n5") == expected and addresses.of("n9") == ()
        assert addresses.of("n1") == (("a:1", "a:7") if follows else ("a:1",))
    addresses.keep(frozenset())
    assert addresses.of("n5") == ()
