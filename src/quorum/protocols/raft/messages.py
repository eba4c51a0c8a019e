"""Raft's messages. Frozen values; the transport vouches for the sender, so none carries one."""

from __future__ import annotations

import msgspec

from quorum.protocols.events import SnapshotMark


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Base of everything Raft puts on the wire. `term` is the sender's, but for a pre-vote."""

    term: int


class RequestVote(Message, frozen=True, gc=False, array_like=True, tag=1):
    """Candidate to electors: asks for a vote in `term` (section 5.2).

    With `pre` it asks whether a vote would be granted in `term`, which the candidate has not entered yet
    (Ongaro 2014, section 9.6). With `ordered` the leader told the candidate to stand: a vote may be given although
    that leader is still heard (section 3.10).
    """

    last_index: int
    last_term: int
    pre: bool
    ordered: bool = False


class VoteReply(Message, frozen=True, gc=False, array_like=True, tag=2):
    """Elector to candidate. A granted real vote is durable. A granted pre-vote echoes the term asked for;
    a refused one carries the elector's own term, so that a lagging candidate learns it."""

    granted: bool
    pre: bool


class Append(Message, frozen=True, gc=False, array_like=True, tag=3):
    """Leader to follower: the entries after `previous_index` are attached as stored bytes; none is a
    heartbeat (section 5.3). `round` numbers the leader's confirmation rounds (section 6.4 of Ongaro 2014).

    The leader's own copy need not be durable when this leaves (Ongaro 2014, section 10.2.1).
    """

    previous_index: int
    previous_term: int
    commit_index: int
    round: int


class AppendReply(Message, frozen=True, gc=False, array_like=True, tag=4):
    """Follower to leader: with `matched`, everything up to `index` is durable here and equal to the leader's
    log. Otherwise the entry at `previous_index` differs, and the logs may agree up to (`index`, `hint_term`)."""

    round: int
    matched: bool
    index: int
    previous_index: int = 0
    hint_term: int = 0


class SnapshotOffer(Message, frozen=True, gc=False, array_like=True, tag=5):
    """Leader to a follower whose next entry is compacted away: fetch this snapshot from me (section 7)."""

    round: int
    mark: SnapshotMark


class TimeoutNow(Message, frozen=True, gc=False, array_like=True, tag=6):
    """Leader to a candidate that has its whole log: stand at once (Ongaro 2014, section 3.10)."""


class ReadIndexRequest(Message, frozen=True, gc=False, array_like=True, tag=7):
    """Follower to leader: at which index may I serve the reads I call `number`? (Ongaro 2014, section 6.4)"""

    number: int


class ReadIndexReply(Message, frozen=True, gc=False, array_like=True, tag=8):
    """Leader to follower: the reads `number` are linearizable once `index` is applied."""

    number: int
    index: int


RaftMessage = (
    RequestVote | VoteReply | Append | AppendReply | SnapshotOffer | TimeoutNow | ReadIndexRequest | ReadIndexReply
)
