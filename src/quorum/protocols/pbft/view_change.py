"""Another primary: members leave a view, a quorum's claims say where the next one begins, everybody derives it.

Source: Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery" (2002), section 4.4.
Blocks form a chain, so one claim says all that a member holds; the newest of a quorum's claims is the base of the
view. The first vote of a view is for its base: a later claim of that view then never lies below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from quorum.certificate.evidence import HiddenVote, SignedVote, accused, flaws_of, votes_of
from quorum.certificate.vote import DIGEST_BYTES, NUMBER_MAX, VoteKind
from quorum.errors import RemoteProtocolError
from quorum.model import NodeId
from quorum.protocols.effects import HardState, Note, Signed
from quorum.protocols.pbft import aside, ordering, progress
from quorum.protocols.pbft.messages import Accusation, NewView, ViewChange
from quorum.protocols.pbft.notes import VIEW_NOTE, HeldClaim, ViewMark
from quorum.protocols.pbft.state import PbftState

BASE_SHARE = 4
"""A primary waits for this part of its time for VIEW-CHANGEs of which it can give the newest block."""

_ENCODE = msgspec.msgpack.Encoder()


def leave_view(state: PbftState, view: int) -> None:
    """Sign nothing more below `view`, and say what this node has seen (PBFT, section 4.4: view-change)."""
    assert view > state.view, "I1: the view went backwards"
    was_active = state.active
    state.leave_votes()
    state.view = view = max(view, state.claim.claim.view)
    state.active = False
    state.new_view = None
    state.base = state.epochs.start
    state.pace.left(was_active)
    state.persist(HardState(view, state.node if state.may_sign else None))
    state.own_view_change = None
    want_view(state)
    consider(state)


def want_view(state: PbftState) -> None:
    """Say that this node wants its view, if it may sign. A view of which a block is claimed has begun: it is not
    asked for, but given by those who are in it."""
    if state.may_sign and state.claim.claim.view < state.view:
        own = state.own_view_change = view_change_of(state)
        state.view_changes[state.node] = own
        state.broadcast(own)


def view_change_of(state: PbftState) -> ViewChange:
    """This node's word on what it has seen, for the view that it wants."""
    held = state.claim
    vote = state.vote(VoteKind.VIEW_CHANGE, held.claim.sequence, held.claim.digest_of_claim())
    return ViewChange(state.view, held.claim, held.vote, held.signatures, vote.signature)


def on_view_change(state: PbftState, sender: NodeId, message: ViewChange) -> None:
    """A member left its view. Its newest message counts, once its signature and its claim are verified."""
    known = state.view_changes.get(sender)
    if sender not in state.committee.keys or (known is not None and known.view >= message.view):
        return
    if message.view < state.view or (message.view == state.view and state.active):
        return
    if state.epochs.epoch_of(message.view) != state.committee.epoch:
        return  # of an epoch that this node has yet to hear of
    check_form(state, sender, message)
    if known is not None:
        state.quotas.charge(sender)  # one view after the other: each is verified, so they are few in a turn

    def verified(results: tuple[bool, ...]) -> None:
        if not all(results):
            state.report(sender, f"asked for view {message.view} with a signature or a claim that is wrong")
            return
        newest = state.view_changes.get(sender)
        if newest is None or newest.view < message.view:
            state.view_changes[sender] = message
            _look_for_hidden(state, sender, message)
            _join(state, sender, message.view)
            consider(state)

    state.check(checks(state, sender, message), verified, sender)


def check_form(state: PbftState, sender: NodeId, message: ViewChange) -> None:
    """Raise RemoteProtocolError for a VIEW-CHANGE whose claim cannot hold, whatever was signed. `sender`, to be
    blamed, is whom it came from: who passes on a wrong one lies, too."""
    claim, signers = message.claim, [signer for signer, _ in message.signatures]
    if not (
        0 <= claim.view <= NUMBER_MAX and 0 <= claim.sequence <= NUMBER_MAX and 0 < message.view <= NUMBER_MAX
    ):
        raise RemoteProtocolError(sender, "sent a view change with numbers outside every view")
    if len(claim.digest) != DIGEST_BYTES or message.vote not in (VoteKind.PREPARE, VoteKind.COMMIT):
        raise RemoteProtocolError(sender, "sent a view change with a claim of no known form")
    if claim == state.epochs.start and not signers:
        return
    first = state.epochs.first_view(state.committee.epoch)
    if not first <= claim.view < message.view or claim.sequence <= state.epochs.start.sequence:
        raise RemoteProtocolError(
            sender, f"claims block {claim.sequence} of view {claim.view} in view {message.view}"
        )
    if signers != sorted(set(signers)) or not state.decide.contains(frozenset(signers)):
        raise RemoteProtocolError(sender, "sent a view change whose claim no quorum signed")
    if not set(signers) <= set(state.committee.nodes):
        raise RemoteProtocolError(sender, "sent a view change whose claim strangers signed")


def checks(state: PbftState, member: NodeId, message: ViewChange) -> list[Signed]:
    """The signatures of a VIEW-CHANGE: its sender's, then those of its claim."""
    claim = message.claim
    digest = claim.digest_of_claim()
    own = SignedVote(member, VoteKind.VIEW_CHANGE, message.view, claim.sequence, digest, message.signature)
    return [state.signed(own), *claim_checks(state, HeldClaim(claim, message.vote, message.signatures))]


def claim_checks(state: PbftState, held: HeldClaim) -> list[Signed]:
    """The signatures of a claim's proof."""
    claim, kind = held.claim, VoteKind(held.vote)
    return [
        state.signed(SignedVote(member, kind, claim.view, claim.sequence, claim.digest, signature))
        for member, signature in held.signatures
    ]


def _look_for_hidden(state: PbftState, member: NodeId, message: ViewChange) -> None:
    """Whether the member voted to commit something that its claim does not own up to."""
    claim = message.claim
    digest = claim.digest_of_claim()
    left = SignedVote(member, VoteKind.VIEW_CHANGE, message.view, claim.sequence, digest, message.signature)
    for commit in state.commits_seen.of(member):
        if commit.view < message.view and (claim.view, claim.sequence) < (commit.view, commit.sequence):
            state.accuse_if_right(HiddenVote(commit, left, claim), [commit], "")


def on_accusation(state: PbftState, sender: NodeId, message: Accusation) -> None:
    """Another member has evidence: one of each liar is enough, and anybody can check it."""
    evidence = message.evidence
    votes = votes_of(evidence)
    committee = state.epochs.committee_of(votes[0].view)
    if committee is None or committee is not state.epochs.committee_of(votes[1].view):
        return
    name = accused(evidence)
    if name in state.liars or committee.keys.get(name) != state.committee.keys.get(name):
        return
    if flaws_of(evidence, committee):
        return
    state.accuse_if_right(evidence, votes, sender)


def leave_liar(state: PbftState) -> None:
    """Nobody waits for a primary that is proven to lie."""
    if state.active and state.primary in state.liars and state.primary != state.node and state.is_member:
        leave_view(state, state.view + 1)


def _join(state: PbftState, sender: NodeId, view: int) -> None:
    """Leave, too, if somebody honest left (PBFT, section 4.5.2), or if the primary itself wants no more."""
    beyond = {node: each.view for node, each in state.view_changes.items() if each.view > state.view}
    if state.is_someone_honest(tuple(beyond)):
        leave_view(state, min(beyond.values()))
    elif state.active and sender == state.primary and view == state.view + 1:
        leave_view(state, view)


def consider(state: PbftState) -> None:
    """Once a quorum wants this view, its primary begins it. Others give that one timeout, from when a quorum wants
    this view or a later one: who is further has seen it fail, and would wait for ever for those behind."""
    if state.active:
        return
    gone = frozenset(node for node, each in state.view_changes.items() if each.view >= state.view)
    if not state.decide.contains(gone):
        return
    if state.pace.deadline_us is None:
        state.pace.restart(state.now_us)
        progress.look_at_clock(state)
    wanting = {node: each for node, each in state.view_changes.items() if each.view == state.view}
    if not state.decide.contains(frozenset(wanting)):
        return
    if state.primary == state.node and state.may_sign and (chosen := _chosen(state, wanting)):
        changes = tuple(sorted(chosen.items()))
        base = base_of(changes)
        vote = state.vote(VoteKind.NEW_VIEW, base.claim.sequence, _digest_of(changes))
        new_view = NewView(state.view, changes, vote.signature)
        enter_view(state, new_view, base)
        state.broadcast(new_view)


def _chosen(state: PbftState, wanting: dict[NodeId, ViewChange]) -> dict[NodeId, ViewChange]:
    """The VIEW-CHANGEs to begin the view with: those of a quorum whose newest claim is of a block that surely can
    be had. While there are none this primary waits for more, a quarter of its time at most.

    A liar alone may hold the votes for a block that others prepared, and dropped as they saw no quorum; if it gave
    the block to nobody, its claim would spoil one view after the other. Whoever honest claims most has that block,
    and is primary in its turn.
    """
    for newest in sorted({_order_of(change) for change in wanting.values()}, reverse=True):
        chosen = {node: change for node, change in wanting.items() if _order_of(change) <= newest}
        claimed = [node for node, change in chosen.items() if _order_of(change) == newest]
        if not state.decide.contains(frozenset(chosen)):
            break
        if aside.can_give(state, chosen[claimed[0]].claim) or state.is_someone_honest(claimed):
            return chosen
    deadline_us, timeout_us = state.pace.deadline_us, state.pace.timeout_us
    is_over = deadline_us is None or state.now_us >= deadline_us - timeout_us + timeout_us // BASE_SHARE
    return wanting if is_over else {}


def _order_of(change: ViewChange) -> tuple[int, int]:
    return change.claim.view, change.claim.sequence


def base_of(changes: Sequence[tuple[NodeId, ViewChange]]) -> HeldClaim:
    """Where a view begins: the newest claim of a quorum. Whatever was decided before is at or below it."""
    held = [HeldClaim(change.claim, change.vote, change.signatures) for _, change in changes]
    return max(held, key=lambda each: (each.order, each.claim.digest))


def on_new_view(state: PbftState, sender: NodeId, message: NewView) -> None:
    """A view begins, if a quorum asked for it and its primary says so. Anybody may pass the message on."""
    if message.view < state.view or (message.view == state.view and state.active):
        return
    if state.epochs.epoch_of(message.view) != state.committee.epoch:
        return  # of an epoch that this node has yet to hear of
    members = [member for member, _ in message.changes]
    if members != sorted(set(members)) or not state.decide.contains(frozenset(members)):
        raise RemoteProtocolError(sender, f"began view {message.view}, for which no quorum asked")
    if not set(members) <= set(state.committee.nodes):
        raise RemoteProtocolError(sender, f"began view {message.view}, for which strangers asked")
    for _, change in message.changes:
        if change.view != message.view:
            raise RemoteProtocolError(sender, f"began view {message.view} with a message for view {change.view}")
        check_form(state, sender, change)
    base = base_of(message.changes)
    primary = state.primary_of(message.view)
    digest = _digest_of(message.changes)
    vote = SignedVote(primary, VoteKind.NEW_VIEW, message.view, base.claim.sequence, digest, message.signature)
    items = [state.signed(vote)]
    for member, change in message.changes:
        if state.view_changes.get(member) != change:
            items += checks(state, member, change)

    def verified(results: tuple[bool, ...]) -> None:
        if not all(results):
            state.report(sender, f"began view {message.view} with a signature that is wrong")
        elif message.view > state.view or (message.view == state.view and not state.active):
            enter_view(state, message, base)

    state.check(items, verified, sender)


def _digest_of(changes: Sequence[tuple[NodeId, ViewChange]]) -> bytes:
    data = _ENCODE.encode(tuple(changes))
    return blake2b(data, digest_size=DIGEST_BYTES, person=b"quorum new view").digest()


def enter_view(state: PbftState, new_view: NewView, base: HeldClaim) -> None:
    """The view has begun (PBFT, section 4.4: new-view). Durable before anything is signed in it."""
    claim = base.claim
    state.leave_votes()
    if new_view.view > state.view:
        state.persist(HardState(new_view.view, None))
    state.view = new_view.view
    state.active = True
    state.new_view = new_view
    state.base = claim
    mark = ViewMark(state.view, claim.sequence, claim.digest, new_view)
    state.persist(Note(VIEW_NOTE, _ENCODE.encode(mark)))
    state.begun_by = state.persists
    state.view_changes = {node: each for node, each in state.view_changes.items() if each.view > state.view}
    state.pending.renew(state.now_us)
    state.gathered.ready_since_us = state.now_us
    begin(state)
    state.pace.view_began(state.now_us, progress.is_waiting(state))
    progress.look_at_clock(state)


def begin(state: PbftState) -> None:
    """Stand at the base of the view, as soon as its blocks are here, and vote for it first of all."""
    base, chain = state.base, state.chain
    if not state.has_base:
        aside.restore(state)
    settle_start(state)
    if not state.has_base:
        return
    if chain.base <= base.sequence <= state.commit_sequence and not chain.holds(base.sequence, base.digest):
        state.report(state.primary, f"began view {state.view} at a block that is not the one decided")
        return
    if state.new_view is not None:
        held = base_of(state.new_view.changes)
        if held.order > state.claim.order and chain.holds(base.sequence, base.digest):
            state.hold(held)
    aside.drop_after(state, max(base.sequence, state.commit_sequence))
    state.pending.propose_again(
        name for link in chain.links(state.commit_sequence + 1, chain.last) for name in link.requests
    )
    if base.sequence > state.epochs.start.sequence:
        ordering.prepare(state, base.sequence, base.digest)
    ordering.propose(state)
    ordering.take_early(state)


def settle_start(state: PbftState) -> None:
    """The block where this epoch begins is decided, whether or not it was here when that was heard."""
    start, changes = state.epochs.start, state.epochs.changes
    if start.sequence > state.commit_sequence and state.chain.holds(start.sequence, start.digest):
        progress.decide(state, start.sequence, changes[-1].certificate)


def stand_after(state: PbftState) -> None:
    """More is decided than where the view began: go on there with what this node may still do in it."""
    state.pending.propose_again(
        name for link in state.chain.links(state.commit_sequence + 1, state.chain.last) for name in link.requests
    )
    ordering.propose(state)
