"""Negative controls for runs with liars: small, classic mistakes, planted in the running code.

Some show in seeded simulation, others need a liar that knows of the bug: for those there is a scene. As for
tests.simulation.planted, `python -m tests.simulation.planted_byzantine` looks for seeds anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from quorum.certificate import committee as committee_module
from quorum.certificate.block import BlockCertificate, commit_votes
from quorum.model import NodeId
from quorum.protocols.effects import Effect, Persist
from quorum.protocols.pbft import catch_up, replica, view_change
from quorum.protocols.pbft.messages import NewView, ViewChange
from quorum.protocols.pbft.notes import HeldClaim, ViewMark, VotedMark
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.pbft.state import NO_CLAIM, PbftState
from quorum.runtime.committees import Committees
from quorum.runtime.driver import Driver
from quorum.sim import byzantine_campaign
from quorum.sim.byzantine_campaign import ByzantinePlan, run_byzantine_seed
from quorum.sim.campaign import Outcome
from quorum.systems.expression import parse
from quorum.systems.system import QuorumSystem

from .planted_hunt import hunt

AGREEMENT = "state machine safety"
LINEARIZABLE = "the history is linearizable"
HONEST = "no evidence ever names an honest member"
ACCUSED = "no correct node is accused"
INVARIANT = "an invariant of the code broke"


class Bug(NamedTuple):
    """One planted mistake. `patches` are (owner, attribute, replacement); `claims` are those it may break.

    `plan.seed` is pinned: its run, or one of the next `tries`, shows the bug.
    """

    name: str
    plan: ByzantinePlan
    claims: tuple[str, ...]
    patches: tuple[tuple[Any, str, Any], ...]
    tries: int = 20


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """While inside, the bug is in the code."""
    with ExitStack() as stack:
        for owner, name, replacement in bug.patches:
            stack.enter_context(patch.object(owner, name, replacement))
        yield


def run_with(bug: Bug, seed: int) -> Outcome:
    """One seed of the bug's plan, with the bug."""
    with planted(bug):
        return run_byzantine_seed(replace(bug.plan, seed=seed))[0]


def run_without(bug: Bug, seed: int) -> Outcome:
    """The same seed in the code as it is."""
    return run_byzantine_seed(replace(bug.plan, seed=seed))[0]


def quorums_of_three_t_plus_one(nodes: tuple[NodeId, ...], faults: int) -> QuorumSystem:
    """Checklist, row 2: 2T+1 is a quorum of 3T+1 members; of more than that two of them may share liars alone."""
    decide = parse(f"choose({2 * faults + 1}, {', '.join(nodes)})")
    return QuorumSystem(decide, decide)


_perform = Driver._perform


def perform_before_sync(self: Driver, produced: tuple[Effect, ...]) -> None:
    """DESIGN 2: what follows a Persist may leave only when the record is durable."""
    _perform(self, tuple(effect for effect in produced if isinstance(effect, Persist)))
    _perform(self, tuple(effect for effect in produced if not isinstance(effect, Persist)))


_recover_view = PbftReplica._recover_view


def sign_again(self: PbftReplica, mark: ViewMark, noted: VotedMark) -> None:
    """A primary's pre-prepares leave before its disk has them: a restarted one may have signed others."""
    with patch.object(PbftState, "primary_of", lambda state, view: ""):
        _recover_view(self, mark, noted)
    self.state.view = self.state.view  # and who orders in it is known again


def forget_claim(state: PbftState) -> ViewChange:
    """PBFT, section 4.4: a VIEW-CHANGE holds what was prepared."""
    vote = state.vote(view_change.VoteKind.VIEW_CHANGE, 0, NO_CLAIM.digest_of_claim())
    return ViewChange(state.view, NO_CLAIM, view_change.VoteKind.PREPARE, (), vote.signature)


def lowest_base(changes: Sequence[tuple[NodeId, ViewChange]]) -> HeldClaim:
    """PBFT, section 4.4: the newest of a quorum's claims, as anything older may leave out what is decided."""
    held = [HeldClaim(change.claim, change.vote, change.signatures) for _, change in changes]
    return min(held, key=lambda each: (each.order, each.claim.digest))


def primary_is_believed(state: PbftState, sender: NodeId, message: NewView) -> None:
    """PBFT, section 4.4: a backup derives where a view begins from a quorum's messages, all of them verified."""
    if message.changes and (message.view > state.view or (message.view == state.view and not state.active)):
        view_change.enter_view(state, message, view_change.base_of(message.changes))


def signers_are_counted(state: PbftState, sender: NodeId, view: int, end: Any, signatures: Any) -> Any:
    """Checklist, row 35: a signer counts once, however often it is named."""
    assert len(signatures) >= 0
    if len(signatures) < (len(state.committee.nodes) + state.committee.faults) // 2 + 1:
        raise catch_up.RemoteProtocolError(sender, "sent too few signatures")
    certificate = BlockCertificate(state.committee.cluster, state.committee.epoch, view, end.header, signatures)
    return [state.signed(vote) for vote in commit_votes(certificate)]


def first_reply(self: Committees, nodes: frozenset[str], since: int) -> bool:
    """PBFT, section 4.2: a client waits for T+1 equal replies, one of which is by an honest member."""
    return bool(nodes)


BUGS = (
    Bug(
        "quorum 2T+1 of five",
        ByzantinePlan(19, 5, 44, 6, 40, faults=("split",), lies=("equivocate",)),
        (AGREEMENT, ACCUSED, HONEST, INVARIANT, LINEARIZABLE),
        (
            (committee_module, "byzantine", quorums_of_three_t_plus_one),
            (replica, "check_committee", lambda committee: None),
            (byzantine_campaign, "check_committee", lambda committee: None),
        ),
    ),
    Bug(
        "quorum 2T+1 of six",
        ByzantinePlan(5, 6, 44, 6, 40, faults=("split",), lies=("equivocate",)),
        (AGREEMENT, ACCUSED, HONEST, INVARIANT, LINEARIZABLE),
        (
            (committee_module, "byzantine", quorums_of_three_t_plus_one),
            (replica, "check_committee", lambda committee: None),
            (byzantine_campaign, "check_committee", lambda committee: None),
        ),
    ),
    Bug(
        "vote not persisted before it is sent",
        ByzantinePlan(1, 4, 50, 6, 20, faults=("crash", "crash-all"), lies=("equivocate", "hide"), sync_us=20_000),
        (AGREEMENT, ACCUSED, HONEST, INVARIANT, LINEARIZABLE),
        ((Driver, "_perform", perform_before_sync),),
    ),
    Bug(
        "restarted primary signs again",
        ByzantinePlan(
            1, 4, 50, 6, 20, faults=("crash", "crash-all", "crash-loop"), lies=("silent",), sync_us=20_000
        ),
        (AGREEMENT, ACCUSED, HONEST, INVARIANT, LINEARIZABLE),
        ((PbftReplica, "_recover_view", sign_again),),
    ),
    Bug(
        "claim forgotten at a view change",
        ByzantinePlan(0, 4, 44, 6, 40, faults=("crash", "split", "isolate")),
        (AGREEMENT, ACCUSED, HONEST, INVARIANT, LINEARIZABLE),
        ((view_change, "view_change_of", forget_claim),),
    ),
    Bug(
        "base is the lowest claim",
        ByzantinePlan(12, 4, 44, 6, 40, faults=("crash", "split", "isolate")),
        (AGREEMENT, ACCUSED, HONEST, INVARIANT, LINEARIZABLE),
        ((view_change, "base_of", lowest_base),),
    ),
    Bug(
        "client accepts the first reply",
        ByzantinePlan(0, 4, 34, 4, 60, faults=(), lies=("forge-replies",)),
        (LINEARIZABLE, ACCUSED, INVARIANT),
        ((Committees, "vouch", first_reply),),
    ),
)


def main(arguments: list[str] | None = None) -> None:
    hunt("planted_byzantine", __doc__, BUGS, run_with, run_without, arguments)


if __name__ == "__main__":
    sys.exit(main())
