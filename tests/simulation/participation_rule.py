"""The published participation rule, as it reads: each node draws its committee from its own view of who is up.

N nodes, of which T may fail. Whoever proposes picks n = N-T+1 nodes that it heard of lately, asks them to vote,
and decides on floor(n/2)+1 votes. Who does not answer is replaced, and the rest is asked again. Messages travel
over the simulator's network, under its faults; votes survive crashes. Nobody lies.

How a vote binds is a choice of its own (`Binding`). "once": a node votes once in each instance, so that only
committees that differ can do harm. "blank": a retry begins anew, and nodes vote afresh in it. "carried": a retry
asks first what was voted for, and goes on with the newest of that (Lamport, "Paxos Made Simple", 2001, section
2.2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Any, Literal, NamedTuple

from quorum.checkers.progress import Sometimes
from quorum.model import NodeId
from quorum.sim.faults import Nemesis
from quorum.sim.network import Network

Binding = Literal["once", "blank", "carried"]
Round = tuple[int, NodeId]
"""A try, and who makes it."""
BEAT_US, SILENT_US, TRY_US = 200_000, 1_000_000, 400_000
TRIES_MAX = 6
FAULTS = (
    "bridge",
    "crash",
    "crash-loop",
    "flap",
    "isolate",
    "one-way",
    "pause",
    "ring",
    "split",
    "weather",
)


class BlindNemesis(Nemesis):
    """Strikes whomever it draws, whoever leads: in every world of a seed at the same times in the same way."""

    def someone(self) -> str:
        return self.names[self.random.randrange(len(self.names))]


class Alive(NamedTuple):
    """Anybody to all, now and then."""


class Prepare(NamedTuple):
    """Proposer to committee, where values are carried: what have you voted for? Vote in no older round."""

    topic: int
    round: Round


class Promise(NamedTuple):
    """The answer; `vote` is the newest."""

    topic: int
    round: Round
    vote: tuple[Round, str] | None


class Ask(NamedTuple):
    """Proposer to committee: vote for this."""

    topic: int
    round: Round
    value: str


class Vote(NamedTuple):
    """The answer, where it is yes."""

    topic: int
    round: Round
    value: str


class Decided(NamedTuple):
    """Who decided, to all."""

    topic: int
    value: str


class Decision(NamedTuple):
    """What a node took for decided, and on which votes of which committee."""

    topic: int
    value: str
    by: NodeId
    round: Round
    committee: tuple[NodeId, ...]
    voters: tuple[NodeId, ...]
    at_us: int

    def __str__(self) -> str:
        return (
            f"{self.by} decides {self.value!r} in try {self.round[0]}, {self.at_us / 1e6:.3f} s: votes of "
            f"{', '.join(self.voters)} in its committee of {', '.join(self.committee)}"
        )


class Rule(NamedTuple):
    """Which rule runs."""

    nodes: int
    faults: int
    binding: Binding = "once"

    @property
    def size(self) -> int:
        return self.nodes - self.faults + 1

    @property
    def threshold(self) -> int:
        return self.size // 2 + 1


class _Try:
    """What a proposer knows of its present try."""

    def __init__(self, value: str) -> None:
        self.own = self.value = value
        self.round: Round = (0, "")
        self.committee: tuple[NodeId, ...] = ()
        self.votes: set[NodeId] = set()
        self.promises: dict[NodeId, tuple[Round, str] | None] = {}
        self.slow: set[NodeId] = set()
        self.is_asking = False


class Node:
    """One node. `votes`, `promised` and `decided` are durable."""

    def __init__(self, world: RuleWorld, name: NodeId) -> None:
        self.world, self.name = world, name
        self.is_up, self.paused = True, False
        self.votes: dict[int, tuple[Round, str]] = {}
        self.promised: dict[int, Round] = {}
        self.decided: dict[int, str] = {}
        self._heard: dict[NodeId, int] = {}
        self._trying: dict[int, _Try] = {}
        self._waiting: list[Callable[[], None]] = []

    # What the faults do (sim.faults).

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            self.run(act)

    def crash(self) -> None:
        self.is_up = False
        self._trying.clear()
        self._waiting.clear()

    def restart(self) -> None:
        self.is_up = True

    def run(self, act: Callable[[], None]) -> None:
        """Now, or when the node goes on; never where it is down."""
        if self.is_up and self.paused:
            self._waiting.append(act)
        elif self.is_up:
            act()

    # The rule.

    def beat(self) -> None:
        self.world.schedule(BEAT_US, self.beat)
        if self.is_up and not self.paused:
            self._tell_all(Alive())

    def propose(self, topic: int, value: str) -> None:
        if topic not in self.decided:
            self._trying[topic] = _Try(value)
            self._begin(topic)

    def _begin(self, topic: int) -> None:
        """A try: a committee of those in view, without those that were too slow in an earlier one."""
        trying = self._trying.get(topic)
        if trying is None or topic in self.decided or trying.round[0] >= TRIES_MAX:
            return
        if trying.committee:
            trying.slow |= set(trying.committee) - trying.votes - set(trying.promises) - {self.name}
        trying.round = (trying.round[0] + 1, self.name)
        trying.committee = self._committee(trying.slow)
        trying.votes, trying.promises, trying.is_asking = set(), {}, self.world.rule.binding != "carried"
        first = Ask(topic, trying.round, trying.value) if trying.is_asking else Prepare(topic, trying.round)
        self._tell(trying.committee, first)
        wait_us = TRY_US + self.world.draw.randrange(TRY_US)
        self.world.schedule(wait_us, self.run, lambda: self._begin(topic))

    def _committee(self, slow: set[NodeId]) -> tuple[NodeId, ...]:
        """This node and those after it in the ring: who was heard of lately first, who was too slow last."""
        names, now_us = self.world.names, self.world.now_us
        at = names.index(self.name)
        others = [*names[at + 1 :], *names[:at]]

        def rank(name: NodeId) -> tuple[bool, bool]:
            return name in slow, now_us - self._heard.get(name, -SILENT_US) >= SILENT_US

        return tuple(sorted([self.name, *sorted(others, key=rank)[: self.world.rule.size - 1]]))

    def receive(self, source: NodeId, message: object) -> None:
        self._heard[source] = self.world.now_us
        match message:
            case Prepare(topic, round):
                if round > self.promised.get(topic, (0, "")):
                    self.promised[topic] = round
                    self._tell((source,), Promise(topic, round, self.votes.get(topic)))
            case Promise(topic, round, vote):
                self._on_promise(source, topic, round, vote)
            case Ask(topic, round, value):
                if self._may_vote(topic, round, value):
                    self.votes[topic] = (round, value)
                    self._tell((source,), Vote(topic, round, value))
            case Vote(topic, round, value):
                self._on_vote(source, topic, round, value)
            case Decided(topic, value):
                self.decided.setdefault(topic, value)

    def _may_vote(self, topic: int, round: Round, value: str) -> bool:
        voted = self.votes.get(topic)
        binding = self.world.rule.binding
        if binding == "carried":
            return round >= self.promised.get(topic, (0, ""))
        if voted is None or voted[1] == value:
            return True
        return binding == "blank" and round[0] > voted[0][0]

    def _on_promise(self, source: NodeId, topic: int, round: Round, vote: tuple[Round, str] | None) -> None:
        trying = self._trying.get(topic)
        if trying is None or trying.round != round or trying.is_asking or source not in trying.committee:
            return
        trying.promises[source] = vote
        if len(trying.promises) >= self.world.rule.threshold:
            newest = max((each for each in trying.promises.values() if each is not None), default=None)
            trying.value, trying.is_asking = newest[1] if newest else trying.own, True
            self._tell(trying.committee, Ask(topic, round, trying.value))

    def _on_vote(self, source: NodeId, topic: int, round: Round, value: str) -> None:
        trying = self._trying.get(topic)
        if trying is None or trying.round != round or source not in trying.committee or trying.value != value:
            return
        trying.votes.add(source)
        if len(trying.votes) >= self.world.rule.threshold and topic not in self.decided:
            voters = tuple(sorted(trying.votes))
            decision = Decision(topic, value, self.name, round, trying.committee, voters, self.world.now_us)
            self.decided[topic] = value
            self.world.decisions.append(decision)
            self._tell_all(Decided(topic, value))

    def _tell(self, to: tuple[NodeId, ...], message: object) -> None:
        for other in to:
            if other == self.name:
                self.receive(self.name, message)
            else:
                self.world.network.send(self.name, other, message, ())

    def _tell_all(self, message: object) -> None:
        self._tell(tuple(name for name in self.world.names if name != self.name), message)


class RuleWorld:
    """Nodes under one rule, on the simulator's network; what `Nemesis` asks of a world is here as well."""

    def __init__(self, rule: Rule, seed: int, faults: tuple[str, ...], stop_us: int) -> None:
        self.rule, self.seed, self.now_us = rule, seed, 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self.sometimes = Sometimes()
        self.network = Network(self.random("network"), self.schedule, self._deliver)
        self.names: tuple[NodeId, ...] = tuple(f"n{number}" for number in range(1, rule.nodes + 1))
        self.nodes = {name: Node(self, name) for name in self.names}
        self.draw = self.random("rule")
        self.decisions: list[Decision] = []
        self.nemesis = BlindNemesis(self, faults, stop_us)  # type: ignore[arg-type]

    def random(self, purpose: str) -> Random:
        return Random(f"{self.seed}/{purpose}")

    def schedule(self, delay_us: int, act: Callable[..., None], *arguments: Any) -> None:
        self._sequence += 1
        heappush(self._heap, (self.now_us + delay_us, self._sequence, act, arguments))

    def run(self, until_us: int) -> None:
        while self._heap and self._heap[0][0] <= until_us:
            self.now_us, _, act, arguments = heappop(self._heap)
            self.network.now_us = self.now_us
            act(*arguments)

    def _deliver(self, source: NodeId, to: NodeId, message: object, _: object) -> None:
        node = self.nodes[to]
        if not self.network.is_blocked(source, to):
            node.run(lambda: node.receive(source, message))

    def crash(self, name: NodeId, seen: bool = True) -> None:
        self.nodes[name].crash()

    def restart(self, name: NodeId) -> None:
        self.nodes[name].restart()

    def leader(self) -> None:
        """Nobody leads."""

    def count(self, _: object) -> None:
        """No trace is kept."""

    def conflicts(self) -> list[tuple[Decision, Decision]]:
        """The first two decisions of each topic on which two differ."""
        first: dict[int, Decision] = {}
        found: dict[int, tuple[Decision, Decision]] = {}
        for decision in self.decisions:
            before = first.setdefault(decision.topic, decision)
            if before.value != decision.value:
                found.setdefault(decision.topic, (before, decision))
        return [found[topic] for topic in sorted(found)]


TOPIC_US = 1_500_000
PROPOSERS = 2


def run_rule(rule: Rule, seed: int, seconds: int, calm_us: int = 0, faults: tuple[str, ...] = FAULTS) -> RuleWorld:
    """One seed: two nodes propose on each topic, at about the same time, a topic each second and a half."""
    stop_us = seconds * 1_000_000 - calm_us
    world = RuleWorld(rule, seed, faults, stop_us)
    for node in world.nodes.values():
        world.schedule(world.draw.randrange(BEAT_US), node.beat)
    for topic, at_us in enumerate(range(TOPIC_US, stop_us, TOPIC_US), 1):
        for number, name in enumerate(world.draw.sample(world.names, PROPOSERS)):
            node, value = world.nodes[name], "AB"[number]
            proposal = partial(node.propose, topic, value)
            world.schedule(at_us + world.draw.randrange(TOPIC_US // 2), node.run, proposal)
    world.nemesis.start()
    world.run(seconds * 1_000_000)
    return world
