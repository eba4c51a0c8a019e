"""What a leader puts on the way to one follower: entries, heartbeats, offers of a snapshot."""

from __future__ import annotations

from quorum.model import NodeId
from quorum.protocols.effects import Send
from quorum.protocols.raft.messages import Append, SnapshotOffer
from quorum.protocols.raft.progress import PROBE, SNAPSHOT, Progress
from quorum.protocols.raft.state import RaftState

CATCH_UP_MESSAGE_BYTES = 128 * 1024
"""A message to a node that is far behind."""
FEW_ENTRIES = 64
"""Who lacks fewer is not far behind, whatever they hold."""
FAR_WINDOWS = 8
"""Who lacks so many times what it may get at a time is."""


def send_entries(state: RaftState, node: NodeId, progress: Progress) -> None:
    """Send what `node` lacks, as far as flow control allows.

    To one that is far behind it goes in smaller messages, and few at a time: each answer asks for the next, and
    between them this leader serves everybody else.
    """
    settings = state.settings
    log = state.log
    is_far_behind = _is_far_behind(state, progress.next_index)
    inflight_bytes_max = settings.catch_up_bytes_max if is_far_behind else settings.inflight_bytes_max
    while progress.next_index <= log.last_index:
        if progress.state == PROBE:
            if progress.probe_sent:
                return
        elif progress.state == SNAPSHOT or not progress.has_room(
            settings.inflight_messages_max, inflight_bytes_max
        ):
            return
        first = progress.next_index
        previous_term = log.term(first - 1)
        if previous_term is None:
            _offer_snapshot(state, node, progress)
            return
        bytes_max = CATCH_UP_MESSAGE_BYTES if is_far_behind else settings.message_bytes_max
        last, size = log.extent(first, bytes_max, settings.message_entries_max)
        message = Append(state.term, first - 1, previous_term, state.commit_index, state.round)
        state.out.append(Send(node, message, first, last, node in state.witnesses))
        if progress.state == PROBE:
            progress.probe_sent = True
            return
        progress.sent(last, size)


def _is_far_behind(state: RaftState, next_index: int) -> bool:
    """Whether so much is to be sent that it would keep this leader busy for long."""
    lacking = state.log.last_index + 1 - next_index
    if lacking < FEW_ENTRIES:
        return False
    settings = state.settings
    far_bytes = FAR_WINDOWS * settings.catch_up_bytes_max
    return lacking >= settings.far_behind_entries or state.log.size(next_index, state.log.last_index) >= far_bytes


def _offer_snapshot(state: RaftState, node: NodeId, progress: Progress) -> None:
    assert state.snapshot is not None, "only a snapshot compacts the log"
    progress.await_snapshot()
    state.send(node, SnapshotOffer(state.term, state.round, state.snapshot))


def send_heartbeat(state: RaftState, node: NodeId, progress: Progress) -> None:
    """An empty Append keeps followers from campaigning, carries the commit index and the round, and shows
    where messages were lost: its `previous_index` is the last entry sent."""
    if progress.state == SNAPSHOT:
        assert state.snapshot is not None, "only a snapshot compacts the log"
        state.send(node, SnapshotOffer(state.term, state.round, state.snapshot))
        return
    previous = progress.next_index - 1
    previous_term = state.log.term(previous)
    if previous_term is None:
        _offer_snapshot(state, node, progress)
        return
    message = Append(state.term, previous, previous_term, state.commit_index, state.round)
    state.send(node, message)
