"""From one configuration to the next, as an operator asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import AlreadySo, ConfigurationError
from quorum.membership.reconfiguration import (
    Admit,
    Change,
    Demote,
    Evict,
    Promote,
    Replace,
    SetPolicy,
    SetPriority,
    SetQuorums,
    SetWeight,
    SetWeights,
    apply_change,
    decode_change,
    encode_change,
    role_of,
)
from quorum.model import Configuration
from quorum.systems.build import build

NODES = ("n1", "n2", "n3", "n4", "n5", "n6")
BASE = Configuration(epoch=4, voters=("n1", "n2", "n3"), learners=("n4",), witnesses=("n5",))
CHANGES = st.one_of(
    st.builds(
        Admit, st.sampled_from(NODES), st.sampled_from(("voter", "learner", "witness")), st.just("h:1"), st.just(2)
    ),
    st.builds(Promote, st.sampled_from(NODES)),
    st.builds(Demote, st.sampled_from(NODES)),
    st.builds(Evict, st.lists(st.sampled_from(NODES), max_size=3).map(tuple)),
    st.builds(Replace, st.sampled_from(NODES), st.sampled_from(NODES)),
    st.builds(SetWeight, st.sampled_from(NODES), st.integers(-1, 3)),
    st.builds(
        SetWeights,
        st.lists(st.tuples(st.sampled_from(NODES), st.integers(0, 3)), max_size=3).map(tuple),
        st.integers(-1, 2),
    ),
    st.builds(SetPriority, st.sampled_from(NODES), st.integers(-1, 3)),
)


def test_the_last_voter_stays_one_even_beside_a_witness():
    present = Configuration(epoch=4, voters=("n1",), witnesses=("n5",))
    with pytest.raises(ConfigurationError, match="last voter"):
        apply_change(present, Demote("n1"))


@given(changes=st.lists(CHANGES, max_size=12))
def test_every_change_gives_a_configuration_with_one_role_for_each_and_the_next_epoch(changes: list[Change]):
    present = BASE
    for change in changes:
        try:
            following = decode_change(encode_change(change))(present)
        except ConfigurationError:
            continue
        assert following.epoch == present.epoch + 1
        roles = (*following.voters, *following.learners, *following.witnesses)
        assert len(set(roles)) == len(roles) and following.voters
        named = {
            node for pairs in (following.weights, following.priorities, following.addresses) for node, _ in pairs
        }
        assert named <= set(following.members)
        build(following)
        present = following


def test_a_replacement_takes_over_role_weight_priority_and_its_place_in_the_quorums():
    present = Configuration(
        epoch=1,
        voters=("n1", "n2", "n3"),
        reads="choose(2, n1, n2, n3)",
        writes="choose(2, n1, n2, n3)",
        priorities=(("n2", 5),),
    )
    following = apply_change(present, Replace("n2", "n9", "host:7"))
    assert following.voters == ("n1", "n3", "n9") and following.priority("n9") == 5
    assert following.address("n9") == "host:7" and build(following).is_write_quorum({"n1", "n9"})


def test_a_learner_is_admitted_as_a_voter_by_promotion_of_either_name():
    assert apply_change(BASE, Admit("n4")).voters == apply_change(BASE, Promote("n4")).voters


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Admit("n1"), "is a voter already"),
        (Admit("Not A Name"), "ids become file and certificate names"),
        (Promote("n9"), "is no member"),
        (Demote("n5"), "only a voter can be"),
        (Evict(()), "nobody was named"),
        (Evict(("n9",)), "is no member"),
        (Evict(("n1", "n9")), "it is no member. Members are n1, n2, n3"),
        (Evict(("n1", "n2", "n3")), "every voter was to be evicted"),
        (SetPriority("n1", 1), "already as it asks"),
        (SetWeight("n1", 0), "weights run from 1"),
        (SetQuorums("", ""), "already as it asks"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(change: Change, said: str):
    with pytest.raises(ConfigurationError, match=said):
        apply_change(BASE, change)


HELD_BASE = apply_change(apply_change(BASE, Demote("n3")), Admit("n6", "learner", "host:6"))


@pytest.mark.parametrize(
    "change",
    [
        Promote("n1"),
        Demote("n3"),
        Admit("n1"),
        Admit("n5", "witness"),
        Admit("n6", "learner"),
        Admit("n6", "learner", "host:6"),
        Admit("n4", "standby"),
        SetPriority("n1", 1),
        SetQuorums(),
        SetWeight("n2", 1),
        SetWeights((), 0),
        SetPolicy("fixed"),
        SetPolicy("fixed", floor=3, faults=0),
    ],
)
def test_what_is_so_already_is_told_apart_from_what_cannot_be(change: Change):
    with pytest.raises(AlreadySo, match="already"):
        apply_change(HELD_BASE, change)


@pytest.mark.parametrize(
    "change",
    [
        Admit("n1", "witness"),
        Admit("n1", "voter", "elsewhere:1"),
        Admit("n1", "voter", "", 5),
        Admit("n6", "standby"),
        Admit("n4", "learner"),
        Demote("n4"),
        Promote("n5"),
        Evict(("n9",)),
        Replace("n2", "n1"),
        Replace("n9", "n1"),
    ],
)
def test_who_asks_for_something_else_than_there_is_does_not_hear_that_it_is_so(change: Change):
    with pytest.raises(ConfigurationError) as caught:
        apply_change(HELD_BASE, change)
    assert not isinstance(caught.value, AlreadySo)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"change":"explode"}', b'{"change":"evict","nodes":1}', b"\xff"])
def test_bytes_that_are_no_change_are_refused(data: bytes):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        decode_change(data)


def test_roles_are_told_apart():
    assert [role_of(BASE, node) for node in ("n1", "n4", "n5", "n6")] == ["voter", "learner", "witness", None]


def test_a_floor_above_all_who_may_vote_is_refused() -> None:
    present = Configuration(1, ("a", "b", "c"), ("d",))
    with pytest.raises(ConfigurationError, match="4 members may vote"):
        apply_change(present, SetPolicy("adaptive", floor=5))
    assert apply_change(present, SetPolicy("adaptive", floor=4)).floor == 4


def test_t_bears_on_participation_alone() -> None:
    present = Configuration(1, ("a", "b", "c"), faults=2)
    assert apply_change(present, SetPolicy("adaptive")).policy == "adaptive"
    with pytest.raises(ConfigurationError, match="2T"):
        apply_change(present, SetPolicy("participation"))
