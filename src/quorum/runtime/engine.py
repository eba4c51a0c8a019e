"""What differs between a node whose cluster may crash and one whose cluster may lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random, SystemRandom

import msgspec

from quorum.certificate.block import BlockCertificate
from quorum.certificate.block_forms import encode_json
from quorum.certificate.chain_forms import encode_chain
from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange, leading_to
from quorum.certificate.evidence import Evidence, votes_of
from quorum.certificate.genesis import FILE_NAME
from quorum.errors import ConfigurationError, NotLeader
from quorum.membership.committee_policy import ADAPTIVE, Wish, floor_of, silence_of
from quorum.model import Configuration, NodeId
from quorum.protocols.pbft.approving import approvals_seen, committees_seen
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.raft.change import DEPARTED_BEATS
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.state import LEADER
from quorum.runtime.byzantine_config import committee_of, limits_of, settings_of
from quorum.runtime.committee_keeper import APPROVALS_MAX, Blame, CommitteeKeeper, Tell
from quorum.runtime.committee_weigher import CommitteeWeigher
from quorum.runtime.config import ClusterConfig, NodeConfig
from quorum.runtime.driver import Driver
from quorum.runtime.evidence_book import EvidenceBook
from quorum.runtime.fresh_keys import FreshKeyFile
from quorum.runtime.keyring import load_public_keys
from quorum.runtime.participation_config import load_policy
from quorum.runtime.ports import Ports, Transport, Verifier
from quorum.runtime.reckoning import Reckoner
from quorum.runtime.status import Evicted, Proposed
from quorum.runtime.steward import RaftSteward
from quorum.runtime.verifying import CachingVerifier


class Seen(msgspec.Struct, frozen=True):
    """What a node's replica knows of its part: see runtime.status.NodeStatus, which has the same names."""

    role: str
    term: int
    leader: NodeId | None
    reads: str
    writes: str
    commit_index: int
    last_index: int
    snapshot_index: int
    may_vote: bool
    catching_up: tuple[NodeId, ...] = ()
    matched: dict[NodeId, int] = {}
    accused: dict[NodeId, int] = {}
    evidence: dict[NodeId, str] = {}
    faults: int = 0
    committee: str = ""
    approvals: dict[str, tuple[NodeId, ...]] = {}
    proposed: tuple[Proposed, ...] = ()
    policy: str = ""
    explained: dict[NodeId, str] = {}
    policy_waits: str = ""
    health: dict[NodeId, str] = {}
    weighing: str = ""
    last_term: int = 0
    floor: int = 0
    evicted: tuple[Evicted, ...] = ()
    complaints: dict[NodeId, tuple[NodeId, ...]] = {}
    refused: str = ""


class RaftEngine:
    """Members may crash.

    `begun`: whether all that the replica wanted durable at first is so. `decided_configuration`: the one that is
    committed here, and whether a newer one is not yet. `seen`: for operators. `followers`: dialled whether or not
    they are members now.
    """

    verifier: Verifier | None = None
    is_eager = True

    def __init__(self, config: NodeConfig, cluster: ClusterConfig) -> None:
        settings = cluster.raft_settings()
        self.replica = RaftReplica(config.node, Random(SystemRandom().getrandbits(256)), settings)
        function = load_policy(cluster.participation.function, config.cluster.parent)
        limits = cluster.participation.limits()
        self.steward: RaftSteward = RaftSteward(self.replica, settings.heartbeat_us, limits, function)
        self.digest_entries = cluster.limits.digest_entries
        self.farewell_us = DEPARTED_BEATS * settings.election_timeout_us
        self.followers: frozenset[NodeId] = frozenset()

    def begun(self) -> bool:
        state = self.replica.state
        return state.persists_stored >= state.persists

    def decided_configuration(self) -> tuple[Configuration, bool]:
        state = self.replica.state
        index, configuration = state.configurations[-1] if state.configurations else (0, state.configuration)
        if index > state.commit_index:
            return state.configuration_at(state.commit_index), True
        return configuration, False

    def accuse(self, evidence: Evidence) -> None:
        """Nothing: where members only crash nobody has any."""

    def attend(self, driver: Driver, ports: Ports, blame: Blame, tell: Tell) -> None:
        """Nobody watches over the members here."""

    def seen(self) -> Seen:
        state = self.replica.state
        change = state.pending_change
        return Seen(
            state.role,
            state.term,
            state.leader,
            str(state.system.reads),
            str(state.system.writes),
            state.commit_index,
            state.log.last_index,
            state.snapshot.index if state.snapshot is not None else 0,
            state.may_vote,
            () if change is None else tuple(sorted(change.arriving - change.ready)),
            dict(sorted(state.acked.items())) if state.role == LEADER else {},
            policy=state.configuration.policy,
            explained=self.steward.explained(),
            health=self.steward.states(),
            policy_waits=self.steward.why_not,
            weighing=self.steward.weighing,
            last_term=state.log.last_term,
        )


class PbftEngine:
    """Members may lie; methods as RaftEngine's. Raises ConfigurationError where keys are missing, or this member's
    is not the one in the list."""

    def __init__(self, config: NodeConfig, cluster: ClusterConfig) -> None:
        from quorum.certificate.keys import check_library

        check_library()
        self.committee = committee_of(cluster, config.keys)
        self._fresh = FreshKeyFile(config.data, config.keys, config.node)
        self._policy, self._limits = cluster.policy, limits_of(cluster)
        self.keeper: CommitteeKeeper | None = None
        self.weigher: CommitteeWeigher | None = None
        self.signer = self._fresh.signer()
        if not self._fresh.is_used and load_public_keys(config.keys).get(config.node) != self.signer.public_key:
            raise ConfigurationError(
                f"{config.node} was to vote with the key in {config.keys}, but the list there has another public "
                "key for it. Put back the key that was made with the list."
            )
        settings = settings_of(cluster)
        key = self.signer
        self.replica = PbftReplica(config.node, self.committee, key.sign, settings, key.public_key)
        genesis = config.keys.absolute().parent / FILE_NAME
        self.evidence = EvidenceBook(config.data, self._committee_of, genesis, self._changes_to)
        self.verifier = CachingVerifier()
        self.is_eager = False
        self.steward: RaftSteward | None = None
        self.digest_entries = settings.state_blocks
        self.farewell_us = 0
        self.followers = frozenset(member.id for member in cluster.members)

    def _committee_of(self, evidence: Evidence) -> Committee:
        """Whose keys judge the evidence."""
        committee = self.replica.state.epochs.committee_of(votes_of(evidence)[0].view)
        assert committee is not None, "evidence was verified, by the committee of its view"
        return committee

    def _changes_to(self, epoch: int) -> Sequence[EpochChange]:
        return leading_to(self.replica.state.epochs.changes, epoch)

    def begun(self) -> bool:
        state = self.replica.state
        return state.persists_stored >= state.persists

    def decided_configuration(self) -> tuple[Configuration, bool]:
        return self.replica.configuration, False

    def accuse(self, evidence: Evidence) -> None:
        """Keep what proves that a member lied."""
        self.evidence.add(evidence)

    def attend(self, driver: Driver, ports: Ports, blame: Blame, tell: Tell) -> None:
        """With the policy `adaptive` somebody watches over the committee beside the driver, and somebody over the
        weights where they follow the network."""
        if self._policy == ADAPTIVE:
            of_driver = (driver.approve, driver.keep)
            self.keeper = CommitteeKeeper(self.replica, ports, self._fresh, *of_driver, blame, tell, self._limits)
            driver.attend(self.keeper)
        if driver.beside.echoes is not None:
            of_node = (driver.approve, blame, tell, self._is_changing, Reckoner(self._wake))
            self.weigher = CommitteeWeigher(self.replica, ports, driver.beside.echoes, *of_node)
            driver.attend(self.weigher)

    def _is_changing(self) -> bool:
        """Whether a member should leave or join, as far as this one wants it."""
        return self.keeper is not None and self.keeper.wish.changes

    def _wake(self) -> None:
        self.verifier.woken()

    def seen(self) -> Seen:
        state = self.replica.state
        decide = str(state.decide)
        return Seen(
            state.role,
            state.view,
            self.replica.leader,
            decide,
            decide,
            state.commit_sequence,
            state.chain.last,
            state.snapshot.index if state.snapshot is not None else 0,
            state.may_sign,
            accused=self.evidence.accused,
            evidence=self.evidence.files,
            faults=state.committee.faults,
            committee=state.committee.membership_hash.hex(),
            approvals=approvals_seen(state),
            proposed=tuple(
                Proposed(wanted.epoch, wanted.nodes, wanted.faults, approved)
                for wanted, approved in committees_seen(state)
            ),
            floor=floor_of(state.committee.faults),
            evicted=() if self.keeper is None else self.keeper.out(),
            complaints={} if self.keeper is None else self.keeper.complaints(),
            refused="" if self.keeper is None else refused_by(self.replica, self.keeper.wish),
            weighing="" if self.weigher is None else self.weigher.why_not,
        )


def refused_by(replica: PbftReplica, wish: Wish) -> str:
    """Why somebody who should leave, or may join, does not: the policy's reason, or that this member has approved
    of so many committees that it does so by itself no more."""
    state = replica.state
    approved = [committee.nodes for committee in state.gathered.approved_by(state.node)]
    is_silent = len(approved) >= APPROVALS_MAX and wish.members(state.committee.nodes) not in approved
    silence = silence_of(wish, state.node, len(approved)) if is_silent else ""
    return " ".join(filter(None, (silence, wish.refused)))


Lie = Callable[[Transport, "RaftEngine | PbftEngine"], Transport]
"""For drills: takes what sends a node's messages, and its engine, and gives what lies."""


def honest(transport: Transport, engine: RaftEngine | PbftEngine) -> Transport:
    """Every message leaves as it is."""
    return transport


def engine_of(config: NodeConfig, cluster: ClusterConfig) -> RaftEngine | PbftEngine:
    """The engine that the cluster's model asks for."""
    return PbftEngine(config, cluster) if cluster.model == "byzantine" else RaftEngine(config, cluster)


def newest_certificate(driver: Driver, leader: NodeId | None, changes: Sequence[EpochChange]) -> bytes:
    """What proves the newest decision here, and with it every one before, as JSON; with the changes of epoch that
    lead to those who signed it. Raises NotLeader while nothing was decided in this life."""
    certificate = driver.certificate
    if not isinstance(certificate, BlockCertificate):
        raise NotLeader(leader)
    before = leading_to(changes, certificate.epoch)
    return encode_chain(before, certificate) if before else encode_json(certificate)
