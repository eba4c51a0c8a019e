"""The normal case: blocks are proposed, prepared and committed. Source: Castro and Liskov, "Practical Byzantine
Fault Tolerance and Proactive Recovery" (2002), section 4.3, cited as PBFT; departures are listed in docs/pbft.md.

Votes are cumulative: blocks form a chain, and a member accepts one chain in a view, so a quorum's votes for a
block cover every block before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quorum.certificate.approval import flaws_of_approvals
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import Claim, SignedVote
from quorum.certificate.requests import SignedRequest, request_statement
from quorum.certificate.vote import VoteKind
from quorum.entry import Buffer
from quorum.errors import RemoteProtocolError
from quorum.model import NodeId
from quorum.protocols.effects import Send, Signed
from quorum.protocols.pbft import comparing, progress
from quorum.protocols.pbft.blocks import Block, make_block, make_change, read_block
from quorum.protocols.pbft.chain import Link, check_follows
from quorum.protocols.pbft.changes import approval_checks, why_not
from quorum.protocols.pbft.in_view import OwnVote
from quorum.protocols.pbft.messages import Commit, Prepare, PrePrepare, Signatures
from quorum.protocols.pbft.notes import HeldClaim
from quorum.protocols.pbft.state import PbftState
from quorum.protocols.pbft.votes import PlaceVotes

SLACK = 2
"""A block may have so many times the requests and bytes that this node's own blocks have at most: a primary of
another version may have other settings."""


def propose(state: PbftState) -> None:
    """Make blocks of what waits, as long as few enough are under way (PBFT, section 4.3: pre-prepare).

    A pre-prepare leaves before this node's own disk has the block, as it promises nothing about it: a primary that
    restarts does not sign in that view again.
    """
    while state.is_primary and state.has_base and not state.is_epoch_over:
        last = state.chain.last
        if last - state.floor >= state.settings.in_flight or last >= state.ceiling:
            return
        if not _names_enough(state):
            return  # until this node's own state is known
        if state.gathered.ready is not None:
            _send_out(state, make_change(*_next_block(state), state.gathered.ready))
            return
        waiting = state.pending.to_propose()
        if not waiting:
            return
        _propose(state, [(each.request, each.data) for each in waiting])


def certify_state(state: PbftState) -> None:
    """With nothing else to order, one block without requests certifies the newest state: else who is far behind
    could be given none."""
    newest, idle = state.chain.newest.header, state.chain.last == state.commit_sequence
    if state.is_epoch_over or not (state.is_primary and state.has_base and idle):
        return
    if state.newest_root[0] > newest.state_sequence and _names_enough(state):
        _propose(state, ())


def _propose(state: PbftState, requests: Sequence[tuple[SignedRequest, Buffer]]) -> None:
    _send_out(state, make_block(*_next_block(state), requests))


def _next_block(state: PbftState) -> tuple[Link, Committee, int, tuple[int, bytes]]:
    """What every next block is made of."""
    return state.chain.newest, state.committee, state.now_us, _newest_state(state)


def _newest_state(state: PbftState) -> tuple[int, bytes]:
    """What the next block names: the newest state of this node, or what its parent names."""
    newest = state.chain.newest.header
    return max(state.newest_root, (newest.state_sequence, newest.state_root))


def _send_out(state: PbftState, block: Block) -> None:
    sequence = block.header.sequence
    state.chain.append(block.link())
    state.pending.proposed(block.names)
    vote = own_vote(state, VoteKind.PREPARE, sequence, block.digest)
    for other in state.others:
        state.out.append(Send(other, PrePrepare(state.view, sequence, vote.signature), sequence, sequence))
    state.persist_blocks((block.entry,))
    _place(state, VoteKind.PREPARE, sequence).add_own(vote)
    judge(state, sequence)


def on_pre_prepare(state: PbftState, sender: NodeId, message: PrePrepare, attached: tuple[Buffer, ...]) -> None:
    """A block of this view. Blocks are taken in order; one that comes early waits for its turn."""
    if message.view != state.view or not state.active:
        return
    if len(attached) != 1:
        raise RemoteProtocolError(sender, f"sent a pre-prepare with {len(attached)} blocks")
    sequence, entry = message.sequence, bytes(attached[0])
    if not state.base.sequence < sequence:
        if sender != state.primary:
            return  # a primary that began its view twice may have told it of an earlier base
        raise RemoteProtocolError(
            sender, f"sent block {sequence} in a view that begins after {state.base.sequence}"
        )
    if not state.commit_sequence < sequence <= state.ceiling:
        return  # decided, or so far ahead that this node has to catch up first
    if len(entry) > SLACK * state.settings.block_bytes_max + 4096:
        if sender != state.primary:
            raise RemoteProtocolError(sender, f"sent a block of {len(entry)} bytes")
        _want_no_more(state, f"sent a block of {len(entry)} bytes")
        return
    if sender == state.primary:
        _take(state, message.signature, sequence, entry)
        return
    digest = read_block(sender, entry, state.committee).digest
    vote = SignedVote(state.primary, VoteKind.PREPARE, state.view, sequence, digest, message.signature)
    view = state.view

    def passed_on(results: tuple[bool, ...]) -> None:
        """Who passes a block on has not verified the primary's signature either, so a wrong one blames nobody."""
        if not all(results):
            state.quotas.charge(sender)
        elif state.active and state.view == view:
            _take(state, message.signature, sequence, entry)

    if sequence > state.chain.last or not state.has_base:
        state.check([state.signed(vote)], passed_on, sender)
    elif sequence > state.commit_sequence:
        state.suspect(_place(state, VoteKind.PREPARE, sequence).compare(vote), sender)


def _take(state: PbftState, signature: bytes, sequence: int, entry: bytes) -> None:
    if sequence <= state.chain.last and state.has_base:
        _compare(state, signature, sequence, entry)
    elif sequence not in state.here.early:
        state.here.early[sequence] = signature, entry
        take_early(state)


def _compare(state: PbftState, signature: bytes, sequence: int, entry: bytes) -> None:
    """A second block of the primary's for one place: the same one again, or a lie that both signatures prove."""
    digest = read_block(state.primary, entry, state.committee).digest
    if state.chain.holds(sequence, digest) or sequence <= state.commit_sequence:
        return
    second = SignedVote(state.primary, VoteKind.PREPARE, state.view, sequence, digest, signature)
    state.suspect(_place(state, VoteKind.PREPARE, sequence).add(second), state.primary)


def take_early(state: PbftState) -> None:
    """Take blocks whose turn has come, one at a time: each is verified before the next is looked at."""
    while state.active and state.here.checking is None:
        sequence = state.chain.last + 1
        if not state.has_base or state.decided_view > state.view:
            return  # what a later view decided need not be what this primary's blocks follow
        found = state.here.early.get(sequence)
        if found is None:
            return
        signature, entry = found
        try:
            block = read_block(state.primary, entry, state.committee)
            check_follows(state.primary, block.header, state.chain.newest)
            _check_count(state, block)
            _check_state(state, block)
            _check_epoch(state, block)
        except RemoteProtocolError as error:
            _refuse(state, sequence, error.what)
            return
        if not _is_time_near(state, block) or not _is_state_known(state, block):
            return
        state.here.checking = sequence
        view = state.view

        def verified(
            results: tuple[bool, ...], block: Block = block, signature: bytes = signature, view: int = view
        ) -> None:
            if not state.active or state.view != view:
                return
            state.here.checking = None
            if block.header.parent != state.chain.newest.digest or state.decided_view > state.view:
                take_early(state)  # meanwhile the chain went on, or was led to other blocks
                return
            what = _why_not(state, block, results)
            if what:
                _refuse(state, block.header.sequence, what)
            else:
                accept(state, block, signature)
                take_early(state)

        state.check(_checks_of(state, block), verified)


def _names_enough(state: PbftState) -> bool:
    """Whether others take the next block with the state that it would name."""
    return state.chain.last + 1 - _newest_state(state)[0] < state.settings.unnamed_max


def _check_state(state: PbftState, block: Block) -> None:
    """Raise RemoteProtocolError for a block that names too old a state."""
    sequence, named = block.header.sequence, block.header.state_sequence
    if sequence - named >= state.settings.unnamed_max:
        raise RemoteProtocolError(state.primary, f"sent block {sequence}, which names no state after {named}")


def _check_count(state: PbftState, block: Block) -> None:
    """Raise RemoteProtocolError for too many requests. A change of epoch has bounds of its own."""
    sequence, count = block.header.sequence, len(block.requests)
    if count > SLACK * state.settings.block_requests_max:
        raise RemoteProtocolError(state.primary, f"sent block {sequence} with {count} requests")


def _check_epoch(state: PbftState, block: Block) -> None:
    """Raise RemoteProtocolError for a block behind the last one of the epoch, or a change that cannot hold."""
    sequence = block.header.sequence
    if state.is_epoch_over:
        raise RemoteProtocolError(state.primary, f"sent block {sequence} behind the last one of its epoch")
    flaws = [] if block.change is None else flaws_of_approvals(block.change, state.committee)
    if flaws:
        raise RemoteProtocolError(state.primary, f"sent block {sequence} with a change of epoch: {flaws[0]}")


def _checks_of(state: PbftState, block: Block) -> list[Signed]:
    """The signatures in a block that were not verified before: of clients, or under a change of epoch."""
    if block.change is not None:
        return approval_checks(state, block.change.committee, block.change.approvals)
    unknown = [request for request in block.requests if not state.pending.is_verified(request)]
    return [request_check(state, request) for request in unknown]


def _why_not(state: PbftState, block: Block, results: tuple[bool, ...]) -> str:
    """Why a block must not be prepared, now that its signatures are checked; empty: it may."""
    sequence, change = block.header.sequence, block.change
    if not all(results):
        whose = "a request that its client" if change is None else "approvals that a member"
        return f"proposed block {sequence} with {whose} did not sign"
    reason = "" if change is None else why_not(state, change.committee)
    return reason and f"proposed block {sequence} with a change of epoch that cannot be: {reason}"


def request_check(state: PbftState, request: SignedRequest) -> Signed:
    """The check of a client's signature. Requests are signed for epoch 0: they outlive a change of epoch."""
    statement = request_statement(state.request_domain, request.batch, request.digest)
    return Signed(request.public_key, statement, request.signature)


def _is_time_near(state: PbftState, block: Block) -> bool:
    """Log time comes from the primary; it never runs ahead of the backups' clocks by more than a bound. Whose
    clock is wrong nobody knows, so nobody is blamed: the block waits, and the view may time out.

    It may fall behind: with a bound on that, clocks that differ could leave no primary whom a quorum follows.
    """
    ahead_us = block.header.time_us - state.now_us
    return ahead_us <= state.settings.clock_bound_us or block.header.time_us == state.chain.newest.header.time_us


def _is_state_known(state: PbftState, block: Block) -> bool:
    """Whether the state that the block certifies is this node's own, too. One not reached yet is waited for."""
    header = block.header
    if header.state_sequence == state.chain.newest.header.state_sequence:
        return True
    root = state.roots.get(header.state_sequence)
    if root is None:
        return False
    if root != header.state_root:
        _refuse(state, header.sequence, f"certifies another state after block {header.state_sequence}")
        return False
    return True


def _refuse(state: PbftState, sequence: int, what: str) -> None:
    """The block must not be prepared. If others prepare no other one either, the primary's time runs out."""
    state.here.early.pop(sequence, None)
    _want_no_more(state, what)


def _want_no_more(state: PbftState, what: str) -> None:
    state.here.refused = True
    state.report(state.primary, what)
    progress.look_at_clock(state)


def accept(state: PbftState, block: Block, signature: bytes) -> None:
    """Prepare a block (PBFT, section 4.3: prepare). The vote leaves when the block is durable."""
    sequence = block.header.sequence
    state.here.early.pop(sequence, None)
    state.chain.append(block.link())
    state.persist_blocks((block.entry,))
    state.pending.proposed(block.names)
    vote = SignedVote(state.primary, VoteKind.PREPARE, state.view, sequence, block.digest, signature)
    comparing.remember(state, vote)
    state.suspect(_place(state, VoteKind.PREPARE, sequence).add(vote))
    prepare(state, sequence, block.digest)
    progress.look_at_clock(state)


def prepare(state: PbftState, sequence: int, digest: bytes) -> None:
    """Vote to prepare a block of the chain, unless this node may have voted for another chain (I2)."""
    if not state.may_sign or contradicts(state, sequence, digest):
        judge(state, sequence)
        return
    vote = own_vote(state, VoteKind.PREPARE, sequence, digest)
    state.broadcast(Prepare(state.view, sequence, digest, vote.signature))
    if sequence > state.commit_sequence:
        _place(state, VoteKind.PREPARE, sequence).add_own(vote)
        judge(state, sequence)


def contradicts(state: PbftState, sequence: int, digest: bytes) -> bool:
    """Whether this node may have prepared, in this view, what does not stand in one chain with this block of the
    chain, in an earlier life or before it was led to another chain: a vote covers every block before its own, too.
    What is decided is no choice any more."""
    voted, chain = state.here.voted_before, state.chain
    return voted.get(sequence, digest) != digest or any(
        chain.digest(place) != known for place, known in voted.items() if state.commit_sequence < place < sequence
    )


def on_prepare(state: PbftState, sender: NodeId, message: Prepare) -> None:
    """A member's vote to prepare, the second phase: see `on_vote`."""
    on_vote(state, VoteKind.PREPARE, sender, message.view, message.sequence, message.digest, message.signature)


def on_commit(state: PbftState, sender: NodeId, message: Commit) -> None:
    """A member's vote to commit, the third phase: see `on_vote`."""
    on_vote(state, VoteKind.COMMIT, sender, message.view, message.sequence, message.digest, message.signature)


def on_vote(
    state: PbftState, kind: VoteKind, sender: NodeId, view: int, sequence: int, digest: bytes, signature: bytes
) -> None:
    """Count a vote, if it is of this view and within the window (PBFT, section 4.3: water marks)."""
    if sender not in state.committee.keys:
        return
    if view != state.view or not state.active:
        _look_for_lie(state, SignedVote(sender, kind, view, sequence, digest, signature))
        return
    if kind == VoteKind.PREPARE:
        comparing.show(state, sender, sequence, digest)
    first = max(state.commit_sequence + 1, state.base.sequence)
    if not first <= sequence <= state.ceiling + state.settings.window:
        return
    vote = SignedVote(sender, kind, view, sequence, digest, signature)
    if kind == VoteKind.COMMIT:
        state.commits_seen.heard(vote)
    state.suspect(_place(state, kind, sequence).add(vote), sender)
    judge(state, sequence)


def _look_for_lie(state: PbftState, vote: SignedVote) -> None:
    """A vote of a view that was left counts no more, but beside another of its member's it may be evidence."""
    past = state.past.get(vote.view)
    if past is None:
        return
    places = past.prepares if vote.kind == VoteKind.PREPARE else past.commits
    if vote.sequence in places or len(places) < 4 * state.settings.window:
        state.suspect(places.setdefault(vote.sequence, PlaceVotes(state.decide)).add(vote), vote.member)


def judge(state: PbftState, sequence: int) -> None:
    """See whether the votes for a block make it prepared, or decided."""
    digest = state.chain.digest(sequence)
    if digest is None:
        return
    prepares, commits = state.here.prepares.get(sequence), state.here.commits.get(sequence)
    if prepares is not None and sequence > state.here.prepared_sequence:
        _judge(state, prepares, sequence, digest, _on_prepared)
    if commits is not None and sequence > state.commit_sequence:
        _judge(state, commits, sequence, digest, _on_committed)


Reached = Callable[[PbftState, int, bytes, Signatures], None]


def _judge(state: PbftState, votes: PlaceVotes, sequence: int, digest: bytes, reached: Reached) -> None:
    signatures = votes.certificate(digest)
    if signatures is not None:
        reached(state, sequence, digest, signatures)
        return
    wanted = votes.wanted(digest)
    if not wanted:
        return
    view = state.view

    def verified(results: tuple[bool, ...]) -> None:
        for vote, is_right in zip(wanted, results, strict=True):
            votes.verified(vote, is_right)
            if is_right and vote.kind == VoteKind.COMMIT:
                state.commits_seen.verified(vote)
            if not is_right:
                state.report(vote.member, f"sent a {vote.kind.name} vote that it did not sign")
        if state.active and state.view == view:
            judge(state, sequence)

    state.check([state.signed(vote) for vote in wanted], verified)


def _on_prepared(state: PbftState, sequence: int, digest: bytes, signatures: Signatures) -> None:
    """A quorum prepared: remember it durably, then vote to commit (PBFT, section 4.3: commit)."""
    state.here.prepared_sequence = sequence
    if not state.may_sign:
        return
    held = HeldClaim(Claim(state.view, sequence, digest), VoteKind.PREPARE, signatures)
    if held.order > state.claim.order:
        state.hold(held)
    vote = own_vote(state, VoteKind.COMMIT, sequence, digest)
    state.broadcast(Commit(state.view, sequence, digest, vote.signature))
    if sequence > state.commit_sequence:
        _place(state, VoteKind.COMMIT, sequence).add_own(vote)
        judge(state, sequence)


def _on_committed(state: PbftState, sequence: int, digest: bytes, signatures: Signatures) -> None:
    progress.decide(state, sequence, state.certify(sequence, state.view, signatures))
    propose(state)
    take_early(state)


def own_vote(state: PbftState, kind: VoteKind, sequence: int, digest: bytes) -> SignedVote:
    """This node's vote, made once; I2 is asserted here."""
    here = state.here
    known = here.own_votes.get((kind, sequence))
    assert known is None or known.vote.digest == digest, "I2: two votes for one place"
    if known is None:
        known = here.own_votes[kind, sequence] = OwnVote(state.vote(kind, sequence, digest), state.persists)
        here.voted_last = max(here.voted_last, sequence)
    return known.vote


def _place(state: PbftState, kind: VoteKind, sequence: int) -> PlaceVotes:
    places = state.here.prepares if kind == VoteKind.PREPARE else state.here.commits
    found = places.get(sequence)
    if found is None:
        found = places[sequence] = PlaceVotes(state.decide)
    return found
