"""The in-process quorum: N real replicas on a simulated network, no set-up.

The replicas run the protocol, driver and application code of production; only time, network and disks are
simulated. Time passes only inside the methods, and the same calls with the same seed give the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from quorum.apps import decide
from quorum.certificate.block import BlockCertificate
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import Evidence
from quorum.errors import ConfigurationError, LocalProtocolError, NodeFailed, NoQuorum
from quorum.membership.committee_policy import ADAPTIVE, FIXED, usual_policy
from quorum.membership.policy import CUSTOM, FLOOR, Policy, check_policy, usual
from quorum.model import FaultModel, NodeId, check_fault_budget
from quorum.sim.adversary import BEHAVIOURS
from quorum.sim.byzantine_decision import AdaptiveDecision, ByzantineDecision
from quorum.sim.crash_decision import CrashDecision
from quorum.sim.node import SimNode
from quorum.sim.one_decision import TOPIC, DecidingWorld, Mark, marked_alike

NODES_MAX = 101
"""Every node is a whole replica; beyond this use the planner, which needs none."""
WAIT_S_MAX = 1_000_000
_OF_LIARS = (FIXED, ADAPTIVE)
"""The policies that need no leader."""


class State(msgspec.Struct, frozen=True):
    """What one node sees after a status round. True when the proposal has reached its quorum.

    `participants`, `marked` and `missing` are node numbers: who votes, who told this node that the proposal is
    durably in its log, and who did not answer at all. `votes` is how many marked it, `threshold` how many must.
    Where nodes lie and several values are about, those count who marked the one that most have marked; up to T of
    them may say so falsely. That moves no decision: nodes decide by signed votes alone.
    """

    participants: tuple[int, ...]
    marked: tuple[int, ...]
    votes: int
    threshold: int
    missing: tuple[int, ...]
    reached: bool

    def __bool__(self) -> bool:
        return self.reached


class Quorum:
    """N nodes, numbered from 1, of which up to T may fail, and one decision among them.

    With model="crash" nodes run Raft, with model="byzantine" PBFT: up to T of them may then lie, or fail in any
    other way. Without T it is as many as N allows.

    `policy` says who votes: "fixed"; "adaptive", all who are well, an odd number (usual from N=5 on), or where
    nodes may lie all who are neither caught nor lost, 3T+1 at least (usual from N=3T+2 on); "participation", n =
    N-T+1 with standbys; or a function of your own (membership.policy). A policy acts on members that are lost for
    15 simulated seconds; `wait` lets time pass. Raises ConfigurationError, with the remedy, where N and T, or the
    policy, cannot work.
    """

    def __init__(
        self,
        N: int,
        T: int | None = None,
        model: FaultModel = "crash",
        seed: int = 0,
        policy: str | Policy | None = None,
    ) -> None:
        if T is None:
            check_fault_budget(N, 0, model)
            T = (N - 1) // (2 if model == "crash" else 3)
        check_fault_budget(N, T, model)
        if N > NODES_MAX:
            raise ConfigurationError(
                f"N={N} was asked for, but each node is a whole replica in this process and at most {NODES_MAX} "
                "are run. Use fewer nodes."
            )
        self._size, self._faults, self._model = N, T, model
        width = len(str(N)) if model == "crash" else 1
        self._names = {number: f"n{number:0{width}}" for number in range(1, N + 1)}
        self._numbers = {name: number for number, name in self._names.items()}
        self._lying: ByzantineDecision | None = None
        self._world: DecidingWorld
        name, function = _named(policy, N, T, model)
        check_policy(name, N, T, FLOOR)
        self._policy = name
        if model == "crash":
            self._world = CrashDecision(seed, tuple(self._numbers), name, T, function)
        else:
            kind = AdaptiveDecision if name == ADAPTIVE else ByzantineDecision
            self._world = self._lying = kind(seed, N, T)
        self._proposals: dict[int, bytes] = {}
        self._proposed = False
        self._decision: decide.Decision | None = None
        self._certificate: BlockCertificate | None = None
        self._world.begin()

    @property
    def N(self) -> int:
        """How many nodes there are."""
        return self._size

    @property
    def T(self) -> int:
        """How many of them may fail."""
        return self._faults

    @property
    def n(self) -> int:
        """How many participants the participation rule takes: N-T+1, and never more than there are."""
        return min(self._size, self._size - self._faults + 1)

    @property
    def policy(self) -> str:
        """The name of the policy that says who votes."""
        return self._policy

    # Who takes part.

    def participants(self) -> tuple[int, ...]:
        """Who votes now, by number: the newest committee that was decided, as far as a running node knows."""
        return tuple(sorted(self._numbers[name] for name in self._world.voters().nodes))

    def evict(self, node_id: int) -> None:
        """Take a node's vote, by a decision of the others; it goes on storing what they decide, and no policy
        gives the vote back. Raises ConfigurationError where it has none or nobody could decide without it,
        NoQuorum where no quorum can decide."""
        self._operate(self._world.evict, node_id)

    def readmit(self, node_id: int) -> None:
        """Give a node its vote back, once it has caught up; where nodes may lie, with a fresh key. Raises as
        `evict`."""
        self._running(node_id)
        self._operate(self._world.readmit, node_id)

    def wait(self, seconds: float = 30.0) -> None:
        """Let simulated time pass: a policy puts out who is lost for long, and takes back who is well again.
        Raises ConfigurationError for what is no time."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= WAIT_S_MAX:
            raise ConfigurationError(
                f"{seconds!r:.40} seconds were to pass, but that is no time. Give a number from 0 to {WAIT_S_MAX}."
            )
        self._world.run(self._world.now_us + int(seconds * 1_000_000))

    # Faults.

    def fail(self, node_id: int) -> None:
        """Crash a node: what it had not made durable is lost. A node that is down stays down."""
        self._world.crash(self._name(node_id))

    def recover(self, node_id: int) -> None:
        """Restart a crashed node from its disk. A node that is up goes on."""
        self._world.restart(self._name(node_id))
        self._world.settle()

    def partition(self, *groups: Sequence[int]) -> None:
        """Cut the network between these groups of nodes; nodes that are not named form one more group.

        Raises ConfigurationError for a node that does not exist, is in two groups, or is given without a group.
        """
        if any(isinstance(group, int) for group in groups):
            raise ConfigurationError(
                f"the partition {groups} was asked for, but each side of it is a group of nodes. "
                "Write the groups as lists, such as partition([1, 2], [3, 4, 5])."
            )
        named = [tuple(self._name(node) for node in group) for group in groups]
        flat = [name for group in named for name in group]
        if len(flat) != len(set(flat)):
            raise ConfigurationError(
                f"the partition {groups} was asked for, but a node is in it twice. Name each node once."
            )
        rest = tuple(name for name in sorted(self._numbers) if name not in flat)
        self._world.network.heal()
        self._world.network.partition(*named, *([rest] if rest else []))

    def heal(self) -> None:
        """Mend the network."""
        self._world.network.heal()
        self._world.settle()

    def corrupt(self, node_id: int, behaviour: str) -> None:
        """From now on a node lies, in the way of this name (sim.adversary.BEHAVIOURS).

        More than T may be corrupted, to see what happens; then there may be no decision, but never a wrong one.
        Raises ConfigurationError for an unknown behaviour, and where nodes only crash.
        """
        name = self._name(node_id)
        if self._lying is None:
            raise ConfigurationError(
                f"node {node_id} was to lie ({behaviour!r:.40}), but in a crash model nodes fail and never lie. "
                'Use Quorum(N, T, model="byzantine").'
            )
        if behaviour not in BEHAVIOURS:
            raise ConfigurationError(
                f"node {node_id} was to lie in the way {behaviour!r:.40}, but there is no such behaviour. Use one "
                f"of {', '.join(BEHAVIOURS)}."
            )
        self._lying.corrupt(name, behaviour)

    # The five steps.

    def send_message(self, node_id: int, value: Any = None) -> None:
        """Node `node_id` proposes `value` (its own number, if none is given); reachable nodes mark it.

        The first proposal that is committed decides; later ones change nothing. Where nobody leads, because too
        few nodes are up, the proposal waits at its node. Where nodes may lie it is signed, so that no other node
        can change it. Raises NodeFailed if the node is down,
        ConfigurationError if the value cannot be encoded.
        """
        self._running(node_id)
        value = node_id if value is None else value
        try:
            body = decide.encode_batch([decide.Decide(TOPIC, msgspec.msgpack.encode(value))])
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigurationError(
                f"{value!r:.80} was proposed, but it cannot be sent: {error}. Propose plain data: numbers, text, "
                "bytes, lists, dictionaries."
            ) from None
        self._proposals[node_id] = self._world.sealed(self._names[node_id], body)
        self._proposed = True
        self._deliver_proposal(node_id)

    def check_state(self, node_id: int) -> State:
        """What node `node_id` learns from asking everyone. Raises NodeFailed if it is down."""
        node = self._running(node_id)
        for proposer in sorted(self._proposals):
            if self._world.nodes[self._names[proposer]].is_up:
                self._deliver_proposal(proposer)
        return self._state(self._world.ask_everyone(node))

    def make_decision(self, node_id: int) -> Any:
        """Let node `node_id` learn the decision; return its value.

        Raises NoQuorum, naming who is missing, when too few marked the proposal or the node cannot learn it, and
        when no quorum's signatures prove what a node says that may lie; NodeFailed if it is down;
        LocalProtocolError if nothing was proposed.
        """
        node = self._running(node_id)
        if not self._proposed:
            raise LocalProtocolError(
                "a decision was asked for, but nothing was proposed. Call send_message first."
            )
        state = self.check_state(node_id)
        if self._decision is None and not self._may_decide(node, state):
            raise self._no_quorum(node_id, state)
        if not self._world.run_until(lambda: self._world.learned(node) is not None, self._world.patience_us):
            raise self._no_quorum(node_id, self.check_state(node_id))
        decision = self._world.learned(node)
        if self._lying is not None:
            decision = self._proved(node_id, node, self._lying)
        assert decision is not None, "the wait ended because it is there"
        assert self._decision is None or self._decision == decision, "a decision never changes"
        self._decision = decision
        return self.get_decision()

    def get_decision(self) -> Any:
        """The decided value, or None as long as no node made the decision known."""
        return None if self._decision is None else msgspec.msgpack.decode(self._decision.value)

    # What proves it, and who lied.

    @property
    def committee(self) -> Committee:
        """The members and their keys: what an auditor has to trust. Raises ConfigurationError in a crash model."""
        return self._signing("the committee").committee

    def certificate(self) -> BlockCertificate | None:
        """The votes of a quorum that prove the decision, verified; None as long as no node made it known.

        They are for the block that holds the decision, or for a later one, as votes for a block are votes for all
        before it. Raises ConfigurationError in a crash model, where nothing is signed.
        """
        self._signing("a certificate")
        return self._certificate

    def evidence(self) -> tuple[Evidence, ...]:
        """What honest nodes found so far that proves of a node that it lied (certificate.evidence). Not every lie
        leaves evidence. In a crash model there is none."""
        return () if self._lying is None else tuple(dict.fromkeys(self._lying.evidence))

    # Inside.

    def _signing(self, what: str) -> ByzantineDecision:
        if self._lying is None:
            raise ConfigurationError(
                f"{what} was asked for, but nodes that only crash sign nothing. Use "
                'Quorum(N, T, model="byzantine").'
            )
        return self._lying

    def _operate(self, act: Callable[[NodeId], None], node_id: int) -> None:
        """Let the operators of the world act on a node; what they say names it as the caller does."""
        name = self._name(node_id)
        try:
            act(name)
        except ConfigurationError as error:
            raise ConfigurationError(str(error).replace(f"{name} was", f"node {node_id} was")) from None
        except NoQuorum as error:
            down = tuple(number for number, each in self._names.items() if not self._world.nodes[each].is_up)
            missing = f" Missing: {', '.join(map(str, down))}." if down else ""
            raise NoQuorum(str(error).replace(f"{name} was", f"node {node_id} was") + missing, down) from None

    def _deliver_proposal(self, number: int) -> None:
        """Carry a waiting proposal to where it is ordered, unless its node needs no more of that."""
        node = self._world.nodes[self._names[number]]
        if self._world.needs_no_help(node):
            del self._proposals[number]
            return
        self._world.propose(node, self._proposals[number])

    def _may_decide(self, node: SimNode, state: State) -> bool:
        """Whether it is worth waiting for the decision at a node."""
        if self._lying is None:
            return state.reached
        if not self._lying.is_safe:
            return False
        return self._world.learned(node) is not None or _answering(state) >= state.threshold

    def _proved(self, node_id: int, node: SimNode, world: ByzantineDecision) -> decide.Decision:
        """What a node says was decided, once a quorum's signatures prove it. Raises NoQuorum."""
        said = world.word_of(node)
        known, certificate = self._decision, self._certificate
        if said is not None and known is None and world.is_safe:
            certificate = world.proof_of(said.value)
        if said is None or certificate is None or (known is not None and said.value != known.value):
            raise NoQuorum(
                f"node {node_id} was to decide, but no quorum's signatures prove what it says. Ask an honest node."
            )
        self._certificate = certificate
        return known or said

    def _state(self, told: dict[NodeId, Mark]) -> State:
        marked, voters = marked_alike(told), self._world.voters()
        numbers = tuple(sorted(self._numbers[name] for name in marked if name in voters.nodes))
        return State(
            participants=tuple(sorted(self._numbers[name] for name in voters.nodes)),
            marked=numbers,
            votes=len(numbers),
            threshold=voters.threshold,
            missing=tuple(number for number, name in self._names.items() if name not in told),
            reached=voters.system.is_write_quorum(marked),
        )

    def _no_quorum(self, node_id: int, state: State) -> NoQuorum:
        missing = ", ".join(map(str, state.missing))
        idle = "nobody leads yet" if self._lying is None else "honest nodes have not come to agree on one"
        who = f"missing: {missing}" if missing else f"nobody is missing, but {idle}"
        lack = max(1, state.threshold - _answering(state))
        liars = () if self._lying is None else tuple(sorted(self._numbers[name] for name in self._lying.liars))
        lying = ", ".join(str(number) for number in state.missing if number in liars)
        honest = ", ".join(str(number) for number in state.missing if number not in liars)
        who += f", of which {lying} lie" if lying else ""
        remedy = f"Recover or reconnect {lack} of {honest if lying else 'them'}" if honest else "Wait"
        if len(liars) > self._faults:
            who += f"; {', '.join(map(str, liars))} lie, more than T={self._faults}"
            remedy = f"Use N={3 * len(liars) + 1} and T={len(liars)}"
        return NoQuorum(
            f"node {node_id} was to decide, but only {state.votes} of the {state.threshold} nodes needed have "
            f"marked the proposal; {who}. {remedy}, then decide again.",
            state.missing,
        )

    def _name(self, node_id: int) -> NodeId:
        name = self._names.get(node_id) if isinstance(node_id, int) and not isinstance(node_id, bool) else None
        if name is None:
            raise ConfigurationError(
                f"node {node_id!r:.40} was named, but the nodes are numbered 1 to {self._size}. Use one of these."
            )
        return name

    def _running(self, node_id: int) -> SimNode:
        node = self._world.nodes[self._name(node_id)]
        if not node.is_up:
            raise NodeFailed(
                f"node {node_id} was asked to act, but it has failed. Call recover({node_id}), or ask another."
            )
        return node


def _answering(state: State) -> int:
    """How many of those who vote answered."""
    return len(set(state.participants) - set(state.missing))


def _named(policy: str | Policy | None, nodes: int, faults: int, model: FaultModel) -> tuple[str, Policy | None]:
    """The policy's name, and the user's own function. Raises ConfigurationError for one that the model lacks."""
    if policy is None:
        return (usual(nodes) if model == "crash" else usual_policy(nodes, faults)), None
    name, function = (policy, None) if isinstance(policy, str) else (CUSTOM, policy)
    if model == "byzantine" and name not in _OF_LIARS:
        raise ConfigurationError(
            f"policy={name!r:.40} was asked for where nodes may lie, but there no leader alone chooses who votes. "
            f"Use {' or '.join(_OF_LIARS)}; evict and readmit, which a quorum approves, work under both."
        )
    if name == CUSTOM and not callable(function):
        raise ConfigurationError(
            f"policy={policy!r:.40} was asked for, but without a function. Give the function itself, or a name."
        )
    return name, function
