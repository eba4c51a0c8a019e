"""The leader's side of replication: order, send, count, commit (Raft, sections 5.3 and 5.4.2)."""

from __future__ import annotations

from quorum.entry import BARRIER, COMMAND, CONFIGURATION, TICK, encode_entry
from quorum.errors import NoSpace, Overloaded, RemoteProtocolError
from quorum.header import Batch
from quorum.model import Configuration, NodeId, encode_configuration
from quorum.protocols.effects import Admitted, Checkpoint, Compacted, Refused, SetTimer
from quorum.protocols.events import SnapshotMark
from quorum.protocols.raft import lease, reads, sending
from quorum.protocols.raft.messages import AppendReply
from quorum.protocols.raft.progress import PROBE, REPLICATE, SNAPSHOT, Progress
from quorum.protocols.raft.state import HEARTBEAT, RaftState

NOTHING = Batch(0, 0, 0, 0, 0, b"")


def append_barrier(state: RaftState) -> None:
    """Order an empty entry of this term. Log time goes on from there at the pace of this leader's clock, also
    where a leader before it was ahead."""
    state.time_ahead_us = max(0, state.last_time_us - state.now_us)
    _order(state, BARRIER, (NOTHING,))


def append_tick(state: RaftState) -> None:
    """Order an empty entry that moves log time."""
    _order(state, TICK, (NOTHING,))


def propose(state: RaftState, tokens: tuple[int, ...], batches: tuple[Batch, ...]) -> None:
    """Order client batches, as long as the uncommitted bytes stay within their cap.

    What does not fit is refused at once: definite, and the client may retry. So is everything while leadership is
    being handed over, and while this disk is full.
    """
    if state.storage_full:
        state.out.append(Refused(tokens, no_space(state, f"{len(batches)} batches were")))
        return
    if state.transfer is not None:
        error = Overloaded(
            f"{len(batches)} batches were proposed, but leadership is moving to {state.transfer.target}. Retry "
            "after a pause."
        )
        state.out.append(Refused(tokens, error))
        return
    room = state.settings.uncommitted_bytes_max - state.uncommitted_bytes
    fit = 0
    for batch in batches:
        room -= len(batch.body)
        if room < 0 and (fit or state.uncommitted_bytes):
            break
        fit += 1
    if fit < len(batches):
        error = Overloaded(
            f"{len(batches) - fit} batches were proposed, but {state.uncommitted_bytes} bytes wait for a "
            "quorum already. Retry after a pause."
        )
        state.out.append(Refused(tokens[fit:], error))
    if fit:
        _order(state, COMMAND, batches[:fit], tokens[:fit])


def no_space(state: RaftState, asked: str) -> NoSpace:
    """The error for what cannot be stored."""
    return NoSpace(
        f"{asked} proposed, but the disk of {state.node}, which leads, has no space left. Nothing was stored. "
        "Free some; then it goes on by itself."
    )


def order_configuration(state: RaftState, configuration: Configuration) -> None:
    """Append a configuration; it counts from now on, for this very entry too (Raft, section 6)."""
    body = encode_configuration(configuration)
    _order(state, CONFIGURATION, (Batch(0, 0, 0, 0, 1, body),), configuration=configuration)


def _order(
    state: RaftState,
    kind: int,
    batches: tuple[Batch, ...],
    tokens: tuple[int, ...] = (),
    configuration: Configuration | None = None,
) -> None:
    """Append entries of this term; send them before they are durable here; count ourselves on Stored.

    Admitted stands before the Persist: followers may commit an entry before the leader's own disk has it.
    """
    first = state.log.last_index + 1
    time_us = max(state.now_us + state.time_ahead_us, state.last_time_us)
    state.last_time_us = time_us
    entries = []
    index, term = first, state.term
    epoch = state.configuration.epoch if configuration is None else configuration.epoch
    append, draw = state.log.append, state.random.getrandbits
    for batch in batches:
        entry = encode_entry(index, term, kind, epoch, time_us, draw(64), batch)
        append(term, len(entry))
        state.uncommitted_bytes += len(entry)
        entries.append(entry)
        index += 1
    if configuration is not None:
        state.add_configuration(first, configuration)
    for node, progress in state.progress.items():
        sending.send_entries(state, node, progress)
    if tokens:
        state.out.append(Admitted(tokens, first, term))
    state.persist_entries(first, tuple(entries))


def on_heartbeat_timer(state: RaftState) -> None:
    """Beat; and once an election timeout, step down unless a replication quorum was heard (check-quorum;
    Ongaro 2014, section 6.2)."""
    if state.now_us - state.quorum_checked_us >= state.settings.election_timeout_us:
        heard = {node for node, progress in state.progress.items() if progress.active} | {state.node}
        if not state.system.is_write_quorum(heard):
            state.become_follower(None)
            return
        state.quorum_checked_us = state.now_us
        for progress in state.progress.values():
            progress.active = False
    if state.settings.lease_reads:
        lease.begin_round(state)
    for node, progress in state.progress.items():
        if progress.state == PROBE:
            progress.probe_sent = False
            if progress.next_index <= state.log.last_index:
                sending.send_entries(state, node, progress)
                continue
        sending.send_heartbeat(state, node, progress)
    state.out.append(SetTimer(HEARTBEAT, state.settings.heartbeat_us))


def on_append_reply(state: RaftState, sender: NodeId, reply: AppendReply) -> None:
    """Count what a follower stores; on a mismatch go back to where the logs may agree (section 5.3).

    A follower that refuses what it had acknowledged has lost the tail of its log, and is not counted for it any
    more.
    Raises RemoteProtocolError for an answer to what was never sent.
    """
    progress = state.progress.get(sender)
    if progress is None:
        return
    if reply.round > state.round or (reply.matched and reply.index > state.log.last_index):
        raise RemoteProtocolError(
            sender, f"acknowledges round {reply.round} and entry {reply.index}, which were never sent"
        )
    progress.active = True
    progress.heard_us = state.now_us
    if reply.round > progress.round:
        progress.round = reply.round
        reads.on_round(state)
    if reply.matched:
        _on_matched(state, sender, progress, reply.index)
    elif reply.previous_index == progress.next_index - 1 or (
        progress.state == REPLICATE and reply.previous_index > progress.match
    ):
        if reply.index < progress.match == reply.previous_index:
            progress.match = state.acked[sender] = max(0, reply.index)
        # The entry at `previous_index` differs, so the logs agree before it at most: where that is below our base,
        # a snapshot is offered.
        agreed = min(state.log.last_not_after(reply.index, reply.hint_term), reply.previous_index - 1)
        progress.probe(agreed + 1)
        sending.send_entries(state, sender, progress)


def _on_matched(state: RaftState, sender: NodeId, progress: Progress, match: int) -> None:
    if match > progress.match:
        progress.advance(match)
        state.acked[sender] = match
        advance_commit(state)
    if progress.state == PROBE or (progress.state == SNAPSHOT and match >= state.log.base_index):
        progress.replicate()
    sending.send_entries(state, sender, progress)


def on_own_stored(state: RaftState) -> None:
    """The leader's own disk is one of the quorum, no more and no sooner than the others'."""
    if state.stored_index > state.acked[state.node]:
        state.acked[state.node] = state.stored_index
        advance_commit(state)


def advance_commit(state: RaftState) -> None:
    """Commit what a replication quorum stores, if its last entry is of this term (section 5.4.2, figure 8)."""
    index = min(state.committed(state.acked), state.log.last_index)
    if index > state.commit_index and state.log.term(index) == state.term:
        size = state.log.size(state.commit_index + 1, index)
        state.uncommitted_bytes = max(0, state.uncommitted_bytes - size)
        state.commit(index)
        checkpoint_if_due(state, size)
        reads.start_round_if_wanted(state)


def checkpoint_if_due(state: RaftState, committed_bytes: int) -> None:
    """Ask for a snapshot once enough was committed since the last one (section 7)."""
    state.checkpoint_bytes += committed_bytes
    settings = state.settings
    since = state.snapshot.index if state.snapshot is not None else 0
    entries = state.commit_index - since
    if state.checkpoint_pending or entries == 0:
        return
    if entries >= settings.snapshot_entries or state.checkpoint_bytes >= settings.snapshot_bytes:
        _checkpoint(state)


def checkpoint_now(state: RaftState) -> None:
    """Ask for a snapshot of what is committed, unless one is under way or has it all."""
    since = state.snapshot.index if state.snapshot is not None else 0
    if not state.checkpoint_pending and state.commit_index > since:
        _checkpoint(state)


def _checkpoint(state: RaftState) -> None:
    term = state.log.term(state.commit_index)
    assert term is not None, "the commit index is in the log"
    state.checkpoint_pending = True
    state.checkpoint_bytes = 0
    configuration = state.configuration_at(state.commit_index)
    state.out.append(Checkpoint(SnapshotMark(state.commit_index, term, 0, configuration)))


def on_checkpoint_ready(state: RaftState, mark: SnapshotMark) -> None:
    """A snapshot is durable: compact the log behind it, but for the entries that slow followers may want, and
    those after the snapshot before it: should this one be found damaged, that one and the log replace it."""
    state.checkpoint_pending = False
    if state.snapshot is not None and mark.index <= state.snapshot.index:
        return
    before = state.snapshot.index if state.snapshot is not None else 0
    state.snapshot = mark
    base = min(mark.index - state.settings.log_kept_entries, before)
    if base > state.log.base_index:
        state.log.compact(base)
        held = state.configuration_at(base)
        state.configurations = [(base, held), *((at, c) for at, c in state.configurations if at > base)]
        state.out.append(Compacted(base + 1))
