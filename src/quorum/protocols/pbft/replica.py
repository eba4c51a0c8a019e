"""One PBFT replica: events in, effects out. Source: Castro and Liskov, "Practical Byzantine Fault Tolerance and
Proactive Recovery" (2002), cited by section as PBFT. Departures, each with its reason, are listed in docs/pbft.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from quorum.certificate.committee import Committee, check_committee
from quorum.certificate.requests import decode_request
from quorum.entry import BLOCK
from quorum.errors import ConfigurationError, LocalProtocolError, NotLeader, RemoteProtocolError
from quorum.model import Configuration, NodeId
from quorum.protocols import events
from quorum.protocols.effects import Effect, Note, Refused, RoleChanged
from quorum.protocols.pbft import (
    approving,
    catch_up,
    comparing,
    epoch_change,
    ordering,
    progress,
    view_change,
)
from quorum.protocols.pbft.aside import drop_after
from quorum.protocols.pbft.blocks import check_past_header, read_headers, read_past_block
from quorum.protocols.pbft.chain import Link
from quorum.protocols.pbft.epochs import NO_CLAIM
from quorum.protocols.pbft.messages import (
    Accusation,
    Approve,
    Blocks,
    Commit,
    Epochs,
    Fetch,
    Forward,
    NewView,
    Offer,
    Prepare,
    PrePrepare,
    Shown,
    Status,
    ViewChange,
    Votes,
)
from quorum.protocols.pbft.notes import (
    ASIDE_NOTE,
    CLAIM_NOTE,
    LOST_NOTE,
    VIEW_NOTE,
    VOTED_NOTE,
    HeldClaim,
    LostMark,
    ViewMark,
    VotedMark,
)
from quorum.protocols.pbft.quotas import weight_of
from quorum.protocols.pbft.settings import Settings
from quorum.protocols.pbft.state import STATUS_TIMER, VIEW_TIMER, PbftState

_DEFAULT_SETTINGS = Settings()
_ENCODE = msgspec.msgpack.Encoder()
_DECODE_CLAIM = msgspec.msgpack.Decoder(HeldClaim)
_DECODE_VIEW = msgspec.msgpack.Decoder(ViewMark)
_DECODE_VOTED = msgspec.msgpack.Decoder(VotedMark)
_DECODE_LOST = msgspec.msgpack.Decoder(LostMark)
_DECODE_ASIDE = msgspec.msgpack.Decoder(tuple[bytes, ...])


class PbftReplica:
    """A deterministic member of a committee of which up to T lie. `sign` makes this node's Ed25519 signatures.

    `committee` is the first of the cluster, from which every later one follows; where this node is not in it, or
    got another key since, `public_key` says with which it signs.

    Raises ConfigurationError for a committee that is not safe and live.
    """

    def __init__(
        self,
        node: NodeId,
        committee: Committee,
        sign: Callable[[bytes], bytes],
        settings: Settings = _DEFAULT_SETTINGS,
        public_key: bytes | None = None,
    ) -> None:
        check_committee(committee)
        self.node = node
        self.state = PbftState(node, committee, settings, sign, public_key)
        self._announced = (-1, False, False)
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.Received: self._on_received,
            events.Verified: self._on_verified,
            events.Stored: self._on_stored,
            events.Submitted: self._on_submitted,
            events.TimerFired: self._on_timer,
            events.StateKnown: self._on_state_known,
            events.PeerLost: self._on_peer_lost,
            events.CheckpointReady: self._on_checkpoint_ready,
            events.CheckpointFailed: self._on_checkpoint_failed,
            events.Installed: self._on_installed,
            events.Started: self._on_started,
            events.ChangeApproved: self._on_change_approved,
            events.Proposed: self._on_refusable,
            events.ReadRequested: self._on_refusable,
            events.StateDoubted: self._on_nothing,
            events.TickWanted: self._on_nothing,
            events.StorageFull: self._on_nothing,
            events.StorageBack: self._on_nothing,
        }
        self._receivers: dict[type, Callable[[PbftState, NodeId, Any], None]] = {
            Prepare: ordering.on_prepare,
            Commit: ordering.on_commit,
            ViewChange: view_change.on_view_change,
            NewView: view_change.on_new_view,
            Status: epoch_change.on_status,
            Fetch: epoch_change.on_fetch,
            Approve: approving.on_approve,
            Epochs: epoch_change.on_epochs,
            Offer: catch_up.on_offer,
            Votes: catch_up.on_votes,
            Shown: comparing.on_shown,
            Accusation: view_change.on_accusation,
        }

    @property
    def configuration(self) -> Configuration:
        return self.state.configuration

    @property
    def leader(self) -> NodeId | None:
        return self.state.primary if self.state.active else None

    def behind(self, index: int) -> frozenset[NodeId]:
        """Nobody: a block must reach all members at once, for any of them may be silent."""
        return frozenset()

    def renew_key(self, public_key: bytes, sign: Callable[[bytes], bytes]) -> None:
        """Sign with a fresh key from now on, as a later life would: only while this node has no vote."""
        state = self.state
        assert not state.is_member, "a member keeps its key"
        state.public_key, state.sign_bytes = public_key, sign
        state.amnesiac = state.memory_lost = False
        state.silent_through = -1
        state.stand_in_epoch()

    def step(self, event: events.Event) -> tuple[Effect, ...]:
        """Handle one event; return the effects in order (protocols.replica.Replica).

        Raises RemoteProtocolError for a message no correct peer may send, and ConfigurationError at the start for
        data that began with another first committee.
        """
        state = self.state
        handler = self._handlers.get(type(event))
        if handler is None:
            raise LocalProtocolError(f"PBFT was given a {type(event).__name__}, which it does not take.")
        state.now_us = event.now_us
        state.out = []
        view, decided, claim = state.view, state.commit_sequence, state.claim.order
        handler(event)
        epoch_change.follow(state)
        view_change.leave_liar(state)
        assert state.view >= view, "I1: the view went backwards"
        assert state.commit_sequence >= decided, "I1: the commit sequence went backwards"
        assert state.claim.order >= claim, "I1: the claim went backwards"
        now = (state.view, state.active, state.may_sign)
        if now != self._announced:
            self._announced = now
            state.out.insert(0, RoleChanged(state.role, state.view, self.leader))
        return tuple(state.out)

    # Lives.

    def _on_started(self, event: events.Started) -> None:
        try:
            self._recover(event)
        except RemoteProtocolError as error:  # what disks lose shows by checksums: this was written like that
            raise ConfigurationError(
                f"{self.node} was to go on with its data, but they began with another first committee, or T, than "
                f"the one given now ({error.what}). Restore cluster.toml, and signing-keys.json in its keys "
                "folder, as they were: the members without a role are the first committee for ever."
            ) from error

    def _recover(self, event: events.Started) -> None:
        state, durable = self.state, event.durable
        notes = dict(durable.notes)
        epoch_change.recover(state, notes)
        if durable.snapshot is not None:
            state.snapshot = durable.snapshot
            self._stand_behind(durable.snapshot, durable.entries)
            state.commit_sequence = durable.snapshot.index
        self._recover_blocks(durable)
        if CLAIM_NOTE in notes:
            state.claim = max(state.claim, _DECODE_CLAIM.decode(notes[CLAIM_NOTE]), key=lambda held: held.order)
        if ASIDE_NOTE in notes:
            self._recover_aside(notes[ASIDE_NOTE])
        view_change.settle_start(state)
        state.view = max(state.view, durable.term)
        is_first = event.bootstrap is not None and not durable.entries and durable.snapshot is None
        self._recover_memory(notes, durable.tail_damaged or not (VIEW_NOTE in notes or is_first))
        if VIEW_NOTE in notes:
            voted = _DECODE_VOTED.decode(notes[VOTED_NOTE]) if VOTED_NOTE in notes else VotedMark(-1, ())
            self._recover_view(_DECODE_VIEW.decode(notes[VIEW_NOTE]), voted)
        elif is_first:
            self._begin_first_view()
        approving.recover(state, notes)
        state.set_timer(STATUS_TIMER, state.settings.status_us)
        progress.look_at_clock(state)

    def _recover_aside(self, note: bytes) -> None:
        """What an earlier epoch left aside is void."""
        state = self.state
        kept = [read_past_block(self.node, entry, state.epochs.by_hash) for entry in _DECODE_ASIDE.decode(note)]
        newest = state.committee.membership_hash
        state.aside = {block.digest: block.entry for block in kept if block.header.membership_hash == newest}

    def _recover_memory(self, notes: dict[str, bytes], is_lost: bool) -> None:
        """Whether this node knows what it signed; if it did not once, that holds for every epoch to come, as an
        earlier life may have been there already."""
        state = self.state
        mark = _DECODE_LOST.decode(notes[LOST_NOTE]) if LOST_NOTE in notes else None
        if mark is not None and mark.public_key == state.public_key:
            state.memory_lost = True
            if not is_lost and mark.silent_through > state.epochs.first_view(state.committee.epoch):
                state.silent_through = mark.silent_through
            else:
                is_lost = True
        if is_lost:
            state.amnesiac = state.memory_lost = True
            state.note_loss()

    def _begin_first_view(self) -> None:
        """The very first life: view 0 begins by itself, at no block."""
        state = self.state
        state.active = True
        state.persist(Note(VIEW_NOTE, _ENCODE.encode(ViewMark(0, 0, NO_CLAIM.digest, None))))
        state.begun_by = state.persists

    def _stand_behind(self, snapshot: events.SnapshotMark, entries: Sequence[events.EntryMeta]) -> None:
        """Stand at the block of the snapshot, with those before it that the log has: others may want them."""
        header = read_headers(self.node, (snapshot.place,))[0]
        check_past_header(self.node, header, self.state.epochs.by_hash)
        found: list[Link] = []
        index, digest = header.sequence, header.digest()
        for meta in reversed([meta for meta in entries if meta.index <= header.sequence]):
            if meta.block is None or meta.index != index or meta.block.digest() != digest:
                break  # left from before a snapshot was fetched
            check_past_header(self.node, meta.block, self.state.epochs.by_hash)
            found.append(Link(meta.block, digest, meta.size))
            index, digest = index - 1, meta.block.parent
        if index > 0:  # else the log has all blocks
            self.state.chain.stand_at(found.pop().header if found else header)
        for link in reversed(found):
            self.state.chain.append(link)

    def _recover_blocks(self, durable: events.Durable) -> None:
        """Take the blocks that the disk holds after the snapshot; of the newest also the bytes."""
        state = self.state
        bytes_from = len(durable.entries) - len(durable.tail)
        for place, meta in enumerate(durable.entries):
            if meta.kind != BLOCK or meta.block is None or meta.index <= state.chain.last:
                continue
            header = meta.block
            before = state.chain.newest
            if header.parent != before.digest:
                break  # left from before a snapshot was fetched
            check_past_header(self.node, header, state.epochs.by_hash)
            link = Link(header, header.digest(), meta.size)
            if place >= bytes_from:
                block = read_past_block(self.node, durable.tail[place - bytes_from], state.epochs.by_hash)
                link = block.link()
            state.chain.append(link)
        state.stored_sequence = state.chain.last

    def _recover_view(self, mark: ViewMark, noted: VotedMark) -> None:
        """Go on in the view that was begun, if it was not left. A primary does not: it may have signed more."""
        state = self.state
        if mark.view < state.view:
            view_change.want_view(state)  # the last life left its view: what is durable is the same
            return
        state.view = mark.view
        state.active = True
        state.new_view = mark.new_view
        if mark.new_view is not None:
            state.base = view_change.base_of(mark.new_view.changes).claim
        if state.primary == self.node:
            state.silent_through = max(state.silent_through, state.view)
            view_change.leave_view(state, state.view + 1)
            return
        voted = dict(noted.places) if noted.view == state.view else {}
        state.here.voted_before, state.here.voted_noted = voted, dict(voted)
        claim = state.claim.claim
        keep = max(state.commit_sequence, state.base.sequence)
        if claim.view == state.view and state.chain.holds(claim.sequence, claim.digest):
            keep = max(keep, claim.sequence)
        if state.chain.last > keep:
            for link in state.chain.links(keep + 1, state.chain.last):
                voted.setdefault(link.header.sequence, link.digest)
            drop_after(state, keep)
        for link in state.chain.links(max(state.base.sequence, state.chain.base) + 1, state.chain.last):
            voted.setdefault(link.header.sequence, link.digest)  # these, too, should others take their place
        state.here.voted_last = max([state.chain.last, *voted])
        state.stored_sequence = state.chain.last

    # Events.

    def _on_received(self, event: events.Received) -> None:
        state, sender, message = self.state, event.sender, event.message
        weight = weight_of(message, event.attached)
        if not state.quotas.admits(sender, state.now_us, state.commit_sequence, weight):
            return
        receiver = self._receivers.get(type(message))
        if receiver is not None:
            receiver(state, sender, message)
        elif type(message) is PrePrepare:
            ordering.on_pre_prepare(state, sender, message, event.attached)
        elif type(message) is Blocks:
            catch_up.on_blocks(state, sender, message, event.attached)
        elif type(message) is Forward:
            self._on_forward(sender, message)
        else:
            raise RemoteProtocolError(sender, f"sent a {type(message).__name__}, which is not PBFT's")

    def _on_verified(self, event: events.Verified) -> None:
        """What raises here comes after what was verified had its effects, which must not be lost with it."""
        try:
            self.state.checked(event.token, event.results)
        except RemoteProtocolError as error:
            self.state.report(error.sender, error.what)

    def _on_stored(self, event: events.Stored) -> None:
        state = self.state
        state.stored(event.up_to)
        ordering.propose(state)

    def _on_submitted(self, event: events.Submitted) -> None:
        self._take_requests(event.requests, None)

    def _on_change_approved(self, event: events.ChangeApproved) -> None:
        approving.on_approved(self.state, event)

    def _on_forward(self, sender: NodeId, message: Forward) -> None:
        if len(message.requests) > catch_up.FORWARDED_MAX:
            raise RemoteProtocolError(sender, f"forwarded {len(message.requests)} requests at once")
        self._take_requests(message.requests, sender)

    def _take_requests(self, requests: tuple[bytes, ...], sender: NodeId | None) -> None:
        """Let requests wait, once their clients' signatures are verified."""
        state, pending, by = self.state, self.state.pending, sender or ""
        fresh = []
        for data in requests:
            try:
                request = decode_request(data)
            except ValueError as error:
                if sender is not None:
                    raise RemoteProtocolError(sender, f"forwarded bytes that are no request: {error}") from None
                continue
            is_again = request.name in pending.decided
            if request.name in pending or len(data) > state.settings.block_bytes_max:
                continue
            if is_again and not self._takes_again(sender):
                continue
            if pending.has_room(request, len(data), by):
                fresh.append((request, bytes(data), is_again))

        def verified(results: tuple[bool, ...]) -> None:
            for (request, data, is_again), is_right in zip(fresh, results, strict=True):
                if is_right:
                    if is_again or request.name not in pending.decided:
                        pending.add(request, data, state.now_us, by)
                elif sender is not None:
                    state.report(sender, "forwarded a request that its client did not sign")
            ordering.propose(state)
            progress.look_at_clock(state)

        state.check([ordering.request_check(state, request) for request, _, _ in fresh], verified, by)

    def _takes_again(self, sender: NodeId | None) -> bool:
        """Whether a decided request is ordered once more: few are, and passed on ones by the primary alone."""
        state = self.state
        is_asked = sender is None or state.is_primary
        return is_asked and state.quotas.takes_again(sender or "", state.now_us)

    def _on_timer(self, event: events.TimerFired) -> None:
        state = self.state
        if event.name == STATUS_TIMER:
            catch_up.on_status_timer(state)
        elif event.name == VIEW_TIMER:
            state.timer_us = None
            deadline_us = state.pace.deadline_us
            if deadline_us is not None and state.now_us >= deadline_us and state.is_member:
                view_change.leave_view(state, state.view + 1)
            progress.look_at_clock(state)

    def _on_state_known(self, event: events.StateKnown) -> None:
        progress.on_state_known(self.state, event.index, event.root)
        ordering.propose(self.state)
        ordering.take_early(self.state)

    def _on_peer_lost(self, event: events.PeerLost) -> None:
        """The primary's connection closed: a hint that shortens the wait."""
        state = self.state
        if state.active and event.node == state.primary:
            state.pace.hurry(state.now_us)
            progress.look_at_clock(state)

    def _on_checkpoint_ready(self, event: events.CheckpointReady) -> None:
        progress.on_checkpoint_ready(self.state, event.mark)

    def _on_checkpoint_failed(self, event: events.CheckpointFailed) -> None:
        self.state.checkpoint_pending = False

    def _on_installed(self, event: events.Installed) -> None:
        catch_up.on_installed(self.state, event.mark)
        ordering.take_early(self.state)

    def _on_refusable(self, event: events.Proposed | events.ReadRequested) -> None:
        """Unsigned requests and reads by a leader's word have no place among liars."""
        self.state.out.append(Refused(event.tokens, NotLeader(None)))

    def _on_nothing(self, event: events.Event) -> None:
        """Nothing to do."""
