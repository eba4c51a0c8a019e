"""One Raft replica: events in, effects out. Source: Ongaro and Ousterhout, "In Search of an Understandable
Consensus Algorithm" (2014), cited by section as Raft; Ongaro, "Consensus: Bridging Theory and Practice" (2014).

Departures, each with its reason, are listed in docs/raft.md.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from quorum.entry import CONFIGURATION, Buffer, encode_entry
from quorum.errors import (
    ConfigurationError,
    LocalProtocolError,
    NotLeader,
    Overloaded,
    QuorumError,
    RemoteProtocolError,
)
from quorum.header import Batch
from quorum.model import Configuration, NodeId, encode_configuration
from quorum.protocols import events
from quorum.protocols.effects import Effect, Refused, RoleChanged
from quorum.protocols.raft import change, election, follower, lease, reads, replication, transfer
from quorum.protocols.raft.messages import (
    Append,
    AppendReply,
    ReadIndexReply,
    ReadIndexRequest,
    RequestVote,
    SnapshotOffer,
    TimeoutNow,
    VoteReply,
)
from quorum.protocols.raft.settings import Settings
from quorum.protocols.raft.state import ELECTION, HEARTBEAT, LEADER, RaftState
from quorum.systems.build import build
from quorum.systems.check import check_raft

_DEFAULT_SETTINGS = Settings()


class RaftReplica:
    """A deterministic Raft participant over any quorum system that passes `systems.check.check_raft`."""

    def __init__(self, node: NodeId, random: Random, settings: Settings = _DEFAULT_SETTINGS) -> None:
        self.node = node
        self.state = RaftState(node, settings, random)
        self._announced: tuple[str, int, NodeId | None] = ("", -1, None)
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.Received: self._on_received,
            events.Stored: self._on_stored,
            events.Proposed: self._on_proposed,
            events.TickWanted: self._on_tick_wanted,
            events.ReadRequested: self._on_read_requested,
            events.TimerFired: self._on_timer,
            events.PeerLost: self._on_peer_lost,
            events.CheckpointReady: self._on_checkpoint_ready,
            events.CheckpointFailed: self._on_checkpoint_failed,
            events.CheckpointWanted: self._on_checkpoint_wanted,
            events.Installed: self._on_installed,
            events.Started: self._on_started,
            events.StorageFull: self._on_storage_full,
            events.StorageBack: self._on_storage_back,
            events.StateDoubted: self._on_state_doubted,
            events.StateKnown: self._on_state_known,
            events.ChangeProposed: self._on_change_proposed,
            events.TransferRequested: self._on_transfer_requested,
        }

    @property
    def configuration(self) -> Configuration:
        return self.state.configuration

    @property
    def leader(self) -> NodeId | None:
        return self.state.leader

    def behind(self, index: int) -> frozenset[NodeId]:
        return frozenset(node for node, progress in self.state.progress.items() if progress.match < index)

    def objection(self, target: Configuration) -> QuorumError | None:
        """Why `target` could not be taken up now, if this replica leads; None if it could. Changes nothing."""
        return change.objection(self.state, target)

    def step(self, event: events.Event) -> tuple[Effect, ...]:
        """Handle one event; return the effects in order (protocols.replica.Replica).

        Raises RemoteProtocolError, state unchanged, for a message no correct peer may send.
        """
        state = self.state
        handler = self._handlers.get(type(event))
        if handler is None:
            raise LocalProtocolError(f"Raft was given a {type(event).__name__}, which it does not take.")
        state.now_us = event.now_us
        state.out = []
        term, commit_index = state.term, state.commit_index
        handler(event)
        if state.commit_index > commit_index:
            change.on_commit(state)
        assert state.term >= term, "I1: the term went backwards"
        assert state.commit_index >= commit_index, "I1: the commit index went backwards"
        self._announce()
        return tuple(state.out)

    def _announce(self) -> None:
        """Tell the driver, first of all, who leads; reads that wait at a deposed leader are refused."""
        state = self.state
        now = (state.role, state.term, state.leader)
        if now != self._announced:
            self._announced = now
            reads.refuse_all(state)
            if state.role != LEADER:
                change.abandon(state)
                transfer.abandon(state)
                lease.forget(state)
            state.out.insert(0, RoleChanged(*now))

    def _on_started(self, event: events.Started) -> None:
        state = self.state
        durable = event.durable
        state.term, state.vote = durable.term, durable.vote
        state.may_vote = not durable.tail_damaged
        state.last_time_us = durable.time_us
        if durable.snapshot is not None:
            state.stand_at(durable.snapshot)
        state.recover_entries(durable.entries)
        if state.log.last_term > state.term:
            # A vote given in the term of a stored entry may be lost with the hard state: give none in it.
            state.term, state.vote, state.may_vote = state.log.last_term, None, False
        if state.term == 0 and event.bootstrap is not None:
            self._bootstrap(event.bootstrap)
        if state.settings.lease_reads:
            state.leader_heard_us = state.now_us  # a promise to wait, given in the last life, holds in this one
        state.draw_election_deadline()
        state.set_election_timer()

    def _bootstrap(self, configuration: Configuration) -> None:
        """The first entry of every log is the first configuration, the same bytes on every first member."""
        if not configuration.voters:
            raise ConfigurationError(
                "a cluster without voters was asked for, and nobody could decide. Name at least one member."
            )
        check_raft(build(configuration))
        state = self.state
        body = encode_configuration(configuration)
        batch = Batch(app=0, client=0, first_sequence=0, acked_below=0, count=1, body=body)
        entry = encode_entry(1, 1, CONFIGURATION, configuration.epoch, 0, 0, batch)
        state.enter_term(1)
        state.append(1, len(entry), configuration)
        state.persist_hard_state()
        state.persist_entries(1, (entry,))

    def _on_received(self, event: events.Received) -> None:
        state, sender, message = self.state, event.sender, event.message
        match message:
            case Append():
                self._on_append(sender, message, event.attached)
            case AppendReply():
                self._see_term(message.term)
                if state.role == LEADER and message.term == state.term:
                    replication.on_append_reply(state, sender, message)
                    if state.pending_change is not None or state.transfer is not None:
                        self._on_progress(sender)
            case RequestVote():
                election.on_request_vote(state, sender, message)
            case VoteReply():
                if not (message.pre and message.granted):
                    self._see_term(message.term)
                election.on_vote_reply(state, sender, message)
            case SnapshotOffer():
                follower.check_offer(sender, message)
                follower.check_incarnation(self.state, sender, message.mark.configuration)
                if self._is_from_leader(sender, message.term, message.round):
                    follower.on_snapshot_offer(state, sender, message)
            case TimeoutNow():
                election.on_timeout_now(state, sender, message.term)
            case ReadIndexRequest():
                if state.role == LEADER and message.term == state.term:
                    reads.request(state, ((sender, message.number),))
            case ReadIndexReply():
                reads.on_index(state, sender, message)
            case _:
                raise RemoteProtocolError(sender, f"sent a {type(message).__name__}, which is not Raft's")

    def _on_append(self, sender: NodeId, message: Append, attached: tuple[Buffer, ...]) -> None:
        parsed = follower.parse_entries(sender, message, attached)
        if message.term >= self.state.term:
            follower.check_against_committed(self.state, sender, message, parsed)
        for _, _, configuration in parsed:
            follower.check_incarnation(self.state, sender, configuration)
        if self._is_from_leader(sender, message.term, message.round):
            follower.on_append(self.state, sender, message, attached, parsed)

    def _on_progress(self, node: NodeId) -> None:
        """A follower answered: a change may wait for it to catch up, a transfer for its last entry."""
        state = self.state
        progress = state.progress.get(node)
        if progress is not None:
            change.on_progress(state, node, progress.match)
            transfer.on_progress(state, node)

    def _is_from_leader(self, sender: NodeId, term: int, round: int) -> bool:
        """Whether `sender` leads this node's term, entering it first. A deposed leader is told our term.

        Raises RemoteProtocolError for a second leader in a term (section 5.2: election safety).
        """
        state = self.state
        if term == state.term and state.leader is not None and state.leader != sender:
            raise RemoteProtocolError(sender, f"claims to lead term {term}, which {state.leader} leads")
        if term < state.term:
            state.send(sender, AppendReply(state.term, round, False, 0))
            return False
        self._see_term(term, sender)
        return True

    def _see_term(self, term: int, leader: NodeId | None = None) -> None:
        """Enter a newer term as a follower (section 5.1); durable before anything else is said in it.

        A node that joins without a log gives the vote of its first term to the leader that it meets: should its
        disk have been emptied, it may have voted in that term already.
        """
        state = self.state
        if term > state.term:
            state.enter_term(term)
            state.become_follower(None)
            if state.log.last_index == 0:
                state.vote = leader
            state.persist_hard_state()

    def _on_stored(self, event: events.Stored) -> None:
        state = self.state
        state.stored(event.up_to)
        if state.role == LEADER:
            replication.on_own_stored(state)
        else:
            election.on_own_vote_stored(state)

    def _on_proposed(self, event: events.Proposed) -> None:
        if self.state.role == LEADER:
            replication.propose(self.state, event.tokens, event.batches)
        else:
            self.state.out.append(Refused(event.tokens, NotLeader(self.state.leader)))

    def _on_read_requested(self, event: events.ReadRequested) -> None:
        if self.state.role == LEADER:
            reads.request(self.state, event.tokens)
        elif event.here:
            reads.ask_leader(self.state, event.tokens)
        else:
            self.state.out.append(Refused(event.tokens, NotLeader(self.state.leader)))

    def _on_tick_wanted(self, event: events.TickWanted) -> None:
        if self.state.role == LEADER and not self.state.storage_full:
            replication.append_tick(self.state)

    def _on_change_proposed(self, event: events.ChangeProposed) -> None:
        if self.state.role != LEADER:
            self.state.out.append(Refused((event.token,), NotLeader(self.state.leader)))
        elif self.state.storage_full:
            full = replication.no_space(self.state, f"epoch {event.change.epoch} was")
            self.state.out.append(Refused((event.token,), full))
        elif self.state.transfer is not None:
            error = Overloaded(
                f"epoch {event.change.epoch} was proposed, but leadership is moving to "
                f"{self.state.transfer.target}. Propose it there."
            )
            self.state.out.append(Refused((event.token,), error))
        else:
            change.propose(self.state, event.token, event.change)

    def _on_transfer_requested(self, event: events.TransferRequested) -> None:
        if self.state.role == LEADER:
            transfer.request(self.state, event.token, event.target)
        else:
            self.state.out.append(Refused((event.token,), NotLeader(self.state.leader)))

    def _on_timer(self, event: events.TimerFired) -> None:
        if event.name == ELECTION:
            election.on_election_timer(self.state)
        elif event.name == HEARTBEAT and self.state.role == LEADER:
            replication.on_heartbeat_timer(self.state)
            if self.state.role == LEADER:
                change.on_heartbeat(self.state)
                transfer.on_heartbeat(self.state)

    def _on_peer_lost(self, event: events.PeerLost) -> None:
        election.on_peer_lost(self.state, event.node)

    def _on_checkpoint_ready(self, event: events.CheckpointReady) -> None:
        replication.on_checkpoint_ready(self.state, event.mark)

    def _on_checkpoint_failed(self, event: events.CheckpointFailed) -> None:
        self.state.checkpoint_pending = False

    def _on_storage_full(self, event: events.StorageFull) -> None:
        """Nothing new can be made durable here: order nothing, do not stand, and let another lead (Ongaro 2014,
        section 3.10). What is durable is answered for as before, and reads are served."""
        self.state.storage_full = True
        if self.state.role == LEADER:
            transfer.on_storage_full(self.state)

    def _on_storage_back(self, event: events.StorageBack) -> None:
        self.state.storage_full = False

    def _on_state_doubted(self, event: events.StateDoubted) -> None:
        """Reads and snapshots of this node are wrong, or may be: let another lead, and do not stand."""
        self.state.state_differs = event.differs
        if event.differs and self.state.role == LEADER:
            transfer.on_state_doubted(self.state)

    def _on_state_known(self, event: events.StateKnown) -> None:
        """Leaders do not vouch for states: members compare them among themselves."""

    def _on_checkpoint_wanted(self, event: events.CheckpointWanted) -> None:
        replication.checkpoint_now(self.state)

    def _on_installed(self, event: events.Installed) -> None:
        follower.on_installed(self.state, event.mark)
