"""Members tell each other where they are, and give what the other misses: votes, blocks, views, states.

Nothing is believed because a member says so: a block counts with a certificate, or because its digest was asked
for; a state with the certificate of a block that names its root. Source: Castro and Liskov, "Practical Byzantine
Fault Tolerance and Proactive Recovery" (2002), sections 5.2 (retransmission) and 5.3 (state transfer).
"""

from __future__ import annotations

from collections.abc import Sequence

from quorum.certificate.block import BlockCertificate, BlockHeader, commit_votes, flaws_of_block
from quorum.certificate.vote import VoteKind
from quorum.entry import Buffer
from quorum.errors import RemoteProtocolError
from quorum.model import NodeId
from quorum.protocols.effects import FetchSnapshot, Persist, Reset, Send, Signed
from quorum.protocols.events import SnapshotMark
from quorum.protocols.pbft import approving, multicast, ordering, progress, view_change
from quorum.protocols.pbft.aside import blocks_to, drop_after
from quorum.protocols.pbft.blocks import Block, read_headers, read_past_block
from quorum.protocols.pbft.chain import Link, check_follows
from quorum.protocols.pbft.epochs import configuration_of
from quorum.protocols.pbft.messages import (
    Blocks,
    Fetch,
    Forward,
    Offer,
    PrePrepare,
    Signatures,
    Status,
    Votes,
)
from quorum.protocols.pbft.state import STATUS_TIMER, PbftState

FORWARD_SHARE = 8
"""A request that no block holds after this part of the timeout is forwarded to the primary."""
FORWARD_AGAIN_SHARE = 4
"""After this part it is forwarded again."""
FORWARDED_MAX = 64
PASSED_ON_MAX = 4
HEADERS_MAX = 4_096


def on_status_timer(state: PbftState) -> None:
    """Look at the primary, then tell everybody where this node is."""
    state.set_timer(STATUS_TIMER, state.settings.status_us)
    if state.active:
        _look_at_primary(state)
        ordering.certify_state(state)
        ordering.take_early(state)
    if not state.active and state.own_view_change is not None:
        state.broadcast(state.own_view_change)
        view_change.consider(state)
    _ask_for_base(state)
    approving.give_again(state)
    state.broadcast(status_of(state))


def status_of(state: PbftState) -> Status:
    """Where this node is."""
    return Status(
        state.view,
        state.active,
        state.chain.last,
        state.here.prepared_sequence,
        state.commit_sequence,
        progress.is_waiting(state),
    )


def _look_at_primary(state: PbftState) -> None:
    timeout_us, pending = state.pace.timeout_us, state.pending
    is_too_slow = state.pace.is_too_slow() and progress.is_waiting(state)
    is_late = is_too_slow or approving.is_late(state) or pending.is_censored(state.now_us, timeout_us)
    if is_late and state.is_member:
        view_change.leave_view(state, state.view + 1)
        return
    if state.primary == state.node:
        return
    late = pending.late(state.now_us, timeout_us // FORWARD_SHARE, timeout_us // FORWARD_AGAIN_SHARE)
    late = late[:FORWARDED_MAX]
    if late:
        for waiting in late:
            waiting.forwarded_us = state.now_us
        state.send(state.primary, Forward(state.view, tuple(waiting.data for waiting in late)))
    multicast.tell_all(state, timeout_us)


def on_status(state: PbftState, sender: NodeId, status: Status) -> None:
    """Give what the sender misses; ask for what it has and this node does not."""
    before, is_heeded = state.statuses.get(sender), state.quotas.heeds(sender, state.now_us)
    if sender in state.holders:
        state.statuses[sender] = status
        if state.amnesiac and sender in state.committee.keys:
            _remember_view(state, sender, status.view)
    if not is_heeded:
        return
    if sender not in state.committee.keys:  # members tell each other; whoever follows without a vote has to ask
        if status.committed < state.commit_sequence:
            state.send(sender, status_of(state))
        if state.active and sender not in state.holders:
            _give_current_view(state, sender, status)
    if sender in state.holders:
        _compare(state, sender, status, before)


def _compare(state: PbftState, sender: NodeId, status: Status, before: Status | None) -> None:
    _give_current_view(state, sender, status)
    if status.committed > state.commit_sequence and (
        (before is not None and before.committed > state.commit_sequence)
        or status.committed > state.commit_sequence + state.settings.window
    ):
        state.send(sender, Fetch(state.view, state.commit_sequence + 1))
    same_view = state.active and status.active and status.view == state.view
    if same_view and before is not None and before.committed == status.committed:
        _give_votes(state, sender, status)
        _pass_on(state, sender, status, before)


def _give_current_view(state: PbftState, sender: NodeId, status: Status) -> None:
    if status.view < state.view or (status.view == state.view and not status.active):
        _give_view(state, sender)


def _give_view(state: PbftState, to: NodeId) -> None:
    if state.active and state.new_view is not None:
        state.send(to, state.new_view)
    elif not state.active and state.own_view_change is not None:
        state.send(to, state.own_view_change)


def _give_votes(state: PbftState, to: NodeId, status: Status) -> None:
    """This node's votes for what the other has not decided, as far as what they promise is durable by now.
    After a restart they are signed again: the same."""
    chain, base = state.chain, state.base.sequence
    if not state.may_sign or not state.has_base:
        return
    last, window = chain.last, state.settings.window
    first = max(status.committed + 1, base, state.epochs.start.sequence + 1, last - 2 * window + 1)
    if first > last:
        return  # it misses nothing, as nearly always
    for sequence in range(first, last + 1):
        _vote_again(state, sequence)
    votes = tuple(
        (int(kind), sequence, own.vote.digest, own.vote.signature)
        for (kind, sequence), own in sorted(state.here.own_votes.items())
        if first <= sequence <= last and own.by <= state.persists_stored
    )
    if votes:
        state.send(to, Votes(state.view, votes))


def _vote_again(state: PbftState, sequence: int) -> None:
    """What an earlier life voted at a place, and durable state shows, may be said again."""
    digest = state.chain.digest(sequence)
    if digest is None:
        return
    votes = state.here.own_votes
    if (VoteKind.PREPARE, sequence) not in votes and not ordering.contradicts(state, sequence, digest):
        ordering.own_vote(state, VoteKind.PREPARE, sequence, digest)
    claim = state.claim.claim
    claimed = (claim.view, claim.sequence, claim.digest)
    if (VoteKind.COMMIT, sequence) not in votes and claimed == (state.view, sequence, digest):
        ordering.own_vote(state, VoteKind.COMMIT, sequence, digest)


def _pass_on(state: PbftState, to: NodeId, status: Status, before: Status) -> None:
    """Blocks of this view that the other misses, or voted against, with the primary's signature. A chain that does
    not lead to where the view begins has none."""
    chain, given = state.chain, 0
    if not state.has_base:
        return
    floor = max(state.base.sequence, state.commit_sequence)
    for link in chain.links(floor + 1, chain.last) if floor < chain.last else ():
        sequence = link.header.sequence
        places = state.here.prepares.get(sequence)
        signature = places.signature_of(state.primary, link.digest) if places is not None else None
        if places is None or signature is None or given >= PASSED_ON_MAX:
            continue
        is_missing = sequence > status.last == before.last
        if is_missing or places.is_against(to, link.digest):
            given += 1
            state.out.append(Send(to, PrePrepare(state.view, sequence, signature), sequence, sequence))


def on_votes(state: PbftState, sender: NodeId, message: Votes) -> None:
    """Votes that were missed, each as if it had come alone."""
    if len(message.votes) > 8 * state.settings.window:
        raise RemoteProtocolError(sender, f"sent {len(message.votes)} votes in one message")
    for kind, *_ in message.votes:  # before any of them has an effect, which an error would lose
        if kind not in (VoteKind.PREPARE, VoteKind.COMMIT):
            raise RemoteProtocolError(sender, f"sent a vote of type {kind}")
    for kind, sequence, digest, signature in message.votes:
        ordering.on_vote(state, VoteKind(kind), sender, message.view, sequence, digest, signature)


def _remember_view(state: PbftState, sender: NodeId, view: int) -> None:
    """A node without memory signs nothing in any view that it may have signed in before. The newest that began is
    known to somebody honest in every quorum of the others; it may have asked for the one after that."""
    state.heard_views[sender] = max(view, state.heard_views.get(sender, 0))
    if state.silent_through < 0 and state.decide.contains(frozenset(state.heard_views)):
        first = state.epochs.first_view(state.committee.epoch)
        state.silent_through = max(first, *state.heard_views.values()) + 1


# Blocks.


def _ask_for_base(state: PbftState) -> None:
    """The view begins at a block that is not here: somebody who prepared it has it, first of all its primary."""
    base = state.base
    if state.has_base or not state.holders:
        return
    to = state.holders[state.asked // 2 % len(state.holders)]
    if state.asked % 2 == 0 and state.primary != state.node:
        to = state.primary
    state.asked += 1
    state.send(to, Fetch(state.view, state.on_base + 1, base.sequence, base.digest))


def on_fetch(state: PbftState, sender: NodeId, message: Fetch) -> None:
    """Give blocks, as many as one message may hold, or the state after those that are gone."""
    chain, first, is_base = state.chain, message.first, message.last > 0
    if not state.quotas.may_be_given(sender, first, state.now_us, state.view, is_base):
        return
    if is_base:
        _give_base(state, sender, message)
    elif first > state.commit_sequence or first < 1:
        return
    elif first <= chain.base:
        _offer(state, sender)
        state.quotas.given(sender, chain.base, state.now_us, state.view, False)
    else:
        last = _fitting(state, first, state.commit_sequence)
        proved = state.certificate_from(last)
        if proved is not None and proved - last <= HEADERS_MAX:
            view, signatures = state.certificates[proved]
            state.quotas.given(sender, last, state.now_us, state.view, False)
            state.out.append(
                Send(sender, Blocks(view, first, chain.headers(last + 1, proved), signatures), first, last)
            )


def _fitting(state: PbftState, first: int, last: int) -> int:
    """The last of these blocks of the chain that one message may hold besides the first."""
    fitting, size = first, 0
    for link in state.chain.links(first, last):
        size += link.size
        if size > state.settings.fetch_bytes_max and link.header.sequence > first:
            break
        fitting = link.header.sequence
    return fitting


def _give_base(state: PbftState, sender: NodeId, message: Fetch) -> None:
    """Blocks on the way to the one of this digest, and the headers of the rest of it: after a restart nobody may
    know what of it is decided, so that it may be as long as the log."""
    chain, first, last = state.chain, message.first, message.last
    aside = blocks_to(state, message.digest)
    digest = aside[0].header.parent if aside else message.digest
    held = last - len(aside)
    if not 1 <= first <= last <= first + HEADERS_MAX or not chain.holds(held, digest):
        return
    given = last
    rest = tuple(block.header.packed() for block in aside)
    if first <= chain.base:
        given = chain.base
        if not _offer(state, sender):
            _offer_under_base(state, sender, chain.headers(chain.base + 1, held) + rest)
    elif first > held:
        entries = tuple(block.entry for block in aside[first - held - 1 :])
        state.send(sender, Blocks(state.view, first, (), (), entries))
    else:
        given = _fitting(state, first, held)
        headers = chain.headers(given + 1, held) + rest
        state.out.append(Send(sender, Blocks(state.view, first, headers, ()), first, given))
    state.quotas.given(sender, given, state.now_us, state.view, True)


def on_blocks(state: PbftState, sender: NodeId, message: Blocks, attached: tuple[Buffer, ...]) -> None:
    """Blocks that were asked for: linked to what is decided here, and up to a certificate or a known digest."""
    entries = attached or message.entries
    if len(message.headers) > HEADERS_MAX:
        raise RemoteProtocolError(sender, f"sent {len(message.headers)} headers in one message")
    if message.signatures and state.epochs.committee_of(message.view) is None:
        return  # of an epoch that this node has yet to hear of
    blocks = [read_past_block(sender, entry, state.epochs.by_hash) for entry in entries]
    known = state.commit_sequence if message.signatures else state.on_base
    blocks = [block for block in blocks if block.header.sequence > known]
    if not blocks or blocks[0].header.sequence != known + 1:
        return
    before = state.chain.link(known)
    assert before is not None, "what is decided, or known to lead to the base, is in the chain"
    end = _follow(sender, before, [block.header for block in blocks])
    end = _follow(sender, end, read_headers(sender, message.headers))
    if not message.signatures:
        _take_base(state, sender, blocks, end)
        return
    view, signatures = message.view, message.signatures

    def verified(results: tuple[bool, ...]) -> None:
        if not all(results):
            state.report(sender, f"sent blocks up to {end.header.sequence} with a certificate that is wrong")
        elif blocks[0].header.sequence == state.commit_sequence + 1:
            _take_decided(state, blocks, view, None if message.headers else signatures)
            if (status := state.statuses.get(sender)) is not None and status.committed > state.commit_sequence:
                state.send(sender, Fetch(state.view, state.commit_sequence + 1))

    state.check(_certificate_checks(state, sender, view, end, signatures), verified, sender)


def _follow(sender: NodeId, before: Link, headers: Sequence[BlockHeader]) -> Link:
    """The end of a chain of headers. Raises RemoteProtocolError where it breaks."""
    for header in headers:
        check_follows(sender, header, before)
        before = Link(header, header.digest(), 0)
    return before


def _certificate_checks(
    state: PbftState, sender: NodeId, view: int, end: Link, signatures: Signatures
) -> list[Signed]:
    """The signatures of a certificate for `end`. Raises RemoteProtocolError where anything else is wrong."""
    sequence, committee = end.header.sequence, state.epochs.committee_of(view)
    if committee is None or not state.epochs.may_sign(view, sequence):
        raise RemoteProtocolError(sender, f"sent block {sequence} with a certificate of another epoch")
    certificate = BlockCertificate(committee.cluster, committee.epoch, view, end.header, signatures)
    if flaws := flaws_of_block(certificate, committee):
        raise RemoteProtocolError(sender, f"sent block {sequence} with a certificate that is wrong: {flaws[0]}")
    return [state.signed(vote) for vote in commit_votes(certificate)]


def _take_base(state: PbftState, sender: NodeId, blocks: Sequence[Block], end: Link) -> None:
    """Blocks that lead to `end`, the base of the view: a quorum prepared it, so they need no other check."""
    base = state.base
    if state.has_base or (end.header.sequence, end.digest) != (base.sequence, base.digest):
        return
    _append(state, blocks)
    state.here.on_base = blocks[-1].header.sequence
    if state.has_base and not state.active:
        view_change.settle_start(state)
    elif state.has_base:
        view_change.begin(state)
    else:
        state.send(sender, Fetch(state.view, state.on_base + 1, base.sequence, base.digest))


def _take_decided(state: PbftState, blocks: Sequence[Block], view: int, signatures: Signatures | None) -> None:
    last = blocks[-1].header.sequence
    state.decided_view = max(state.decided_view, view)
    _append(state, blocks)
    certificate = state.certify(last, view, signatures) if signatures is not None else None
    progress.decide(state, last, certificate)
    if state.active and state.base.sequence <= last:
        view_change.stand_after(state)
    ordering.take_early(state)


def _append(state: PbftState, blocks: Sequence[Block]) -> None:
    """Put blocks into the chain, in place of others where it holds others."""
    chain = state.chain
    new = [block for block in blocks if not chain.holds(block.header.sequence, block.digest)]
    if not new:
        return
    drop_after(state, new[0].header.sequence - 1)
    for block in new:
        chain.append(block.link())
    state.persist_blocks(tuple(block.entry for block in new))


# States.


def _offer(state: PbftState, sender: NodeId) -> bool:
    """The newest snapshot here whose state is certified, with the headers that lead to the certificate. While the
    newest one is not, that is the one before: what certifies it may need whoever asks."""
    return _offer_of(state, sender, state.snapshot) or _offer_of(state, sender, state.certified)


def _offer_of(state: PbftState, sender: NodeId, mark: SnapshotMark | None) -> bool:
    chain = state.chain
    if mark is None or not chain.base <= mark.index <= state.commit_sequence:
        return False
    root = next(
        (
            link
            for link in chain.links(mark.index, state.commit_sequence)
            if link.header.state_sequence == mark.index
        ),
        None,
    )
    if root is None:
        return False
    proved = state.certificate_from(root.header.sequence)
    if proved is None or proved - mark.index > HEADERS_MAX:
        return False
    view, signatures = state.certificates[proved]
    named = SnapshotMark(
        mark.index,
        0,
        mark.time_us,
        mark.configuration,
        mark.digest,
        mark.size,
        mark.place,
        root.header.state_root,
    )
    state.send(sender, Offer(view, named, chain.headers(mark.index + 1, proved), signatures))
    return True


def _offer_under_base(state: PbftState, sender: NodeId, packed: tuple[bytes, ...]) -> None:
    """The state that the last of these headers names: they lead from the chain's base to where the view begins.
    After a restart nobody may have a certificate, nor get one without whoever asks."""
    if not packed:
        return
    end = read_headers(state.node, packed[-1:])[0]
    link = state.chain.link(end.state_sequence)
    headers = packed[end.state_sequence - state.chain.base :]
    if link is None or not 0 < end.state_sequence <= state.commit_sequence or len(headers) > HEADERS_MAX:
        return
    state.send(sender, Offer(state.view, _mark_of(state, link.header, end.state_root), headers, ()))


def _mark_of(state: PbftState, place: BlockHeader, root: bytes) -> SnapshotMark:
    """The state of a block: nothing in it is one member's word, so that it is the same, whoever offers it."""
    configuration = configuration_of(state.epochs.by_hash[place.membership_hash])
    return SnapshotMark(place.sequence, 0, place.time_us, configuration, place=place.packed(), state_root=root)


def on_offer(state: PbftState, sender: NodeId, message: Offer) -> None:
    """A state that is far ahead: fetched only if a certificate names its root."""
    mark = message.mark
    if mark.index <= state.commit_sequence or len(message.headers) > HEADERS_MAX:
        return
    if state.epochs.committee_of(message.view) is None:
        return  # of an epoch that this node has yet to hear of
    place = read_headers(sender, (mark.place,))[0]
    if place.sequence != mark.index:
        raise RemoteProtocolError(sender, f"offered the state of block {mark.index} at another block")
    headers = read_headers(sender, message.headers)
    end = _follow(sender, Link(place, place.digest(), 0), headers)
    roots = {header.state_root for header in headers if header.state_sequence == mark.index}
    if roots != {mark.state_root}:
        raise RemoteProtocolError(sender, f"offered a state of block {mark.index} that its headers do not name")

    if not message.signatures:
        # Whoever honest prepared a block that names a state had it: a quorum prepared where the view begins.
        if not state.has_base and (end.header.sequence, end.digest) == (state.base.sequence, state.base.digest):
            _fetch_state(state, sender, place, mark.state_root, [place])
        return

    def verified(results: tuple[bool, ...]) -> None:
        if not all(results):
            state.report(sender, f"offered the state of block {mark.index} with a certificate that is wrong")
            return
        state.decided_view = max(state.decided_view, message.view)
        _fetch_state(state, sender, place, mark.state_root, [place, *headers])

    state.check(_certificate_checks(state, sender, message.view, end, message.signatures), verified, sender)


def _fetch_state(
    state: PbftState, sender: NodeId, place: BlockHeader, root: bytes, decided: Sequence[BlockHeader]
) -> None:
    """Fetch the state of the block `place`, unless the chain holds one of these blocks."""
    if place.membership_hash not in state.epochs.by_hash:
        return  # more than T lied: what is certified is no block of this chain of committees
    if not _holds_some(state, decided) and place.sequence > state.commit_sequence:
        state.out.append(FetchSnapshot(sender, _mark_of(state, place, root)))


def _holds_some(state: PbftState, headers: Sequence[BlockHeader]) -> bool:
    """Whether the state need not be fetched, as the chain has blocks of a certified one: they are decided."""
    held = [header.sequence for header in headers if state.chain.holds(header.sequence, header.digest())]
    if held and max(held) > state.commit_sequence:
        progress.decide(state, max(held), None)
        if state.active:
            view_change.stand_after(state)
    return bool(held)


def on_installed(state: PbftState, mark: SnapshotMark) -> None:
    """A fetched state is in place, and its digest is the certified one."""
    if mark.index <= state.commit_sequence:
        return
    place = read_headers(state.node, (mark.place,))[0]
    if _holds_some(state, [place]):
        return  # the log got there meanwhile
    state.chain.stand_at(place)
    state.commit_sequence = mark.index
    state.snapshot = mark
    state.certificates.clear()
    state.pending.forget_until(place.time_us)
    state.here.prepares.clear()
    state.here.commits.clear()
    state.here.early.clear()
    state.here.checking = None
    state.here.on_base = 0
    state.remember_votes(mark.index)
    state.persists += 1
    state.out.append(Persist(Reset(mark)))
    progress.on_state_known(state, mark.index, mark.state_root)
    if state.active and state.base.sequence <= mark.index:
        view_change.stand_after(state)
