"""Leadership moves on purpose: at an operator's word, to a preferred node, or when the leader leaves.

Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 3.10. The leader takes no more proposals,
waits until the target has its whole log, and tells it to stand at once. Others vote for such a candidate even
while they hear a leader.
"""

from __future__ import annotations

from quorum.errors import ConfigurationError, Overloaded
from quorum.model import NodeId
from quorum.protocols.effects import Completed, Refused
from quorum.protocols.raft import sending
from quorum.protocols.raft.messages import TimeoutNow
from quorum.protocols.raft.state import RaftState, Transfer

STEADY_TIMEOUTS = 2
"""A preferred node must have kept up for so many election timeouts before it is made leader."""


def request(state: RaftState, token: int, target: NodeId | None) -> None:
    """Hand leadership to `target`, or to the candidate that is preferred and furthest; answered when done."""
    chosen = target if target is not None else _best(state)
    if state.transfer is not None:
        error = Overloaded(
            f"leadership was to move to {chosen}, but it is moving to {state.transfer.target} already. "
            "Wait for that."
        )
        state.out.append(Refused((token,), error))
    elif chosen == state.node:
        state.out.append(Completed((token,)))
    elif chosen is None or chosen not in state.configuration.candidates or chosen not in state.progress:
        others = ", ".join(node for node in state.configuration.candidates if node != state.node) or "nobody"
        state.out.append(
            Refused(
                (token,),
                ConfigurationError(
                    f"leadership was to move to {chosen or 'another node'}, but only a voter of priority above "
                    f"0 may lead. Choose among: {others}."
                ),
            )
        )
    else:
        _begin(state, chosen, token)


def _begin(state: RaftState, target: NodeId, token: int | None) -> None:
    state.transfer = Transfer(target, token, state.now_us + state.settings.election_timeout_us)
    sending.send_entries(state, target, state.progress[target])
    on_progress(state, target)


def _best(state: RaftState) -> NodeId | None:
    """The candidate to follow this leader: one heard lately, of high priority, that stores much, in this order."""
    configuration = state.configuration
    ranked = [
        (_is_heard(state, node), configuration.priority(node), state.progress[node].match, node)
        for node in configuration.candidates
        if node in state.progress
    ]
    return max(ranked)[3] if ranked else None


def on_progress(state: RaftState, node: NodeId) -> None:
    """`node` stores more: if it is the target and lacks nothing, it may stand."""
    moving = state.transfer
    if moving is None or node != moving.target or moving.told:
        return
    if state.progress[node].match == state.log.last_index:
        moving.told = True
        state.lease_given_up = True
        state.send(node, TimeoutNow(state.term))


def hand_over(state: RaftState) -> None:
    """This leader is about to step down: let the best candidate stand at once."""
    best = _best(state)
    if best is not None:
        state.lease_given_up = True
        state.send(best, TimeoutNow(state.term))


def on_heartbeat(state: RaftState) -> None:
    """Give a transfer up that took an election timeout; begin one to a node that is preferred to this leader."""
    moving = state.transfer
    if moving is not None:
        if state.now_us < moving.deadline_us:
            return
        state.transfer = None
        if moving.token is not None:
            error = Overloaded(
                f"leadership was to move to {moving.target}, but it did not take over within an election timeout. "
                f"{state.node} still leads. See whether {moving.target} keeps up, then try again."
            )
            state.out.append(Refused((moving.token,), error))
        return
    if state.storage_full:
        on_storage_full(state)
    elif state.state_differs:
        on_state_doubted(state)
    else:
        _prefer(state)


def on_storage_full(state: RaftState) -> None:
    """This leader cannot store what it ordered. Whoever stores all of it has space, and should lead."""
    if state.transfer is not None or state.pending_change is not None:
        return
    last, own = state.log.last_index, state.stored_index
    able = [
        (state.configuration.priority(node), node)
        for node in state.configuration.candidates
        if node in state.progress and own < state.progress[node].match == last and _is_heard(state, node)
    ]
    if able:
        _begin(state, max(able)[1], None)


def on_state_doubted(state: RaftState) -> None:
    """This leader's state is not that of a quorum. Whoever keeps up should lead; another one that differs will not
    stand, and the next is tried."""
    if state.transfer is not None or state.pending_change is not None:
        return
    able = sorted(
        node for node in state.configuration.candidates if node in state.progress and _keeps_up(state, node)
    )
    if able:
        later = [node for node in able if node > state.doubted_last]
        state.doubted_last = later[0] if later else able[0]
        _begin(state, state.doubted_last, None)


def _prefer(state: RaftState) -> None:
    """Who has a higher priority than this leader and has kept up for a while should lead."""
    configuration = state.configuration
    if not configuration.priorities or state.pending_change is not None:
        return
    own = configuration.priority(state.node)
    wanted = [
        (configuration.priority(node), node)
        for node in configuration.candidates
        if node in state.progress and configuration.priority(node) > own and _keeps_up(state, node)
    ]
    steady_us = STEADY_TIMEOUTS * state.settings.election_timeout_us
    best = max(wanted)[1] if wanted else None
    if best != state.preferred[0]:
        state.preferred = (best, state.now_us)
    elif best is not None and state.now_us - state.preferred[1] >= steady_us:
        state.preferred = (None, state.now_us)
        _begin(state, best, None)


def _keeps_up(state: RaftState, node: NodeId) -> bool:
    return _is_heard(state, node) and state.progress[node].match >= state.commit_index


def _is_heard(state: RaftState, node: NodeId) -> bool:
    """Whether `node` has answered within three heartbeats."""
    return state.now_us - state.progress[node].heard_us < 3 * state.settings.heartbeat_us


def abandon(state: RaftState) -> None:
    """This node leads no more. Whoever asked for that hears so, whichever node takes over."""
    moving, state.transfer = state.transfer, None
    if moving is not None and moving.token is not None:
        state.out.append(Completed((moving.token,)))
