"""What scripted tests of PBFT share: votes of members by their own keys, and what must hold at every end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from quorum.certificate.evidence import (
    Claim,
    SignedVote,
)
from quorum.certificate.requests import SignedRequest, decode_request
from quorum.certificate.vote import VoteKind
from quorum.entry import decode_entry
from quorum.protocols import events
from quorum.protocols.pbft.blocks import Block, make_block
from quorum.protocols.pbft.chain import ORIGIN, Link
from quorum.protocols.pbft.messages import Prepare, PrePrepare, Signatures, ViewChange
from quorum.protocols.pbft.state import NO_CLAIM
from quorum.sim.adversary import BEHAVIOURS, Liar
from quorum.sim.stepped_claims import TIMEOUTS_US, accusations, check_blame, check_progress

from .cluster import Cluster, key_of, request_of

__all__ = ["TIMEOUTS_US", "accusations", "check_blame", "check_progress"]
"""What comes from elsewhere, for the tests that take it from here."""

EVERY_SIZE = ((4, 1), (5, 1), (6, 1), (7, 2), (8, 2), (9, 2))
"""Members, and how many of them may lie."""
ON_EACH_COMMIT = ((4, 1), (5, 1), (7, 2))
"""3T+1 for T of 1 and 2, and one member more, of which a quorum is more than 2T+1."""
SIZES = tuple(pytest.param(*size, marks=() if size in ON_EACH_COMMIT else pytest.mark.slow) for size in EVERY_SIZE)
"""All of them, for `parametrize`."""
Sent = tuple[object, tuple[bytes, ...]]
Lie = Callable[[str, object, tuple[bytes, ...]], list[Sent]]

ONE, OTHER = b"\x01" * 32, b"\x02" * 32


def started(count: int = 4, faults: int = 1, seed: int = 0) -> Cluster:
    """A cluster in view 0 whose primary is n1."""
    return Cluster(count, faults, seed).boot()


def requests(count: int, client: str = "a", first: int = 1) -> list[bytes]:
    return [request_of(client, number) for number in range(first, first + count)]


def order(cluster: Cluster, count: int = 1, client: str = "a", first: int = 1) -> list[bytes]:
    """Have so many requests decided, each in a block of its own."""
    made = requests(count, client, first)
    for request in made:
        cluster.submit(request)
        cluster.run(0)
    return made


def lie(cluster: Cluster, node: str, with_it: Lie) -> None:
    """From now on `node` lies: `with_it(to, message, attached)` is what leaves instead."""
    cluster.liars.add(node)
    before = cluster.filter

    def changed(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        if source == node:
            return with_it(to, message, attached)
        return [(message, attached)] if before is None else before(source, to, message, attached)

    cluster.filter = changed


def liar(cluster: Cluster, node: str, behaviour: str, seed: int = 0) -> Liar:
    """One of the simulator's behaviours."""
    key = key_of(node)
    made = BEHAVIOURS[behaviour](node, cluster.committee, lambda data: key.sign(data).signature, Random(seed))
    lie(cluster, node, made.lie)
    return made


def tell(cluster: Cluster, source: str, to: str, message: object, *attached: bytes) -> None:
    """A message out of nowhere, as if `source` had sent it."""
    cluster.put(source, to, message, attached)


def tell_all(cluster: Cluster, source: str, message: object, *attached: bytes) -> None:
    for to in cluster.committee.nodes:
        if to != source:
            tell(cluster, source, to, message, *attached)


def sign(cluster: Cluster, node: str, kind: VoteKind, view: int, sequence: int, digest: bytes) -> bytes:
    """The signature of a member over any statement of its committee."""
    return key_of(node).sign(cluster.committee.domain.statement(kind, view, sequence, digest)).signature


def signatures(
    cluster: Cluster, nodes: tuple[str, ...], kind: VoteKind, view: int, sequence: int, digest: bytes
) -> Signatures:
    return tuple((node, sign(cluster, node, kind, view, sequence, digest)) for node in nodes)


def prepare_of(cluster: Cluster, node: str, view: int, sequence: int, digest: bytes) -> Prepare:
    return Prepare(view, sequence, digest, sign(cluster, node, VoteKind.PREPARE, view, sequence, digest))


def view_change_of(
    cluster: Cluster,
    node: str,
    view: int,
    claim: Claim = NO_CLAIM,
    proof: Signatures = (),
    vote: VoteKind = VoteKind.PREPARE,
) -> ViewChange:
    """A VIEW-CHANGE that its sender did sign, whatever it claims."""
    own = sign(cluster, node, VoteKind.VIEW_CHANGE, view, claim.sequence, claim.digest_of_claim())
    return ViewChange(view, claim, vote, proof, own)


def block_after(
    cluster: Cluster,
    before: Link | None,
    *packed: bytes,
    time_us: int | None = None,
    state: tuple[int, bytes] | None = None,
) -> Block:
    """A block as a primary makes it: after `before` (None: the first one)."""
    before = before or Link(ORIGIN, bytes(32), 0)
    made: list[tuple[SignedRequest, bytes]] = [(decode_request(each), each) for each in packed]
    now_us = cluster["n1"].now_us if time_us is None else time_us
    named = state or (before.header.state_sequence, before.header.state_root)
    return make_block(before, cluster.committee, now_us, named, made)


def propose_as(cluster: Cluster, primary: str, view: int, block: Block, *to: str) -> None:
    """Send a block as the primary of `view`, to some or to all."""
    sequence = block.header.sequence
    signature = sign(cluster, primary, VoteKind.PREPARE, view, sequence, block.digest)
    for node in to or [node for node in cluster.committee.nodes if node != primary]:
        tell(cluster, primary, node, PrePrepare(view, sequence, signature), block.entry)


def newest(cluster: Cluster, node: str) -> Link:
    """The newest block of a node's chain."""
    return cluster[node].state.chain.newest


def primary(cluster: Cluster, view: int) -> str:
    return cluster.committee.nodes[view % len(cluster.committee.nodes)]


def running(cluster: Cluster) -> list:
    return [node for node in cluster.honest() if node.replica is not None]


def views(cluster: Cluster) -> set[int]:
    """The views that honest members are in."""
    return {node.state.view for node in running(cluster)}


def complaints(cluster: Cluster, node: str) -> list[str]:
    """What honest members say of a member, by report or by refusing its message."""
    reports = [report.what for other in cluster.honest() for report in other.reports if report.node == node]
    return reports + [str(error) for _, error in cluster.errors if error.sender == node]  # type: ignore[attr-defined]


def receive(cluster: Cluster, to: str, source: str, message: object, *attached: bytes) -> None:
    """Deliver one message at once, before all others."""
    node = cluster[to]
    node.step(events.Received(node.now_us, source, message, attached))


def requests_of(entry: bytes) -> list[bytes]:
    """The requests of a stored block."""
    from quorum.certificate.requests import unpack_block

    return [bytes(request) for request in unpack_block(decode_entry(entry)[1])[1]]


def sent_votes(cluster: Cluster) -> list[SignedVote]:
    """From now on, every vote that an honest member sends, in the order of sending."""
    from quorum.protocols.pbft.messages import Commit, Votes

    found: list[SignedVote] = []
    before = cluster.filter

    def watched(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        if source not in cluster.liars:
            match message:
                case Prepare(view, sequence, digest, signature):
                    found.append(SignedVote(source, VoteKind.PREPARE, view, sequence, digest, signature))
                case Commit(view, sequence, digest, signature):
                    found.append(SignedVote(source, VoteKind.COMMIT, view, sequence, digest, signature))
                case Votes(view, votes):
                    found.extend(
                        SignedVote(source, VoteKind(kind), view, sequence, digest, signature)
                        for kind, sequence, digest, signature in votes
                    )
        return [(message, attached)] if before is None else before(source, to, message, attached)

    cluster.filter = watched
    return found


def check_one_vote_a_place(votes: list[SignedVote]) -> None:
    """No member signed two digests for one place, over all of its lives."""
    seen: dict[tuple[object, ...], bytes] = {}
    for vote in votes:
        place = vote.member, vote.kind, vote.view, vote.sequence
        assert seen.setdefault(place, vote.digest) == vote.digest, f"{vote.member} voted twice at {place}"
