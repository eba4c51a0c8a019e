"""The deterministic world of a committee of which up to T members lie: the same nodes, drivers and clients.

Signatures are tokens that cannot be forged inside the simulator, at a fraction of the price; with `real` they are
Ed25519, so that certificates and evidence hold outside of it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from random import Random
from typing import Any

from quorum.certificate.committee import Committee, Member
from quorum.certificate.epochs import EpochChange
from quorum.certificate.evidence import Evidence, accused, verify_evidence, votes_of
from quorum.certificate.keys import is_signed
from quorum.certificate.vote import SigningDomain
from quorum.checkers.violation import Violation
from quorum.entry import Buffer
from quorum.errors import RemoteProtocolError
from quorum.header import Header
from quorum.model import Configuration, NodeId
from quorum.protocols.effects import Signed
from quorum.protocols.pbft.messages import PrePrepare
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.pbft.settings import Settings
from quorum.protocols.pbft.state import PRIMARY
from quorum.runtime.ports import Ports, Timers, Verifier
from quorum.runtime.session_settings import SessionSettings
from quorum.sim.adversary import BEHAVIOURS, Liar
from quorum.sim.byzantine_branches import ByzantineBranches
from quorum.sim.byzantine_churn import KEY_RENEWED, outsiders
from quorum.sim.byzantine_client import ByzantineSimClient
from quorum.sim.client import SimClient
from quorum.sim.late_verifier import LateVerifier
from quorum.sim.node import SimNode, SimTransport
from quorum.sim.world import World

CLUSTER = "simulated"


class Key:
    """A key pair of one participant."""

    def __init__(self, seed: bytes, real: bool) -> None:
        from nacl.signing import SigningKey

        key = SigningKey(blake2b(seed, digest_size=32).digest())
        self.public = bytes(key.verify_key)
        self._secret = bytes(key)
        self._key = key if real else None

    def sign(self, message: bytes) -> bytes:
        """64 bytes that only this key makes of this message."""
        if self._key is not None:
            return self._key.sign(message).signature
        return blake2b(message, key=self._secret, digest_size=64).digest()


def committee_with(
    keys: Mapping[NodeId, Key], faults: int, weights: Sequence[int] = (), quorums: str = ""
) -> Committee:
    """The first committee of a world: members with these keys and, where there are any, these weights."""
    votes = weights or (1,) * len(keys)
    members = tuple(Member(name, keys[name].public, vote) for name, vote in zip(sorted(keys), votes, strict=True))
    return Committee(CLUSTER, 1, members, faults, quorums)


class SimVerifier:
    """runtime.ports.Verifier: each distinct signature is checked once in a world."""

    def __init__(self, real: bool) -> None:
        self._real = real
        self._known: dict[Signed, bool] = {}
        self.keys: dict[bytes, Key] = {}
        self.asked = 0
        """How many checks the members asked for; `checked` were made, the others known."""

    @property
    def checked(self) -> int:
        """How many distinct signatures were checked."""
        return len(self._known)

    def verify(self, items: Sequence[Signed], done: Callable[[tuple[bool, ...]], None]) -> None:
        self.asked += len(items)
        done(tuple(map(self.is_right, items)))

    def is_right(self, item: Signed) -> bool:
        """Whether it was signed by the holder of the key."""
        known = self._known.get(item)
        if known is None:
            if self._real:
                known = is_signed(item.public_key, item.message, item.signature)
            else:
                key = self.keys.get(item.public_key)
                known = key is not None and key.sign(item.message) == item.signature
            self._known[item] = known
        return known


class MemberTransport(SimTransport):
    """What a member's driver sends; where it lies, after its behaviour had its way with it."""

    def __init__(self, world: ByzantineWorld, node: NodeId) -> None:
        super().__init__(world, node)
        self._world = world
        self._liars = world.liars

    def send(self, to: NodeId, message: object, attached: Sequence[Buffer], later: bool = False) -> None:
        liar = self._liars.get(self._node)
        replica = self._world.nodes[self._node].replica
        if liar is None:
            if type(message) is PrePrepare and isinstance(replica, PbftReplica):
                self._world.branches.proposes(replica.state, message)
            super().send(to, message, attached, later)
            return
        if isinstance(replica, PbftReplica):
            liar.committee = replica.state.committee
        try:
            lies = liar.lie(to, message, attached)
        except RemoteProtocolError:  # a block of an epoch that is over
            lies = [(message, tuple(attached))]
        for said, pieces in lies:
            with suppress(RemoteProtocolError):  # bytes that nobody can read end at the other end's door
                super().send(to, said, pieces, later)


class ByzantineWorld(World):
    """`behaviours` says which members lie and how (sim.adversary.BEHAVIOURS). Everything that honest members
    decide, compute and report is checked; what liars say of themselves is not. `spares` follow from the start, and
    have no vote before a committee names them. With `verify_us` checks of signatures take up to so long, on two
    threads of each node. `weights` are the members' votes, in the order of their names, where they are not one
    each; `quorums` is an expression over them (certificate.committee).
    """

    def __init__(
        self,
        seed: int,
        nodes: int,
        faults: int,
        behaviours: Mapping[NodeId, str],
        settings: Settings | None = None,
        trace_keep: int = 0,
        wire: bool = False,
        disk: bool = False,
        real: bool = False,
        spares: int = 0,
        verify_us: int = 0,
        weights: Sequence[int] = (),
        quorums: str = "",
    ) -> None:
        names = sorted(f"n{i}" for i in range(1, nodes + 1))
        self._real = real
        self._verify_us = verify_us
        others = outsiders(nodes, spares)
        self._keys = {name: Key(f"{seed}/{name}".encode(), real) for name in (*names, *others)}
        self._renewed = 0
        self._client_keys: dict[str, Key] = {}
        self.verifier = SimVerifier(real)
        for key in self._keys.values():
            self.verifier.keys[key.public] = key
        self.committee = committee_with({name: self._keys[name] for name in names}, faults, weights, quorums)
        self.request_domain = SigningDomain(CLUSTER, 0)
        self.pbft = settings or Settings()
        self.evidence: list[Evidence] = []
        self.liars: dict[NodeId, Liar] = {}
        self.seed = seed
        for name, how in sorted(behaviours.items()):
            self.corrupt(name, how)
        configuration = Configuration(self.committee.epoch, self.committee.nodes)
        super().__init__(seed, configuration, None, trace_keep, wire, disk, others)
        for name in others:
            self.nodes[name].bootstrap = configuration
        self.branches: ByzantineBranches = ByzantineBranches(self.sometimes)  # type: ignore[assignment]

    def client_key(self, name: str) -> Key:
        """The key of one client."""
        key = self._client_keys.get(name)
        if key is None:
            key = self._client_keys[name] = Key(f"{self.seed}/client/{name}".encode(), self._real)
            self.verifier.keys[key.public] = key
        return key

    @property
    def honest(self) -> tuple[NodeId, ...]:
        """The members that do not lie."""
        return tuple(name for name in self.nodes if name not in self.liars)

    def public_key(self, name: NodeId) -> bytes:
        """With which a node signs now."""
        return self._keys[name].public

    def newest_committee(self) -> Committee | None:
        """The newest that an honest node that runs knows of."""
        known = [node.replica.state.committee for node in self._running()]
        return max(known, key=lambda committee: committee.epoch, default=None)

    def changes(self, node: NodeId) -> Sequence[EpochChange]:
        replica = self.nodes[node].replica
        return replica.state.epochs.changes if isinstance(replica, PbftReplica) else ()

    def was_member(self, name: NodeId) -> bool:
        """Whether some committee had the key with which this node signs now."""
        known = [node.replica.state.epochs for node in self._running()]
        committees = max(known, key=lambda epochs: len(epochs.committees)).committees if known else []
        return any(self.public_key(name) in committee.keys.values() for committee in committees)

    def _running(self) -> list[Any]:
        return [self.nodes[name] for name in self.honest if self.nodes[name].replica is not None]

    def renew_key(self, name: NodeId) -> None:
        """A node that left gets a fresh key, and begins another life with it."""
        self._renewed += 1
        key = self._keys[name] = Key(f"{self.seed}/{name}/{self._renewed}".encode(), self._real)
        self.verifier.keys[key.public] = key
        self.sometimes.reached(KEY_RENEWED)
        if self.nodes[name].is_up:
            self.crash(name)
            self.restart(name)

    def corrupt(self, name: NodeId, how: str) -> None:
        """From now on this member lies, as the behaviour of this name does."""
        random = Random(f"{self.seed}/liar/{name}")
        self.liars[name] = BEHAVIOURS[how](name, self.committee, self._keys[name].sign, random)

    # What runs on a node.

    def transport_of(self, node: NodeId) -> SimTransport:
        """What leaves a member leaves through it."""
        return MemberTransport(self, node)

    def make_steward(self, replica: object) -> None:
        """Nobody: no leader alone chooses among members that may lie."""

    def make_replica(self, node: NodeId, random: Random, settings: object) -> PbftReplica:  # type: ignore[override]
        key = self._keys[node]
        return PbftReplica(node, self.committee, key.sign, self.pbft, key.public)

    def make_ports(self, node: SimNode, timers: Timers) -> Ports:
        verifier: Verifier = self.verifier
        if self._verify_us:
            random = self.random(f"verifier/{node.node}/{node.life}")
            verifier = LateVerifier(verifier, random, self._verify_us, lambda: self.now_us, node.from_threads)
        return Ports(node.log, node.snapshots, self.transport_of(node.node), timers, node.clock, verifier)

    def make_client(
        self, name: str, on_answer: Callable[..., None], settings: SessionSettings | None
    ) -> SimClient:
        return ByzantineSimClient(self, name, on_answer, settings)

    @property
    def digest_entries(self) -> int:
        return self.pbft.state_blocks

    def leader(self) -> NodeId | None:
        """The honest primary of the newest view, if there is one."""
        best: tuple[int, NodeId] | None = None
        for name in self.honest:
            node = self.nodes[name]
            if node.replica is not None and node.replica.state.role == PRIMARY:
                best = max(best or (-1, ""), (node.replica.state.view, name))  # type: ignore[attr-defined]
        return best[1] if best else None

    # Invariants, of honest members alone.

    def misbehaved(self, by: NodeId, node: NodeId, what: str) -> None:
        self.count(("accused", by, node, what))
        if by not in self.liars and node not in self.liars:
            super().misbehaved(by, node, what)

    def accused(self, by: NodeId, evidence: Evidence) -> None:
        """Evidence names liars alone, and convinces whoever checks it."""
        name = accused(evidence)
        self.count(("evidence", by, name))
        if by in self.liars:
            return
        if name not in self.liars:
            raise Violation(
                "no evidence ever names an honest member", f"{by} has evidence against {name}", (name,)
            )
        replica = self.nodes[by].replica
        assert isinstance(replica, PbftReplica), "who reports runs"
        committee = replica.state.epochs.committee_of(votes_of(evidence)[0].view)
        if self._real and (committee is None or not verify_evidence(evidence, committee).valid):
            raise Violation("evidence convinces everybody", f"{by} found {evidence}", (name,))
        self.evidence.append(evidence)
        self.sometimes.reached("evidence found")

    def role_changed(self, node: SimNode, role: str, term: int) -> None:
        self.count(("role", node.node, role, term))
        assert node.replica is not None
        self.branches.role_changed(node.replica.state)  # type: ignore[arg-type]
        if role == PRIMARY:
            self.leaders += 1
            self.sometimes.reached("primary begins a view")

    def entry_applied(self, node: NodeId, header: Header) -> None:
        self.agreement.committed(node, header.index, header.term, header.digest)
