"""Committees that change while they decide: who joins, who leaves, and what an epoch's end leaves behind."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.pbft.cluster import SETTINGS, Disk, Node, encoded, request_of
from protocols.pbft.epoch_scene import (
    EpochCluster,
    approval_of,
    approve,
    change,
    check_epoch,
    check_goes_on,
    committee_after,
)
from protocols.pbft.scene import (
    ONE,
    OTHER,
    Sent,
    accusations,
    check_one_vote_a_place,
    complaints,
    lie,
    newest,
    order,
    prepare_of,
    primary,
    propose_as,
    receive,
    running,
    sent_votes,
    signatures,
    tell,
    tell_all,
    view_change_of,
)
from quorum.certificate.approval import Change, pack_change
from quorum.certificate.block import certify, verify_block
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import verify_evidence
from quorum.certificate.vote import VoteKind
from quorum.protocols.effects import Note
from quorum.protocols.events import SnapshotMark
from quorum.protocols.pbft.approving import APPROVED_MAX, SEEN_MAX, approvals_seen, committees_seen
from quorum.protocols.pbft.blocks import make_block, make_change, read_block
from quorum.protocols.pbft.epochs import NOTE, VIEWS_PER_EPOCH
from quorum.protocols.pbft.messages import Accusation, Approve, Blocks, Epochs, Fetch, Offer, PrePrepare, Status

FOUR = ("n1", "n2", "n3", "n4")


def started(count: int = 4, faults: int = 1, seed: int = 0, spares: tuple[str, ...] = ()) -> EpochCluster:
    cluster = EpochCluster(count, faults, seed, spares)
    cluster.boot()
    return cluster


def test_a_member_is_added() -> None:
    cluster = started(spares=("n5",))
    order(cluster, 3)
    change(cluster, (*FOUR, "n5"))
    assert cluster["n5"].state.may_sign
    check_goes_on(cluster)


def test_a_member_is_removed_and_signs_nothing_more() -> None:
    cluster = started(5, 1)
    order(cluster, 3)
    change(cluster, FOUR)
    assert not cluster["n5"].state.may_sign
    check_goes_on(cluster)


def test_a_key_is_replaced() -> None:
    cluster = started()
    order(cluster, 3)
    cluster["n4"].crash()
    committee = committee_after(cluster.committee, FOUR, keys={"n4": "n4 anew"})
    approve(cluster, committee)
    cluster.run(1_000_000)
    cluster["n4"].key_name = "n4 anew"
    cluster["n4"].boot(first=False)
    cluster.run(1_000_000)
    check_epoch(cluster, committee)
    check_goes_on(cluster)


def test_four_become_seven_and_four_again_in_steps() -> None:
    cluster = started(spares=("n5", "n6", "n7"))
    order(cluster, 2)
    for names, faults in (
        ((*FOUR, "n5"), 1),
        ((*FOUR, "n5", "n6"), 1),
        ((*FOUR, "n5", "n6", "n7"), 2),
        (("n2", "n3", "n4", "n5", "n6", "n7"), 1),
        (("n3", "n4", "n5", "n6", "n7"), 1),
        (("n4", "n5", "n6", "n7"), 1),
    ):
        change(cluster, names, faults)
        order(cluster, 2, first=10 * cluster.newest.epoch)
    assert cluster.newest.epoch == 7
    check_goes_on(cluster)


def test_a_whole_committee_is_replaced_by_newcomers() -> None:
    cluster = started(spares=("n5", "n6", "n7", "n8"))
    order(cluster, 20)
    change(cluster, ("n5", "n6", "n7", "n8"))
    check_goes_on(cluster)


def test_a_change_needs_a_quorum_of_approvals() -> None:
    cluster = started(spares=("n5",))
    committee = committee_after(cluster.committee, (*FOUR, "n5"))
    approve(cluster, committee, "n1", "n2")
    cluster.run(3_000_000)
    assert cluster.newest.epoch == 1
    approve(cluster, committee, "n3")
    cluster.run(3_000_000)
    check_epoch(cluster, committee)
    check_goes_on(cluster)


# The checklist.


def test_row_44_liars_and_slow_members_change_nothing_without_a_quorum() -> None:
    """T liars approve, propose without approvals, with their own named twice, and with forged ones."""
    cluster = started(7, 2, spares=("n8",))
    order(cluster, 2)
    evil = committee_after(cluster.committee, ("n1", "n2", "n4", "n5", "n6", "n7", "n8"), 2)
    cluster.liars |= {"n1", "n2"}
    few = approval_of(cluster.committee, evil, "n1", "n2")
    tell_all(cluster, "n1", few)
    forged = tuple((name, few.approvals[0][1]) for name in cluster.committee.nodes)
    tell_all(cluster, "n2", Approve(0, evil, forged))
    cluster.run(1_000_000)
    for approvals in ((), few.approvals, (*few.approvals, *few.approvals, *few.approvals), forged):
        before = newest(cluster, "n3")
        state = (before.header.state_sequence, before.header.state_root)
        made = make_change(before, cluster.committee, cluster["n3"].now_us, state, Change(evil, approvals))
        view = cluster["n3"].state.view
        if primary(cluster, view) in cluster.liars:
            propose_as(cluster, primary(cluster, view), view, made)
        cluster.run(2_000_000)
    assert cluster.newest.epoch == 1
    assert any("passed on approvals" in what for what in complaints(cluster, "n2"))
    assert any("who approve hold no quorum" in what for what in complaints(cluster, "n1"))
    check_goes_on(cluster)


def test_row_44_one_client_cannot_make_a_request_that_is_a_change() -> None:
    cluster = started(spares=("n5",))
    committee = committee_after(cluster.committee, (*FOUR, "n5"))
    pieces = pack_change(Change(committee, approval_of(cluster.committee, committee, "n1").approvals))
    cluster.submit(*pieces)
    cluster.submit(pieces[0] + bytes(200))
    cluster.run(2_000_000)
    assert cluster.newest.epoch == 1 and cluster.requests_decided() == []
    check_goes_on(cluster)


@pytest.mark.parametrize(
    ("names", "faults", "fields", "words"),
    [
        (("n1", "n2", "n3"), 1, {}, "Add 1 node, or lower T to 0"),
        (FOUR, 2, {}, "3T+1 = 7"),
        (FOUR, 1, {"epoch": 3}, "count up by one"),
        (FOUR, 1, {"cluster": "other"}, "epochs of one cluster"),
        (FOUR, 1, {"quorums": "n1"}, "n1"),
    ],
)
def test_row_45_a_committee_that_could_not_decide_is_refused_with_the_reason(
    names: tuple[str, ...], faults: int, fields: dict[str, object], words: str
) -> None:
    """By the operator's own node, and by backups, even if a quorum's keys approve of it."""
    cluster = started()
    order(cluster, 1)
    bad = committee_after(cluster.committee, names, faults, **fields)
    approve(cluster, bad)
    assert all(words in str(node.refused[-1]) for node in cluster.nodes.values())
    approvals = approval_of(cluster.committee, bad, *FOUR).approvals
    cluster.liars.add("n1")
    before = newest(cluster, "n1")
    made = make_change(before, cluster.committee, cluster["n1"].now_us, (0, bytes(32)), Change(bad, approvals))
    propose_as(cluster, "n1", 0, made)
    cluster.run(2_000_000)
    assert cluster.newest.epoch == 1
    assert any("change of epoch" in what for what in complaints(cluster, "n1"))
    check_goes_on(cluster)


def test_what_one_operator_approved_of_is_seen_at_other_members_and_forgotten_with_the_epoch() -> None:
    cluster = started(spares=("n5",))
    wanted = committee_after(cluster.committee, (*FOUR, "n5"))
    approve(cluster, wanted, "n1")
    cluster.run(2_000_000)
    assert committees_seen(cluster["n2"].state) == [(wanted, ("n1",))]
    assert approvals_seen(cluster["n2"].state) == {}, "n2's operator has not approved"
    change(cluster, (*FOUR, "n5"))
    assert committees_seen(cluster["n2"].state) == []


def test_what_operators_approve_of_is_seen_beside_all_that_liars_approve_of() -> None:
    cluster = started(10, 3)
    old, liars = cluster.committee, ("n7", "n8", "n9")
    names = tuple(old.nodes)
    for place, liar in enumerate(liars):
        cluster.liars.add(liar)
        for number in range(APPROVED_MAX):
            wanted = committee_after(old, (*names, f"m{place}{number}"), faults=3)
            tell_all(cluster, liar, approval_of(old, wanted, liar))
    mine = [committee_after(old, (*names, f"p{number}"), faults=3) for number in range(3)]
    for wanted in mine:
        approve(cluster, wanted, "n1", "n2")
    cluster.run(2_000_000)
    seen = committees_seen(cluster["n3"].state)
    assert len(seen) == SEEN_MAX
    assert {committee.membership_hash for committee, _ in seen[:3]} == {each.membership_hash for each in mine}


def test_row_46_an_old_quorum_and_an_evicted_liar_are_ignored_in_the_next_epoch() -> None:
    """The certificate of the old quorum for a block behind its last one is refused, as well as lone votes."""
    cluster = started(5, 1, spares=("n6",))
    order(cluster, 2)
    cluster.liars.add("n5")
    change(cluster, (*FOUR, "n6"))
    last = newest(cluster, "n2")
    old = cluster.committee
    fork = make_block(last, old, cluster["n2"].now_us, (0, bytes(32)), [])
    votes = signatures(cluster, FOUR, VoteKind.COMMIT, 0, fork.header.sequence, fork.digest)
    tell_all(cluster, "n5", Blocks(0, fork.header.sequence, (), votes, (fork.entry,)))
    for view in (0, 1, cluster["n2"].state.view, cluster["n2"].state.view + 1):
        tell_all(cluster, "n5", prepare_of(cluster, "n5", view, last.header.sequence + 1, fork.digest))
        tell_all(cluster, "n5", view_change_of(cluster, "n5", view + 1))
    cluster.run(1_000_000)
    assert any("certificate of another epoch" in what for what in complaints(cluster, "n5"))
    assert {node.state.commit_sequence for node in cluster.honest()} == {last.header.sequence}
    verdict = verify_block(certify(old, 0, fork.header, dict(votes)), cluster.newest)
    assert not verdict.valid and "epoch 1" in verdict.reasons[0]
    check_goes_on(cluster)


def test_row_47_a_key_that_was_given_up_or_belongs_to_another_never_comes_back() -> None:
    cluster = started(5, 1, spares=("n6",))
    order(cluster, 1)
    change(cluster, FOUR)
    for names, keys in (
        ((*FOUR, "n5"), {}),
        ((*FOUR, "n6"), {"n6": "n5"}),
        ((*FOUR, "n6"), {"n6": "n1", "n1": "x"}),
    ):
        again = committee_after(cluster.newest, names, keys=keys)
        approve(cluster, again, "n2")
        assert "Make a fresh key" in str(cluster["n2"].refused[-1])
    cluster["n5"].crash()
    cluster["n5"].key_name = "n5 anew"
    cluster["n5"].boot(first=False)
    change(cluster, (*FOUR, "n5"), keys={"n5": "n5 anew"})
    assert cluster["n5"].state.may_sign
    check_goes_on(cluster)


def test_row_47_a_member_that_lost_its_disk_signs_nothing_in_any_later_epoch_until_it_caught_up() -> None:
    """It may have signed there in its earlier life: the disk is lost after the change."""
    cluster = started(5, 1)
    order(cluster, 20)
    votes = sent_votes(cluster)
    change(cluster, ("n1", "n2", "n3", "n4", "n5"), keys={})
    order(cluster, 3, first=50)
    cluster["n5"].crash()
    cluster["n5"].disk = Disk()
    cluster["n5"].boot(first=False)
    before = len(votes)
    order(cluster, 3, first=60)
    cluster.run(2_000_000)
    assert cluster["n5"].state.committee.epoch == 2
    assert not [vote for vote in votes[before:] if vote.member == "n5"]
    assert cluster["n5"].state.commit_sequence == cluster["n1"].state.commit_sequence
    cluster["n5"].crash()  # what it lost is lost for its next life, too
    cluster["n5"].boot(first=False)
    order(cluster, 1, first=70)
    assert not [vote for vote in votes[before:] if vote.member == "n5"]
    for _ in range(4):  # a new view is behind all that it may have signed
        cluster[primary_now(cluster)].crash()
        cluster.run(3_000_000)
        for node in cluster.nodes.values():
            if node.replica is None:
                node.boot(first=False)
        order(cluster, 1, first=80 + cluster.now_us)
        cluster.run(2_000_000)
    assert cluster["n5"].state.may_sign
    check_one_vote_a_place(votes)
    check_goes_on(cluster)


# Crashes, partitions and lies in the middle of it.


@pytest.mark.parametrize("seed", range(12))
def test_crashes_at_any_point_of_a_change_lose_nothing(seed: int) -> None:
    """One member after the other crashes in the middle of writing, and comes back from what its disk holds."""
    cluster = started(seed=seed, spares=("n5",))
    order(cluster, 3)
    votes = sent_votes(cluster)
    cluster.instant_disks = False
    random = Random(seed)
    approve(cluster, committee_after(cluster.committee, ("n2", "n3", "n4", "n5")))
    for _ in range(60):
        for _ in range(random.randrange(12)):
            cluster.deliver()
        name = random.choice(sorted(cluster.nodes))
        if random.random() < 0.5:
            cluster[name].sync()
        elif random.random() < 0.5:
            cluster[name].crash()
            cluster[name].boot(first=False)
    cluster.instant_disks = True
    cluster.run(10_000_000)
    if cluster.newest.epoch == 1:
        approve(cluster, committee_after(cluster.committee, ("n2", "n3", "n4", "n5")))
    check_goes_on(cluster)
    assert cluster.newest.epoch == 2
    check_one_vote_a_place(votes)


@pytest.mark.parametrize("alone", FOUR)
def test_a_member_cut_off_during_two_changes_catches_up_with_both(alone: str) -> None:
    cluster = started(spares=("n5", "n6"))
    order(cluster, 2)
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if (a == alone) != (b == alone)}
    rest = tuple(name for name in FOUR if name != alone)
    for names in ((*FOUR, "n5"), (*rest, "n5", "n6")):
        committee = committee_after(cluster["n5"].state.committee, names)
        approve(cluster, committee, *rest)
        if committee.epoch == 3:
            approve(cluster, committee, "n5")
        cluster.run(4_000_000)
        order(cluster, 12, first=100 * committee.epoch)
    assert cluster[alone].state.committee.epoch == 1
    cluster.cut.clear()
    check_goes_on(cluster)
    assert cluster.newest.epoch == 3 and not cluster[alone].state.may_sign


def cut_off(cluster: EpochCluster, alone: str) -> tuple[str, ...]:
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if (a == alone) != (b == alone)}
    return tuple(name for name in FOUR if name != alone)


def test_a_snapshot_names_the_committee_of_its_block_also_where_a_later_one_is_known() -> None:
    """Else its bytes would differ at a member that enters the next epoch first, and gets the blocks then."""
    cluster = EpochCluster(spares=("n5",))
    cluster.settings = msgspec.structs.replace(cluster.settings, log_kept_blocks=64)
    cluster.boot()
    rest = cut_off(cluster, "n4")
    order(cluster, 10)
    approve(cluster, committee_after(cluster.committee, (*FOUR, "n5")), *rest)
    cluster.run(3_000_000)
    cluster.cut.clear()
    check_goes_on(cluster)
    taken = {(node, mark.index): mark for (node, _), mark in cluster.snapshots.items()}
    assert cluster["n4"].state.committee.epoch == 2
    assert taken["n4", 8] == taken["n1", 8] and taken["n4", 8].configuration.epoch == 1


def test_blocks_of_an_epoch_that_ended_without_them_are_passed_on_to_nobody() -> None:
    """n4 hears of the next epoch, and of blocks in it, before it has the block where that begins. It still holds
    others at those places, which n1 had sent to it alone."""
    cluster = started()
    cluster.cut = {(a, b) for a in FOUR for b in FOUR if {a, b} not in ({"n1", "n4"}, {"n2", "n3"})}
    for number in range(1, 5):
        cluster.submit(request_of("lost", number), to=("n1",))
        cluster.run(0)
    assert cluster["n4"].state.chain.last == 4
    cluster["n1"].crash()  # so it forgets what it was asked to order
    cluster["n1"].boot(first=False)
    rest = cut_off(cluster, "n4")
    cluster.run(2_000_000)
    approve(cluster, committee_after(cluster.committee, FOUR), *rest)
    cluster.run(2_000_000)
    start = cluster["n1"].state.epochs.start.sequence
    assert cluster["n1"].state.committee.epoch == 2 and start < 4

    passed_on = []

    def no_blocks(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        if source == "n4" and isinstance(message, PrePrepare):
            passed_on.append(message)
        return [] if to == "n4" and isinstance(message, Blocks | Offer) else [(message, attached)]

    cluster.cut.clear()
    cluster.filter = no_blocks
    cluster.run(250_000)
    order(cluster, 4 - start, client="new")
    cluster.run(250_000)
    state = cluster["n4"].state
    assert state.committee.epoch == 2 and state.active and not state.has_base and state.chain.last == 4
    cluster.filter = None
    assert not passed_on
    check_goes_on(cluster)


def until_the_epoch_ends(cluster: EpochCluster, slow: tuple[str, ...]) -> None:
    """Deliver everything; but the disks of these have not synced yet what they noted last, of the next epoch."""

    def is_over(node: Node) -> bool:
        return any(isinstance(record, Note) and record.name.startswith(NOTE) for _, record in node.staged)

    while not all(is_over(cluster[name]) for name in slow):
        going = cluster.deliver()
        for name, node in cluster.nodes.items():
            if not (name in slow and is_over(node)):
                going |= bool(node.staged)
                node.sync()
        assert going, "the epoch does not end"


def test_members_that_lose_their_notes_of_the_next_epoch_order_nothing_more_in_the_old_one() -> None:
    """Power fails when snapshots are durable, and what was written last is not."""
    cluster = started(spares=("n5",))
    order(cluster, SETTINGS.state_blocks - 1)
    three = ("n1", "n2", "n3")
    cluster.instant_disks = False
    approve(cluster, committee_after(cluster.committee, (*three, "n5")))
    until_the_epoch_ends(cluster, three)
    for name in three:
        cluster[name].staged.clear()
        cluster[name].crash()
        cluster[name].boot(first=False)
        assert cluster[name].state.committee.epoch == 1
        assert cluster[name].state.is_epoch_over
    cluster.instant_disks = True
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if (a in three) != (b in three)}
    cluster.submit(request_of("old", 1), to=three)
    cluster.run(8_000_000)
    assert {cluster[name].state.committee.epoch for name in three} == {2}
    cluster.cut.clear()
    check_goes_on(cluster, [request_of("old", 1)])


def test_a_state_that_is_being_fetched_stays_the_same_when_the_next_epoch_is_entered() -> None:
    """Else all of it would be fetched again: what is known of it counts only under the same mark."""
    cluster = started(spares=("n5",))
    rest = cut_off(cluster, "n4")
    order(cluster, 4 * cluster.settings.state_blocks + cluster.settings.log_kept_blocks)
    fetched: list[tuple[int, SnapshotMark]] = []
    cluster.fetch_snapshot = lambda node, source, mark: fetched.append((node.state.committee.epoch, mark))
    cluster.cut.clear()
    cluster.run(3_000_000)
    approve(cluster, committee_after(cluster.committee, (*FOUR, "n5")), *rest)
    cluster.run(6_000_000)
    before, after = ({mark for epoch, mark in fetched if epoch == number} for number in (1, 2))
    assert after and after <= before, "the state is offered in both epochs"
    assert {mark.configuration.epoch for mark in before} == {1}


def test_a_partition_in_the_middle_of_a_change_decides_it_on_no_side_alone() -> None:
    cluster = started(spares=("n5",))
    order(cluster, 2)
    sides = ({"n1", "n2"}, {"n3", "n4", "n5"})
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if (a in sides[0]) != (b in sides[0])}
    approve(cluster, committee_after(cluster.committee, (*FOUR, "n5")))
    cluster.run(5_000_000)
    assert cluster.newest.epoch == 1
    cluster.cut.clear()
    check_goes_on(cluster)
    assert cluster.newest.epoch == 2


def test_a_primary_that_keeps_the_end_of_the_epoch_to_itself_holds_nobody_up() -> None:
    """The lying primary collects the certificate of the last block, and says nothing more; it is evicted by it."""
    cluster = started(5, 1)
    order(cluster, 2)
    lie(
        cluster,
        "n1",
        lambda to, message, attached: [(message, attached)] if isinstance(message, PrePrepare) else [],
    )
    approve(cluster, committee_after(cluster.committee, ("n2", "n3", "n4", "n5")), "n2", "n3", "n4", "n5")
    check_goes_on(cluster)
    assert cluster.newest.epoch == 2


def test_a_primary_that_does_not_order_an_approved_change_is_replaced() -> None:
    cluster = started(spares=("n5",))
    order(cluster, 2)

    def all_but_the_change(to: str, message: object, attached: tuple[bytes, ...]) -> list:
        is_first_epoch = isinstance(message, PrePrepare) and message.view < VIEWS_PER_EPOCH
        is_change = is_first_epoch and read_block("n1", attached[0], cluster.committee).change is not None
        return [] if is_change else [(message, attached)]

    lie(cluster, "n1", all_but_the_change)
    approve(cluster, committee_after(cluster.committee, (*FOUR, "n5")))
    cluster.run(5_000_000)
    assert cluster.newest.epoch == 2
    check_goes_on(cluster)


def test_an_evicted_liar_that_goes_on_voting_is_proved_to_lie_in_its_own_epoch_alone() -> None:
    """Two votes of the old epoch are evidence against its committee's key; they say nothing of the new epoch."""
    cluster = started(5, 1)
    order(cluster, 1)
    cluster.liars.add("n5")
    for digest in (ONE, OTHER):
        tell_all(cluster, "n5", prepare_of(cluster, "n5", 0, 3, digest))
    cluster.run(0)
    (found, *_) = accusations(cluster, "n5")
    change(cluster, FOUR)
    assert verify_evidence(found, cluster.committee).valid
    assert not verify_evidence(found, cluster.newest).valid
    tell_all(cluster, "n5", Accusation(0, found))
    check_goes_on(cluster)
    assert all("n5" not in node.state.liars for node in cluster.honest())


def test_two_committees_approved_at_once_are_decided_one_after_the_other_or_not_at_all() -> None:
    """Operators disagree: half of them want one committee, half another; the first to have a quorum follows."""
    cluster = started(spares=("n5", "n6"))
    one, other = (committee_after(cluster.committee, (*FOUR, name)) for name in ("n5", "n6"))
    approve(cluster, one, "n1", "n2")
    approve(cluster, other, "n3", "n4")
    cluster.run(2_000_000)
    assert cluster.newest.epoch == 1
    approve(cluster, other, "n1")
    cluster.run(2_000_000)
    check_epoch(cluster, other)
    approve(cluster, one, "n2")
    assert "count up by one" in str(cluster["n2"].refused[-1])
    check_goes_on(cluster)


def test_approvals_are_bounded_by_member() -> None:
    cluster = started()
    cluster.liars.add("n4")
    for number in range(30):
        tell(cluster, "n4", "n1", approval_of(cluster.committee, fanciful(cluster, number), "n4"))
    cluster.run(0)
    assert len(cluster["n1"].state.gathered.boxes) == APPROVED_MAX
    for number in range(APPROVED_MAX + 1):
        approve(cluster, fanciful(cluster, number), "n2")
    assert f"approved of {APPROVED_MAX} already" in str(cluster["n2"].refused[-1])
    check_goes_on(cluster)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_changed_change_of_epoch_is_believed_by_nobody(data: st.DataObject) -> None:
    """Whatever a liar makes of the true message, a newcomer enters the epoch that was decided, or none."""
    cluster = changed_once()
    told = Epochs(VIEWS_PER_EPOCH, tuple(cluster["n1"].state.epochs.changes))
    packed = bytearray(encoded(told))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        spoilt = msgspec.msgpack.decode(bytes(packed), type=Epochs)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    receive(cluster, "n6", "n5", spoilt)
    assert cluster["n6"].state.committee in (cluster.committee, cluster.newest)
    assert all(error.sender == "n5" for name, error in cluster.errors if name == "n6")  # type: ignore[attr-defined]


def changed_once() -> EpochCluster:
    """A cluster whose committee has changed, of which n6 has heard nothing, and n5 lies."""
    cluster = started(5, 1, spares=("n6",))
    cluster.liars.add("n5")
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if (a == "n6") != (b == "n6")}
    approve(cluster, committee_after(cluster.committee, FOUR))
    cluster.run(1_000_000)
    assert cluster.newest.epoch == 2
    cluster.cut.clear()
    return cluster


def fanciful(cluster: EpochCluster, number: int) -> Committee:
    return committee_after(cluster.committee, (*FOUR, f"x{number}"))


@given(
    seed=st.integers(0, 10_000),
    steps=st.lists(
        st.tuples(st.sampled_from(["crash", "cut", "order", "approve", "wait"]), st.integers(0, 5)), max_size=25
    ),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_committees_that_change_at_any_time_agree_and_go_on(seed: int, steps: list[tuple[str, int]]) -> None:
    """Crashes, cuts and changes in any order, with disks that lag behind; one of six nodes is left out."""
    names = (*FOUR, "n5", "n6")
    cluster = started(5, 1, seed, spares=("n6",))
    votes = sent_votes(cluster)
    cluster.instant_disks = False
    number = 0
    for what, which in steps:
        name = names[which]
        if what == "crash":
            cluster[name].crash()
            cluster[name].boot(first=False)
        elif what == "cut":
            cluster.cut = {(a, b) for a in names for b in names if (a == name) != (b == name)}
        elif what == "order":
            number += 1
            cluster.submit(request_of("r", number))
        elif what == "approve":
            newest_now = cluster.newest
            left_out = name if name not in newest_now.nodes or len(newest_now.nodes) > 4 else ""
            approve(cluster, fresh_committee(newest_now, names, left_out, cluster))
        cluster.run(200_000 * (1 + which))
    cluster.cut.clear()
    cluster.instant_disks = True
    cluster.run(5_000_000)
    check_goes_on(cluster)
    check_one_vote_a_place(votes)


def fresh_committee(old: Committee, names: tuple[str, ...], left_out: str, cluster: EpochCluster) -> Committee:
    """All that have not given up their key, but for one."""
    gone = {node for each in cluster_committees(cluster) for node in each.nodes} - set(old.nodes)
    return committee_after(old, tuple(name for name in names if name not in gone | {left_out}), 1)


def cluster_committees(cluster: EpochCluster) -> list[Committee]:
    return max((node.state.epochs.committees for node in running(cluster)), key=len)


def primary_now(cluster: EpochCluster) -> str:
    """Who is primary in the newest view."""
    return max(running(cluster), key=lambda node: node.state.view).state.primary


def test_a_good_change_keeps_its_effects_though_a_bad_one_follows_it_in_the_message() -> None:
    """What was entered is durable, or the next life could not read what this one wrote."""
    cluster = changed_once()
    (change,) = cluster["n1"].state.epochs.changes
    forged = msgspec.structs.replace(change, committee=committee_after(change.committee, FOUR))
    node = cluster["n6"]
    receive(cluster, "n6", "n5", Epochs(VIEWS_PER_EPOCH, (change, forged)))
    assert node.state.committee == cluster.newest
    assert any("change from epoch 2" in report.what for report in node.reports)
    node.crash()
    node.boot(first=False)
    assert node.state.committee == cluster.newest
    cluster.run(1_000_000)
    check_goes_on(cluster)


def test_approvals_of_one_member_many_times_in_one_message_are_not_looked_at() -> None:
    cluster = started()
    cluster.liars.add("n4")
    told = approval_of(cluster.committee, committee_after(cluster.committee, FOUR), "n4")
    many = msgspec.structs.replace(told, approvals=told.approvals * 1_000)
    asked: list[object] = []
    verify = cluster.verify
    cluster.verify = lambda item: (asked.append(item), verify(item))[1]  # type: ignore[method-assign]
    tell(cluster, "n4", "n1", many)
    cluster.run(0)
    assert asked == [] and any("1000 approvals" in str(error) for _, error in cluster.errors)


def test_who_is_an_epoch_behind_is_told_once_in_a_while_however_often_it_says_so() -> None:
    cluster = changed_once()
    told: list[object] = []

    def seen(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        if to == "n9":
            told.append(message)
        return [] if to == "n9" else [(message, attached)]

    cluster.filter = seen
    for _ in range(150):
        tell(cluster, "n9", "n1", Status(0, True, 0, 0, 0))
        tell(cluster, "n9", "n1", Fetch(0, 1))
    cluster.run(0)
    assert [type(message) for message in told] == [Epochs]
