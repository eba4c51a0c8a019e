"""What is looked at before members are told of an approval: names, T, and whether a newcomer could act."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from certificate.committees import committee_of
from console.test_inquiry import status
from quorum.console import approval_checks
from quorum.console.approval_asked import tell_all
from quorum.console.approval_checks import (
    acts_already,
    approving,
    are_quorum,
    check_faults,
    check_named,
    check_newcomers,
    cut_off,
    lack_of,
    needed,
)
from quorum.console.inquiry import Answers, Silence
from quorum.console.present import Present
from quorum.errors import ConfigurationError
from quorum.runtime.place import Place

FOUR = ("n1", "n2", "n3", "n4")
FIVE = (*FOUR, "n5")
PLACE = Place({node: f"127.0.0.1:{7000 + i}" for i, node in enumerate(FIVE)}, "c", None)


def present(epoch: int = 1) -> Present:
    committee = committee_of(4, epoch=epoch)
    writes = str(committee.system.writes)
    return Present(epoch, committee.nodes, committee.faults, writes, committee.membership_hash.hex())


def answers(connected: tuple[str, ...] = FIVE, applied: int = 1_000, **approvals: tuple[str, ...]) -> Answers:
    """Four members at block 1000, and n5 after `applied`."""
    name = committee_of(5, epoch=2).membership_hash.hex()
    found: Answers = {
        node: replace(
            status(node),
            connected=connected,
            commit_index=1_000,
            applied_index=1_000,
            approvals={name: approvals[node]} if node in approvals else {},
        )
        for node in FOUR
    }
    return found | {"n5": replace(status("n5"), applied_index=applied)}


def test_a_member_named_twice_and_an_unknown_node_to_tell_are_refused():
    check_named(FOUR, ("n1",), FIVE)
    with pytest.raises(ConfigurationError, match="names n3 twice"):
        check_named(("n1", "n2", "n3", "n3"), (), FIVE)
    with pytest.raises(ConfigurationError, match=r"n9 was to be told .* Name one of n1, n2, n3, n4, n5"):
        check_named(FOUR, ("n9",), FIVE)


def test_fewer_liars_are_tolerated_only_where_that_is_said():
    lower = committee_of(3, 0, epoch=2)
    with pytest.raises(ConfigurationError, match="Name 4 members or more, or accept fewer liars by --faults 0"):
        check_faults(present(), lower, None)
    check_faults(present(), lower, 0)
    check_faults(present(), committee_of(5, epoch=2), None)


def test_a_committee_acts_already_if_members_keys_and_faults_are_the_same():
    assert acts_already(present(2), committee_of(4, epoch=3), "")
    assert not acts_already(present(2), committee_of(4, 0, epoch=3), "")
    assert not acts_already(present(2), committee_of(5, epoch=3), "")


def test_a_newcomer_must_be_reached_and_in_step():
    assert lack_of(PLACE, answers(), present(), "n5") == ""
    assert lack_of(PLACE, answers(applied=950), present(), "n5") == "", "the rest is on its way"
    assert "lacks 1000 blocks" in lack_of(PLACE, answers(applied=0), present(), "n5")
    assert cut_off(answers(FOUR), present(), "n5") == "n1, n2, n3, n4 have no link to it"
    assert cut_off(answers(), present(), "n5") == ""
    silent = answers() | {"n5": Silence("n5", "connection refused")}
    assert "does not answer at 127.0.0.1:7004" in lack_of(PLACE, silent, present(), "n5")
    discreet = answers() | {"n5": Silence("n5", "tells only an admin", True)}
    assert lack_of(PLACE, discreet, present(), "n5") == "", "statuses do not tell"
    one_liar = answers()
    one_liar["n1"] = replace(one_liar["n1"], connected=(), commit_index=10**12)
    assert lack_of(PLACE, one_liar, present(), "n5") == cut_off(one_liar, present(), "n5") == ""


def test_a_newcomer_out_of_reach_is_refused_with_what_to_do(monkeypatch):
    async def asked(place: object) -> Answers:
        return answers(FOUR)

    monkeypatch.setattr(approval_checks, "ask_all", asked)
    with pytest.raises(ConfigurationError, match=r"n5 was to be in the next committee, but n1.*by --force"):
        asyncio.run(check_newcomers(PLACE, present(), committee_of(5, epoch=2), 0.01))
    asyncio.run(check_newcomers(PLACE, present(), committee_of(4, epoch=2), 0.01))


def test_approvals_are_counted_by_member_until_they_are_a_quorum():
    wanted = committee_of(5, epoch=2)
    known = approving(answers(n1=("n1", "n3"), n3=("n3", "n9")), present(), wanted)
    assert known == ("n1", "n3") and not are_quorum(present(), known)
    assert are_quorum(present(), ("n1", "n2", "n3")) and needed(present()) == 3
    assert needed(present()._replace(writes="n1 & n2 & n3")) is None


def test_a_member_that_does_not_answer_is_told_by_name_and_address(free_port):
    place = Place({"n4": f"127.0.0.1:{free_port}"}, "c", None)
    wanted = committee_of(5, epoch=2)
    word = asyncio.run(tell_all(place, ("n4",), wanted, None, 5.0))
    told = word.refused["n4"]
    assert told.startswith(f"n4 does not answer at 127.0.0.1:{free_port} (connection refused). Start it")
    assert "Errno" not in told and word.silent == ("n4",)
    word = asyncio.run(tell_all(place, ("n5",), wanted, present(), 5.0))
    assert "no vote in epoch 1" in word.refused["n5"] and word.silent == ()


@pytest.fixture
def free_port() -> int:
    """A port of loopback on which nobody listens."""
    from quorum.runtime.setup import free_ports

    return free_ports(1)[0]
