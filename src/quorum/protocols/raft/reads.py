"""Linearizable reads without the log: ReadIndex, one confirmation round for a whole batch (Ongaro 2014,
section 6.4)."""

from __future__ import annotations

from quorum.errors import NotLeader
from quorum.protocols.effects import ReadReady, Refused
from quorum.protocols.raft import sending
from quorum.protocols.raft.state import RaftState


def request(state: RaftState, tokens: tuple[int, ...]) -> None:
    """Queue reads; they wait for a round that begins after they came."""
    state.reads_waiting.extend(tokens)
    start_round_if_wanted(state)


def start_round_if_wanted(state: RaftState) -> None:
    """Begin a round for everything that waits, unless one is under way or no entry of this term is committed
    yet: until then the leader does not know what is committed."""
    if not state.reads_waiting or state.reads_confirming:
        return
    if state.log.term(state.commit_index) != state.term:
        return
    state.reads_confirming, state.reads_waiting = state.reads_waiting, []
    state.round += 1
    state.confirming_round = state.round
    state.confirming_index = state.commit_index
    for node, progress in state.progress.items():
        sending.send_heartbeat(state, node, progress)
    on_round(state)


def on_round(state: RaftState) -> None:
    """Serve the reads once a replication quorum answered in this round: it meets every election quorum, so
    nobody else led when they came."""
    if not state.reads_confirming:
        return
    answered = {node for node, progress in state.progress.items() if progress.round >= state.confirming_round}
    if state.system.is_write_quorum(answered | {state.node}):
        state.out.append(ReadReady(tuple(state.reads_confirming), state.confirming_index))
        state.reads_confirming = []
        start_round_if_wanted(state)


def refuse_all(state: RaftState) -> None:
    """Leadership is lost: whoever waits must ask the next leader."""
    tokens = (*state.reads_confirming, *state.reads_waiting)
    state.reads_confirming, state.reads_waiting = [], []
    if tokens:
        state.out.append(Refused(tokens, NotLeader(state.leader)))
