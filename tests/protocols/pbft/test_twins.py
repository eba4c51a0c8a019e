"""Twins of one member: a sample of all scenarios, which `python -m tests.protocols.pbft.twins_campaign` plays.

Row 4 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

import json
from itertools import product
from unittest.mock import patch

import pytest

from protocols.pbft.twins_campaign import main
from quorum.certificate import committee as committee_module
from quorum.model import NodeId
from quorum.protocols.pbft import replica
from quorum.protocols.pbft.replica import PbftReplica
from quorum.sim.twins import (
    MEMBERS,
    PARTITIONS,
    SAMPLED,
    count,
    described,
    ending_of,
    enumerated,
    play,
    scenario_of,
    swapped,
)
from quorum.systems.expression import parse
from quorum.systems.system import QuorumSystem

TWO_ROUNDS = len(MEMBERS) * len(PARTITIONS) ** 2
QUICK = [
    *range(0, TWO_ROUNDS, 16),
    *range(TWO_ROUNDS, len(enumerated()), 200),
    *range(len(enumerated()), count(), 400),
]
LOTS = 8
"""The tests of a sample, so that workers share them."""


@pytest.mark.parametrize(
    "lot", [lot if lot % 4 == 0 else pytest.param(lot, marks=pytest.mark.slow) for lot in range(LOTS)]
)
def test_row_04_twins_of_one_member_split_no_decision(lot: int) -> None:
    """Bano et al. (2021), section 4."""
    endings = [ending_of(number) for number in QUICK[lot::LOTS]]
    assert [each for each in endings if each.failure] == []
    assert all(each.blocks > 0 for each in endings)
    assert any(each.is_caught for each in endings)


@pytest.mark.slow
@pytest.mark.parametrize("lot", range(LOTS))
def test_row_04_twins_of_one_member_split_no_decision_in_any_two_rounds(lot: int) -> None:
    assert [each for each in map(ending_of, range(lot, TWO_ROUNDS, LOTS)) if each.failure] == []


@pytest.mark.slow
@pytest.mark.parametrize("lot", range(LOTS))
def test_row_04_twins_of_one_member_split_no_decision_in_longer_runs(lot: int) -> None:
    assert [each for each in map(ending_of, range(TWO_ROUNDS + lot, count(), 61 * LOTS)) if each.failure] == []


def quorums_of_two(nodes: tuple[NodeId, ...], faults: int) -> QuorumSystem:
    decide = parse(f"choose({len(nodes) // 2}, {', '.join(nodes)})")
    return QuorumSystem(decide, decide)


def test_row_04_twins_split_a_decision_where_quorums_share_only_the_member_that_has_one() -> None:
    """The negative control: two of four members are a quorum, so n1 with n2 and its twin with n3 are two."""
    with (
        patch.object(committee_module, "byzantine", quorums_of_two),
        patch.object(replica, "check_committee", lambda committee: None),
    ):
        failures = [ending_of(number).failure for number in range(0, TWO_ROUNDS // 4, 7)]
    assert any("differs" in failure for failure in failures)


def test_row_04_a_copy_that_meets_what_its_twin_ordered_stops_alone() -> None:
    """It is given a block of its own view that it never made, as no honest member can be: invariants break."""
    ending = ending_of(4672)
    assert (ending.failure, ending.stops > 0, ending.is_caught) == ("", True, True)


@pytest.mark.parametrize("number", [13013, 24738])
def test_row_04_who_was_led_back_from_a_copys_chain_prepares_no_other_block_there(number: int) -> None:
    """It learns that another block is decided, is passed on the next one, and has prepared one at that place."""
    assert ending_of(number).failure == ""


def test_row_04_twins_find_a_replica_that_raises() -> None:
    """Another: what stops a node is a failure as well."""
    with patch.object(PbftReplica, "step", lambda self, event: 1 // 0):
        assert ending_of(0).failure.startswith("ZeroDivisionError")


def test_the_scenarios_of_three_rounds_are_all_up_to_the_names_of_the_copies() -> None:
    three = {each for each in enumerated() if len(each[1]) == 3}
    for member in MEMBERS:
        assert all(swapped(swapped(split, member), member) == split for split in range(len(PARTITIONS)))
        for splits in product(range(len(PARTITIONS)), repeat=3):
            mirrored = tuple(swapped(split, member) for split in splits)
            assert ((member, splits) in three) + ((member, mirrored) in three) == 1 + (splits == mirrored)
    assert len(set(enumerated())) == len(enumerated()) == count() - SAMPLED


def test_the_sampled_scenarios_have_four_to_seven_rounds_and_are_the_same_each_time() -> None:
    drawn = [scenario_of(number) for number in range(len(enumerated()), len(enumerated()) + 400)]
    assert {len(each.splits) for each in drawn} == {4, 5, 6, 7}
    assert {each.member for each in drawn} == set(MEMBERS)
    assert {each.instant_disks for each in drawn} == {False, True}
    assert drawn == [scenario_of(each.number) for each in drawn]
    assert play(drawn[0]).log == play(drawn[0]).log


def test_a_failure_of_twins_is_told_with_its_scenario_and_the_command_that_plays_it_again(capsys) -> None:
    with patch.object(PbftReplica, "step", lambda self, event: 1 // 0):
        assert main(["--first", "300", "--scenarios", "1", "--workers", "1", "--json"]) == 1
    said = capsys.readouterr()
    (failure,) = json.loads(said.out)["failures"]
    assert failure["command"] == "python -m tests.protocols.pbft.twins_campaign --first 300 --scenarios 1"
    assert failure["scenario"] == described(scenario_of(300)) and failure["scenario"] in said.err
    assert failure["scenario"].startswith("twin of n2")
    assert main(["--first", "300", "--scenarios", "2", "--workers", "1"]) == 0
    assert "2 scenarios" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given", [["--first", "-1"], ["--scenarios", "0"], ["--first", "10000000"], ["--workers", "0"]]
)
def test_scenarios_that_are_not_there_are_refused(given: list[str], capsys) -> None:
    with pytest.raises(SystemExit):
        main(given)
    assert "numbered 0 to 30239" in capsys.readouterr().err
