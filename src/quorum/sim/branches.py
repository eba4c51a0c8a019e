"""Which rare branches a run met: seen from roles, messages and restarts, without touching the protocol.

A campaign that never splits a vote or tears a write proves little about either, so it counts them
(checkers.progress.Sometimes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quorum.checkers.progress import Sometimes
from quorum.entry import COMMAND, Buffer, entry_identity
from quorum.header import Header
from quorum.model import NodeId
from quorum.protocols.raft.messages import Append, AppendReply, SnapshotOffer, VoteReply
from quorum.protocols.raft.state import CANDIDATE, LEADER, RaftState
from quorum.runtime.messages import Query, Submit

SPLIT_VOTE = "split vote"
NO_QUORUM = "leader steps down without a quorum"
DEPOSED = "leader deposed by a newer term"
UNCOMMITTED = "leader changed while entries are uncommitted"
TRUNCATED = "conflicting entries truncated"
BACKTRACKED = "logs disagree, the leader goes back"
VOTE_REFUSED = "vote refused"
PRE_VOTE_REFUSED = "pre-vote refused"
OLD_LEADER = "message of a deposed leader"
OFFERED = "snapshot offered"
INSTALLED = "snapshot installed from a leader"
RESTORED = "snapshot restored at start"
REROUTED = "read asked again at another node"
SENT_AGAIN = "batch sent again"
DUPLICATE = "retry answered as a duplicate"
LOST_TAIL = "unsynced entries lost in a crash"
TORN_TAIL = "torn unsynced tail at restart"
JOINT_INHERITED = "joint configuration found by a new leader"
NO_VOTE = "restarted without a vote"


class Branches:
    """Watches one world. Nothing here changes what happens in it."""

    def __init__(self, sometimes: Sometimes) -> None:
        self._reached = sometimes.reached
        self._roles: dict[NodeId, tuple[str, int]] = {}
        self._candidates: dict[int, set[NodeId]] = {}
        self._led: set[int] = set()
        self._term_max = 0
        self._asked: dict[tuple[str, int], NodeId] = {}
        self._sent: set[tuple[int, int]] = set()
        self._ordered: set[tuple[int, int]] = set()
        self._ordered_last = 0
        self.watched: dict[type, Callable[[RaftState, Any, Sequence[Buffer]], None]] = {
            Append: self._append,
            AppendReply: self._append_reply,
            VoteReply: self._vote_reply,
            SnapshotOffer: self._offer,
        }

    # Roles and lives.

    def role_changed(self, state: RaftState, role: str, term: int) -> None:
        """A node took a role in a term."""
        before, before_term = self._roles.get(state.node, ("", 0))
        self._roles[state.node] = role, term
        if role == CANDIDATE:
            self._stands(state.node, term)
        elif role == LEADER:
            self._led.add(term)
            if state.configuration.outgoing is not None:
                self._reached(JOINT_INHERITED)
            if state.commit_index < state.log.last_index - 1:
                self._reached(UNCOMMITTED)
        if before == LEADER and role != LEADER:
            self._reached(NO_QUORUM if term == before_term else DEPOSED)

    def _stands(self, node: NodeId, term: int) -> None:
        if term > self._term_max:
            if len(self._candidates.get(self._term_max, ())) > 1 and self._term_max not in self._led:
                self._reached(SPLIT_VOTE)
            self._term_max = term
        self._candidates.setdefault(term, set()).add(node)

    def stood_at(self, starting: bool) -> None:
        """A node took the state of a snapshot."""
        self._reached(RESTORED if starting else INSTALLED)

    def at_risk(self, state: RaftState) -> tuple[int, int]:
        """The last entry known to be durable, and the last of all."""
        return state.stored_index, state.log.last_index

    def restarted(self, state: RaftState, lost: tuple[int, int]) -> None:
        """A node is back; `lost` are the last entry known to be durable, and the last of all, when it died."""
        self._roles.pop(state.node, None)
        stored, last = lost
        if state.log.last_index < last:
            self._reached(LOST_TAIL)
            if state.log.last_index > stored:
                self._reached(TORN_TAIL)
        if not state.may_vote:
            self._reached(NO_VOTE)

    # Messages, just before the node with this state takes them; `watched` says which.

    def _append(self, state: RaftState, message: Append, attached: Sequence[Buffer]) -> None:
        if message.term < state.term:
            self._reached(OLD_LEADER)
        elif attached and message.previous_index < state.log.last_index:
            if state.log.term(message.previous_index) != message.previous_term:
                return
            for entry in attached:
                index, term, _, _ = entry_identity(entry)
                if state.log.term(index) not in (None, term):
                    self._reached(TRUNCATED)
                    return

    def _append_reply(self, state: RaftState, message: AppendReply, attached: Sequence[Buffer]) -> None:
        if not message.matched and message.term == state.term and state.role == LEADER:
            self._reached(BACKTRACKED)

    def _vote_reply(self, state: RaftState, message: VoteReply, attached: Sequence[Buffer]) -> None:
        if not message.granted:
            self._reached(PRE_VOTE_REFUSED if message.pre else VOTE_REFUSED)

    def _offer(self, state: RaftState, message: SnapshotOffer, attached: Sequence[Buffer]) -> None:
        self._reached(OFFERED)

    # Clients.

    def asked(self, client: str, node: NodeId, message: object) -> None:
        """A client's request reaches a node."""
        if type(message) is Query and not message.stale:
            if self._asked.setdefault((client, message.request), node) != node:
                self._reached(REROUTED)
                self._asked[client, message.request] = node
        elif type(message) is Submit and message.client:
            batch = message.client, message.first_sequence
            if batch in self._sent:
                self._reached(SENT_AGAIN)
            self._sent.add(batch)

    def applied(self, header: Header) -> None:
        """Some node applied an entry; the first node to do so counts."""
        if header.index <= self._ordered_last:
            return
        self._ordered_last = header.index
        if header.kind == COMMAND and header.client:
            batch = header.client, header.first_sequence
            if batch in self._ordered:
                self._reached(DUPLICATE)
            self._ordered.add(batch)
