"""Who is out, why and since when: for people, and for programs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from console.test_inquiry import status as status_of
from quorum.console.explain_committee import policy_lines, policy_of
from quorum.console.participation_told import out_told, participation_warnings
from quorum.console.tolerance import Tolerance
from quorum.runtime.status import Evicted

NAMES = ("n1", "n2", "n4", "n5")
SLOW = Evicted("n3", 2, "slow", 1_700_000_000_000_000, 6_000_000)
UNKNOWN = Evicted("n3", 2, "operators", 1_700_000_000_000_000)


def answers(*evicted: tuple[Evicted, ...], **other: object) -> dict:
    adaptive = {"model": "byzantine", "policy": "adaptive", "epoch": 2, "faults": 1}
    return {
        name: replace(status_of(name), voters=NAMES, evicted=told, **adaptive | other)
        for name, told in zip(NAMES, evicted, strict=False)
    }


def test_the_reason_that_most_members_know_is_told_with_who_says_so():
    (out,) = out_told(answers((SLOW,), (UNKNOWN,), (SLOW,)))
    assert (out.node, out.reason, out.told_by) == ("n3", "slow", ("n1", "n4"))
    assert out.line() == (
        "n3 is out since epoch 2 (2023-11-14 22:13:20 UTC): it was slow or gone; "
        "it is well again, and returns in 6 s"
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("lied", "it is proven to lie; only its operators bring it back"),
        ("operators", "its operators left it out; only its operators bring it back"),
        ("slow", "it was slow or gone; it returns once it runs and shows that it is well"),
    ],
)
def test_every_reason_says_what_brings_the_node_back(reason: str, said: str):
    (out,) = out_told(answers((replace(SLOW, reason=reason, returns_in_us=None),)))
    assert said in out.line()


def test_members_of_an_older_epoch_are_not_asked_who_is_out():
    older = answers((SLOW,))
    newer = {"n2": replace(status_of("n2"), voters=NAMES, model="byzantine", policy="adaptive", epoch=3)}
    assert out_told(older | newer) == ()


def test_warnings_name_who_stays_who_is_complained_of_and_that_nobody_is_left_to_spare():
    found = participation_warnings(answers((), (), refused="n4 was to leave", complaints={"n5": ("n1",)}))
    assert found[:2] == ["n4 was to leave", "n1 complain of n5"]
    assert "no adaptivity is left" in found[2]
    assert participation_warnings(answers((), policy="fixed")) == []


@pytest.mark.parametrize(
    ("nodes", "faults", "policy", "said"),
    [
        (4, 1, "fixed", "no adaptivity is left"),
        (4, 1, "adaptive", "no adaptivity is left"),
        (5, 1, "adaptive", "who lies or is slow loses its vote, 1 at most (floor 3T+1 = 4)"),
        (6, 1, "fixed", "nobody loses its vote by itself (N is 2 above the floor 3T+1 = 4)"),
    ],
)
def test_up_says_what_the_policy_may_do(nodes: int, faults: int, policy: str, said: str):
    assert said in Tolerance(nodes, faults, 4, True).adaptivity(policy)
    assert Tolerance(nodes, faults, 4, False).adaptivity(policy) == ""


def test_policy_show_says_who_has_more_votes_and_what_was_made_of_the_network():
    quorums = "threshold(4, n1=2, n2=2, n4=1, n5=1)"
    facts = policy_of(answers((), (), writes=quorums, reads=quorums, weighing="no other weights gain."))
    decides = facts["decides"]
    assert (decides.total, decides.threshold) == (6, 4)
    assert facts["weighing"] == {"n1": "no other weights gain.", "n2": "no other weights gain."}
    head, votes, *rest = policy_lines(facts)
    assert "quorum 4 of 6 votes (2 to 3 nodes)" in head
    assert votes == "votes: n1 (2 votes), n2 (2 votes), n4, n5"
    assert rest[0] == "weights follow the network, n1, n2 say: no other weights gain."


def test_what_a_member_says_of_its_weights_moves_no_cursor():
    (line,) = (
        each for each in policy_lines(policy_of(answers((), weighing="\x1b[2Jall is well."))) if "says" in each
    )
    assert line == "weights follow the network, n1 says: \\x1b[2Jall is well."
