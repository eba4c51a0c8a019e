"""Where a view begins, somebody must have the block: a liar that alone can claim one gives it to nobody, and an
honest member that claims one keeps it through every view that begins without it."""

from __future__ import annotations

import pytest

from protocols.pbft.cluster import Cluster, Node, request_of
from protocols.pbft.scene import (
    TIMEOUTS_US,
    Sent,
    block_after,
    check_progress,
    lie,
    prepare_of,
    propose_as,
    receive,
    running,
    sign,
    signatures,
    started,
    tell_all,
    view_change_of,
)
from quorum.certificate.evidence import Claim
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.messages import NewView
from quorum.protocols.pbft.state import NO_CLAIM
from quorum.protocols.pbft.view_change import _digest_of, base_of

LIAR = "n4"


def one_certificate() -> tuple[Cluster, Claim]:
    """While n3 is down, n1 and n2 prepare a block, as the liar does, which tells nobody. With its word that it
    has seen nothing they begin view 1, drop the block, and get no further."""
    cluster = started()

    def silent(to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        return []

    lie(cluster, LIAR, silent)
    cluster["n3"].crash()
    cluster.submit(request_of("a", 1))
    cluster.run(0)
    digest = cluster["n1"].state.chain.digest(1)
    assert digest == cluster["n2"].state.chain.digest(1) is not None
    assert cluster["n1"].state.here.prepared_sequence == 0
    tell_all(cluster, LIAR, view_change_of(cluster, LIAR, 1))
    cluster.run(550_000)
    for node in running(cluster):
        assert (node.state.view, node.state.active) == (1, True) and not node.state.chain.holds(1, digest)
    cluster.run(1_100_000)
    return cluster, Claim(0, 1, digest)


def test_a_block_that_a_liar_alone_can_claim_and_gives_to_nobody_stops_nobody() -> None:
    """All links are good, and all others run, from when n3 is back; the liar's word is always there first."""
    cluster, claim = one_certificate()
    proof = signatures(cluster, ("n1", "n2", LIAR), VoteKind.PREPARE, claim.view, claim.sequence, claim.digest)
    tell_all(cluster, LIAR, view_change_of(cluster, LIAR, 2, claim, proof))
    cluster["n3"].boot()
    for _ in range(TIMEOUTS_US // 50_000):
        cluster.run(50_000)
        newest = max(node.state.view for node in running(cluster))
        begun = all(node.state.active for node in running(cluster) if node.state.view == newest)
        wanted = newest + (begun or cluster.committee.nodes[newest % 4] == LIAR)
        tell_all(cluster, LIAR, view_change_of(cluster, LIAR, wanted, claim, proof))
    assert all(node.state.commit_sequence > 0 for node in running(cluster))
    check_progress(cluster)


# What an honest member keeps.


def claimant() -> tuple[Cluster, Node, list[Claim]]:
    """n3 alone knows that three blocks of view 0 are prepared, and claims the last of them."""
    cluster = started()
    for name in ("n1", "n2", "n4"):
        cluster.cut |= {("n3", name), (name, "n3")}
        cluster.liars.add(name)
    node, before, claims = cluster["n3"], None, [NO_CLAIM]
    for sequence in (1, 2, 3):
        block = block_after(cluster, before, request_of("a", sequence))
        propose_as(cluster, "n1", 0, block, "n3")
        message, attached = cluster.take("n1", "n3")
        receive(cluster, "n3", "n1", message, *attached)
        receive(cluster, "n3", "n2", prepare_of(cluster, "n2", 0, sequence, block.digest))
        before = block.link()
        claims.append(Claim(0, sequence, block.digest))
    assert node.state.claim.claim == claims[3]
    return cluster, node, claims


def begin(cluster: Cluster, view: int, claim: Claim) -> None:
    """A view of which n3 was not asked begins at a block that a quorum prepared."""
    members = ("n1", "n2", "n4")
    proof = (
        ()
        if claim == NO_CLAIM
        else signatures(cluster, members, VoteKind.PREPARE, claim.view, claim.sequence, claim.digest)
    )
    changes = tuple((member, view_change_of(cluster, member, view, claim, proof)) for member in members)
    primary = cluster.committee.nodes[view % 4]
    signature = sign(
        cluster, primary, VoteKind.NEW_VIEW, view, base_of(changes).claim.sequence, _digest_of(changes)
    )
    receive(cluster, "n3", primary, NewView(view, changes, signature))
    assert (cluster["n3"].state.view, cluster["n3"].state.active) == (view, True)


@pytest.mark.parametrize("between", [(), (0,), (1,), (2,), (1, 0), (2, 1), (2, 0), (0, 2), (1, 2), (2, 1, 0, 1)])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_claimed_block_is_kept_through_views_that_begin_before_it(
    between: tuple[int, ...], restarts: bool
) -> None:
    """The views of `between` begin at those of the three blocks, and nothing is prepared in them."""
    cluster, node, claims = claimant()
    views = (view for view in range(1, 20) if view % 4 != 2)  # in those n3 is primary
    for place in between:
        begin(cluster, next(views), claims[place])
        assert node.state.has_base
        if restarts:
            node.crash()
            node.boot(first=False)
    begin(cluster, next(views), claims[3])
    assert node.state.chain.holds(3, claims[3].digest)


def test_a_claimed_block_is_kept_where_a_node_restarts_before_it_has_the_base_of_its_view() -> None:
    cluster, node, claims = claimant()
    begin(cluster, 3, Claim(1, 2, b"\x07" * 32))
    assert not node.state.has_base
    node.crash()
    node.boot(first=False)
    begin(cluster, 5, claims[3])
    assert node.state.chain.holds(3, claims[3].digest)
