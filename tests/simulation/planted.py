"""Negative controls: bugs planted in the running code, each with a seed whose run shows it.

A simulator that finds nothing may be blind. Each bug here is a small, classic mistake; the simulator must break a
claim with it, and none without it. `python -m tests.simulation.planted --search` looks for seeds anew, which a
change of the protocol may require.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from quorum.apps.answer import EXPIRED_ANSWER, Answer
from quorum.apps.host import Host
from quorum.apps.session import Sessions
from quorum.entry import CONFIGURATION, Buffer, decode_entry
from quorum.errors import StorageFullError
from quorum.header import Header
from quorum.model import Configuration, NodeId, decode_configuration
from quorum.protocols import effects, events
from quorum.protocols.effects import HardState, Persist, ReadReady
from quorum.protocols.raft import change, election, follower, lease, reads, replication
from quorum.protocols.raft import state as state_module
from quorum.protocols.raft.messages import Append, RequestVote, VoteReply
from quorum.protocols.raft.state import CANDIDATE, RaftState
from quorum.runtime.driver import Driver
from quorum.sim.campaign import Outcome, Plan, run_seed
from quorum.sim.world import World
from quorum.systems.build import build
from quorum.systems.expression import parse
from quorum.systems.system import QuorumSystem
from quorum.systems.tally import Outcome as Votes
from quorum.systems.tally import Tally

from .adversary import Adversary

ELECTION_SAFETY = "election safety"
COMPLETENESS = "leader completeness"
STATE_MACHINE = "state machine safety"
LINEARIZABLE = "the history is linearizable"
ACCUSED = "no correct node is accused"
DIGESTS = "state digests"
PROGRESS = "progress"


class Bug(NamedTuple):
    """One planted mistake. `patches` are (owner, attribute, replacement); `claims` are those it may break.

    `plan.seed` is pinned: its run shows the bug. A change of the protocol moves the hit, so `tries` seeds from
    there on may be run.
    """

    name: str
    plan: Plan
    claims: tuple[str, ...]
    patches: tuple[tuple[Any, str, Any], ...]
    world: type[World] = World
    tries: int = 40


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """While inside, the bug is in the code."""
    with ExitStack() as stack:
        for owner, name, replacement in bug.patches:
            stack.enter_context(patch.object(owner, name, replacement))
        yield


def run_with(bug: Bug, seed: int) -> Outcome:
    """One seed of the bug's plan, with the bug."""
    with planted(bug):
        return run_seed(msgspec.structs.replace(bug.plan, seed=seed), bug.world)[0]


def run_without(bug: Bug, seed: int) -> Outcome:
    """The same seed and plan, with the code as it is."""
    return run_seed(msgspec.structs.replace(bug.plan, seed=seed), bug.world)[0]


# The bugs.


def _commit_by_counting(state: RaftState) -> None:
    """Raft, section 5.4.2 and figure 8: an entry of an old term must not be committed by counting copies."""
    index = min(state.committed(state.acked), state.log.last_index)
    if index > state.commit_index:
        state.commit(index)
        reads.start_round_if_wanted(state)


def _persist_term_only(self: RaftState) -> None:
    """Raft, figure 2: the vote is persistent state."""
    self.persists += 1
    self.out.append(Persist(HardState(self.term, None)))


_on_request_vote = election.on_request_vote


def _grant_any_log(state: RaftState, sender: NodeId, request: RequestVote) -> None:
    """Raft, section 5.4.1: a voter must refuse a candidate whose log is behind."""
    _on_request_vote(state, sender, msgspec.structs.replace(request, last_term=1 << 60))


def _half_is_enough(configuration: Configuration) -> QuorumSystem:
    """Quorums of N/2 nodes need not meet."""
    electors = configuration.electors
    if len(electors) < 2:
        return build(configuration)
    half = parse(f"choose({len(electors) // 2}, {', '.join(electors)})")
    return QuorumSystem(half, half)


_perform = Driver._perform


def _perform_before_sync(self: Driver, produced: tuple[effects.Effect, ...]) -> None:
    """DESIGN 2: what follows a Persist may leave only when the record is durable."""
    _perform(self, tuple(effect for effect in produced if isinstance(effect, Persist)))
    _perform(self, tuple(effect for effect in produced if not isinstance(effect, Persist)))


def _read_at_once(state: RaftState, tokens: tuple[int, ...]) -> None:
    """Ongaro 2014, section 6.4: a leader must confirm that it still leads before it serves a read."""
    state.out.append(ReadReady(tokens, state.commit_index))


def _holds_nothing(state: RaftState, index: int, term: int) -> bool:
    """Raft, figure 2, AppendEntries rule 3: only a conflict may truncate, for messages come late and twice."""
    return index <= state.commit_index


def _change_at_once(state: RaftState, token: int, target: Configuration) -> None:
    """Thesis, section 4.1: one voter at a time is safe without a joint configuration, but only if each change is
    committed before the next begins."""
    differing = frozenset(state.configuration.electors) ^ frozenset(target.electors)
    if len(differing) == 1 and not (target.reads or target.witnesses or change._flaw(state.configuration, target)):
        change._order_final(state, target)


def _learners_store_for_all(configuration: Configuration) -> QuorumSystem:
    """Thesis, section 4.2.1: a learner does not count towards commitment."""
    system = build(configuration)
    members = configuration.members
    if not members:
        return system
    return QuorumSystem(system.reads, parse(f"majority({', '.join(members)})"))


def _new_side_alone(configuration: Configuration) -> QuorumSystem:
    """Thesis, section 4.3: while joint, both configurations must agree."""
    return build(msgspec.structs.replace(configuration, outgoing=None))


def _no_drift(state: RaftState) -> bool:
    """Thesis, section 6.4.1: the lease must be shorter than the promise by the drift of the clocks."""
    held = not state.lease_given_up and state.lease_from_us > 0
    return held and state.now_us < state.lease_from_us + state.settings.election_timeout_us


class _ForgetfulTally(Tally):
    """A voter counts once, however often its vote arrives."""

    def vote(self, voter: NodeId, granted: bool) -> Votes:
        self._granted.discard(voter)
        return super().vote(voter, granted)


def _count_any_vote(state: RaftState, sender: NodeId, reply: VoteReply) -> None:
    """A vote counts in its own term alone."""
    if state.role in (CANDIDATE, state_module.PRE_CANDIDATE):
        election.count_vote(state, sender, reply.granted)


_restore = Host.restore


def _restore_without_sessions(self: Host, chunks: Any) -> None:
    """Ongaro 2014, section 6.3: the sessions are part of the state."""
    _restore(self, chunks)
    self._sessions = Sessions(self._sessions.sessions_max)


_begin = Sessions.begin


def _apply_again(self: Sessions, header: Header) -> Answer | None:
    """Ongaro 2014, section 6.3: a batch that was applied is answered, not applied again."""
    known = _begin(self, header)
    return known if known is EXPIRED_ANSWER else None


def _configuration_forgotten(self: RaftState, index: int) -> Configuration:
    """Raft, section 7: a snapshot includes the configuration."""
    return Configuration()


_on_append = follower.on_append


def _commit_what_the_leader_says(
    state: RaftState, sender: NodeId, append: Append, entries: tuple[Buffer, ...], parsed: follower.Parsed
) -> None:
    """Raft, figure 2, AppendEntries rule 5: commit no further than the last entry known to agree."""
    _on_append(state, sender, append, entries, parsed)
    index = min(append.commit_index, state.log.last_index)
    if index > state.commit_index:
        state.commit(index)


_on_synced = Driver._on_synced


def _full_is_as_good_as_synced(
    self: Driver, staged: int, replica_staged: int, error: BaseException | None
) -> None:
    """DESIGN 4: an acknowledgement says that the entry is durable here."""
    _on_synced(self, staged, replica_staged, None if isinstance(error, StorageFullError) else error)


def _full_for_good(self: Driver, error: StorageFullError) -> None:
    """Nobody looks again whether there is space."""
    self._syncing, self._dirty, self._waits_for_space = False, True, True
    self.is_full = True
    self._events.append(events.StorageFull(self._clock.now_us()))


_order = replication._order


def _count_own_copy_early(state: RaftState, *arguments: Any) -> None:
    """Ongaro 2014, section 10.2.1: a leader counts itself only when its own disk has the entry."""
    _order(state, *arguments)
    state.acked[state.node] = state.log.last_index


class SplitChanges(World):
    """Cuts the cluster in two each time a leader tells of a new configuration: on its side are as many
    of the new voters as `fewer` says, and the learners; everybody else is on the other."""

    def deliver(self, source: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        super().deliver(source, to, message, attached)
        if type(message) is not Append or not attached or not self.network.is_whole:
            return
        for entry in attached:
            header, body = decode_entry(entry)
            if header.kind == CONFIGURATION and header.epoch > self._epoch:
                self._epoch = header.epoch
                self._split(source, decode_configuration(body))

    _epoch = 1
    fewer = 0
    """Than a majority."""

    def _split(self, leader: NodeId, configuration: Configuration) -> None:
        voters = configuration.voters
        draw = self.random(f"split/{self._epoch}")
        others = [node for node in voters if node != leader]
        count = max(0, len(voters) // 2 - self.fewer)
        near = {leader, *draw.sample(others, min(len(others), count)), *configuration.learners}
        self.network.partition(sorted(near), sorted(set(self.nodes) - near))
        self.schedule(draw.randrange(1_000_000, 4_000_000), self.network.heal)


class SplitMinority(SplitChanges):
    """The leader keeps all learners, but no majority of the voters."""

    fewer = 1


class LateVotes(Adversary):
    """Requests for votes come late, to voters who crashed meanwhile."""

    until_us = 45_000_000
    strikes = 0.6
    delay_us = 100_000


class LostEntries(Adversary):
    """Votes come in time, but a leader's own entries hardly do."""

    delay_us = 1_000


BUGS = (
    Bug(
        "commit of an old-term entry by counting",
        Plan(1, nodes=5, seconds=36, clients=3, pause_ms=200, faults=(), message_entries=1),
        (COMPLETENESS, STATE_MACHINE),
        ((replication, "advance_commit", _commit_by_counting),),
        LostEntries,
    ),
    Bug(
        "vote not persisted",
        Plan(13, nodes=5, seconds=60, clients=2, pause_ms=300, faults=(), sync_us=10_000),
        (ELECTION_SAFETY,),
        ((RaftState, "persist_hard_state", _persist_term_only),),
        LateVotes,
    ),
    Bug(
        "no up-to-date check",
        Plan(3, nodes=3, seconds=30, clients=6, faults=("clock", "crash", "isolate"), faults_at_once=2),
        (COMPLETENESS, STATE_MACHINE, ACCUSED),
        ((election, "on_request_vote", _grant_any_log),),
    ),
    Bug(
        "quorum N/2",
        Plan(0, nodes=4, seconds=30, clients=6, faults=("bridge", "ring", "split")),
        (ELECTION_SAFETY, COMPLETENESS, STATE_MACHINE),
        ((state_module, "build", _half_is_enough),),
    ),
    Bug(
        "ack before fsync",
        Plan(0, nodes=3, seconds=30, pause_ms=20, faults=("crash", "crash-all"), sync_us=20_000),
        (COMPLETENESS, STATE_MACHINE, ELECTION_SAFETY),
        ((Driver, "_perform", _perform_before_sync),),
    ),
    Bug(
        "read without index check",
        Plan(5, 3, 30, 30, 400, faults=("bridge", "clock", "isolate"), faults_at_once=2, patience_ms=150),
        (LINEARIZABLE,),
        ((reads, "request", _read_at_once),),
    ),
    Bug(
        "truncation on every append",
        Plan(55, 3, 40, 8, 20, ("crash-all", "isolate", "weather"), faults_at_once=3),
        (COMPLETENESS, STATE_MACHINE),
        ((follower, "_holds", _holds_nothing),),
        tries=100,
    ),
    Bug(
        "duplicate vote counted twice",
        Plan(60, 5, 40, 6, faults=("bridge", "clock", "split", "weather"), faults_at_once=3),
        (ELECTION_SAFETY, COMPLETENESS),
        ((election, "Tally", _ForgetfulTally),),
    ),
    Bug(
        "stale-term reply counted",
        Plan(1, nodes=5, seconds=40, clients=3, faults=("crash-all", "ring", "weather")),
        (ELECTION_SAFETY, COMPLETENESS, ACCUSED),
        ((election, "on_vote_reply", _count_any_vote),),
        LateVotes,
    ),
    Bug(
        "dedup table not in snapshot",
        Plan(0, nodes=3, seconds=25, clients=6, faults=("crash",), snapshot_entries=20),
        (DIGESTS,),
        ((Host, "restore", _restore_without_sessions),),
    ),
    Bug(
        "retry applied again",
        Plan(6, nodes=5, seconds=30, faults=("one-way", "pause"), patience_ms=200),
        (LINEARIZABLE,),
        ((Sessions, "begin", _apply_again),),
    ),
    Bug(
        "snapshot without membership",
        Plan(0, nodes=3, seconds=30, clients=6, faults=("crash", "crash-all"), snapshot_entries=20),
        (PROGRESS, ELECTION_SAFETY, COMPLETENESS),
        ((RaftState, "configuration_at", _configuration_forgotten),),
    ),
    Bug(
        "commit index beyond what agrees",
        Plan(0, nodes=5, seconds=30, clients=6, faults=("crash", "isolate", "split"), message_entries=1),
        (STATE_MACHINE, ACCUSED),
        ((follower, "on_append", _commit_what_the_leader_says),),
    ),
    Bug(
        "two changes in flight",
        Plan(15, nodes=3, seconds=40, clients=4, faults=(), spares=2, churn_ms=80),
        (ELECTION_SAFETY, COMPLETENESS, STATE_MACHINE, ACCUSED),
        ((change, "propose", _change_at_once),),
        SplitChanges,
        tries=25,
    ),
    Bug(
        "learner counted",
        Plan(0, nodes=4, seconds=40, clients=4, faults=(), spares=4, churn_ms=300),
        (COMPLETENESS, STATE_MACHINE, ACCUSED),
        ((state_module, "build", _learners_store_for_all),),
        SplitMinority,
    ),
    Bug(
        "joint commit by one side",
        Plan(19, nodes=5, seconds=40, clients=4, faults=(), spares=2, churn_ms=150),
        (ELECTION_SAFETY, COMPLETENESS, STATE_MACHINE, ACCUSED),
        ((state_module, "build", _new_side_alone),),
        SplitChanges,
    ),
    Bug(
        "lease without drift",
        Plan(14, 3, 30, 30, 400, faults=("drift", "isolate"), faults_at_once=3, patience_ms=150, lease=True),
        (LINEARIZABLE,),
        ((lease, "is_held", _no_drift),),
    ),
    Bug(
        "acknowledged although the disk is full",
        Plan(5, nodes=3, seconds=30, pause_ms=20, faults=("crash-all", "full-disk"), faults_at_once=2),
        (COMPLETENESS, STATE_MACHINE, ELECTION_SAFETY),
        ((Driver, "_on_synced", _full_is_as_good_as_synced),),
    ),
    Bug(
        "space on a full disk is not noticed",
        Plan(0, nodes=3, seconds=30, clients=6, faults=("full-disk",)),
        (PROGRESS,),
        ((Driver, "_on_full", _full_for_good),),
    ),
    Bug(
        "own copy counted before it is durable",
        Plan(
            1,
            nodes=3,
            seconds=60,
            pause_ms=20,
            faults=("crash-all", "slow-disk"),
            sync_us=20_000,
            faults_at_once=2,
        ),
        (COMPLETENESS, STATE_MACHINE),
        ((replication, "_order", _count_own_copy_early),),
    ),
)


def search(bug: Bug, seeds: Sequence[int], enough: int = 1) -> list[tuple[int, Outcome]]:
    """The first `enough` of `seeds` whose run breaks a claim with the bug."""
    hits: list[tuple[int, Outcome]] = []
    for seed in seeds:
        outcome = run_with(bug, seed)
        if outcome.failure:
            hits.append((seed, outcome))
            if len(hits) >= enough:
                break
    return hits


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument(
        "--search", action="store_true", help="look for seeds from --first on, not the pinned ones"
    )
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to try at most (1000)")
    parser.add_argument("--hits", type=int, default=3, help="stop after so many (3)")
    parser.add_argument("names", nargs="*", help="bugs, by a part of their names; all without")
    given = parser.parse_args(arguments)
    for bug in BUGS:
        if given.names and not any(name in bug.name for name in given.names):
            continue
        first = given.first if given.search else bug.plan.seed
        began = time.process_time()
        hits = search(bug, range(first, first + (given.seeds if given.search else bug.tries)), given.hits)
        spent = time.process_time() - began
        say(f"{bug.name}: {spent:.1f} s CPU, {'seeds' if hits else 'not found'}")
        for seed, outcome in hits:
            healthy = run_without(bug, seed).failure or "passes"
            say(f"  {seed}: {outcome.failure[:150]} | without it: {healthy[:100]}")


if __name__ == "__main__":
    main()
