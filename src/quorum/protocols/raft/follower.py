"""The follower's side of replication: check, store, acknowledge (Raft, section 5.3)."""

from __future__ import annotations

from quorum.entry import CONFIGURATION, HEAD_BYTES, Buffer, decode_entry, entry_identity_and_form
from quorum.errors import RemoteProtocolError
from quorum.model import Configuration, NodeId, decode_configuration
from quorum.protocols.effects import FetchSnapshot
from quorum.protocols.events import SnapshotMark
from quorum.protocols.raft import reads
from quorum.protocols.raft.messages import Append, AppendReply, SnapshotOffer
from quorum.protocols.raft.replication import checkpoint_if_due
from quorum.protocols.raft.state import FOLLOWER, RaftState
from quorum.systems.build import build

Parsed = list[tuple[int, int, Configuration | None]]


def hear_leader(state: RaftState, leader: NodeId) -> None:
    """A message of this term's leader: follow it and put the next election off."""
    if state.role != FOLLOWER or state.leader != leader:
        state.become_follower(leader)
        state.campaigns_failed = 0
    state.leader_heard_us = state.now_us
    state.draw_election_deadline()
    if state.reads_asked:
        reads.ask_again(state)


def parse_entries(sender: NodeId, append: Append, entries: tuple[Buffer, ...]) -> Parsed:
    """(term, log time, configuration) of each attached entry.

    Raises RemoteProtocolError unless they are dense, after `previous_index`, with terms that do not decrease
    and are not above the message's, every one has a known form, and every configuration can be built.
    """
    parsed: Parsed = []
    expected, least_term = append.previous_index + 1, append.previous_term
    for entry in entries:
        if len(entry) < HEAD_BYTES:
            raise RemoteProtocolError(sender, f"sent an entry of {len(entry)} bytes")
        index, term, kind, time_us, is_known_form = entry_identity_and_form(entry)
        if index != expected or not least_term <= term <= append.term:
            raise RemoteProtocolError(
                sender, f"sent entry {index} of term {term} after {expected - 1} of term {least_term}"
            )
        if not is_known_form:
            raise RemoteProtocolError(
                sender, f"sent entry {index} in a form that is not known here. Run the same release on every node."
            )
        configuration = None
        if kind == CONFIGURATION:
            try:
                configuration = decode_configuration(decode_entry(entry)[1])
                build(configuration)
            except ValueError as error:
                raise RemoteProtocolError(sender, f"sent a damaged configuration: {error}") from None
        parsed.append((term, time_us, configuration))
        expected, least_term = index + 1, term
    return parsed


def check_against_committed(state: RaftState, sender: NodeId, append: Append, parsed: Parsed) -> None:
    """Raise RemoteProtocolError if a leader of our term or a later one contradicts what is committed here: every
    such leader has those entries (section 5.4.3)."""
    index, term = append.previous_index, append.previous_term
    if index > state.commit_index:
        return
    if index < 0:
        raise RemoteProtocolError(sender, f"sent entries after index {index}")
    for place in range(min(len(parsed), state.commit_index - index) + 1):
        if place:
            term = parsed[place - 1][0]
        if state.log.term(index + place) not in (None, term):
            raise RemoteProtocolError(sender, f"sent term {term} for entry {index + place}, which is committed")


def check_incarnation(state: RaftState, sender: NodeId, configuration: Configuration | None) -> None:
    """Raise RemoteProtocolError for a configuration of another incarnation of the cluster: its log is not ours
    (model.Recovery). Who has no log yet takes that of its leader."""
    if configuration is None or not state.log.last_index:
        return
    ours, theirs = state.configuration.incarnation, configuration.incarnation
    if theirs != ours:
        raise RemoteProtocolError(
            sender, f"sent a log of incarnation {theirs[:40]!r} of the cluster to one of incarnation {ours!r}"
        )


def on_append(
    state: RaftState, sender: NodeId, append: Append, entries: tuple[Buffer, ...], parsed: Parsed
) -> None:
    """Accept entries that continue this log; replace those that conflict; answer where the logs agree."""
    hear_leader(state, sender)
    log = state.log
    previous = append.previous_index
    if previous > log.last_index or (previous > state.commit_index and log.term(previous) != append.previous_term):
        hint = log.last_not_after(min(previous, log.last_index), append.previous_term)
        hint_term = log.term(hint)
        assert hint_term is not None, "the back-tracking stays within the log"
        state.send(sender, AppendReply(state.term, append.round, False, hint, previous, hint_term))
        return
    last = previous + len(entries)
    new = 0
    while new < len(parsed) and _holds(state, previous + 1 + new, parsed[new][0]):
        new += 1
    if new == len(parsed):
        # Nothing new: answer at once with what is durable here; the disk may still be at work on the rest.
        _commit(state, append, last)
        durable = min(last, state.stored_index)
        state.send(sender, AppendReply(state.term, append.round, True, durable))
        return
    first = previous + 1 + new
    if first <= log.last_index:
        state.truncate(first)
    newest_us = state.last_time_us
    for place in range(new, len(parsed)):
        term, time_us, configuration = parsed[place]
        index = log.append(term, len(entries[place]))
        if configuration is not None:
            state.add_configuration(index, configuration)
        newest_us = max(newest_us, time_us)
    state.last_time_us = newest_us
    _commit(state, append, last)
    state.persist_entries(first, entries[new:] if new else entries)
    state.send(sender, AppendReply(state.term, append.round, True, last))


def _holds(state: RaftState, index: int, term: int) -> bool:
    """Whether this log has that entry already. Below the commit index it must be the same (log matching)."""
    return index <= state.commit_index or state.log.term(index) == term


def _commit(state: RaftState, append: Append, last: int) -> None:
    """Follow the leader's commit index, no further than the logs are known to agree."""
    index = min(append.commit_index, last)
    if index > state.commit_index:
        size = state.log.size(state.commit_index + 1, index)
        state.commit(index)
        checkpoint_if_due(state, size)
    if not state.may_vote and state.commit_index == append.commit_index:
        # The leader committed an entry of its own term, so everything ever acknowledged is below it,
        # and this log holds it all again (see ports.Log: a damaged tail).
        state.may_vote = state.log.term(state.commit_index) == append.term


def check_offer(sender: NodeId, offer: SnapshotOffer) -> None:
    """Raise RemoteProtocolError unless the offered configuration can be built."""
    try:
        build(offer.mark.configuration)
    except ValueError as error:
        raise RemoteProtocolError(sender, f"offered a damaged configuration: {error}") from None


def on_snapshot_offer(state: RaftState, sender: NodeId, offer: SnapshotOffer) -> None:
    """Fetch a snapshot that is ahead of this node; answer in any case, to show that we are here."""
    hear_leader(state, sender)
    mark = offer.mark
    if mark.index > state.commit_index:
        if state.log.term(mark.index) == mark.term:
            _keep_log(state, mark)
        else:
            state.out.append(FetchSnapshot(sender, mark))
    durable = min(state.commit_index, state.stored_index)
    state.send(sender, AppendReply(state.term, offer.round, True, durable))


def on_installed(state: RaftState, mark: SnapshotMark) -> None:
    """A fetched snapshot is in place: stand at it, unless the log has caught up meanwhile."""
    if state.snapshot is None or mark.index > state.snapshot.index:
        state.snapshot = mark
    if mark.index <= state.commit_index:
        return
    if state.log.term(mark.index) == mark.term:
        _keep_log(state, mark)
        return
    state.stand_at(mark)
    state.persist_reset(mark)
    if state.role == FOLLOWER and state.leader is not None:
        state.send(state.leader, AppendReply(state.term, 0, True, mark.index))


def _keep_log(state: RaftState, mark: SnapshotMark) -> None:
    """The log holds the snapshot's last entry: what follows may be acknowledged and stays (section 7)."""
    state.commit(mark.index)
