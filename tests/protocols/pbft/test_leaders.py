"""The order of primaries follows from the certificate that ended the epoch before, and is the same everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.certificate.block import BlockCertificate
from quorum.certificate.epochs import EpochChange
from quorum.errors import RemoteProtocolError
from quorum.protocols import events
from quorum.protocols.pbft.epochs import VIEWS_PER_EPOCH
from quorum.protocols.pbft.leaders import first_order, order_of
from quorum.protocols.pbft.messages import Epochs

from .cluster import committee_of
from .epoch_scene import EpochCluster, approve, check_goes_on, committee_after
from .scene import order

NAMES = tuple(f"n{number}" for number in range(1, 10))


def change_with(count: int, faults: int, signed: list[str]) -> EpochChange:
    committee = committee_of(count, faults)
    certificate = BlockCertificate("tests", 1, 0, None, ())  # type: ignore[arg-type]
    return EpochChange(committee, certificate, 0, (), tuple((name, bytes(64)) for name in sorted(signed)))


@given(st.integers(1, 9), st.lists(st.sampled_from(NAMES), unique=True))
def test_every_member_leads_in_its_turn_and_those_who_signed_come_first(count: int, signed: list[str]) -> None:
    change = change_with(count, 0, signed)
    leaders = order_of(change)
    assert sorted(leaders) == sorted(change.committee.nodes)
    places = [leaders.index(name) for name in change.committee.nodes if name in signed]
    assert sorted(places) == list(range(len(places)))


@given(st.integers(1, 9), st.integers(0, 8), st.lists(st.sampled_from(NAMES), unique=True))
def test_whom_the_committee_names_leads_first_whoever_signed(count: int, first: int, signed: list[str]) -> None:
    change = change_with(count, 0, signed)
    primary = change.committee.nodes[first % count]
    named = replace(change, committee=replace(change.committee, primary=primary))
    assert order_of(named)[0] == primary
    assert order_of(named)[1:] == tuple(name for name in order_of(change) if name != primary)


def test_in_the_first_epoch_too_whom_the_committee_names_leads_first() -> None:
    committee = replace(committee_of(4, 1), primary="n3")
    assert first_order(committee) == ("n3", "n1", "n2", "n4")


def test_which_votes_a_member_holds_for_the_last_block_changes_nothing() -> None:
    """Two members may hold certificates of one block by other quorums: only what stands in the block counts."""
    change = change_with(5, 1, ["n2", "n3", "n4", "n5"])
    signed = tuple((name, bytes(64)) for name in ("n1", "n2", "n3", "n4"))
    other = replace(change, certificate=replace(change.certificate, signatures=signed))
    assert order_of(other) == order_of(change) == ("n2", "n3", "n4", "n5", "n1")


def by_own_certificate(change: EpochChange) -> tuple[str, ...]:
    """Participation, section 8b: reputation by what one member alone holds differs from the next one's."""
    signed = {node for node, _ in change.certificate.signatures}
    return tuple(sorted(change.committee.nodes, key=lambda node: (node not in signed, node)))


def test_an_order_by_the_certificate_that_a_member_happens_to_hold_is_not_the_same_everywhere() -> None:
    change = change_with(5, 1, ["n2", "n3", "n4", "n5"])
    held = [
        replace(change, certificate=replace(change.certificate, signatures=tuple((n, bytes(64)) for n in quorum)))
        for quorum in (("n1", "n2", "n3", "n4"), ("n2", "n3", "n4", "n5"))
    ]
    assert len({by_own_certificate(each) for each in held}) == 2
    assert len({order_of(each) for each in held}) == 1


def changed_without(silent: str) -> EpochCluster:
    """Six members, of which one is cut off while the others make n7 one of them."""
    cluster = EpochCluster(6, 1, spares=("n7",))
    cluster.boot()
    order(cluster, 3)
    others = [name for name in cluster.nodes if name != silent]
    cluster.cut = {(a, silent) for a in others} | {(silent, a) for a in others}
    committee = committee_after(cluster.newest, (*(f"n{number}" for number in range(1, 7)), "n7"))
    approve(cluster, committee, *(name for name in others if name != "n7"))
    cluster.run(3_000_000)
    return cluster


def test_whoever_did_not_sign_is_the_last_to_lead_and_everybody_knows_the_same_order() -> None:
    cluster = changed_without("n1")
    cluster.cut = set()
    cluster.run(3_000_000)
    orders = {node.state.epochs.leaders[-1] for node in cluster.honest()}
    assert len(orders) == 1, orders
    (leaders,) = orders
    assert leaders[-2:] == ("n1", "n7") or "n1" in leaders[4:]
    state = cluster["n1"].state
    assert [state.primary_of(VIEWS_PER_EPOCH + turn) for turn in range(14)] == [*leaders, *leaders]
    check_goes_on(cluster)


def test_the_order_is_the_same_after_a_restart() -> None:
    cluster = changed_without("n1")
    before = cluster["n2"].state.epochs.leaders
    cluster["n2"].crash()
    cluster["n2"].boot(first=False)
    assert cluster["n2"].state.epochs.leaders == before


@pytest.mark.parametrize("kept", [0, 3])
def test_a_change_told_with_other_approvals_than_its_block_has_is_refused(kept: int) -> None:
    cluster = changed_without("n1")
    (change,) = cluster["n2"].state.epochs.changes
    forged = replace(change, approvals=change.approvals[:kept])
    behind = cluster["n1"]
    assert behind.state.committee.epoch == 1
    with pytest.raises(RemoteProtocolError, match="other approvals"):
        behind.replica.step(events.Received(behind.now_us, "n2", Epochs(0, (forged,))))
    assert behind.state.committee.epoch == 1
