"""From one committee to the next: the last block of an epoch names who acts after it (a stop sign).

Once that block is decided, whoever holds its certificate enters the next epoch: it signs nothing more for the old
one, and wants the first view of the new one, which begins like every view, when a quorum of the new committee
wants it. Source: Lamport, Malkhi and Zhou, "Reconfiguring a State Machine" (2010), section 3.3 (stop sign).
"""

from __future__ import annotations

from quorum.certificate.block import commit_votes
from quorum.certificate.epochs import EpochChange, flaws_of_change
from quorum.errors import RemoteProtocolError
from quorum.model import NodeId
from quorum.protocols.effects import HardState, Note
from quorum.protocols.pbft import approving, catch_up, view_change
from quorum.protocols.pbft.blocks import check_past_header
from quorum.protocols.pbft.changes import why_not
from quorum.protocols.pbft.commits_seen import CommitsSeen
from quorum.protocols.pbft.epochs import ended_by, note_of, restored
from quorum.protocols.pbft.leaders import has_approvals
from quorum.protocols.pbft.messages import Epochs, Fetch, Status
from quorum.protocols.pbft.state import PbftState

GIVEN_MAX = 16
"""So many changes are told in one message."""


def follow(state: PbftState) -> None:
    """Enter the next epoch, if the last block of this one is decided and its certificate is here."""
    link = state.chain.link(state.commit_sequence)
    if link is None or link.change is None or link.change.committee.epoch != state.committee.epoch + 1:
        return
    known = state.certificates.get(state.commit_sequence)
    if known is None:
        return
    enter(state, ended_by(link.change, state.certify(state.commit_sequence, *known)))


def enter(state: PbftState, change: EpochChange) -> None:
    """The change was verified: it is durable before anything is signed for the new epoch."""
    liars = {node: state.committee.keys.get(node) for node in state.liars}
    state.epochs.append(change)
    state.persist(Note(*note_of(change)))
    approving.forget(state)
    state.leave_votes()
    _stand(state)
    state.liars = {node for node, key in liars.items() if key == state.committee.keys.get(node)}
    if state.memory_lost:
        state.amnesiac, state.silent_through = True, -1
        state.heard_views.clear()
    state.persist(HardState(state.view, state.node if state.may_sign else None))
    if state.aside:
        state.forget_aside()
    state.view_changes, state.commits_seen = {}, CommitsSeen()
    state.statuses.clear()
    state.own_view_change = None
    view_change.settle_start(state)
    view_change.want_view(state)
    view_change.consider(state)


def _stand(state: PbftState) -> None:
    """In the newest epoch, before its first view: nothing of an earlier one counts beyond its last block."""
    state.stand_in_epoch()
    state.view = max(state.view, state.epochs.first_view(state.committee.epoch))
    state.active = False
    state.new_view = None
    state.base = state.epochs.start
    state.pace.rest()
    if state.claim.claim.view < state.epochs.start.view:
        state.claim = state.start_claim


def recover(state: PbftState, notes: dict[str, bytes]) -> None:
    """Stand in the newest epoch that an earlier life entered. Raises RemoteProtocolError where the second epoch
    did not follow from this first committee."""
    first = state.committee
    state.epochs = restored(first, notes)
    for change in state.epochs.changes[:1]:
        check_past_header(state.node, change.certificate.header, {first.membership_hash: first})
    if state.epochs.changes:
        _stand(state)


# Between members, and for newcomers.


def on_status(state: PbftState, sender: NodeId, status: Status) -> None:
    """Whoever is in an earlier epoch is told how it went on; whoever is in a later one is asked."""
    if _is_behind(state, sender, status.view):
        return
    if state.epochs.epoch_of(status.view) == state.committee.epoch:
        catch_up.on_status(state, sender, status)
    elif state.quotas.heeds(sender, state.now_us):
        state.send(sender, catch_up.status_of(state))


def on_fetch(state: PbftState, sender: NodeId, message: Fetch) -> None:
    """Blocks are given to whoever knows all committees that may have signed them."""
    if not _is_behind(state, sender, message.view):
        catch_up.on_fetch(state, sender, message)


def _is_behind(state: PbftState, sender: NodeId, view: int) -> bool:
    """Whether the sender has yet to hear of this epoch; if so, it does, as often as a status is heeded."""
    epoch = state.epochs.epoch_of(view)
    if epoch >= state.committee.epoch:
        return False
    if state.quotas.heeds(sender, state.now_us):
        state.send(sender, Epochs(state.view, state.epochs.after(epoch, GIVEN_MAX)))
    return True


def on_epochs(state: PbftState, sender: NodeId, message: Epochs) -> None:
    """How the epochs went on after this node's, each change certified by the epoch before it."""
    if len(message.changes) > GIVEN_MAX:
        raise RemoteProtocolError(sender, f"sent {len(message.changes)} changes of epoch in one message")
    following = [change for change in message.changes if change.committee.epoch > state.committee.epoch]
    if following and following[0].committee.epoch == state.committee.epoch + 1:
        _take(state, sender, following)


def _take(state: PbftState, sender: NodeId, changes: list[EpochChange]) -> None:
    """Verify the first change, enter its epoch, and go on with the rest."""
    change, old = changes[0], state.committee
    certificate, header = change.certificate, change.certificate.header
    flaws = flaws_of_change(old, change)
    if flaws:
        raise RemoteProtocolError(sender, f"sent a change from epoch {old.epoch} that does not hold: {flaws[0]}")
    if not has_approvals(change):
        raise RemoteProtocolError(
            sender, f"sent a change from epoch {old.epoch} with other approvals than its block"
        )
    if state.epochs.committee_of(certificate.view) is not old or header.sequence <= state.epochs.start.sequence:
        raise RemoteProtocolError(sender, f"sent a change from epoch {old.epoch} that was decided in another")

    def verified(results: tuple[bool, ...]) -> None:
        if not all(results):
            state.report(sender, f"sent a change from epoch {old.epoch} with a certificate that is wrong")
        elif state.committee is old:
            what = why_not(state, change.committee)
            if what:
                state.report(sender, f"sent a change from epoch {old.epoch} that nobody honest prepares: {what}")
                return
            enter(state, change)
            if len(changes) > 1:
                _take(state, sender, changes[1:])

    state.check([state.signed(vote) for vote in commit_votes(certificate)], verified, sender)
