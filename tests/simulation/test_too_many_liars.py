"""T+1 liars together: the run must break, and what members hold must name T+1 of them at least, and nobody else.

Rows 2 and 37 of the adversarial checklist (tests/README.md), in the whole simulator: sessions, disks, a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from quorum.certificate.block import BlockCertificate, verify_block
from quorum.certificate.evidence import Equivocation, SignedVote, accused, verify_evidence
from quorum.certificate.vote import VoteKind
from quorum.checkers.history import History
from quorum.checkers.violation import Violation
from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.pbft.blocks import Block, make_block, read_block
from quorum.protocols.pbft.chain import Link
from quorum.protocols.pbft.messages import Accusation, Commit, Prepare, PrePrepare, Shown, Votes
from quorum.sim.adversary import BEHAVIOURS, Liar, Sent
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.workload import Worker

SECOND_US = 1_000_000
SEEDS = range(5)
SIZES = ((4, 1), (5, 1), (7, 2))


class Colludes(Liar):
    """The first of them orders one chain for the first half of the honest members and another for the rest; all of
    them vote for both at once, to prepare and to commit."""

    name = "collude"
    together: int
    """How many of the first members lie."""
    chains: dict[tuple[int, int], tuple[Block, Block]]
    """What they agree on, by view and place."""

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Accusation | Shown | Votes):
            return []  # what would betray another of them
        liars, honest = self.committee.nodes[: self.together], self.committee.nodes[self.together :]
        if to in liars or not isinstance(message, PrePrepare | Prepare | Commit):
            return super().lie(to, message, attached)
        place = message.view, message.sequence
        if isinstance(message, PrePrepare) and place not in self.chains:
            self.chains[place] = self._two(message, bytes(attached[0]))
        if place not in self.chains:
            return super().lie(to, message, attached)
        block = self.chains[place][to in honest[len(honest) // 2 :]]
        prepare, commit = (self.vote(kind, *place, block.digest) for kind in (VoteKind.PREPARE, VoteKind.COMMIT))
        first: Sent = (Prepare(*place, block.digest, prepare), ())
        if isinstance(message, PrePrepare):
            first = (replace(message, signature=prepare), (block.entry,))
        return [first, (Commit(*place, block.digest, commit), ())]

    def _two(self, message: PrePrepare, entry: bytes) -> tuple[Block, Block]:
        """The block as it was, and an empty one of a moment later on the other chain."""
        block = read_block(self.node, entry, self.committee)
        header = block.header
        before = self.chains.get((message.view, message.sequence - 1))
        parent = header.parent if before is None else before[1].digest
        link = Link(replace(header, sequence=header.sequence - 1), parent, 0)
        state = (header.state_sequence, header.state_root)
        return block, make_block(link, self.committee, header.time_us + 1, state, ())


def run(nodes: int, faults: int, liars: int, seed: int) -> tuple[ByzantineWorld, str]:
    """The world after six seconds, or as soon as a claim broke, and which one. For two seconds honest halves do
    not hear each other, as else they compare in time what the primary signed."""
    kind = type("Together", (Colludes,), {"together": liars, "chains": {}})
    with patch.dict(BEHAVIOURS, {"collude": kind}):
        lying = {f"n{place}": "collude" for place in range(1, liars + 1)}
        world = ByzantineWorld(seed, nodes, faults, lying, real=True)
    honest = [name for name in world.nodes if name not in world.liars]
    world.network.partition(honest[: len(honest) // 2], honest[len(honest) // 2 :])
    world.boot()
    workers = [Worker(world, f"c{i}", History(), 60_000, 4 * SECOND_US, False) for i in range(3)]
    for worker in workers:
        worker.start()
    try:
        world.run(2 * SECOND_US)
        world.network.heal()
        world.run(6 * SECOND_US)
    except Violation as violation:
        return world, str(violation)
    assert all(worker.answered for worker in workers)
    return world, ""


def fork(world: ByzantineWorld) -> tuple[BlockCertificate, BlockCertificate]:
    """Two certificates of different blocks at one place, from the members that decided them."""
    seen: dict[int, BlockCertificate] = {}
    for name in world.honest:
        state = world.nodes[name].replica.state
        for place, (view, signatures) in sorted(state.certificates.items()):
            certificate = state.certify(place, view, signatures)
            known = seen.setdefault(place, certificate)
            if known.header != certificate.header:
                return known, certificate
    raise AssertionError("nobody decided two things")


def equivocations(first: BlockCertificate, second: BlockCertificate) -> list[Equivocation]:
    """The two votes to commit of everybody who signed both."""
    signed, again = dict(first.signatures), dict(second.signatures)
    return [
        Equivocation(
            *(
                SignedVote(
                    member, VoteKind.COMMIT, each.view, each.header.sequence, each.header.digest(), votes[member]
                )
                for each, votes in ((first, signed), (second, again))
            )
        )
        for member in sorted(set(signed) & set(again))
    ]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("nodes", "faults"), SIZES)
def test_row_02_37_more_liars_than_may_be_break_the_run_and_evidence_names_them_and_nobody_else(
    nodes: int, faults: int, seed: int
) -> None:
    """As many as two quorums may share: T+1 of 3T+1 members. Both certificates are valid, and whoever holds both
    has evidence against each who signed both."""
    quorum = (nodes + faults) // 2 + 1
    liars = 2 * quorum - nodes
    assert liars >= faults + 1
    world, failure = run(nodes, faults, liars, seed)
    assert "state machine safety" in failure
    first, second = fork(world)
    assert all(verify_block(each, world.committee).valid for each in (first, second))
    found = equivocations(first, second)
    assert all(verify_evidence(each, world.committee).valid for each in found)
    named = {accused(each) for each in found}
    assert len(named) >= faults + 1
    assert named | {accused(each) for each in world.evidence} <= set(world.liars)


@pytest.mark.parametrize("seed", SEEDS)
def test_row_02_37_the_same_lies_of_t_members_break_nothing(seed: int) -> None:
    """The negative control."""
    world, failure = run(4, 1, 1, seed)
    assert failure == ""
    assert {accused(each) for each in world.evidence} <= {"n1"}
