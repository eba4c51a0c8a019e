"""Linearizable reads without the log: ReadIndex, one confirmation round for a whole batch (Ongaro 2014,
section 6.4). Where leases are on, a leader that holds one answers at once. A follower may serve reads, too, at an
index that it asks of its leader."""

from __future__ import annotations

from quorum.errors import NotLeader
from quorum.model import NodeId
from quorum.protocols.effects import ReadReady, Refused
from quorum.protocols.raft import lease, sending
from quorum.protocols.raft.messages import ReadIndexReply, ReadIndexRequest
from quorum.protocols.raft.state import RaftState, Reader


def request(state: RaftState, readers: tuple[Reader, ...]) -> None:
    """At the leader: queue reads; they wait for a round that begins after they came, unless a lease is held."""
    if lease.is_held(state) and knows_commit(state):
        _answer(state, list(readers), state.commit_index)
        return
    state.reads_waiting.extend(readers)
    start_round_if_wanted(state)


def knows_commit(state: RaftState) -> bool:
    """Whether an entry of this term is committed: until then a leader does not know what is committed."""
    return state.log.term(state.commit_index) == state.term


def start_round_if_wanted(state: RaftState) -> None:
    """Begin a round for everything that waits, unless one is under way or this leader is too new."""
    if not state.reads_waiting or state.reads_confirming or not knows_commit(state):
        return
    state.reads_confirming, state.reads_waiting = state.reads_waiting, []
    lease.begin_round(state)
    state.confirming_round = state.round
    state.confirming_index = state.commit_index
    for node, progress in state.progress.items():
        sending.send_heartbeat(state, node, progress)
    on_round(state)


def on_round(state: RaftState) -> None:
    """Serve the reads once a replication quorum answered in this round: it meets every election quorum, so
    nobody else led when they came."""
    lease.extend(state)
    if not state.reads_confirming:
        return
    answered = {node for node, progress in state.progress.items() if progress.round >= state.confirming_round}
    if state.system.is_write_quorum(answered | {state.node}):
        _answer(state, state.reads_confirming, state.confirming_index)
        state.reads_confirming = []
        start_round_if_wanted(state)


def _answer(state: RaftState, readers: list[Reader], index: int) -> None:
    tokens = tuple(reader for reader in readers if isinstance(reader, int))
    if tokens:
        state.out.append(ReadReady(tokens, index))
    for reader in readers:
        if not isinstance(reader, int):
            node, number = reader
            state.send(node, ReadIndexReply(state.term, number, index))


def refuse_all(state: RaftState) -> None:
    """Leadership is lost, here or at the leader that was asked: whoever waits must ask the next one."""
    waiting = (*state.reads_confirming, *state.reads_waiting)
    state.reads_confirming, state.reads_waiting = [], []
    asked, state.reads_asked = state.reads_asked, {}
    tokens = [reader for reader in waiting if isinstance(reader, int)]
    for of_request, _ in asked.values():
        tokens += of_request
    if tokens:
        state.out.append(Refused(tuple(tokens), NotLeader(state.leader)))


# At a follower that serves reads itself.


def ask_leader(state: RaftState, tokens: tuple[int, ...]) -> None:
    """Ask the leader for the index at which these reads may be served here."""
    if state.leader is None:
        state.out.append(Refused(tokens, NotLeader(None)))
        return
    state.reads_asked_last += 1
    state.reads_asked[state.reads_asked_last] = (tokens, state.now_us)
    state.send(state.leader, ReadIndexRequest(state.term, state.reads_asked_last))


def ask_again(state: RaftState) -> None:
    """The leader was heard, but has not answered for a heartbeat: the question or its answer was lost."""
    assert state.leader is not None, "a leader was heard"
    for number, (tokens, asked_us) in state.reads_asked.items():
        if state.now_us - asked_us >= state.settings.heartbeat_us:
            state.reads_asked[number] = (tokens, state.now_us)
            state.send(state.leader, ReadIndexRequest(state.term, number))


def on_index(state: RaftState, sender: NodeId, reply: ReadIndexReply) -> None:
    """The leader of this term answered."""
    if reply.term == state.term and sender == state.leader and reply.number in state.reads_asked:
        tokens, _ = state.reads_asked.pop(reply.number)
        state.out.append(ReadReady(tokens, reply.index))
