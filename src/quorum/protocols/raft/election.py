"""Elections: pre-vote, votes, and the first acts of a leader (Raft, section 5.2 and 5.4.1)."""

from __future__ import annotations

from quorum.model import NodeId
from quorum.protocols.effects import SetTimer
from quorum.protocols.raft import lease, replication
from quorum.protocols.raft.messages import RequestVote, VoteReply
from quorum.protocols.raft.progress import Progress
from quorum.protocols.raft.state import (
    CANDIDATE,
    FOLLOWER,
    HEARTBEAT,
    LEADER,
    NEVER,
    PRE_CANDIDATE,
    RaftState,
)
from quorum.systems.tally import Outcome, Tally


def on_election_timer(state: RaftState) -> None:
    """Nobody led for an election timeout: ask whether an election could be won.

    The timer is not set again on each heartbeat; it looks at the deadline when it fires. Who may not stand forgets
    the silent leader all the same: those who read or watch here must learn that they wait for nobody.
    """
    if state.role == LEADER:
        return
    if state.now_us >= state.election_deadline_us:
        if state.may_stand:
            campaign(state)
        else:
            state.become_follower(None)
            state.draw_election_deadline()
    if state.role != LEADER:
        state.set_election_timer()


def on_peer_lost(state: RaftState, node: NodeId) -> None:
    """The connection to a node closed. If it led, look for another leader soon: pre-vote asks the others
    first, so a broken link alone deposes nobody.

    Where leases are on, the lost leader may live and count on this node's promise. It binds this node's vote for
    itself, too: with the vote of one who hears no leader that would be a majority, while the lease is held.
    """
    if state.role == LEADER:
        progress = state.progress.get(node)
        if progress is not None:
            progress.active = False
            progress.probe(progress.match + 1)
    elif node == state.leader:
        state.leader = None
        free_us = state.now_us
        if state.settings.lease_reads:
            free_us = max(free_us, state.leader_heard_us + state.settings.election_timeout_us)
        else:
            state.leader_heard_us = NEVER
        state.election_deadline_us = free_us + _succession_delay(state, node)
        state.set_election_timer()


def _succession_delay(state: RaftState, lost: NodeId) -> int:
    """The survivors stand one after the other, by priority and name, so that they do not split the vote; even the
    first waits a little, until the others have seen the connection close, too."""
    spread = state.settings.lost_leader_spread_us
    priority = state.configuration.priority
    survivors = sorted(state.candidates - {lost}, key=lambda node: (-priority(node), node))
    place = survivors.index(state.node) if state.node in survivors else len(survivors)
    return place * spread + spread // 4 + state.random.randrange(spread // 4 + 1)


def campaign(state: RaftState) -> None:
    """Ask for pre-votes, without entering a new term yet (Ongaro 2014, section 9.6)."""
    state.role = PRE_CANDIDATE
    state.leader = None
    state.tally = Tally(state.system.reads)
    _draw_retry_deadline(state)
    if state.tally.vote(state.node, True) is Outcome.WON:
        _stand(state)
        return
    _ask(state, state.term + 1, pre=True)


def _draw_retry_deadline(state: RaftState) -> None:
    """A lost election is repeated soon at first, then less and less often, up to the whole timeout."""
    timeout = state.settings.election_timeout_us
    pause = min(timeout, timeout // 10 << min(state.campaigns_failed, 4))
    state.campaigns_failed += 1
    state.election_deadline_us = state.now_us + pause + state.random.randrange(pause)


def on_timeout_now(state: RaftState, sender: NodeId, term: int) -> None:
    """The leader of this term hands over: stand without asking first (Ongaro 2014, section 3.10)."""
    if term == state.term and sender == state.leader and state.may_stand:
        state.leader = None
        _draw_retry_deadline(state)
        state.set_election_timer()
        _stand(state, ordered=True)


def _stand(state: RaftState, ordered: bool = False) -> None:
    """Enter a new term as candidate. The own vote is durable before anybody is asked (section 5.2)."""
    state.enter_term(state.term + 1)
    state.role = CANDIDATE
    state.vote = state.node
    state.tally = Tally(state.system.reads)
    state.persist_hard_state()
    state.vote_persist = state.persists
    _ask(state, state.term, pre=False, ordered=ordered)


def _ask(state: RaftState, term: int, pre: bool, ordered: bool = False) -> None:
    request = RequestVote(term, state.log.last_index, state.log.last_term, pre, ordered)
    for node in state.others:
        if node in state.electors:
            state.send(node, request)


def on_own_vote_stored(state: RaftState) -> None:
    """The candidate counts itself once its vote is on disk."""
    if state.role == CANDIDATE and state.persists_stored >= state.vote_persist:
        count_vote(state, state.node, True)


def on_request_vote(state: RaftState, sender: NodeId, request: RequestVote) -> None:
    """Grant a vote to a candidate whose log is at least as up-to-date (section 5.4.1), once a term, and to
    nobody while a leader is heard (Ongaro 2014, section 4.2.3), unless that leader asked for it."""
    if request.term < state.term:
        state.send(sender, VoteReply(state.term, False, request.pre))
        return
    if request.term > state.term and state.in_lease() and not request.ordered:
        # Not even the newer term is taken, but a lagging candidate must learn ours.
        state.send(sender, VoteReply(state.term, False, request.pre))
        return
    up_to_date = (request.last_term, request.last_index) >= (state.log.last_term, state.log.last_index)
    if request.pre:
        granted = up_to_date and state.may_vote and request.term > state.term
        if granted and state.role == PRE_CANDIDATE and sender < state.node:
            # Of two who ask at once the one with the smaller name goes on: both would split the vote.
            state.become_follower(None)
        state.send(sender, VoteReply(request.term if granted else state.term, granted, True))
        return
    newer = request.term > state.term
    if newer:
        state.enter_term(request.term)
        state.become_follower(None)
    granted = up_to_date and state.may_vote and state.vote in (None, sender) and state.role == FOLLOWER
    if granted:
        state.vote = sender
        state.draw_election_deadline()
    if newer or granted:
        state.persist_hard_state()
    state.send(sender, VoteReply(state.term, granted, False))


def on_vote_reply(state: RaftState, sender: NodeId, reply: VoteReply) -> None:
    """Count an answer of the election that is under way; anything older is ignored."""
    if reply.pre:
        if state.role == PRE_CANDIDATE and (not reply.granted or reply.term == state.term + 1):
            count_vote(state, sender, reply.granted)
    elif state.role == CANDIDATE and reply.term == state.term:
        count_vote(state, sender, reply.granted)


def count_vote(state: RaftState, voter: NodeId, granted: bool) -> None:
    """Tally one vote; voters outside the configuration do not count."""
    assert state.tally is not None, "a candidate has a tally"
    outcome = state.tally.vote(voter, granted)
    if outcome is Outcome.WON:
        if state.role == PRE_CANDIDATE:
            _stand(state)
        else:
            _lead(state)
    elif outcome is Outcome.LOST:
        state.become_follower(None)


def _lead(state: RaftState) -> None:
    """Become leader: an empty entry of the new term commits everything before it (section 8)."""
    state.role = LEADER
    state.leader = state.node
    state.tally = None
    state.campaigns_failed = 0
    state.quorum_checked_us = state.now_us
    state.round = 0
    lease.forget(state)
    state.preferred = (None, state.now_us)
    state.progress = {node: Progress(state.log.last_index + 1) for node in state.others}
    state.acked = dict.fromkeys(state.others, 0) | {state.node: state.stored_index}
    state.uncommitted_bytes = state.log.size(state.commit_index + 1, state.log.last_index)
    state.out.append(SetTimer(HEARTBEAT, state.settings.heartbeat_us))
    replication.append_barrier(state)
