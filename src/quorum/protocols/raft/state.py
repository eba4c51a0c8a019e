"""The memory of one Raft replica, and the few ways every part of the protocol changes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from random import Random

from quorum.entry import Buffer
from quorum.model import Configuration, NodeId
from quorum.protocols.effects import Commit, Effect, Entries, HardState, Persist, Reset, Send, SetTimer
from quorum.protocols.events import EntryMeta, SnapshotMark
from quorum.protocols.log import ReplicaLog
from quorum.protocols.raft.progress import Progress
from quorum.protocols.raft.settings import Settings
from quorum.systems.build import build
from quorum.systems.system import QuorumSystem
from quorum.systems.tally import Tally, compile_committed

FOLLOWER = "follower"
PRE_CANDIDATE = "pre-candidate"
CANDIDATE = "candidate"
LEADER = "leader"

ELECTION = "election"
HEARTBEAT = "heartbeat"
NEVER = -(1 << 62)

Reader = int | tuple[NodeId, int]
"""Who waits for a read index: a token of this node's driver, or a follower and the number of its request."""


class PendingChange:
    """A change of the configuration, as the leader who was asked for it remembers it.

    `arriving` are to vote and catch up first; `rounds` says up to which entry each must come, and since when.
    `entered`: the joint configuration, or the last one, is in the log.
    """

    __slots__ = ("arriving", "deadline_us", "entered", "ready", "rounds", "target", "token")

    def __init__(self, token: int, target: Configuration, arriving: frozenset[NodeId], deadline_us: int) -> None:
        self.token = token
        self.target = target
        self.arriving = arriving
        self.deadline_us = deadline_us
        self.ready: set[NodeId] = set()
        self.rounds: dict[NodeId, tuple[int, int]] = {}
        self.entered = False

    def begin_round(self, node: NodeId, index: int, now_us: int) -> None:
        """`node` must come up to `index`, the newest entry now."""
        self.rounds[node] = (index, now_us)


class Transfer:
    """Leadership is to move to `target` by `deadline_us`; `told`: it may stand."""

    __slots__ = ("deadline_us", "target", "token", "told")

    def __init__(self, target: NodeId, token: int | None, deadline_us: int) -> None:
        self.target = target
        self.token = token
        self.deadline_us = deadline_us
        self.told = False


class RaftState:
    """Durable: `term`, `vote`, the log, the snapshot mark. Everything else is volatile (Raft, figure 2).

    I1  `term` and `commit_index` never decrease.
    I2  `stored_index` is durable on this node's disk; `stored_index <= log.last_index`.
    """

    def __init__(self, node: NodeId, settings: Settings, random: Random) -> None:
        self.node = node
        self.settings = settings
        self.random = random
        self.now_us = 0
        self.out: list[Effect] = []

        self.term = 0
        self.vote: NodeId | None = None
        self.log = ReplicaLog()
        self.snapshot: SnapshotMark | None = None
        self.last_time_us = 0
        self.time_ahead_us = 0
        self.may_vote = True
        self.storage_full = False
        self.state_differs = False

        self.role = FOLLOWER
        self.leader: NodeId | None = None
        self.commit_index = 0
        self.stored_index = 0
        self.persists = 0
        self.persists_stored = 0
        self._storing: deque[tuple[int, int]] = deque()

        self.pending_change: PendingChange | None = None
        self.configurations: list[tuple[int, Configuration]] = []
        self.configuration = Configuration()
        self.use_configuration(self.configuration)

        self.election_deadline_us = 0
        self.leader_heard_us = NEVER
        self.campaigns_failed = 0
        self.tally: Tally | None = None
        self.vote_persist = 0
        self.checkpoint_pending = False
        self.checkpoint_bytes = 0

        self.progress: dict[NodeId, Progress] = {}
        self.acked: dict[NodeId, int] = {}
        self.uncommitted_bytes = 0
        self.quorum_checked_us = 0
        self.round = 0
        self.reads_waiting: list[Reader] = []
        self.reads_confirming: list[Reader] = []
        self.confirming_round = 0
        self.confirming_index = 0
        self.reads_asked: dict[int, tuple[tuple[int, ...], int]] = {}
        self.reads_asked_last = 0

        self.departing: dict[NodeId, tuple[int, int]] = {}
        self.transfer: Transfer | None = None
        self.doubted_last: NodeId = ""
        self.preferred: tuple[NodeId | None, int] = (None, 0)
        self.round_began_us: dict[int, int] = {}
        self.lease_from_us = NEVER
        self.lease_given_up = False

    # Configuration: always the newest in the log, committed or not (Raft, section 6).

    def use_configuration(self, configuration: Configuration) -> None:
        """Count votes and acknowledgements by this configuration from now on."""
        self.configuration = configuration
        self.system: QuorumSystem = build(configuration)
        self.committed: Callable[[Mapping[NodeId, int]], int] = compile_committed(self.system.writes)
        self.electors = frozenset(configuration.electors)
        self.candidates = frozenset(configuration.candidates)
        self.witnesses = frozenset(configuration.witnesses)
        if configuration.outgoing is not None:
            self.witnesses |= frozenset(configuration.outgoing.witnesses)
        if self.pending_change is not None:
            self.witnesses |= frozenset(self.pending_change.target.witnesses)
        self.others = tuple(node for node in configuration.members if node != self.node)

    def add_configuration(self, index: int, configuration: Configuration) -> None:
        """The entry at `index` brought this configuration."""
        self.configurations.append((index, configuration))
        self.use_configuration(configuration)

    def drop_configurations(self, first: int) -> None:
        """Entries from `first` on were truncated: an older configuration is in force again."""
        if self.configurations and self.configurations[-1][0] >= first:
            while self.configurations and self.configurations[-1][0] >= first:
                self.configurations.pop()
            self.use_configuration(self.configurations[-1][1] if self.configurations else Configuration())

    def configuration_at(self, index: int) -> Configuration:
        """The configuration in force at `index`: the newest one at or below it."""
        found = Configuration()
        for at, configuration in self.configurations:
            if at > index:
                break
            found = configuration
        return found

    # Durability: what was persisted, and what of it is known to be on disk.

    def persist_hard_state(self) -> None:
        """What follows waits until term and vote are durable."""
        self.persists += 1
        self.out.append(Persist(HardState(self.term, self.vote)))

    def persist_entries(self, first: int, entries: tuple[Buffer, ...]) -> None:
        """What follows waits until these entries, the newest of the log, are durable."""
        self.persists += 1
        self._storing.append((self.persists, self.log.last_index))
        self.out.append(Persist(Entries(first, entries)))

    def persist_reset(self, mark: SnapshotMark) -> None:
        """What follows waits until it is durable that the log begins after `mark`."""
        self.persists += 1
        self.out.append(Persist(Reset(mark)))

    def stored(self, up_to: int) -> None:
        """The disk holds every record up to the `up_to`-th."""
        self.persists_stored = max(self.persists_stored, up_to)
        storing = self._storing
        while storing and storing[0][0] <= up_to:
            self.stored_index = max(self.stored_index, storing.popleft()[1])
        assert self.stored_index <= self.log.last_index, "I2: stored beyond the log"

    def truncate(self, first: int) -> None:
        """Forget entry `first` and after, also where their storing is still under way."""
        assert first > self.commit_index, "a committed entry was about to be truncated"
        self.log.truncate(first)
        self.stored_index = min(self.stored_index, first - 1)
        self._storing = deque((number, min(index, first - 1)) for number, index in self._storing)
        self.drop_configurations(first)

    def stand_at(self, mark: SnapshotMark) -> None:
        """The log begins after the snapshot `mark`."""
        self.snapshot = mark
        self.log.reset(mark.index, mark.term)
        self.stored_index = self.commit_index = mark.index
        self._storing.clear()
        self.last_time_us = max(self.last_time_us, mark.time_us)
        self.configurations = [(mark.index, mark.configuration)]
        self.use_configuration(mark.configuration)

    def append(self, term: int, size: int, configuration: Configuration | None) -> int:
        """Take one more entry, of `size` bytes, into the log; return its index."""
        index = self.log.append(term, size)
        if configuration is not None:
            self.add_configuration(index, configuration)
        return index

    def recover_entries(self, entries: tuple[EntryMeta, ...]) -> None:
        """Take the entries that the disk holds after the snapshot. If the one at its index is another, they are
        left from before it was fetched, and are not ours any more (section 7)."""
        for entry in entries:
            if entry.index == self.log.base_index and entry.term != self.log.base_term:
                break
            if entry.index > self.log.last_index:
                assert entry.index == self.log.last_index + 1, "the recovered log has a gap"
                self.append(entry.term, entry.size, entry.configuration)
        self.stored_index = self.log.last_index

    # Roles.

    def draw_election_deadline(self) -> None:
        """Wait for one to two election timeouts (Raft, section 5.2: randomised, against split votes)."""
        timeout = self.settings.election_timeout_us
        self.election_deadline_us = self.now_us + timeout + self.random.randrange(timeout) + self._deference_us()

    def _deference_us(self) -> int:
        """How long this node lets those of a higher priority stand first."""
        if not self.configuration.priorities:
            return 0
        priority = self.configuration.priority
        own = priority(self.node)
        return len({priority(node) for node in self.candidates if priority(node) > own}) * (
            self.settings.election_timeout_us // 2
        )

    def set_election_timer(self) -> None:
        self.out.append(SetTimer(ELECTION, max(1, self.election_deadline_us - self.now_us)))

    def enter_term(self, term: int) -> None:
        """A newer term was seen: no vote in it yet. The caller persists, with the vote where it gives one."""
        assert term > self.term, "I1: the term went backwards"
        self.term = term
        self.vote = None

    def become_follower(self, leader: NodeId | None) -> None:
        """Follow `leader`, or nobody yet. What only a leader or candidate knows is forgotten."""
        was_leader = self.role == LEADER
        self.role = FOLLOWER
        self.leader = leader
        self.tally = None
        if was_leader:
            self.progress = {}
            self.acked = {}
            self.uncommitted_bytes = 0
            self.draw_election_deadline()
            self.set_election_timer()

    @property
    def may_stand(self) -> bool:
        """Whether this node should lead, if the others let it: what it says must be sound, and storable."""
        fit = self.may_vote and not self.storage_full and not self.state_differs
        return fit and self.node in self.candidates

    def in_lease(self) -> bool:
        """Whether a leader was heard within the last election timeout, so that nobody else is wanted
        (Ongaro 2014, section 4.2.3). A leader that checks its quorum is in its own lease."""
        if self.role == LEADER:
            return True
        heard = self.leader is not None or self.settings.lease_reads
        return heard and self.now_us - self.leader_heard_us < self.settings.election_timeout_us

    def commit(self, index: int) -> None:
        """Everything up to `index` is decided."""
        assert index >= self.commit_index, "I1: the commit index went backwards"
        assert index <= self.log.last_index, "committed beyond the log"
        if index > self.commit_index:
            self.out.append(Commit(self.commit_index + 1, index))
            self.commit_index = index

    def send(self, to: NodeId, message: object) -> None:
        self.out.append(Send(to, message))
