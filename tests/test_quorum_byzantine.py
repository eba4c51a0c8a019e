"""The in-process quorum whose nodes may lie, as its users call it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum import ConfigurationError, LocalProtocolError, NodeFailed, NoQuorum, Quorum
from quorum.certificate.block import verify_block
from quorum.certificate.evidence import accused, verify_evidence
from quorum.sim.adversary import BEHAVIOURS

HOW = sorted(BEHAVIOURS)
SIZES = [(4, 1), (5, 1), (6, 1), (7, 2)]


def byzantine(N: int, T: int, seed: int = 0, liars: dict[int, str] | None = None) -> Quorum:
    quorum = Quorum(N, T, model="byzantine", seed=seed)
    for node, how in (liars or {}).items():
        quorum.corrupt(node, how)
    return quorum


def asked(quorum: Quorum, node: int) -> Any:
    """What a node decides; None where it cannot."""
    try:
        return quorum.make_decision(node)
    except NoQuorum:
        return None


def decide_until_refused(quorum: Quorum, node: int) -> None:
    """A liar tells the truth now and then."""
    for _ in range(20):
        quorum.make_decision(node)


def check_proofs(quorum: Quorum, liars: dict[int, str]) -> None:
    """The decision is certified, and evidence names liars alone."""
    certificate = quorum.certificate()
    assert certificate is not None and verify_block(certificate, quorum.committee).valid
    for each in quorum.evidence():
        assert verify_evidence(each, quorum.committee).valid
        assert accused(each) in {f"n{node}" for node in liars}


# Without liars.


@pytest.mark.parametrize(
    ("N", "T", "threshold"), [(1, 0, 1), (4, 1, 3), (5, 1, 4), (6, 1, 4), (7, 2, 5), (8, 2, 6)]
)
def test_a_decision_takes_a_quorum_of_which_two_share_an_honest_node(N: int, T: int, threshold: int) -> None:
    quorum = byzantine(N, T)
    quorum.send_message(node_id=1)
    state = quorum.check_state(node_id=N)
    assert state and state.reached
    assert (state.threshold, state.votes, state.missing) == (threshold, N, ())
    assert state.participants == state.marked == tuple(range(1, N + 1))
    assert quorum.get_decision() is None
    assert [quorum.make_decision(node) for node in range(1, N + 1)] == [1] * N
    assert quorum.get_decision() == 1
    check_proofs(quorum, {})


def test_sizes_are_read_only_in_the_byzantine_model_too() -> None:
    quorum = byzantine(5, 1)
    assert (quorum.N, quorum.T, quorum.n) == (5, 1, 5)
    with pytest.raises(AttributeError):
        quorum.T = 2  # type: ignore[misc]


def test_a_byzantine_decision_never_changes() -> None:
    quorum = byzantine(4, 1)
    quorum.send_message(2, value={"colour": "green"})
    quorum.make_decision(4)
    certificate = quorum.certificate()
    quorum.send_message(3, value="second")
    quorum.corrupt(1, "equivocate")
    quorum.send_message(1, value="third")
    assert [quorum.make_decision(node) for node in (2, 3, 4)] == [{"colour": "green"}] * 3
    assert quorum.certificate() == certificate


def test_too_few_running_members_raise_no_quorum_and_name_the_missing() -> None:
    quorum = byzantine(4, 1)
    quorum.fail(3)
    quorum.fail(4)
    quorum.send_message(1)
    state = quorum.check_state(2)
    assert not state
    assert (state.marked, state.threshold, state.missing) == ((1, 2), 3, (3, 4))
    with pytest.raises(NoQuorum, match="missing: 3, 4") as refusal:
        quorum.make_decision(2)
    assert refusal.value.missing == (3, 4)
    assert quorum.get_decision() is None and quorum.certificate() is None
    quorum.recover(4)
    assert quorum.make_decision(2) == 1


def test_t_members_may_fail_the_primary_among_them() -> None:
    quorum = byzantine(7, 2)
    quorum.fail(1)
    quorum.fail(2)
    quorum.send_message(5, value="without them")
    assert quorum.make_decision(7) == "without them"
    quorum.recover(1)
    assert quorum.make_decision(1) == "without them"


def test_a_failed_member_neither_proposes_nor_answers() -> None:
    quorum = byzantine(4, 1)
    quorum.fail(2)
    for act in (quorum.send_message, quorum.check_state, quorum.make_decision):
        with pytest.raises(NodeFailed, match=r"recover\(2\)"):
            act(2)


def test_a_byzantine_decision_without_a_proposal_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(LocalProtocolError, match="send_message"):
        byzantine(4, 1).make_decision(1)


@pytest.mark.parametrize("seed", range(3))
def test_no_side_of_a_partition_without_a_quorum_decides(seed: int) -> None:
    quorum = byzantine(5, 1, seed)
    quorum.partition([1, 2], [3, 4, 5])
    for node in (1, 3):
        quorum.send_message(node, value=f"from {node}")
        with pytest.raises(NoQuorum):
            quorum.make_decision(node)
    quorum.heal()
    quorum.send_message(2, value="from 2")
    decided = quorum.make_decision(2)
    assert decided in {"from 1", "from 3", "from 2"}
    assert [quorum.make_decision(node) for node in range(1, 6)] == [decided] * 5


def test_the_larger_side_of_a_partition_decides_and_the_rest_learns_it() -> None:
    quorum = byzantine(4, 1)
    quorum.partition([1])
    quorum.send_message(1, value="cut off")
    quorum.send_message(2, value="connected")
    assert quorum.check_state(1).missing == (2, 3, 4)
    assert quorum.make_decision(3) == "connected"
    with pytest.raises(NoQuorum):
        quorum.make_decision(1)
    quorum.heal()
    assert quorum.make_decision(1) == "connected"


# Up to T liars.


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("N", "T"), SIZES)
def test_t_liars_of_any_behaviour_neither_stop_nor_change_a_decision(N: int, T: int, how: str) -> None:
    """The first primaries lie: they are whom a liar can be worst as."""
    liars = dict.fromkeys(range(1, T + 1), how)
    quorum = byzantine(N, T, liars=liars)
    quorum.send_message(N, value="genuine")
    honest = range(T + 1, N + 1)
    assert [quorum.make_decision(node) for node in honest] == ["genuine"] * len(honest)
    for node in liars:
        assert asked(quorum, node) in (None, "genuine")
    check_proofs(quorum, liars)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("liar", [1, 4])
def test_a_node_may_begin_to_lie_after_the_proposal(how: str, liar: int) -> None:
    quorum = byzantine(4, 1)
    quorum.partition([1, 2])
    quorum.send_message(2, value="early")
    quorum.corrupt(liar, how)
    quorum.heal()
    honest = [node for node in range(1, 5) if node != liar]
    assert [quorum.make_decision(node) for node in honest] == ["early"] * 3
    check_proofs(quorum, {liar: how})


@pytest.mark.parametrize("how", HOW)
def test_a_liar_in_a_partition_with_a_failure_and_a_recovery_is_borne(how: str) -> None:
    quorum = byzantine(7, 2, 1, {2: how})
    quorum.fail(1)
    quorum.send_message(3, value="a")
    quorum.partition([2, 3, 4], [5, 6, 7])
    assert asked(quorum, 5) in (None, "a")
    quorum.heal()
    quorum.recover(1)
    quorum.send_message(6, value="b")
    decided = {quorum.make_decision(node) for node in (1, 3, 4, 5, 6, 7)}
    assert len(decided) == 1 and decided <= {"a", "b"}
    check_proofs(quorum, {2: how})


@pytest.mark.parametrize("how", HOW)
def test_what_a_liar_proposes_is_decided_alike_or_not_at_all(how: str) -> None:
    quorum = byzantine(4, 1, liars={1: how})
    quorum.send_message(1, value="of a liar")
    found = {asked(quorum, node) for node in (2, 3, 4)}
    assert found <= {"of a liar", None}
    quorum.send_message(2, value="of an honest node")
    decided = {quorum.make_decision(node) for node in (2, 3, 4)}
    assert len(decided) == 1 and decided <= {"of a liar", "of an honest node"}
    assert None in found or decided == {"of a liar"}


def test_a_primary_that_tells_two_stories_leaves_evidence() -> None:
    quorum = byzantine(4, 1, liars={1: "equivocate"})
    quorum.send_message(2)
    assert quorum.make_decision(3) == 2
    assert {accused(each) for each in quorum.evidence()} == {"n1"}


def test_no_evidence_is_found_where_nobody_lies() -> None:
    quorum = byzantine(4, 1)
    quorum.send_message(1)
    quorum.fail(2)
    quorum.recover(2)
    quorum.make_decision(2)
    assert quorum.evidence() == ()


def test_a_member_that_no_quorum_bears_out_is_told_apart_from_one_that_lags() -> None:
    quorum = byzantine(4, 1, 1, {2: "forge-replies"})
    quorum.send_message(3)
    with pytest.raises(NoQuorum, match=r"no quorum's signatures prove what it says\. Ask an honest node"):
        decide_until_refused(quorum, 2)


def test_a_silent_member_is_missing_to_those_who_ask() -> None:
    quorum = byzantine(4, 1, liars={4: "silent"})
    quorum.send_message(1)
    state = quorum.check_state(2)
    assert (state.votes, state.missing, state.reached) == (3, (4,), True)


def test_a_member_that_answers_falsely_is_not_believed() -> None:
    """It forges its answer in most seeds, and never a certificate."""
    refused = 0
    for seed in range(10):
        quorum = byzantine(4, 1, seed, {2: "forge-replies"})
        quorum.send_message(3, value="true")
        said = asked(quorum, 2)
        assert said == quorum.get_decision()
        assert said in (None, "true")
        refused += said is None
        assert quorum.make_decision(3) == "true"
    assert refused > 0


@pytest.mark.parametrize("bit", range(8))
def test_any_byte_of_an_answer_may_be_forged(bit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that is no text, numbers too large, an array that is none: all of it is a lie, and no crash."""
    quorum = byzantine(4, 1, liars={2: "forge-replies"})
    quorum.send_message(3, value="true")
    quorum.make_decision(3)
    places = iter(range(40))

    def tells(
        liar: object, message: object, attached: tuple[bytes, ...]
    ) -> list[tuple[object, tuple[bytes, ...]]]:
        body = bytearray(attached[0])
        body[next(places) % len(body)] ^= 1 << bit
        return [(message, (bytes(body),))]

    monkeypatch.setattr(BEHAVIOURS["forge-replies"], "tells", tells)
    for _ in range(40):
        assert asked(quorum, 2) in (None, "true")


# The value of a decision.


@pytest.mark.parametrize(("N", "T"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_a_primary_cannot_change_what_was_proposed(N: int, T: int, seed: int) -> None:
    """A proposal is signed by its node's client, and honest members prepare no block with one that is not."""
    quorum = byzantine(N, T, seed, dict.fromkeys(range(1, T + 1), "alter-requests"))
    quorum.send_message(N, value=1000)
    assert [quorum.make_decision(node) for node in range(T + 1, N + 1)] == [1000] * (N - T)
    certificate = quorum.certificate()
    assert certificate is not None and certificate.view >= T, "a block of a primary that altered it was decided"


def test_who_alters_a_proposal_on_its_way_gets_nothing_decided() -> None:
    quorum = byzantine(4, 1, liars={2: "alter-requests"})
    quorum.send_message(2, value=1000)
    assert quorum.check_state(3).votes == 0
    assert {asked(quorum, node) for node in (1, 3, 4)} == {None}
    quorum.send_message(1, value=7)
    assert {quorum.make_decision(node) for node in (1, 3, 4)} == {7}


def test_a_certificate_of_another_value_is_refused() -> None:
    quorum = byzantine(4, 1)
    quorum.send_message(1, value=1)
    quorum.make_decision(1)
    other = byzantine(4, 1)
    other.send_message(1, value=2)
    other.make_decision(1)
    certificate, foreign = quorum.certificate(), other.certificate()
    assert certificate is not None and foreign is not None
    assert certificate.header.requests_root != foreign.header.requests_root
    swapped = replace(certificate, header=foreign.header)
    assert not verify_block(swapped, quorum.committee).valid


# More than T liars.


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_two_liars_of_five_with_t_of_one_are_refused_or_undecided_and_never_wrong(how: str, seed: int) -> None:
    for pair in ((1, 2), (1, 5), (3, 4)):
        quorum = byzantine(5, 1, seed, dict.fromkeys(pair, how))
        honest = [node for node in range(1, 6) if node not in pair]
        quorum.send_message(honest[0], value="a")
        quorum.send_message(honest[1], value="b")
        decided = {asked(quorum, node) for node in honest} - {None}
        assert len(decided) <= 1 and decided <= {"a", "b"}
        assert quorum.get_decision() in {None, *decided}


def test_a_refusal_with_more_than_t_liars_names_them_and_says_what_would_do() -> None:
    quorum = byzantine(5, 1, liars={1: "silent", 2: "silent"})
    quorum.send_message(3)
    with pytest.raises(NoQuorum, match=r"1, 2 lie, more than T=1\. Use N=7 and T=2") as refusal:
        quorum.make_decision(4)
    assert refusal.value.missing == (1, 2)
    assert quorum.get_decision() is None


@pytest.mark.parametrize(("N", "T", "liars"), [(4, 1, 2), (6, 1, 2), (7, 2, 3), (4, 1, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_where_two_quorums_may_share_liars_alone_nothing_is_taken_for_decided(
    N: int, T: int, liars: int, seed: int
) -> None:
    quorum = byzantine(N, T, seed, dict.fromkeys(range(1, liars + 1), "equivocate"))
    for node in range(1, N + 1):
        quorum.send_message(node, value=f"from {node}")
    assert {asked(quorum, node) for node in range(1, N + 1)} == {None}
    assert quorum.get_decision() is None


def test_a_decision_outlives_any_number_of_liars() -> None:
    quorum = byzantine(4, 1)
    quorum.send_message(2, value="before")
    assert quorum.make_decision(2) == "before"
    for node in (1, 3, 4):
        quorum.corrupt(node, "equivocate")
    quorum.send_message(3, value="after")
    assert asked(quorum, 2) in (None, "before")
    assert quorum.get_decision() == "before"


# Mistakes, and repetition.


def refused_call(act: Callable[[], object], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        act()


def test_a_behaviour_that_does_not_exist_is_refused_and_the_others_are_named() -> None:
    quorum = byzantine(4, 1)
    refused_call(
        lambda: quorum.corrupt(1, "mumble"), "'mumble', but there is no such behaviour. Use one of equivocate"
    )
    refused_call(lambda: quorum.corrupt(5, "silent"), "numbered 1 to 4")


def test_nodes_that_only_crash_are_not_corrupted_and_prove_nothing() -> None:
    quorum = Quorum(N=3, T=1)
    refused_call(lambda: quorum.corrupt(1, "silent"), 'Use Quorum\\(N, T, model="byzantine"\\)')
    refused_call(quorum.certificate, "sign nothing")
    refused_call(lambda: quorum.committee, "sign nothing")
    assert quorum.evidence() == ()


@pytest.mark.parametrize(("N", "T", "remedy"), [(3, 1, "Add 1 node"), (6, 2, "Add 1 node, or lower T to 1")])
def test_fewer_than_three_t_and_one_nodes_are_refused_with_a_remedy(N: int, T: int, remedy: str) -> None:
    refused_call(lambda: byzantine(N, T), remedy)


@pytest.mark.parametrize("how", HOW)
def test_the_same_calls_with_the_same_seed_give_the_same_run(how: str) -> None:
    def run() -> tuple[object, ...]:
        quorum = byzantine(4, 1, 5, {1: how})
        quorum.send_message(2)
        quorum.send_message(3)
        return quorum.check_state(4), quorum.make_decision(4), quorum.certificate(), quorum.evidence()

    assert run() == run()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_honest_members_decide_alike_whatever_happens(data: st.DataObject) -> None:
    """With up to T liars, every honest member decides in the end; with more, those that do decide alike."""
    size = data.draw(st.integers(4, 7))
    faults = data.draw(st.integers(0, (size - 1) // 3))
    nodes = st.integers(1, size)
    liars = data.draw(st.dictionaries(nodes, st.sampled_from(HOW), max_size=faults + 1))
    quorum = byzantine(size, faults, data.draw(st.integers(0, 1000)))
    honest = [node for node in range(1, size + 1) if node not in liars]
    down: set[int] = set()
    decided: set[Any] = set()
    for step in range(data.draw(st.integers(1, 6))):
        act = data.draw(st.sampled_from(["propose", "fail", "recover", "cut", "heal", "decide", "lie"]))
        node = data.draw(nodes)
        if act == "fail":
            quorum.fail(node)
            down.add(node)
        elif act == "recover":
            quorum.recover(node)
            down.discard(node)
        elif act == "cut":
            quorum.partition(data.draw(st.lists(nodes, unique=True, min_size=1)))
        elif act == "heal":
            quorum.heal()
        elif act == "lie" and node in liars:
            quorum.corrupt(node, liars[node])
        elif act == "propose" and node not in down:
            quorum.send_message(node, value=step)
        elif act == "decide" and node in set(honest) - down and step > 0:
            quorum.send_message(node, value=step)
            decided.add(asked(quorum, node))
    for node, how in liars.items():
        quorum.corrupt(node, how)
    quorum.heal()
    for node in sorted(down):
        quorum.recover(node)
    quorum.send_message(honest[0], value="last")
    decided |= {asked(quorum, node) for node in honest}
    assert len(decided - {None}) <= 1
    if len(liars) <= faults:
        assert {quorum.make_decision(node) for node in honest} == decided - {None}
        check_proofs(quorum, liars)


def test_every_pair_of_quorums_shares_more_than_t_members() -> None:
    for N, T in SIZES:
        system = byzantine(N, T).committee.system
        found = [set(each) for size in range(N + 1) for each in combinations(system.nodes, size)]
        quorums = [each for each in found if system.is_write_quorum(frozenset(each))]
        assert min(len(a & b) for a in quorums for b in quorums) > T
