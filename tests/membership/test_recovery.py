"""Incarnations of a cluster: their names, what keeps them apart, and how one begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.entry import decode_entry
from quorum.errors import ConfigurationError
from quorum.membership.recovery import (
    EPOCH_GAP,
    configuration_after,
    difference,
    faults_borne,
    incarnation_here,
    number_of,
    recovery_entry,
)
from quorum.model import Configuration, Recovery, Seat, decode_configuration, encode_configuration, nodes_needed
from quorum.systems.build import build

PRESENT = Configuration(
    epoch=7,
    voters=("n1", "n2", "n3", "n4"),
    learners=("n6",),
    witnesses=("n5",),
    reads="choose(3, n1, n2, n3, n4, n5)",
    weights=(),
    outgoing=Configuration(epoch=6, voters=("n1", "n2", "n3")),
    addresses=(("n1", "a:1"), ("n6", "a:6")),
    priorities=(("n1", 0),),
)
FIRST = Recovery(1, "a" * 16, "n1", 20, 3, ("n2", "n3", "n4", "n5", "n6"), "root@host", 1_000_000)
OTHER = Recovery(1, "b" * 16, "n2", 19, 3, ("n1", "n3", "n4", "n5", "n6"), "root@host", 1_000_000)
SECOND = Recovery(2, "c" * 16, "n1", 90, 5, (), "root@host", 2_000_000)


def test_the_survivor_alone_decides_in_the_new_incarnation_also_after_half_a_change():
    after = configuration_after(PRESENT, FIRST)
    system = build(after)
    assert after.members == ("n1",) and after.outgoing is None and after.recovered == FIRST
    assert after.candidates == ("n1",), "a priority of 0 would leave it without a leader"
    assert system.is_read_quorum({"n1"}) and system.is_write_quorum({"n1"})
    assert after.addresses == (("n1", "a:1"),)


def test_a_policy_goes_on_but_for_one_that_the_survivor_alone_cannot_have():
    seats = (Seat("n2", "silent"), Seat("n6", "held"))
    adaptive = configuration_after(replace(PRESENT, policy="adaptive", floor=5, seats=seats), FIRST)
    assert (adaptive.policy, adaptive.floor, adaptive.seats) == ("adaptive", 5, ())
    committee = configuration_after(replace(PRESENT, policy="participation", faults=2), FIRST)
    assert (committee.policy, committee.faults) == ("adaptive", 2)


def test_t_stays_what_was_agreed_or_becomes_what_is_asked_for_and_is_borne_as_members_come():
    """Else a cluster that has its members again would tolerate nothing until somebody sets it."""
    present = replace(PRESENT, faults=2)
    assert configuration_after(present, FIRST).faults == 2
    assert [configuration_after(present, FIRST, asked).faults for asked in (0, 1, 2)] == [0, 1, 2]
    with pytest.raises(ConfigurationError, match=r"2T\+1 = 7"):
        configuration_after(present, FIRST, 3)  # of six
    assert [faults_borne(voters, 2) for voters in range(1, 8)] == [0, 0, 1, 1, 2, 2, 2]


@given(voters=st.integers(1, 30), faults=st.integers(0, 10))
def test_what_is_borne_of_t_leaves_a_majority_and_one_more_would_not_or_was_not_agreed(voters: int, faults: int):
    borne = faults_borne(voters, faults)
    assert voters >= nodes_needed(borne, "crash")
    assert borne == faults or voters < nodes_needed(borne + 1, "crash")


def test_its_epoch_is_above_all_that_a_lost_quorum_can_have_decided_since_clients_believe_the_newest():
    assert configuration_after(PRESENT, FIRST).epoch == PRESENT.epoch + EPOCH_GAP


def test_how_it_began_is_in_every_later_configuration_and_in_the_log():
    after = configuration_after(PRESENT, FIRST)
    assert decode_configuration(encode_configuration(after)).recovered == FIRST
    header, body = decode_entry(recovery_entry(21, 4, 5, after))
    assert (header.index, header.term, header.epoch) == (21, 4, after.epoch)
    assert decode_configuration(body) == after


def test_a_log_from_before_incarnations_were_known_is_of_the_first_one():
    assert PRESENT.incarnation == "" and number_of("") == 0
    assert number_of(FIRST.incarnation) == 1 and number_of(SECOND.incarnation) == 2
    for nonsense in ("x-1", "-", "--", "٣-a" * 30, "1"):
        assert number_of(nonsense) >= 0


def test_a_caller_that_says_it_is_of_an_endless_incarnation_is_told_apart_as_any_other():
    """It comes from a peer's hello, and Python refuses to read a number of so many digits."""
    for endless in ("9" * 5_000, f"{'9' * 5_000}-{'a' * 16}"):
        assert number_of(endless) == 0
        assert difference("n2", endless, "n1", FIRST.incarnation) is not None


def test_who_is_of_another_incarnation_is_told_so_with_both_names_and_what_to_do():
    assert difference("n2", FIRST.incarnation, "n1", FIRST.incarnation) is None
    old = difference("n2", "", "n1", FIRST.incarnation)
    assert old is not None and "n2 is of the first incarnation" in old and FIRST.incarnation in old
    assert "Stop n2," in old and "under another name" in old
    late = difference("n1", FIRST.incarnation, "n2", "")
    assert late is not None and "Stop n2," in late, "the older one goes, whoever is asked"


def test_two_recoveries_that_know_nothing_of_each_other_are_kept_apart():
    apart = difference("n2", OTHER.incarnation, "n1", FIRST.incarnation)
    assert apart is not None and "Keep one of the two recoveries" in apart


def test_a_node_is_of_the_incarnation_of_its_log_and_before_it_has_one_of_its_file():
    after = configuration_after(PRESENT, FIRST)
    assert incarnation_here("n1", after, FIRST.incarnation) == FIRST.incarnation
    assert incarnation_here("n1", after, "") == FIRST.incarnation, "the file was not copied here yet"
    assert incarnation_here("n6", Configuration(), FIRST.incarnation) == FIRST.incarnation
    assert incarnation_here("n6", Configuration(), "") == ""


@pytest.mark.parametrize(
    ("of_log", "of_file"),
    [
        (PRESENT, FIRST.incarnation),
        (configuration_after(PRESENT, FIRST), SECOND.incarnation),
        (configuration_after(PRESENT, FIRST), OTHER.incarnation),
    ],
)
def test_a_log_from_before_a_recovery_is_not_started_under_the_new_file(of_log, of_file):
    with pytest.raises(ConfigurationError, match="Keep the data folder away from the cluster"):
        incarnation_here("n2", of_log, of_file)
