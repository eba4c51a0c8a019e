"""Members compare what a primary signed for each of them: two blocks for one place are a lie that both prove.

A primary that sends one member another block than the rest is not slowed down by it: the rest decide, and the one
is left out. Nobody would hold both signatures if members did not show each other theirs.
"""

from __future__ import annotations

from quorum.certificate.evidence import Equivocation, SignedVote
from quorum.certificate.vote import VoteKind
from quorum.errors import RemoteProtocolError
from quorum.model import NodeId
from quorum.protocols.pbft.in_view import FromPrimary
from quorum.protocols.pbft.messages import Shown
from quorum.protocols.pbft.state import PbftState


def remember(state: PbftState, vote: SignedVote) -> None:
    """Keep the primary's vote for a block accepted here, for as long as members lag that may have got another."""
    votes = state.here.from_primary
    votes[vote.sequence] = FromPrimary(vote, set(), set())
    votes.pop(vote.sequence - 2 * state.settings.window, None)


def show(state: PbftState, sender: NodeId, sequence: int, digest: bytes) -> None:
    """A member prepared `digest` in this view. If it is not what the primary sent here, show it the signature."""
    known = state.here.from_primary.get(sequence)
    if known is None or known.vote.digest == digest or sender == state.primary or sender in known.shown:
        return
    known.shown.add(sender)
    state.send(sender, Shown(state.view, known.vote))


def on_shown(state: PbftState, sender: NodeId, message: Shown) -> None:
    """What the primary of a view signed for `sender`, who need not have verified it. Each may show one for a
    place, so that wrong signatures cost no more checks than votes do."""
    theirs = message.vote
    if theirs.kind != VoteKind.PREPARE:
        raise RemoteProtocolError(sender, f"showed a vote of type {theirs.kind.name}, which is not the primary's")
    in_view = state.here if theirs.view == state.view else state.past.get(theirs.view)
    known = None if in_view is None else in_view.from_primary.get(theirs.sequence)
    if known is None or known.vote.member != theirs.member or sender in known.compared:
        return
    if theirs.digest != known.vote.digest and theirs.member not in state.liars:
        known.compared.add(sender)
        state.suspect(Equivocation(known.vote, theirs))
