"""Whole nodes, clients and networks with two colluding liars of four: the honest two decide different blocks, and
the certificates that they hold name the two liars, and nobody else.

Row 37 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from unittest.mock import patch

from quorum.certificate.block import BlockCertificate
from quorum.certificate.conflict import blame, conflict_of
from quorum.certificate.evidence import accused, verify_evidence
from quorum.certificate.trust import LightBlock
from quorum.checkers.history import History
from quorum.checkers.violation import Violation
from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.pbft.messages import Commit, Prepare, PrePrepare
from quorum.protocols.pbft.settings import Settings
from quorum.sim.adversary import BEHAVIOURS, Equivocates, Sent
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.workload import Worker

SECOND_US = 1_000_000
VICTIM = "n4"


class Colludes(Equivocates):
    """The primary shows one honest member another block than the other; its fellow votes for both as it does."""

    name = "collude"
    twins: dict[tuple[int, int], bytes]

    def is_victim(self, to: NodeId) -> bool:
        return to == VICTIM

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Prepare | Commit) and to == VICTIM:
            digest = self.twins.get((message.view, message.sequence))
            if digest is None:
                return [(message, tuple(attached))]
            return [self.for_digest(message, digest)]
        sent = super().lie(to, message, attached)
        if isinstance(message, PrePrepare) and to == VICTIM:
            place = message.view, message.sequence
            self.twins[place] = self._others[place].digest
        return sent


def forked(seed: int) -> ByzantineWorld:
    """A world in which the liars led the others apart, as it was when the first claim broke."""
    shared = type("SharedTwins", (Colludes,), {"twins": {}})
    with patch.dict(BEHAVIOURS, {"collude": shared}):
        world = ByzantineWorld(seed, 4, 1, {"n1": "collude", "n2": "collude"}, Settings(), real=True)
    world.boot()
    history = History()
    for number in range(3):
        Worker(world, f"c{number}", history, 60_000, 5 * SECOND_US, False).start()
    with suppress(Violation):
        world.run(6 * SECOND_US)
    return world


def certificates_of(world: ByzantineWorld, node: NodeId) -> dict[int, BlockCertificate]:
    state = world.nodes[node].replica.state  # type: ignore[union-attr]
    return {place: state.certify(place, *found) for place, found in state.certificates.items()}


SEEDS, ENOUGH = 12, 3
"""In more than every second seed both decide at one place before they hear of each other."""


def forks_in(seed: int) -> int:
    """At how many places the two have decided different blocks; who did that is named at each."""
    world = forked(seed)
    committee = world.committee
    first, second = (certificates_of(world, node) for node in world.honest)
    places = [at for at in first if at in second and first[at].header != second[at].header]
    for place in places:
        conflict, reasons = conflict_of(LightBlock(committee, first[place]), LightBlock(committee, second[place]))
        assert conflict is not None, reasons
        evidence = blame(conflict, committee)
        assert all(verify_evidence(piece, committee).valid for piece in evidence)
        named = [accused(piece) for piece in evidence]
        assert named == (["n1", "n2"] if first[place].view == second[place].view else []), f"seed {seed}, {place}"
    return len(places)


def test_row_37_two_colluding_liars_of_four_are_named_by_the_certificates_of_their_fork() -> None:
    found = 0
    for seed in range(SEEDS):
        found += forks_in(seed) > 0
        if found == ENOUGH:
            return
    raise AssertionError(f"only {found} of {SEEDS} seeds led the honest members apart")
