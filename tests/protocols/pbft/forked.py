"""Clusters in which more than T members lie, so that honest ones decide different blocks at one place."""

from __future__ import annotations

from protocols.pbft.cluster import Cluster, Node, request_of
from protocols.pbft.scene import block_after, propose_as, receive, sign, tell, view_change_of
from quorum.certificate.block import BlockCertificate
from quorum.certificate.conflict import SignedClaim
from quorum.certificate.evidence import Claim
from quorum.certificate.vote import VoteKind
from quorum.model import quorum_size
from quorum.protocols.pbft.blocks import Block
from quorum.protocols.pbft.messages import Commit, NewView, Prepare, Signatures, ViewChange
from quorum.protocols.pbft.view_change import _digest_of, base_of


class ForkedCluster(Cluster):
    """As many of the first members lie as two quorums must share: T+1, or more where N > 3T+1. The honest ones are
    in two halves that do not hear of each other, and what they decide is not compared. What
    liars say is the scene's affair."""

    def __init__(self, count: int, faults: int) -> None:
        super().__init__(count, faults)
        names = self.committee.nodes
        shared = 2 * quorum_size(count, faults, "byzantine") - count
        self.lying, honest = names[:shared], names[shared:]
        self.liars |= set(self.lying)
        self.halves = honest[: len(honest) // 2], honest[len(honest) // 2 :]
        self.cut = {
            (a, b) for one in self.halves for other in self.halves if one != other for a in one for b in other
        }
        self.filter = lambda source, to, message, attached: [] if source in self.liars else [(message, attached)]
        self.boot()

    def decided(self, node: Node, index: int, entry: bytes) -> None:
        node.decided[index] = entry

    def root_at(self, index: int, node: Node) -> bytes:
        return bytes(32)

    def blocks(self, count: int = 2) -> list[Block]:
        """Different first blocks."""
        return [block_after(self, None, request_of(f"client{number}", 1)) for number in range(count)]

    def half_votes(self, block: Block, view: int, half: tuple[str, ...], kinds: tuple[VoteKind, ...]) -> None:
        """Every liar votes for a block, to one half."""
        messages = {VoteKind.PREPARE: Prepare, VoteKind.COMMIT: Commit}
        for name in half:
            for liar in self.lying:
                for kind in kinds:
                    vote = sign(self, liar, kind, view, 1, block.digest)
                    receive(self, name, liar, messages[kind](view, 1, block.digest, vote))
        self.run(0)

    def decide(self, block: Block, view: int, half: tuple[str, ...]) -> BlockCertificate:
        """Let one half decide the block in a view whose primary lies."""
        propose_as(self, self.committee.nodes[view % len(self.nodes)], view, block, *half)
        self.run(0)
        self.half_votes(block, view, half, (VoteKind.PREPARE, VoteKind.COMMIT))
        return certificate_of(self, half[0])

    def begin_view(
        self, view: int, half: tuple[str, ...], *odd: tuple[str, ViewChange]
    ) -> tuple[SignedClaim, ...]:
        """The liars, and one half, leave for `view`: liars claim nothing, or what `odd` says. Its primary lies."""
        changes = {liar: view_change_of(self, liar, view) for liar in self.lying} | dict(odd)
        for liar, change in changes.items():
            for name in half:
                tell(self, liar, name, change)
        self.run(0)
        own = {name: self[name].state.own_view_change for name in half}
        assert all(change is not None and change.view == view for change in own.values()), "the half left, too"
        everyone = tuple(sorted({**changes, **own}.items()))
        base = base_of(everyone)
        primary = self.committee.nodes[view % len(self.nodes)]
        vote = sign(self, primary, VoteKind.NEW_VIEW, view, base.claim.sequence, _digest_of(everyone))
        for name in half:
            receive(self, name, primary, NewView(view, everyone, vote))
        self.run(0)
        return claims_of(everyone)


def certificate_of(cluster: Cluster, node: str) -> BlockCertificate:
    state = cluster[node].state
    view, votes = state.certificates[1]
    return state.certify(1, view, votes)


def claims_of(changes: tuple[tuple[str, ViewChange], ...]) -> tuple[SignedClaim, ...]:
    return tuple(
        SignedClaim(member, change.view, change.claim, change.vote, change.signatures, change.signature)
        for member, change in changes
    )


def claimed(cluster: Cluster, signers: tuple[str, ...], view: int, digest: bytes) -> tuple[Claim, Signatures]:
    """A claim of block 1, and the votes to prepare it that its signers gave."""
    votes = tuple((name, sign(cluster, name, VoteKind.PREPARE, view, 1, digest)) for name in sorted(signers))
    return Claim(view, 1, digest), votes
