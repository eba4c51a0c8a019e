"""Why a member left: evidence comes before complaints, and nothing known means that operators did it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from quorum.certificate.committee import Committee, Member
from quorum.certificate.complaint import Complaint
from quorum.membership.evictions import LIED, OPERATORS, SLOW, Evictions, left_alone
from quorum.membership.weighing import with_members


def committee(epoch: int, *names: str) -> Committee:
    return Committee("c", epoch, tuple(Member(name, f"{name} key".encode()) for name in names), 1)


FIVE = committee(1, "n1", "n2", "n3", "n4", "n5")
FOUR = committee(2, "n1", "n2", "n3", "n4")
SAID = {"n5": (Complaint("n1", "n5", 1, 0, 1, True, b""), Complaint("n2", "n5", 1, 0, 1, True, b""))}


def test_the_reason_is_a_lie_where_there_is_evidence_else_slowness_where_t_plus_1_complained():
    assert Evictions().follow(FIVE, FOUR, SAID, ["n5"], 7)[0].reason == LIED
    (slow,) = Evictions().follow(FIVE, FOUR, SAID, [], 7)
    assert (slow.reason, slow.epoch, slow.since_us, slow.complaints) == (SLOW, 2, 7, SAID["n5"])
    assert Evictions().follow(FIVE, FOUR, {}, [], 7)[0].reason == OPERATORS


@pytest.mark.parametrize(
    "after",
    [
        committee(2, "n1", "n2", "n3", "n4", "n6"),
        committee(2, "n1", "n2", "n3"),
        replace(FOUR, faults=0),
        replace(FOUR, quorums="choose(3, n1, n2, n3, n4)"),
        replace(FOUR, members=(replace(FOUR.members[0], weight=2), *FOUR.members[1:])),
    ],
    ids=["in place of another", "two at once", "another T", "other quorums", "other weights"],
)
def test_whoever_left_in_a_change_that_members_never_make_was_left_out_by_operators(after: Committee):
    """Complaints of it stand, and would let it come back by itself against their will."""
    left = {each.node: each for each in Evictions().follow(FIVE, after, SAID, [], 7)}
    assert (left["n5"].reason, left["n5"].complaints) == (OPERATORS, ())
    assert not left_alone(FIVE, after) and left_alone(FIVE, FOUR)


def test_weights_that_must_be_equal_again_because_one_left_are_part_of_that():
    heavy = tuple(replace(member, weight=2 if member.node in ("n1", "n2") else 1) for member in FIVE.members)
    before = replace(FIVE, members=heavy, primary="n5")
    after = with_members(before, [member for member in heavy if member.node != "n5"])
    assert (after.primary, {member.weight for member in after.members}) == ("", {1})
    assert left_alone(before, after) and not left_alone(before, replace(after, primary="n1"))


def test_whoever_joins_again_is_out_no_more():
    evictions = Evictions()
    evictions.follow(FIVE, FOUR, SAID, [], 7)
    assert evictions.of("n5") is not None
    evictions.follow(FOUR, committee(3, "n1", "n2", "n3", "n4", "n5"), {}, [], 8)
    assert evictions.all() == ()


def test_what_is_known_is_taken_up_by_the_next_life():
    evictions = Evictions()
    evictions.follow(FIVE, FOUR, SAID, [], 7)
    assert Evictions(evictions.all()).all() == evictions.all()
