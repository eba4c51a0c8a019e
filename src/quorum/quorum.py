"""The in-process quorum: N real replicas on a simulated network, no set-up.

The replicas run the protocol, driver and application code of production; only time, network and disks are
simulated. Time passes only inside the methods, and the same calls with the same seed give the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from quorum.apps import decide
from quorum.apps.catalogue import DECIDE_APP
from quorum.entry import COMMAND, Buffer, decode_entry
from quorum.errors import ConfigurationError, LocalProtocolError, NodeFailed, NoQuorum
from quorum.model import Configuration, FaultModel, NodeId, check_fault_budget, quorum_size
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.settings import Settings
from quorum.runtime.messages import Submit
from quorum.sim.node import SimNode
from quorum.sim.world import World

TOPIC = "decision"
NODES_MAX = 101
"""Every node is a whole replica; beyond this use the planner, which needs none."""
ELECTION_US = 1_000_000
PATIENCE_US = 12_000_000
"""Simulated time after which a leader is not waited for any longer."""
ROUND_US = 100_000
"""Simulated time that a status round waits for answers."""


class State(msgspec.Struct, frozen=True):
    """What one node sees after a status round. True when the proposal has reached its quorum.

    `participants`, `marked` and `missing` are node numbers: who votes, who told this node that the proposal is
    durably in its log, and who did not answer at all. `votes` is how many marked it, `threshold` how many must.
    """

    participants: tuple[int, ...]
    marked: tuple[int, ...]
    votes: int
    threshold: int
    missing: tuple[int, ...]
    reached: bool

    def __bool__(self) -> bool:
        return self.reached


class _Ask(msgspec.Struct, frozen=True, array_like=True, tag=101):
    """Have you marked a proposal?"""

    round: int


class _Tell(msgspec.Struct, frozen=True, array_like=True, tag=102):
    round: int
    marked: bool


class _Forward(msgspec.Struct, frozen=True, array_like=True, tag=103):
    """A proposal on its way to the leader."""

    body: bytes


class _World(World):
    """Adds what the facade says between nodes, over the same network; node 1 stands for election first."""

    def make_replica(self, node: NodeId, random: Random, settings: Settings) -> RaftReplica:
        if node != min(self.nodes):
            settings = msgspec.structs.replace(settings, election_timeout_us=3 * ELECTION_US)
        return super().make_replica(node, random, settings)

    def deliver(self, source: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        node = self.nodes[to]
        if not isinstance(message, _Ask | _Tell | _Forward):
            super().deliver(source, to, message, attached)
        elif node.is_up and not self.network.is_blocked(source, to):
            self.count((source, to, message))
            self._hear(source, node, message)

    def _hear(self, source: NodeId, node: SimNode, message: _Ask | _Tell | _Forward) -> None:
        match message:
            case _Ask(round=number):
                self.network.send(node.node, source, _Tell(number, has_marked(node)), ())
            case _Tell(round=number, marked=marked):
                self.told.setdefault(number, {})[source] = marked
            case _Forward(body=body):
                node.request(_Nobody(), Submit(0, DECIDE_APP, 0, 0, 0, 1), (body,))

    def __init__(self, seed: int, configuration: Configuration) -> None:
        self.told: dict[int, dict[NodeId, bool]] = {}
        super().__init__(seed, configuration, Settings(election_timeout_us=ELECTION_US))


class _Nobody:
    """The answer to a forwarded proposal is read from the log instead."""

    identity = ""

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        return


def has_marked(node: SimNode) -> bool:
    """Whether a proposal is durably in the node's log."""
    assert node.replica is not None, "only a running node is asked"
    for entry in node.log.read(1, node.replica.state.stored_index, 1 << 40):
        header, _ = decode_entry(entry)
        if header.kind == COMMAND and header.app == DECIDE_APP:
            return True
    return False


class Quorum:
    """N nodes, numbered from 1, of which up to T may fail, and one decision among them.

    Raises ConfigurationError, with the remedy, where N and T cannot work.
    """

    def __init__(self, N: int, T: int, model: FaultModel = "crash", seed: int = 0) -> None:
        check_fault_budget(N, T, model)
        if model == "byzantine":
            raise ConfigurationError(
                f"Quorum(N={N}, T={T}) was asked to tolerate liars, but this release has no Byzantine engine yet: "
                'its nodes may crash, not lie. Use model="crash".'
            )
        if N > NODES_MAX:
            raise ConfigurationError(
                f"N={N} was asked for, but each node is a whole replica in this process and at most {NODES_MAX} "
                "are run. Use fewer nodes."
            )
        self._size, self._faults, self._model = N, T, model
        width = len(str(N))
        self._names = {number: f"n{number:0{width}}" for number in range(1, N + 1)}
        self._numbers = {name: number for number, name in self._names.items()}
        self._world = _World(seed, Configuration(epoch=1, voters=tuple(sorted(self._numbers))))
        self._proposals: dict[int, bytes] = {}
        self._proposed = False
        self._rounds = 0
        self._decision: decide.Decision | None = None
        self._world.boot()
        self._world.run_until(lambda: self._world.leader() is not None, PATIENCE_US)

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

    # Faults.

    def fail(self, node_id: int) -> None:
        """Crash a node: what it had not made durable is lost. A node that is down stays down."""
        self._world.crash(self._name(node_id))

    def recover(self, node_id: int) -> None:
        """Restart a crashed node from its disk. A node that is up goes on."""
        self._world.restart(self._name(node_id))
        self._settle()

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
        self._settle()

    # The five steps.

    def send_message(self, node_id: int, value: Any = None) -> None:
        """Node `node_id` proposes `value` (its own number, if none is given); reachable nodes mark it.

        The first proposal that is committed decides; later ones change nothing. Where nobody leads, because too
        few nodes are up, the proposal waits at its node. Raises NodeFailed if the node is down,
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
        self._proposals[node_id] = body
        self._proposed = True
        self._deliver_proposal(node_id)

    def check_state(self, node_id: int) -> State:
        """What node `node_id` learns from asking everyone. Raises NodeFailed if it is down."""
        node = self._running(node_id)
        for proposer in sorted(self._proposals):
            if self._world.nodes[self._names[proposer]].is_up:
                self._deliver_proposal(proposer)
        world = self._world
        self._rounds += 1
        told = world.told.setdefault(self._rounds, {})
        told[node.node] = has_marked(node)
        for other in sorted(world.nodes):
            if other != node.node:
                world.network.send(node.node, other, _Ask(self._rounds), ())
        world.run_until(lambda: len(told) == self._size, ROUND_US)
        marked = frozenset(name for name, has in told.items() if has)
        return self._state(marked, frozenset(told))

    def make_decision(self, node_id: int) -> Any:
        """Let node `node_id` learn the decision; return its value.

        Raises NoQuorum, naming who is missing, when too few marked the proposal or the node cannot learn it;
        NodeFailed if it is down; LocalProtocolError if nothing was proposed.
        """
        node = self._running(node_id)
        if not self._proposed:
            raise LocalProtocolError(
                "a decision was asked for, but nothing was proposed. Call send_message first."
            )
        state = self.check_state(node_id)
        if not state and self._decision is None:
            raise self._no_quorum(node_id, state)
        if not self._world.run_until(lambda: self._learned(node) is not None, PATIENCE_US):
            raise self._no_quorum(node_id, self.check_state(node_id))
        decision = self._learned(node)
        assert decision is not None, "the wait ended because it is there"
        assert self._decision in (None, decision), "a decision never changes"
        self._decision = decision
        return self.get_decision()

    def get_decision(self) -> Any:
        """The decided value, or None as long as no node made the decision known."""
        return None if self._decision is None else msgspec.msgpack.decode(self._decision.value)

    # Inside.

    def _settle(self) -> None:
        """Give the nodes time to elect and to catch up, where they can."""
        nodes = self._world.nodes

        def level() -> bool:
            leader = self._world.leader()
            led = nodes[leader].replica if leader is not None else None
            if led is None or led.state.commit_index < led.state.log.last_index:
                return False
            last = led.state.log.last_index
            return all(
                node.replica is None or node.replica.state.stored_index == node.replica.state.commit_index == last
                for node in nodes.values()
            )

        self._world.run_until(level, PATIENCE_US)

    def _deliver_proposal(self, number: int) -> None:
        """Carry a waiting proposal to the leader that its node follows, and let the reachable nodes store it."""
        world, node = self._world, self._world.nodes[self._names[number]]
        if has_marked(node):
            del self._proposals[number]
            return
        body = self._proposals[number]
        end_us = world.now_us + PATIENCE_US // 4
        while world.now_us < end_us and node.is_up:
            leader = node.replica.leader if node.replica is not None else None
            if leader is None:
                world.run_until(lambda: node.replica is not None and node.replica.leader is not None, ROUND_US)
                continue
            world.network.send(node.node, leader, _Forward(body), ())
            if world.run_until(lambda: has_marked(node), 2 * ROUND_US):
                break
        world.run(world.now_us + ROUND_US)

    def _learned(self, node: SimNode) -> decide.Decision | None:
        """The decision in the node's own applied state."""
        if node.host is None:
            return None
        answer = node.host.query(DECIDE_APP, decide.encode_query([TOPIC]))
        found = decide.decode_answers(answer.body)[0]
        return found if isinstance(found, decide.Decision) else None

    def _state(self, marked: frozenset[NodeId], heard: frozenset[NodeId]) -> State:
        node = next(node for node in self._world.nodes.values() if node.replica is not None)
        assert node.replica is not None
        numbers = tuple(sorted(self._numbers[name] for name in marked))
        return State(
            participants=tuple(self._names),
            marked=numbers,
            votes=len(numbers),
            threshold=quorum_size(self._size, self._faults, self._model),
            missing=tuple(number for number, name in self._names.items() if name not in heard),
            reached=node.replica.state.system.is_write_quorum(marked),
        )

    def _no_quorum(self, node_id: int, state: State) -> NoQuorum:
        missing = ", ".join(map(str, state.missing))
        who = f"missing: {missing}" if missing else "nobody is missing, but nobody leads yet"
        lack = max(1, state.threshold - self._size + len(state.missing))
        remedy = f"Recover or reconnect {lack} of them" if missing else "Wait"
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
