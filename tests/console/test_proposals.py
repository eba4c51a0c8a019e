"""What operators have approved of is seen by the others before it is decided."""

from __future__ import annotations

import pytest

from console.test_committee_shown import LINKS, asked, committee  # noqa: F401
from console.test_inquiry import status
from console.test_need import FOUR, member
from quorum.console.proposals import SHOWN_MAX, proposals_of
from quorum.runtime.status import Proposed

FIVE = (*FOUR, "n5")


def proposed(*approved: str, epoch: int = 2, faults: int = 1) -> Proposed:
    return Proposed(epoch, FIVE, faults, approved)


@pytest.fixture
def told():
    return committee(
        n1=member("n1", *LINKS["n1"], role="primary", proposed=(proposed("n1"),)),
        n2=member("n2", *LINKS["n2"], proposed=(proposed("n1", "n3"), proposed("n2", faults=0))),
    )


def test_status_shows_what_is_proposed_and_who_approved(told, run, run_json, asked):  # noqa: F811
    at = asked(told)
    said = run("status", *at).stdout
    assert "proposed for epoch 2: n1, n2, n3, n4, n5, T 1; approved by n1, n3 (2 of 3 needed)" in said
    assert "quorum approve n1 n2 n3 n4 n5 --faults 1" in said
    first, second = run_json("status", *at)[1]["proposed"]
    assert (first["members"], first["faults"], first["approved"]) == (list(FIVE), 1, ["n1", "n3"])
    assert first["told_by"] == ["n1", "n2"] and (second["faults"], second["approved"]) == (0, ["n2"])


def test_what_is_over_is_not_shown_and_strangers_do_not_count(told):
    over = told | {"n3": member("n3", *LINKS["n3"], proposed=(proposed("n1", epoch=1), proposed("n9")))}
    assert [each.approved for each in proposals_of(over)] == [("n1", "n3"), ("n2",)]
    assert proposals_of({}) == ()


def test_a_liar_that_makes_up_many_committees_fills_no_screen(told):
    many = tuple(Proposed(2, (f"x{number}",), 0, ("n4",)) for number in range(50))
    found = proposals_of(told | {"n4": member("n4", *LINKS["n4"], proposed=many, epoch=10**9)})
    assert len(found) == SHOWN_MAX and found[0].approved == ("n1", "n3")


def test_members_that_only_crash_propose_nothing(run_json, asked):  # noqa: F811
    _, seen = run_json("status", *asked({node: status(node) for node in ("n1", "n2", "n3")}))
    assert seen["proposed"] == []
