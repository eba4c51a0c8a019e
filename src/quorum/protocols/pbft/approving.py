"""Who wants the next committee: approvals are gathered until a quorum of the members has given theirs, and any
primary may then order the change.

An approval is the word of a member's operator. It may be given to several committees, and is never taken back:
which of them follows is decided by the block that orders it, not by who approved first.
"""

from __future__ import annotations

import msgspec

from quorum.certificate.approval import (
    CHANGE_BYTES_MAX,
    Change,
    approval_statement,
    check_following,
)
from quorum.certificate.committee import MEMBERS_MAX, Committee
from quorum.certificate.epochs import epoch_request
from quorum.errors import ConfigurationError, RemoteProtocolError
from quorum.model import NodeId
from quorum.protocols.effects import Completed, Note, Refused
from quorum.protocols.events import ChangeApproved
from quorum.protocols.pbft import ordering, progress
from quorum.protocols.pbft.changes import approval_checks, why_not
from quorum.protocols.pbft.gathered import Box, Gathered
from quorum.protocols.pbft.messages import Approve
from quorum.protocols.pbft.state import PbftState

APPROVED_NOTE = "approved"
SEEN_MAX = 16
"""So many next committees are told to operators."""
APPROVED_MAX = 10
"""A member may approve of so many committees for one epoch: what others keep for it is bounded. More than it
approves of by itself (runtime.committee_keeper, membership.weight_proposals): the rest is its operator's."""
TICKS = 10
"""Approvals are given again at every so many status timers."""

_ENCODE = msgspec.msgpack.Encoder()
_DECODE_NOTE = msgspec.msgpack.Decoder(tuple[Committee, ...])


def on_approved(state: PbftState, event: ChangeApproved) -> None:
    """The operator of this node wants `committee` next. Durable before it is said."""
    try:
        _check_may_approve(state, event.committee)
    except ConfigurationError as error:
        state.out.append(Refused((event.token,), error))
        return
    if _approve(state, event.committee):
        state.persist(Note(APPROVED_NOTE, _ENCODE.encode(tuple(state.gathered.approved_by(state.node)))))
    state.out.append(Completed((event.token,)))
    _give(state, state.gathered.boxes[event.committee.membership_hash])
    look(state)


def _check_may_approve(state: PbftState, committee: Committee) -> None:
    check_following(state.epochs.newest, state.epochs.used, committee)
    epoch = state.committee.epoch
    if not state.is_member:
        raise ConfigurationError(
            f"{state.node} was to approve of epoch {committee.epoch}, but it has no vote in epoch {epoch}. Ask "
            "the members of that epoch."
        )
    approved = state.gathered.approved_by(state.node)
    if len(approved) >= APPROVED_MAX and committee not in approved:
        raise ConfigurationError(
            f"{state.node} was to approve of another committee for epoch {committee.epoch}, but it approved of "
            f"{len(approved)} already. Have one of them decided first."
        )


def _approve(state: PbftState, committee: Committee) -> bool:
    """Sign, and count it. False if this node did so before."""
    box = state.gathered.box_of(committee)
    if state.node in box.approvals:
        return False
    box.approvals[state.node] = state.sign_bytes(approval_statement(state.committee, committee))
    return True


def recover(state: PbftState, notes: dict[str, bytes]) -> None:
    """What an earlier life approved of in this epoch is approved of still."""
    if state.is_member and APPROVED_NOTE in notes:
        for committee in _DECODE_NOTE.decode(notes[APPROVED_NOTE]):
            if committee.epoch == state.committee.epoch + 1:
                _approve(state, committee)


def forget(state: PbftState) -> None:
    """The epoch is over: approvals were for its end."""
    state.gathered = Gathered()
    state.persist(Note(APPROVED_NOTE, b""))


def approvals_seen(state: PbftState) -> dict[str, tuple[NodeId, ...]]:
    """Who approves of the committees of which this node does, as far as it knows; by their hashes, in
    hexadecimal."""
    own = (box for box in state.gathered.boxes.values() if state.node in box.approvals)
    return {box.committee.membership_hash.hex(): tuple(sorted(box.approvals)) for box in own}


def committees_seen(state: PbftState) -> list[tuple[Committee, tuple[NodeId, ...]]]:
    """The next committees of which somebody approves, and who, as far as this node knows; SEEN_MAX at most, those
    first of which most approve: liars may approve of so many that others would not be seen."""
    boxes = [box for _, box in sorted(state.gathered.boxes.items()) if box.approvals]
    boxes.sort(key=lambda box: -len(box.approvals))
    return [(box.committee, tuple(sorted(box.approvals))) for box in boxes[:SEEN_MAX]]


# Between members.


def give_again(state: PbftState) -> None:
    """Whoever missed approvals hears of them again: of this node's own, and of those that a quorum gave."""
    state.gathered.ticks += 1
    if state.gathered.ticks % TICKS == 0:
        for _, box in sorted(state.gathered.boxes.items()):
            is_ready = state.gathered.ready is not None and state.gathered.ready.committee == box.committee
            if is_ready or state.node in box.approvals:
                _give(state, box)


def _give(state: PbftState, box: Box) -> None:
    state.broadcast(Approve(state.view, box.committee, tuple(sorted(box.approvals.items()))))


def on_approve(state: PbftState, sender: NodeId, message: Approve) -> None:
    """Approvals that another has seen, and verified. What is known already costs nothing."""
    committee = message.committee
    if committee.cluster != state.committee.cluster or committee.epoch != state.committee.epoch + 1:
        return
    if sender not in state.committee.keys:
        return
    if len(committee.members) > MEMBERS_MAX or len(epoch_request(committee)) > CHANGE_BYTES_MAX:
        raise RemoteProtocolError(sender, "sent approvals of a committee that no block may hold")
    names = [member for member, _ in message.approvals]
    if len(names) > len(state.committee.members) or names != sorted(set(names)):
        raise RemoteProtocolError(sender, f"sent {len(names)} approvals, not one of each member in order")
    box = state.gathered.boxes.get(committee.membership_hash)
    known = {} if box is None else box.approvals
    fresh = tuple(
        (member, signature) for member, signature in message.approvals if _is_wanted(state, known, member)
    )
    if not fresh:
        return
    epoch = state.committee.epoch

    def verified(results: tuple[bool, ...]) -> None:
        if state.committee.epoch != epoch:
            return
        if not all(results):
            state.report(sender, f"passed on approvals of epoch {committee.epoch} with a signature that is wrong")
        kept = state.gathered.box_of(committee)
        for (member, signature), is_right in zip(fresh, results, strict=True):
            if is_right and _is_wanted(state, kept.approvals, member):
                kept.approvals[member] = signature
        if not kept.approvals:
            del state.gathered.boxes[committee.membership_hash]
        look(state)

    state.check(approval_checks(state, committee, fresh), verified, sender)


def _is_wanted(state: PbftState, known: dict[NodeId, bytes], member: NodeId) -> bool:
    is_new = member in state.committee.keys and member not in known
    return is_new and len(state.gathered.approved_by(member)) < APPROVED_MAX


def look(state: PbftState) -> None:
    """See whether a quorum approves of some committee: from then on a primary that does not order it is late."""
    if state.gathered.ready is not None:
        return
    for _, box in sorted(state.gathered.boxes.items()):
        if state.decide.contains(frozenset(box.approvals)) and not why_not(state, box.committee):
            state.gathered.ready = Change(box.committee, tuple(sorted(box.approvals.items())))
            state.gathered.ready_since_us = state.now_us
            _give(state, box)
            ordering.propose(state)
            progress.look_at_clock(state)
            return


def is_late(state: PbftState) -> bool:
    """Whether the primary has had its time to order a change that a quorum approves of."""
    gathered = state.gathered
    return gathered.ready is not None and state.now_us - gathered.ready_since_us >= state.pace.timeout_us
