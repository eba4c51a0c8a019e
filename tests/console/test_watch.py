"""What a standing look at all nodes tells of those who vote."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec

from console.test_inquiry import status
from quorum.console.inquiry import Silence
from quorum.console.votes_told import Votes, moved, votes_of
from quorum.console.watch import Watch
from quorum.membership.health import SPARE, UNREACHABLE
from quorum.runtime.status import NodeStatus, SeatTold

NODES = ("n1", "n2", "n3", "n4", "n5")


def leader(epoch: int, *voters: str, **changed) -> NodeStatus:
    writes = f"majority({', '.join(voters)})"
    return status("n1", role="leader", epoch=epoch, members=NODES, voters=voters, writes=writes, **changed)


def watching() -> tuple[Watch, list[str]]:
    said: list[str] = []
    place = SimpleNamespace(endpoints=dict.fromkeys(NODES))
    return Watch(place, lambda event: said.append(event.text)), said


def seats(**reasons: str) -> dict[str, SeatTold]:
    return {node: SeatTold(reason, 0, 0) for node, reason in reasons.items()}


def test_the_quorum_is_that_of_the_present_committee():
    assert votes_of(leader(1, *NODES)) == Votes(1, NODES, 3)
    assert votes_of(leader(3, "n1", "n3", "n2")) == Votes(3, ("n1", "n2", "n3"), 2)


def test_with_weights_the_quorum_is_a_weight():
    weighted = leader(1, "n1", "n2", "n3")
    votes = votes_of(msgspec.structs.replace(weighted, writes="threshold(3, n1=2, n2=1, n3=1)"))
    assert votes.threshold() == "quorum 3 of weight 4"
    assert votes_of(msgspec.structs.replace(weighted, writes="n1*n2 + n2*n3")).threshold() == "quorum -"


def test_who_is_not_heard_is_marked():
    votes = votes_of(leader(5, "n1", "n2", "n3"))
    assert votes.line(("n1", "n3")) == "epoch 5: n1 n2? n3 vote, quorum 2"


def test_who_lost_its_vote_is_named_with_the_reason_and_who_has_it_again():
    before = votes_of(leader(1, *NODES))
    now = leader(3, "n1", "n2", "n3", seats=seats(n4=UNREACHABLE, n5=SPARE))
    assert moved(before, now) == (
        "n4 is put out of the vote: unreachable; n5 stands by, to keep it odd; 3 vote now, quorum 2"
    )
    assert moved(votes_of(now), leader(5, *NODES)) == "n4 votes again; n5 votes again; 5 vote now, quorum 3"
    assert moved(before, leader(2, *NODES)) == ""
    assert moved(before, leader(3, "n1", "n2", "n3", "n4")) == "n5 votes no more; 4 vote now, quorum 3"


def test_a_change_of_the_voters_is_told_once_and_an_old_leader_takes_nothing_back():
    watch, said = watching()
    watch.take("n1", leader(1, *NODES))
    assert (watch.votes.voters, said) == (NODES, ["n1 leads in term 3"])
    smaller = leader(3, "n1", "n2", "n3", seats=seats(n4=UNREACHABLE, n5=SPARE))
    watch.take("n1", smaller)
    watch.take("n1", smaller)
    watch.take("n1", leader(1, *NODES))
    assert watch.votes.epoch == 3 and len(said) == 2 and said[1].startswith("n4 is put out of the vote")


def test_a_change_that_is_under_way_is_not_told():
    watch, said = watching()
    watch.take("n1", leader(1, *NODES))
    watch.take("n1", leader(2, "n1", "n2", "n3", outgoing=("n4", "n5")))
    assert watch.votes.epoch == 1 and len(said) == 1


def test_an_event_says_who_votes_and_who_of_them_is_heard():
    watch, _ = watching()
    watch.take("n1", leader(1, *NODES, connected=("n2", "n3", "n4")))
    assert watch.events[-1].votes.line(watch.events[-1].heard) == "epoch 1: n1 n2 n3 n4 n5? vote, quorum 3"
    watch.forget("n2", "killed")
    watch.tell("kill -9 n2")
    assert watch.events[-1].heard == ("n1", "n3", "n4")
    watch.take("n1", Silence("n1", "killed"))
    watch.take("n3", status("n3"))
    watch.tell("nobody leads")
    assert watch.events[-1].heard == ("n3",), "without a leader, who answers"
