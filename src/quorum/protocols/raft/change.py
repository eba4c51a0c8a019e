"""Changes of the configuration: learners catch up, both configurations agree, then the new one alone decides.

Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), chapter 4: catching up (4.2.1), removing the
leader (4.2.2), joint consensus for any change (4.3). One change is in flight at a time, and a leader changes
nothing before an entry of its own term is committed (the correction of 2015 to single-server changes; we ask it of
every change).
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from quorum.errors import ConfigurationError, OutcomeUnknown, Overloaded, QuorumError
from quorum.model import Configuration, NodeId
from quorum.protocols.effects import Completed, Refused
from quorum.protocols.raft import replication, sending, transfer
from quorum.protocols.raft.progress import Progress
from quorum.protocols.raft.state import LEADER, PendingChange, RaftState
from quorum.systems.build import build
from quorum.systems.check import check_raft

DEPARTED_BEATS = 10
"""A member that has left is told so for at most so many election timeouts."""


class Decides(NamedTuple):
    """The part of a configuration that says which sets of nodes decide."""

    voters: frozenset[NodeId]
    witnesses: frozenset[NodeId]
    reads: str
    writes: str
    weights: frozenset[tuple[NodeId, int]]


def propose(state: RaftState, token: int, target: Configuration) -> None:
    """Begin to replace the configuration by `target`, whose epoch must follow the present one.

    New voters and witnesses are learners first. Refused, definitely, while another change is in flight, and for a
    target that cannot work; the error says which. A change that still waits for its learners is replaced by
    another one under the same token: whoever asked for it wants this one instead.
    """
    leaving, waiting = _not_awaited(state, target), state.pending_change
    is_instead = waiting is not None and waiting.token == token and not waiting.entered
    if leaving or is_instead:
        state.pending_change = None
    error = objection(state, target)
    if error is not None:
        state.pending_change = waiting
        state.out.append(Refused((token,), error))
        return
    if leaving and waiting is not None and not is_instead:
        state.out.append(Refused((waiting.token,), _given_up(leaving, target)))
    present = state.configuration
    arriving = frozenset(target.electors) - frozenset(present.electors)
    deadline_us = state.now_us + state.settings.catch_up_timeout_us
    state.pending_change = change = PendingChange(token, target, arriving, deadline_us)
    unknown = sorted(arriving - frozenset(present.members))
    if unknown:
        learners = tuple(sorted({*present.learners, *unknown}))
        _order(state, replace(present, learners=learners, addresses=_addresses(present, target)))
    for node in sorted(arriving):
        change.begin_round(node, state.log.last_index, state.now_us)
        on_progress(state, node, state.progress[node].match)
    _enter_if_caught_up(state)


def _not_awaited(state: RaftState, target: Configuration) -> list[NodeId]:
    """Who is waited for, in a change that has not entered, and need not be: it is to leave now; or it is silent,
    and others are to lose their votes. Else a newcomer that never comes would keep every other change back until
    its time is over, and who is lost could not be put out meanwhile."""
    change = state.pending_change
    if change is None or change.entered:
        return []
    is_smaller = frozenset(target.electors) < frozenset(state.configuration.electors)
    awaited, members = change.arriving - change.ready, frozenset(target.members)
    return sorted(node for node in awaited if node not in members or (is_smaller and _is_silent(state, node)))


def _is_silent(state: RaftState, node: NodeId) -> bool:
    progress = state.progress.get(node)
    return progress is None or progress.heard_us < state.now_us - state.settings.election_timeout_us


def _given_up(awaited: list[NodeId], target: Configuration) -> QuorumError:
    """What is said of a change that another one came before."""
    staying = sorted(frozenset(awaited) & frozenset(target.members))
    if staying:
        return Overloaded(
            f"{', '.join(staying)} was to vote, but is not heard, and others are put out of the vote now. It "
            "stays a learner: propose the change again when that one is done."
        )
    return QuorumError(
        f"{', '.join(awaited)} was to vote, but is to leave before it caught up. Propose the rest of the "
        "change again, if it is still wanted."
    )


def objection(state: RaftState, target: Configuration) -> QuorumError | None:
    """Why `target` cannot be taken up now; None if it can."""
    present = state.configuration
    if state.pending_change is not None or present.outgoing is not None or not _is_committed(state):
        return Overloaded(
            f"epoch {target.epoch} was proposed, but the change to epoch {present.epoch} is under way, and two at "
            "once could let two majorities decide apart. Propose it again when that one is done."
        )
    if state.log.term(state.commit_index) != state.term:
        return Overloaded(
            f"epoch {target.epoch} was proposed, but this leader is new and has committed nothing in term "
            f"{state.term} yet. Propose it again in a moment."
        )
    if target.outgoing is not None or target.epoch != present.epoch + 1:
        return ConfigurationError(
            f"epoch {target.epoch} was proposed, but epoch {present.epoch} is in force now: the members have "
            "changed since they were looked at. Look again, then propose what follows."
        )
    return _flaw(present, target) or _shortage(state, target)


def _shortage(state: RaftState, target: Configuration) -> ConfigurationError | None:
    """Whether too few of those who would vote are heard; who arrives must catch up, and will be."""
    since_us = state.now_us - state.settings.election_timeout_us
    heard = {node for node, progress in state.progress.items() if progress.heard_us >= since_us} | {state.node}
    arriving = frozenset(target.electors) - frozenset(state.configuration.electors)
    system = build(target)
    if system.is_read_quorum(heard | arriving) and system.is_write_quorum(heard | arriving):
        return None
    silent = ", ".join(sorted(frozenset(target.electors) - heard - arriving))
    return ConfigurationError(
        f"epoch {target.epoch} was proposed, but {silent} would vote and cannot be reached, and the rest of its "
        "voters decide nothing. Bring them back, or evict them first."
    )


def _flaw(present: Configuration, target: Configuration) -> ConfigurationError | None:
    """What is wrong with `target` by itself, or as the successor of `present`."""
    roles = (target.voters, target.learners, target.witnesses)
    if sum(map(len, roles)) > len(target.members):
        return ConfigurationError(
            "a configuration was proposed in which a node has two roles. Make each a voter, a learner or a "
            "witness."
        )
    if not target.candidates:
        return ConfigurationError(
            "a configuration was proposed in which nobody may lead. Keep a voter with a priority above 0."
        )
    stateless = sorted(frozenset(present.witnesses) & {*target.voters, *target.learners})
    if stateless:
        return ConfigurationError(
            f"{', '.join(stateless)} was to become more than a witness, but a witness has no application state "
            "and its log has no commands. Evict it, then admit a node with an empty data folder."
        )
    full = sorted({*present.voters, *present.learners} & frozenset(target.witnesses))
    if full:
        return ConfigurationError(
            f"{', '.join(full)} was to become a witness, but it holds application state that would grow old "
            "unseen. Evict it, then admit a witness with an empty data folder."
        )
    try:
        check_raft(build(target))
    except ConfigurationError as error:
        return error
    return _joint_flaw(present, target)


def _joint_flaw(present: Configuration, target: Configuration) -> ConfigurationError | None:
    """Why the two cannot decide together, where they must: found here, before anything is in the log."""
    if _decides(present) == _decides(target):
        return None
    try:
        build(_joint(present, target))
    except ConfigurationError as error:
        return ConfigurationError(
            f"epoch {target.epoch} was proposed, but it cannot be joined with epoch {present.epoch}, as a change "
            f"needs: {error}"
        )
    return None


def _is_committed(state: RaftState) -> bool:
    """Whether the configuration in force is decided."""
    return not state.configurations or state.configurations[-1][0] <= state.commit_index


def _addresses(present: Configuration, target: Configuration) -> tuple[tuple[NodeId, str], ...]:
    """The present addresses, and those that `target` adds or moves."""
    return tuple(sorted((dict(present.addresses) | dict(target.addresses)).items()))


# Catching up.


def on_progress(state: RaftState, node: NodeId, match: int) -> None:
    """`node` stores everything up to `match`: it may have caught up (thesis, 4.2.1: the last round took less than
    an election timeout)."""
    change = state.pending_change
    if change is None or node not in change.arriving or node in change.ready:
        return
    target, began_us = change.rounds[node]
    if match < target:
        return
    if state.now_us - began_us < state.settings.election_timeout_us:
        change.ready.add(node)
        _enter_if_caught_up(state)
    else:
        change.begin_round(node, state.log.last_index, state.now_us)


def _enter_if_caught_up(state: RaftState) -> None:
    """Once nobody is behind, let both configurations decide; where the same sets decide, the new one at once."""
    change = state.pending_change
    assert change is not None, "a change is under way"
    if change.entered or change.ready < change.arriving or not _is_committed(state):
        return
    change.entered = True
    present, target = state.configuration, change.target
    if _decides(present) == _decides(target):
        _order_final(state, target)
    else:
        _order(state, _joint(present, target))


def _joint(present: Configuration, target: Configuration) -> Configuration:
    """Both decide, until `target` does alone."""
    old = replace(present, learners=(), addresses=(), weights=_votes(present))
    return replace(target, addresses=_addresses(present, target), outgoing=old)


def _decides(configuration: Configuration) -> Decides:
    return Decides(
        frozenset(configuration.voters),
        frozenset(configuration.witnesses),
        configuration.reads,
        configuration.writes,
        frozenset(_votes(configuration)),
    )


def _votes(configuration: Configuration) -> tuple[tuple[NodeId, int], ...]:
    """The weights of those who vote. A learner may have one for later, and stands in no outgoing configuration."""
    return tuple(pair for pair in configuration.weights if pair[0] in configuration.electors)


def on_commit(state: RaftState) -> None:
    """More is decided. A change goes on: after its learners' entry, after the joint one (whoever leads then,
    thesis 4.3), after the last one, with which it is done."""
    if state.role != LEADER or not _is_committed(state):
        return
    change = state.pending_change
    if state.configuration.outgoing is not None:
        _order_final(state, replace(state.configuration, outgoing=None))
        return
    if change is not None and not change.entered:
        _enter_if_caught_up(state)
        return
    if change is not None:
        state.pending_change = None
        state.out.append(Completed((change.token,)))
    if state.node not in state.configuration.electors:
        _leave(state)


def _order_final(state: RaftState, target: Configuration) -> None:
    """Order the configuration that alone decides from now on, with the addresses of its own members."""
    addresses = _addresses(state.configuration, target)
    kept = tuple((node, address) for node, address in addresses if node in target.members)
    _order(state, replace(target, addresses=kept))


def _order(state: RaftState, configuration: Configuration) -> None:
    """Append a configuration, which counts from now on (Raft, section 6). Keep a progress for each of its members;
    who has left hears of it, for a while."""
    before = frozenset(state.configuration.members)
    configuration = replace(configuration, epoch=state.configuration.epoch + 1)
    members = frozenset(configuration.members)
    index = state.log.last_index + 1
    for node in sorted(members - before - {state.node}):
        state.departing.pop(node, None)
        state.progress[node] = Progress(index)
        state.acked[node] = 0
    until_us = state.now_us + DEPARTED_BEATS * state.settings.election_timeout_us
    for node in sorted(before - members - {state.node}):
        state.departing[node] = (index, until_us)
    replication.order_configuration(state, configuration)


def on_heartbeat(state: RaftState) -> None:
    """Forget those who left and know it; give up a change whose learners do not catch up."""
    for node, (index, until_us) in sorted(state.departing.items()):
        progress = state.progress[node]
        if state.now_us >= until_us or (progress.match >= index and state.commit_index >= index):
            sending.send_heartbeat(state, node, progress)
            del state.departing[node], state.progress[node], state.acked[node]
    change = state.pending_change
    if change is not None and not change.entered and state.now_us >= change.deadline_us:
        behind = ", ".join(sorted(change.arriving - change.ready))
        state.pending_change = None
        error = QuorumError(
            f"{behind or 'a member'} was to vote, but did not catch up in time. It stays a learner: see whether "
            "it runs and can be reached, then propose the change again."
        )
        state.out.append(Refused((change.token,), error))


def abandon(state: RaftState) -> None:
    """Leadership is lost: whether the change happens is up to the next leader's log."""
    change, state.pending_change = state.pending_change, None
    state.departing.clear()
    if change is not None:
        error = OutcomeUnknown(
            "leadership moved while the configuration was being changed, so the change may be half done or "
            "undone. Look at the members, then propose what is missing."
        )
        state.out.append(Refused((change.token,), error))


def _leave(state: RaftState) -> None:
    """The configuration without this leader is decided: tell the others, hand over, and follow (thesis, 4.2.2)."""
    for node, progress in state.progress.items():
        sending.send_heartbeat(state, node, progress)
    transfer.hand_over(state)
    state.become_follower(None)
