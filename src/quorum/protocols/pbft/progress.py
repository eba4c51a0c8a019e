"""What follows a decision, and the clocks that make a primary be replaced (PBFT, section 4.5.2: liveness)."""

from __future__ import annotations

from quorum.certificate.block import BlockCertificate
from quorum.certificate.vote import VoteKind
from quorum.protocols.effects import Checkpoint, Compacted, Note
from quorum.protocols.events import SnapshotMark
from quorum.protocols.pbft.epochs import configuration_of, ended_by, note_of
from quorum.protocols.pbft.notes import HeldClaim
from quorum.protocols.pbft.state import VIEW_TIMER, PbftState

ROOTS_KEPT = 8
"""Digests of own states that are kept. A block names the newest state that its primary had, which is one or two
behind where members keep up; whoever is further behind fetches a state."""


def decide(state: PbftState, sequence: int, certificate: BlockCertificate | None) -> None:
    """Blocks up to `sequence` are decided. `certificate` is for the last of them; None: it is for a later one."""
    first = state.commit_sequence + 1
    links = state.chain.links(first, sequence)
    ended = []
    for link in links:
        ended += state.pending.done(link.requests)
        link.requests, link.entry = (), None
    change = links[-1].change
    if change is not None and certificate is not None:
        # Durable before a state of this block is, with which a later life would begin, and know of no change.
        state.persist(Note(*note_of(ended_by(change, certificate))))
    _want_state(state, first, sequence if change is None or certificate is not None else sequence - 1)
    state.commit(sequence, certificate)
    if certificate is not None and (certificate.view, sequence) > state.claim.order:
        claim = state.claim_of(certificate.view, sequence)
        state.hold(HeldClaim(claim, VoteKind.COMMIT, certificate.signatures))
    if state.amnesiac and certificate is not None and state.silent_through >= 0:
        state.amnesiac = certificate.view <= state.silent_through
        if not state.amnesiac:
            state.note_loss()
    since_us = min((waiting.since_us for waiting in ended), default=None)
    state.pace.decided(state.now_us, since_us, is_waiting(state))
    look_at_clock(state)
    compact(state)


def is_waiting(state: PbftState) -> bool:
    """Whether something should be decided soon."""
    return (
        len(state.pending) > 0
        or state.chain.last > state.commit_sequence
        or state.here.refused
        or state.gathered.ready is not None
    )


def look_at_clock(state: PbftState) -> None:
    """Run the view timer exactly while something waits that an active view should decide. Whoever has no vote
    follows, and waits for nobody."""
    if not state.is_member:
        return
    pace = state.pace
    if state.active:
        if is_waiting(state):
            pace.wait(state.now_us)
        else:
            pace.rest()
    deadline_us = pace.deadline_us
    if deadline_us is not None and (state.timer_us is None or state.timer_us > deadline_us):
        state.timer_us = deadline_us
        state.set_timer(VIEW_TIMER, deadline_us - state.now_us)


def on_state_known(state: PbftState, index: int, root: bytes) -> None:
    """The digest of this node's state after block `index`."""
    state.roots[index] = root
    if index > state.newest_root[0]:
        state.newest_root = index, root
    for old in sorted(state.roots)[:-ROOTS_KEPT]:
        del state.roots[old]
    compact(state)


def _want_state(state: PbftState, first: int, last: int) -> None:
    """A snapshot at the newest block of these at which the state is certified."""
    index = last - last % state.settings.state_blocks
    if index < first or state.checkpoint_pending:
        return
    link = state.chain.link(index)
    assert link is not None, "a decided block is in the chain"
    state.checkpoint_pending = True
    # Of the block's own epoch, which may not be the newest known here: the file is the same on every node.
    configuration = configuration_of(state.epochs.by_hash[link.header.membership_hash])
    state.out.append(Checkpoint(SnapshotMark(index, 0, 0, configuration, place=link.header.packed())))


def on_checkpoint_ready(state: PbftState, mark: SnapshotMark) -> None:
    """The snapshot is durable here."""
    state.checkpoint_pending = False
    state.snapshot = mark
    compact(state)


def compact(state: PbftState) -> None:
    """Drop blocks that the newest certified snapshot makes needless, but for some that others may still want.

    The blocks from the snapshot on stay: their headers lead to the certificate of its root.
    """
    snapshot = state.snapshot
    decided = state.chain.link(state.commit_sequence)
    if snapshot is None or decided is None or decided.header.state_sequence < snapshot.index:
        return
    state.certified = snapshot
    sequence = snapshot.index - state.settings.log_kept_blocks
    if sequence > state.chain.base:
        state.chain.compact(sequence)
        for place in [place for place in state.certificates if place < sequence]:
            del state.certificates[place]
        state.out.append(Compacted(sequence + 1))
