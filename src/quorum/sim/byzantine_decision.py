"""One decision among simulated nodes of which some lie: real PBFT replicas, signed requests, Ed25519."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

import msgspec

from quorum.apps import decide
from quorum.apps.answer import OK
from quorum.apps.catalogue import DECIDE_APP
from quorum.certificate.block import BlockCertificate, verify_block
from quorum.certificate.committee import Committee, Member
from quorum.certificate.genesis import encode_genesis
from quorum.certificate.requests import sign_request
from quorum.checkers.violation import Violation
from quorum.errors import ConfigurationError, NoQuorum
from quorum.header import Batch
from quorum.membership.observation import Limits
from quorum.model import NodeId, check_fault_budget
from quorum.protocols.pbft.blocks import Block, read_past_block
from quorum.protocols.pbft.messages import Forward
from quorum.protocols.pbft.settings import Settings
from quorum.protocols.pbft.state import PbftState
from quorum.runtime.messages import ApproveRequest, Result, SubmitSigned
from quorum.sim.byzantine_adaptive import AdaptiveWorld
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.node import SimNode
from quorum.sim.one_decision import ROUND_US, DecidingWorld, Mark, Nobody
from quorum.sim.seats import Operator, Voters

SETTINGS = Settings(backoff_max=3, state_blocks=1_000_000)
"""Views that fail one after the other do not make the next one wait for long; the log is kept whole."""
TIMEOUT_MAX_US = SETTINGS.view_timeout_us << SETTINGS.backoff_max
_NOBODY = Nobody()
_PROPOSALS = msgspec.msgpack.Decoder(list[decide.Decide])
_TOLD = msgspec.msgpack.Decoder(list[decide.Decision])


class ByzantineDecision(DecidingWorld, ByzantineWorld):
    """Each node has a client's key of its own besides its member's key, and signs what it proposes with it.

    With more than T liars nothing is promised. What breaks then ends the world (`is_broken`) instead of raising.
    """

    def __init__(self, seed: int, nodes: int, faults: int) -> None:
        ByzantineWorld.__init__(self, seed, nodes, faults, {}, SETTINGS, real=True)
        self.patience_us = 12_000_000 + (faults + 1) * TIMEOUT_MAX_US
        self.is_broken = False
        self._sealed = 0
        self._operator = Operator()

    def begin(self) -> None:
        self.boot()
        self.run(self.now_us + ROUND_US)

    # Time, as far as promises hold.

    @property
    def is_safe(self) -> bool:
        """Whether every two quorums still share an honest node."""
        nodes = self.acting.nodes
        lying = len(self.liars.keys() & set(nodes))
        return not self.is_broken and 2 * self.threshold - len(nodes) > lying

    @property
    def threshold(self) -> int:
        """How many members decide together."""
        return (len(self.acting.nodes) + self.acting.faults) // 2 + 1

    @property
    def acting(self) -> Committee:
        """The committee that decides now, as far as an honest node that runs knows."""
        return self.newest_committee() or self.committee

    def run(self, until_us: int) -> None:
        if not self.is_broken:
            with self._promises():
                super().run(until_us)

    def run_until(self, reached: Callable[[], bool], within_us: int) -> bool:
        if not self.is_broken:
            with self._promises():
                return super().run_until(reached, within_us)
        return False

    @contextmanager
    def _promises(self) -> Iterator[None]:
        """Let through what is raised, unless more lie than anybody promised to bear."""
        try:
            yield
        except (Violation, AssertionError):
            if len(self.liars) <= self.committee.faults:
                raise
            self.is_broken = True

    # Proposals.

    def say(self, source: NodeId, to: NodeId, message: object) -> None:
        """Through the node's own transport: a liar lies here, too."""
        self.transport_of(source).send(to, message, ())

    def sealed(self, node: NodeId, body: bytes) -> bytes:
        """A request signed with the node's client's key: no other node can make or change one."""
        self._sealed += 1
        key = self.client_key(node)
        batch = Batch(DECIDE_APP, 0, self._sealed, 0, 1, body)
        return sign_request(self.request_domain, batch, key.public, key.sign)

    def propose(self, node: SimNode, proposal: bytes) -> None:
        """To everybody, as a client does: a primary that lies cannot keep it from the others."""
        node.request(_NOBODY, SubmitSigned(0), (proposal,))
        for other in self.nodes:
            if other != node.node and node.is_up:
                self.say(node.node, other, Forward(state_of(node).view, (proposal,)))
        self.run_until(lambda: not node.is_up or self.mark_of(node) is not None, self.patience_us // 4)
        self.run(self.now_us + ROUND_US)

    def needs_no_help(self, node: SimNode) -> bool:
        return self.learned(node) is not None

    def mark_of(self, node: SimNode) -> Mark:
        """The value that the node's log would decide: a lying primary may have given others another."""
        decision = self.learned(node)
        if decision is not None:
            return decision.value
        state = state_of(node)
        return next(
            (value for _, value in self._proposed(node, min(state.stored_sequence, state.chain.last))), None
        )

    def _proposed(self, node: SimNode, last: int) -> Iterator[tuple[Block, bytes]]:
        """What is proposed in the blocks that the node's log holds up to `last`, in order."""
        first = state_of(node).chain.base + 1
        committees = state_of(node).epochs.by_hash
        for entry in node.log.read(first, last, 1 << 40) if first <= last else ():
            block = read_past_block(node.node, entry, committees)
            for request in block.requests:
                if request.batch.app == DECIDE_APP:
                    yield from ((block, each.value) for each in _PROPOSALS.decode(request.batch.body))

    # Decisions.

    def voters(self) -> Voters:
        return Voters(self.acting.nodes, self.threshold, self.acting.system)

    def evict(self, node: NodeId) -> None:
        """The operators of all honest members approve of a committee without it."""
        acting = self.acting
        if node not in acting.nodes:
            raise ConfigurationError(
                f"{node} was to be put out of the vote, but it has none. Those who vote are "
                f"{', '.join(acting.nodes)}."
            )
        self._approve(
            tuple(name for name in acting.nodes if name != node), f"{node} was to be put out of the vote"
        )

    def readmit(self, node: NodeId) -> None:
        """With a fresh key: nobody can tell what the old one signed meanwhile."""
        acting = self.acting
        if node in acting.nodes:
            raise ConfigurationError(
                f"{node} was to be given its vote back, but it has one. Nothing is to be done."
            )
        if self.was_member(node):
            self.renew_key(node)
        self._approve(tuple(sorted((*acting.nodes, node))), f"{node} was to be given its vote back")

    def _approve(self, names: tuple[NodeId, ...], asked: str) -> None:
        acting = self.acting
        try:
            check_fault_budget(len(names), acting.faults, "byzantine")
        except ConfigurationError as error:
            raise ConfigurationError(f"{asked}, but then {error}") from None
        members = tuple(Member(name, self.public_key(name)) for name in names)
        body = encode_genesis(Committee(acting.cluster, acting.epoch + 1, members, acting.faults))
        for name in self.honest:
            self.nodes[name].request(self._operator, ApproveRequest(self._operator.next()), (body,))
        if not self.run_until(lambda: self.acting.epoch > acting.epoch, self.patience_us):
            raise NoQuorum(
                f"{asked}, but no quorum decided on it. Recover or reconnect nodes, then try again.", ()
            )
        self.settle()

    def word_of(self, node: SimNode) -> decide.Decision | None:
        """The decision as the node tells it to whoever asks, which may be a lie or nothing at all."""
        decision, liar = self.learned(node), self.liars.get(node.node)
        if decision is None or liar is None:
            return decision
        told = liar.tells(Result(0, OK), (msgspec.msgpack.encode([decision]),))
        try:
            return next((_TOLD.decode(b"".join(body))[0] for said, body in told if said == Result(0, OK)), None)
        except (msgspec.DecodeError, ValueError, IndexError):  # UnicodeDecodeError is a ValueError
            return None

    def proof_of(self, value: bytes) -> BlockCertificate | None:
        """A certificate, verified, of the block that decided `value`, or else of the first one after it that has
        votes of its own: votes for a block are votes for all before it. None: no running node can prove it."""
        proofs = [
            proof
            for node in self.nodes.values()
            if node.is_up and (proof := self._proof_at(node, value)) is not None
        ]
        return min(proofs, key=lambda proof: proof.header.sequence, default=None)

    def _proof_at(self, node: SimNode, value: bytes) -> BlockCertificate | None:
        state = state_of(node)
        block, first = next(self._proposed(node, state.commit_sequence), (None, b""))
        if block is None or first != value:
            return None
        sequence = state.certificate_from(block.header.sequence)
        if sequence is None:
            return None
        certificate = state.certify(sequence, *state.certificates[sequence])
        links = state.chain.links(block.header.sequence, sequence)
        leads = links[0].digest == block.digest and all(
            after.header.parent == before.header.digest() for before, after in pairwise(links)
        )
        signed_by = next(
            (one for one in state.epochs.committees if one.epoch == certificate.epoch), self.committee
        )
        return certificate if leads and verify_block(certificate, signed_by).valid else None

    def settle(self) -> None:
        self.run(self.now_us + 3 * ROUND_US)
        self.run_until(self._is_level, self.patience_us)

    def _is_level(self) -> bool:
        states = [state_of(self.nodes[name]) for name in self.honest if self.nodes[name].is_up]
        return len({state.commit_sequence for state in states}) <= 1


class AdaptiveDecision(ByzantineDecision, AdaptiveWorld):
    """The policy `adaptive`: members evict by themselves who is proven to lie, or complained of by T+1."""

    limits = Limits(hold_us=15_000_000, stable_us=10_000_000, lag_entries_max=1_000)
    turn_us = 1_000_000

    def _judge(self, before: Committee, after: Committee) -> None:
        """Operators change the committee here, too, and need no reason."""


def state_of(node: SimNode) -> PbftState:
    """The replica's memory, of a running node."""
    assert node.replica is not None, "only a running node is asked"
    return cast(PbftState, node.replica.state)
