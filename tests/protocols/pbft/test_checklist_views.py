"""Lies about what was seen: forged, hidden and stale claims, views that nobody asked for, and views far ahead.

Rows 16 to 20 and 39 to 41 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

import msgspec
import pytest

from protocols.pbft.cluster import Cluster, request_of
from protocols.pbft.scene import (
    ONE,
    SIZES,
    TIMEOUTS_US,
    accusations,
    block_after,
    check_progress,
    complaints,
    liar,
    lie,
    order,
    receive,
    requests,
    sign,
    signatures,
    started,
    tell,
    tell_all,
    view_change_of,
    views,
)
from quorum.certificate.evidence import Claim, HiddenVote
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.messages import Commit, NewView, PrePrepare, ViewChange, Votes
from quorum.protocols.pbft.state import NO_CLAIM
from quorum.protocols.pbft.view_change import base_of


def quorum_of(cluster: Cluster) -> tuple[str, ...]:
    """The first members that are just enough to decide."""
    names = cluster.committee.nodes
    return names[: (len(names) + cluster.committee.faults) // 2 + 1]


def forgeries(cluster: Cluster, claimant: str) -> dict[str, ViewChange]:
    """VIEW-CHANGEs for view 5 with a claim that nothing proves."""
    quorum, faults = quorum_of(cluster), cluster.committee.faults
    claim = Claim(0, 3, ONE)
    good = signatures(cluster, quorum, VoteKind.PREPARE, 0, 3, ONE)
    one_lied = (*good[:-1], (good[-1][0], good[0][1]))
    stranger = tuple(sorted((*good[:-1], ("n0", good[-1][1]))))
    other_kind = signatures(cluster, quorum, VoteKind.NEW_VIEW, 0, 3, ONE)
    other_place = signatures(cluster, quorum, VoteKind.PREPARE, 0, 2, ONE)

    def claimed(proof, claim=claim, vote=VoteKind.PREPARE) -> ViewChange:
        return view_change_of(cluster, claimant, 5, claim, proof, vote)

    unsigned = msgspec.structs.replace(claimed(good), signature=bytes(64))
    return {
        "T+1 signatures": claimed(good[: faults + 1]),
        "one too few": claimed(good[:-1]),
        "a signer twice": claimed((*good[:-1], good[-2])),
        "a member's signature by another": claimed(one_lied),
        "a signer outside of the epoch": claimed(stranger),
        "votes of another type": claimed(other_kind),
        "a type that proves nothing": claimed(other_kind, vote=VoteKind.NEW_VIEW),
        "votes for another place": claimed(other_place),
        "signers in another order": claimed(good[::-1]),
        "a claim of the view that is asked for": claimed(good, Claim(5, 3, ONE)),
        "a short digest": claimed(good, Claim(0, 3, b"")),
        "its own signature missing": unsigned,
    }


FORGED = tuple(sorted(forgeries(started(), "n4")))


@pytest.mark.parametrize("way", FORGED)
@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_16_a_view_change_with_a_forged_claim_is_not_counted(count: int, faults: int, way: str) -> None:
    cluster = started(count, faults)
    made = order(cluster, 2)
    claimant = cluster.committee.nodes[-1]
    cluster.liars.add(claimant)
    tell_all(cluster, claimant, forgeries(cluster, claimant)[way])
    cluster.run(0)
    for node in cluster.honest():
        assert claimant not in node.state.view_changes
    assert complaints(cluster, claimant)
    lie(cluster, "n1", lambda to, message, attached: [])
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)


def prepared_only(cluster: Cluster, made: list[bytes]) -> bytes:
    """Have a block prepared by all and decided by nobody; return its digest."""
    before = cluster.filter
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, Commit | Votes) else [(message, attached)]
    )
    cluster.submit(*made)
    cluster.run(0)
    cluster.filter = before
    digests = {node.state.claim.claim.digest for node in cluster.nodes.values()}
    assert len(digests) == 1 and {node.state.commit_sequence for node in cluster.nodes.values()} == {0}
    return digests.pop()


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_17_a_prepared_block_survives_liars_who_hide_it(count: int, faults: int) -> None:
    """Every quorum of VIEW-CHANGEs has an honest one that claims it. The liars lead views as well, in turn."""
    cluster = started(count, faults)
    made = requests(3)
    digest = prepared_only(cluster, made)
    for node in cluster.committee.nodes[1 : 1 + faults]:
        liar(cluster, node, "hide")
    cluster.run(TIMEOUTS_US)
    for node in cluster.honest():
        assert node.state.chain.digest(1) == digest and node.state.commit_sequence >= 1
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_17_who_hides_what_it_voted_to_commit_is_proved_a_liar(count: int, faults: int) -> None:
    cluster = started(count, faults)
    made = order(cluster, 3)
    hider = cluster.committee.nodes[-1]
    liar(cluster, hider, "hide")
    lie(cluster, "n1", lambda to, message, attached: [])
    if faults == 1:
        cluster.liars.discard("n1")
        cluster["n1"].crash()
    cluster.submit(request_of("b", 1))
    cluster.run(2 * cluster.settings.view_timeout_us)
    found = accusations(cluster, hider)
    assert found and all(isinstance(each, HiddenVote) for each in found)
    if faults == 1:
        cluster.filter = None
        cluster["n1"].boot()
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)


def new_view_of(cluster: Cluster, view: int, changes: list[ViewChange]) -> NewView:
    """A NEW-VIEW that its primary did sign, over whatever it holds."""
    from quorum.protocols.pbft.view_change import _digest_of

    pairs = tuple(zip(quorum_of(cluster), changes, strict=False))
    lead = cluster.committee.nodes[view % len(cluster.committee.nodes)]
    sequence = base_of(pairs).claim.sequence if pairs else 0
    signature = sign(cluster, lead, VoteKind.NEW_VIEW, view, sequence, _digest_of(pairs))
    return NewView(view, pairs, signature)


def inconsistent(cluster: Cluster) -> dict[str, NewView]:
    """NEW-VIEWs of view 1, each wrong in another way."""
    names = quorum_of(cluster)
    claim = cluster["n3"].state.claim
    held = [
        view_change_of(cluster, name, 1, claim.claim, claim.signatures, VoteKind(claim.vote)) for name in names
    ]
    good = new_view_of(cluster, 1, held)
    empty = msgspec.structs.replace(held[-1], claim=NO_CLAIM, signatures=())
    older = view_change_of(cluster, names[-1], 2)
    twice = (*good.changes[:-1], good.changes[-2])
    stranger = tuple(sorted((*good.changes[:-1], ("n0", held[-1]))))
    return {
        "too few": new_view_of(cluster, 1, held[:-1]),
        "a claim dropped from a message": new_view_of(cluster, 1, [*held[:-1], empty]),
        "a message of another view": new_view_of(cluster, 1, [*held[:-1], older]),
        "a member twice": msgspec.structs.replace(good, changes=twice),
        "a stranger": msgspec.structs.replace(good, changes=stranger),
        "another place signed": msgspec.structs.replace(good, signature=_signed_at(cluster, good, 0)),
        "nothing": new_view_of(cluster, 1, []),
    }


def _signed_at(cluster: Cluster, good: NewView, sequence: int) -> bytes:
    from quorum.protocols.pbft.view_change import _digest_of

    return sign(cluster, "n2", VoteKind.NEW_VIEW, 1, sequence, _digest_of(good.changes))


WRONG_VIEWS = (
    "too few",
    "a claim dropped from a message",
    "a message of another view",
    "a member twice",
    "a stranger",
    "another place signed",
    "nothing",
)


@pytest.mark.parametrize("way", WRONG_VIEWS)
@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_18_a_new_view_that_does_not_follow_from_its_messages_is_refused(
    count: int, faults: int, way: str
) -> None:
    """PBFT, section 4.4: backups derive where the view begins themselves; the primary's word is not asked for."""
    cluster = started(count, faults)
    made = order(cluster, 3)
    wrong = inconsistent(cluster)[way]
    lie(cluster, "n2", lambda to, message, attached: [])
    for node in cluster.honest():
        receive(cluster, node.name, "n2", wrong)
        assert node.state.view == 0
    assert complaints(cluster, "n2")
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_19_views_far_ahead_from_liars_are_not_joined_and_one_is_kept_of_each(count: int, faults: int) -> None:
    cluster = started(count, faults)
    spammers = cluster.committee.nodes[-max(1, faults - 1) :]
    cluster.liars |= set(spammers)
    for view in (3, 10, 10**6, 2**63, 2**64 - 1):
        for spammer in spammers:
            tell_all(cluster, spammer, view_change_of(cluster, spammer, view))
        cluster.run(100_000)
    for node in cluster.honest():
        assert node.state.view == 0
        assert set(node.state.view_changes) <= set(cluster.nodes)
        assert not node.state._checks
    if faults > 1:
        lie(cluster, "n1", lambda to, message, attached: [])
    check_progress(cluster, requests(3), within_us=2 * TIMEOUTS_US)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_20_liars_who_want_another_view_all_the_time_get_none(count: int, faults: int) -> None:
    """PBFT, section 4.5.2: T messages move nobody. While an honest member leads, nothing is lost."""
    cluster = started(count, faults)
    noisy = cluster.committee.nodes[-faults:]
    cluster.liars |= set(noisy)
    made = []
    for number in range(1, 41):
        view = max(views(cluster)) + 1
        for node in noisy:
            tell_all(cluster, node, view_change_of(cluster, node, view + number))
        made.append(request_of("a", number))
        cluster.submit(made[-1])
        cluster.run(20_000)
        assert made[-1] in cluster.requests_decided()
    assert views(cluster) == {0}
    check_progress(cluster, made)


@pytest.mark.parametrize("is_seen", [True, False])
@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_39_a_certificate_shown_to_one_member_forks_nothing(count: int, faults: int, is_seen: bool) -> None:
    """The counterpart of a withheld certificate: one member alone holds the votes to prepare a block. The next
    view begins there, or safely without it."""
    cluster = started(count, faults)
    holder = cluster.committee.nodes[-1]
    cluster.filter = lambda source, to, message, attached: (
        [(message, attached)] if isinstance(message, PrePrepare) or to == holder else []
    )
    cluster.submit(*requests(2))
    cluster.run(0)
    digest = cluster[holder].state.claim.claim.digest
    assert [node.name for node in cluster.nodes.values() if node.state.claim.claim != NO_CLAIM] == [holder]
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, Commit | Votes) and message.view == 0 else [(message, attached)]
    )
    if is_seen:
        cut = cluster.committee.nodes[1 : 1 + faults]
    else:
        cut = (holder,)
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if (a in cut) != (b in cut)}
    cluster.run(TIMEOUTS_US)
    decided = {node.state.chain.digest(1) for node in cluster.nodes.values() if node.state.commit_sequence}
    assert len(decided) == 1 and (not is_seen or decided == {digest})
    cluster.filter, cluster.cut = None, set()
    check_progress(cluster, requests(2), within_us=2 * TIMEOUTS_US)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_40_a_view_built_on_messages_of_an_earlier_one_is_refused(count: int, faults: int) -> None:
    """The counterpart of a stale certificate: VIEW-CHANGEs for view 1 with old claims do not begin view 3."""
    cluster = started(count, faults)
    names = quorum_of(cluster)
    old = [view_change_of(cluster, name, 1) for name in names]
    made = order(cluster, 3)
    lead = cluster.committee.nodes[3]
    lie(cluster, lead, lambda to, message, attached: [])
    for node in cluster.honest():
        receive(cluster, node.name, lead, new_view_of(cluster, 3, old))
        assert node.state.view == 0
    assert complaints(cluster, lead)
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)


def test_row_18_who_passes_on_a_block_from_before_the_base_of_a_view_is_not_blamed() -> None:
    """A primary that began its view twice may have told that member of an earlier base (Twins 12520, 14478)."""
    cluster = started()
    order(cluster, 3)
    cluster["n1"].crash()
    cluster.submit(request_of("late", 1))
    cluster.run(2 * cluster.settings.view_timeout_us)
    node = cluster["n3"]
    view, base = node.state.view, node.state.base.sequence
    assert base > 0 and node.state.primary != "n4"
    receive(cluster, "n3", "n4", PrePrepare(view, base, bytes(64)), node.seen[base - 1])
    assert not cluster.errors and not complaints(cluster, "n4")


@pytest.mark.parametrize("vote", [99, -1, 0, int(VoteKind.VIEW_CHANGE)])
@pytest.mark.parametrize("sender", ["n4", "n5"])
def test_row_26_a_claim_by_votes_of_no_known_kind_is_refused(sender: str, vote: int) -> None:
    """Where an epoch begins needs no votes; what is said of them must have a form all the same."""
    cluster = started()
    cluster.liars.update({sender, "n4"})
    change = msgspec.structs.replace(view_change_of(cluster, "n4", 1), vote=vote)
    changes = tuple((name, msgspec.structs.replace(change, signature=bytes(64))) for name in ("n1", "n2", "n3"))
    for message in (change, NewView(1, changes, bytes(64))):
        for node in ("n1", "n2", "n3"):
            tell(cluster, sender, node, message)
    cluster.run(0)
    assert {node.state.view for node in cluster.honest()} == {0}
    check_progress(cluster)


@pytest.mark.parametrize("view", [2**64, 2**70, -1, 0])
def test_row_41_a_view_outside_of_all_views_is_no_view(view: int) -> None:
    """The counterpart of a timeout message with an inflated view."""
    cluster = started()
    cluster.liars.add("n4")
    good = view_change_of(cluster, "n4", 7)
    tell_all(cluster, "n4", msgspec.structs.replace(good, view=view))
    cluster.run(0)
    assert all("n4" not in node.state.view_changes for node in cluster.honest())
    check_progress(cluster)


@pytest.mark.parametrize("is_covered", [False, True])
def test_row_41_a_stale_claim_of_a_member_that_voted_to_commit_is_evidence_and_moves_nothing_back(
    is_covered: bool,
) -> None:
    """Also where a vote that it did not sign comes after the one that it did."""
    cluster = started()
    made = order(cluster, 4)
    cluster.liars.add("n4")
    if is_covered:
        tell_all(cluster, "n4", Commit(0, 5, bytes(32), bytes(64)))
        cluster.run(0)
    node = cluster["n2"]
    votes = node.state.certificates[1]
    digest = node.state.chain.digest(1)
    stale = view_change_of(cluster, "n4", 1, Claim(votes[0], 1, digest), votes[1], VoteKind.COMMIT)
    tell_all(cluster, "n4", stale)
    cluster.run(0)
    found = accusations(cluster, "n4")
    assert found and all(isinstance(each, HiddenVote) for each in found)
    assert {each.state.commit_sequence for each in cluster.honest()} == {4}
    check_progress(cluster, made)


def test_a_block_that_only_liars_claim_is_not_missed() -> None:
    """A claim is a quorum's, so liars alone can make none for a block that nobody has."""
    cluster = started()
    cluster.liars.add("n4")
    block = block_after(cluster, None, request_of("z", 1))
    proof = signatures(cluster, ("n4",), VoteKind.PREPARE, 0, 1, block.digest)
    tell_all(cluster, "n4", view_change_of(cluster, "n4", 1, Claim(0, 1, block.digest), proof))
    cluster.run(0)
    assert complaints(cluster, "n4")
    check_progress(cluster)
