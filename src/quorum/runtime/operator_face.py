"""What an operator may ask of a node: how it sees itself, what proves a decision, and the faults of a drill."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from msgspec.structs import asdict, replace

from quorum.apps import decide
from quorum.apps.catalogue import DECIDE_APP
from quorum.apps.host import Host
from quorum.apps.witness import Witness
from quorum.certificate import DecisionCertificate, digest_of, encode_json
from quorum.entry import Buffer
from quorum.errors import LocalProtocolError, NotLeader, QuorumError
from quorum.model import Configuration, NodeId
from quorum.protocols.raft.state import LEADER
from quorum.runtime.config import ClusterConfig
from quorum.runtime.driver import Driver
from quorum.runtime.engine import PbftEngine, RaftEngine, newest_certificate
from quorum.runtime.ledger_face import prove_here
from quorum.runtime.network import Network
from quorum.runtime.status import NodeStatus, SeatTold, encode_status


class OperatorFace:
    """gateway.Operator of one node. `addresses`, `diverged` and `sync_us` are its own, which it goes on changing:
    where nodes are, whose state differs, and how long its last syncs took."""

    def __init__(
        self,
        cluster: ClusterConfig,
        engine: RaftEngine | PbftEngine,
        driver: Driver,
        host: Host | Witness,
        network: Network,
        addresses: Mapping[NodeId, str],
        diverged: Collection[NodeId],
        sync_us: Iterable[int],
    ) -> None:
        self._cluster = cluster
        self._engine = engine
        self._replica, self._driver, self._host = engine.replica, driver, host
        self._network = network
        self._addresses, self._diverged, self._sync_us = addresses, diverged, sync_us

    def status(self, answer: Callable[[bytes], None]) -> None:
        """Tell how this node sees itself now, once the digest of its state is computed."""
        status = self._status()

        def complete(_: int, digest: bytes) -> None:
            answer(encode_status(replace(status, state_digest=digest.hex())))

        self._driver.want_digest(complete)

    def _status(self) -> NodeStatus:
        """What the engine has seen, under the same names, and what is agreed, linked and used beside it."""
        seen, configuration = self._engine.seen(), self._replica.configuration
        told = asdict(seen)
        told["policy"] = seen.policy or self._cluster.policy
        told["floor"] = seen.floor or configuration.floor
        told |= _agreed(configuration) | self._links() | _usage() | self._syncs()
        return NodeStatus(
            node=self._replica.node,
            cluster=self._cluster.cluster_id,
            model=self._cluster.model,
            applied_index=self._driver.applied_index,
            state_digest="",
            diverged=tuple(sorted(self._diverged)),
            sessions=self._host.session_count,
            no_space=self._driver.is_full,
            round_trips=self._round_trips(),
            **told,
        )

    def _links(self) -> dict[str, Any]:
        """Who is reached, and where."""
        faults = self._network.faults
        return {
            "addresses": dict(sorted(self._addresses.items())),
            "connected": self._network.connected,
            "clients": self._network.clients,
            "blocked": tuple(sorted({*faults.blocked_in, *faults.blocked_out})),
        }

    def _syncs(self) -> dict[str, int]:
        """How long the last syncs took."""
        syncs = sorted(self._sync_us) or [0]
        return {"sync_p50_us": syncs[len(syncs) // 2], "sync_p99_us": syncs[len(syncs) * 99 // 100]}

    def _round_trips(self) -> dict[NodeId, dict[NodeId, int]]:
        """As far as this node knows them: those that the leader was told, or where members may lie all were."""
        if isinstance(self._engine, PbftEngine) and self._engine.weigher is not None:
            return self._engine.weigher.round_trips()
        echoes = self._driver.beside.echoes
        return {} if echoes is None else {node: dict(row) for node, row in echoes.reports().items()}

    def certificate(self, topic: str) -> bytes:
        """What proves the decision on `topic`: who stores it, by the leader's match indexes. Where members may
        lie, the signatures of a quorum under the newest block, which cover every decision before it."""
        if isinstance(self._engine, PbftEngine):
            changes = self._engine.replica.state.epochs.changes
            return newest_certificate(self._driver, self._replica.leader, changes)
        state = self._engine.replica.state
        if state.role != LEADER:
            raise NotLeader(state.leader)
        answer = self._host.query(DECIDE_APP, decide.encode_query([topic]))
        decision = decide.decode_answers(answer.body)[0]
        if not isinstance(decision, decide.Decision):
            raise QuorumError(
                f"a certificate for {topic[:80]!r} was asked for, but nothing was decided. Decide first."
            )
        electors = state.configuration.electors
        voters = tuple(node for node in electors if state.acked.get(node, 0) >= decision.index)
        if not state.system.is_write_quorum(voters):
            raise QuorumError(
                f"a certificate for {topic[:80]!r} was asked for, but this leader is new and has not heard yet "
                "who stores the decision. Ask again in a moment."
            )
        return encode_json(
            DecisionCertificate(
                cluster=self._cluster.cluster_id,
                epoch=decision.epoch,
                members=electors,
                voters=voters,
                tally=len(voters),
                index=decision.index,
                term=decision.term,
                topic=topic,
                value_digest=digest_of(decision.value),
            )
        )

    def prove(self, body: Buffer) -> bytes:
        """The proof of what a question to the ledger is about: runtime.ledger_face."""
        engine = self._engine
        changes = engine.replica.state.epochs.changes if isinstance(engine, PbftEngine) else ()
        return prove_here(self._host, self._driver.certificate, body, changes)

    def set_link_faults(self, blocked_in: tuple[str, ...], blocked_out: tuple[str, ...]) -> None:
        faults = self._network.faults
        before = faults.blocked_in
        faults.blocked_in = blocked_in
        try:
            faults.blocked_out = blocked_out
        except LocalProtocolError:
            faults.blocked_in = before  # all of it or nothing
            raise


def _agreed(configuration: Configuration) -> dict[str, Any]:
    """What the newest configuration says."""
    return {
        "epoch": configuration.epoch,
        "members": configuration.members,
        "voters": configuration.voters,
        "learners": configuration.learners,
        "witnesses": configuration.witnesses,
        "outgoing": () if configuration.outgoing is None else configuration.outgoing.electors,
        "priorities": dict(configuration.priorities),
        "weights": dict(configuration.weights),
        "tolerated": configuration.faults,
        "seats": {seat.node: SeatTold(seat.reason, seat.since_us, seat.flaps) for seat in configuration.seats},
        "incarnation": configuration.incarnation,
        "recovered": configuration.recovered,
    }


def _usage() -> dict[str, int]:
    """What this process takes of the machine."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "pid": os.getpid(),
        "memory_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "cpu_us": int((usage.ru_utime + usage.ru_stime) * 1e6),
    }
