"""A cluster recovered from one survivor, while those who were given up come back with all that they had.

The operator is as wrong as can be: the members that were given up are not lost, and there are enough of them to go
on deciding by themselves. Claim: within each incarnation no two nodes decide differently, and no node of one hears
another's. What keeps them apart is the handshake: the simulated network asks the same question when it delivers.
"""

from __future__ import annotations

import pytest

from quorum.apps.catalogue import KV_APP, new_host
from quorum.apps.kv import Put, encode_batch
from quorum.checkers.agreement import Agreement
from quorum.checkers.violation import Violation
from quorum.entry import Buffer, decode_entry
from quorum.header import Header
from quorum.membership.reconfiguration import Admit, encode_change
from quorum.membership.recovery import configuration_after, difference, incarnation_here, recovery_entry
from quorum.model import Configuration, NodeId, Recovery
from quorum.protocols.effects import HardState
from quorum.protocols.events import Durable, SnapshotMark
from quorum.protocols.raft.settings import Settings
from quorum.protocols.raft.state import LEADER
from quorum.runtime.messages import ChangeRequest, Submit
from quorum.runtime.restore import INDEX_GAP
from quorum.sim.network import Weather
from quorum.sim.node import SimNode
from quorum.sim.world import World

pytestmark = pytest.mark.slow

SECOND_US = 1_000_000
FIVE = Configuration(epoch=1, voters=("n1", "n2", "n3", "n4", "n5"))
SPARES = ("n6", "n7", "n8", "n9")
ROUGH = Weather(loss=0.03, duplication=0.03, jitter_us=5_000, fifo=False)
SETTINGS = Settings(snapshot_entries=40, log_kept_entries=10)


class _Apart(Agreement):
    """Stands in for the checkers of one log: here each incarnation has its own account."""

    def restarted(self, node: NodeId) -> None:
        pass

    def installed(self, node: NodeId, index: int) -> None:
        pass


class RecoveredWorld(World):
    """Each node is of the incarnation of its log, or, before it has one, of the file that it was given. With
    `gate` the network carries nothing between two incarnations: there is no connection after the handshake."""

    identity = "operator"

    def __init__(self, seed: int, gate: bool = True, disk: bool = False) -> None:
        super().__init__(seed, FIVE, SETTINGS, disk=disk, spares=SPARES)
        self.agreement = _Apart()
        self.gate = gate
        self.files: dict[NodeId, str] = {}
        self.decided: dict[str, dict[int, tuple[int, bytes]]] = {}
        self.applied_by: dict[str, set[NodeId]] = {}
        self.states: dict[tuple[str, int], bytes] = {}
        self.leads: dict[tuple[str, int], NodeId] = {}
        self.crossed = self.refused = 0
        self._numbers = 0

    def incarnation_of(self, node: NodeId) -> str:
        replica = self.nodes[node].replica
        configuration = Configuration() if replica is None else replica.configuration
        return incarnation_here(node, configuration, self.files.get(node, ""))

    def deliver(self, source: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        if difference(source, self.incarnation_of(source), to, self.incarnation_of(to)) is not None:
            if self.gate:
                self.refused += 1
                return
            self.crossed += 1
        super().deliver(source, to, message, attached)

    # Every claim within one incarnation.

    def entry_applied(self, node: NodeId, header: Header) -> None:
        name = self.incarnation_of(node)
        account = self.decided.setdefault(name, {})
        known = account.setdefault(header.index, (header.term, header.digest))
        self.applied_by.setdefault(name, set()).add(node)
        if known != (header.term, header.digest):
            raise Violation("state machine safety", f"{node} at {header.index} of incarnation {name!r}", (node,))

    def role_changed(self, node: SimNode, role: str, term: int) -> None:
        if role == LEADER:
            name = self.incarnation_of(node.node)
            known = self.leads.setdefault((name, term), node.node)
            if known != node.node:
                raise Violation("election safety", f"{known} and {node.node} lead term {term} of {name!r}")

    def state_at(self, node: NodeId, index: int, digest: bytes) -> None:
        known = self.states.setdefault((self.incarnation_of(node), index), digest)
        if known != digest:
            raise Violation("state equality", f"{node} differs at {index}", (node,))

    # A client and an operator that ask whoever leads, of every incarnation, and do not wait for answers.

    def answer(self, message: object, attached: object) -> None:
        """Nobody waits."""

    def backlog(self) -> int:
        return 0

    def leading(self, incarnation: str) -> list[NodeId]:
        return [
            name
            for name, node in sorted(self.nodes.items())
            if node.replica is not None
            and node.replica.state.role == LEADER
            and self.incarnation_of(name) == incarnation
        ]

    def write(self, incarnation: str) -> None:
        for leader in self.leading(incarnation):
            self._numbers += 1
            body = encode_batch([Put(b"key", b"%d of %s" % (self._numbers, incarnation.encode()))])
            self.nodes[leader].request(self, Submit(self._numbers, KV_APP, 0, 0, 0, 1), (body,))

    def admit(self, incarnation: str, node: NodeId) -> bool:
        """Let a node join that has the file of this incarnation; whether it votes in the end."""
        self.files[node] = incarnation
        if not self.nodes[node].is_up:
            self.nodes[node].boot()
        for _ in range(40):
            for leader in self.leading(incarnation):
                self._numbers += 1
                change = encode_change(Admit(node))
                self.nodes[leader].request(self, ChangeRequest(self._numbers), (change,))
            self.busy(SECOND_US)
            replica = self.nodes[node].replica
            if replica is not None and node in replica.configuration.voters and not replica.configuration.outgoing:
                return True
        return False

    def busy(self, for_us: int) -> None:
        """Let time pass in which every incarnation is written to."""
        until_us = self.now_us + for_us
        while self.now_us < until_us:
            self.run(min(until_us, self.now_us + 50_000))
            for incarnation in sorted({self.incarnation_of(name) for name in self.nodes}):
                self.write(incarnation)


def durable_of(world: World, name: NodeId) -> Durable:
    return world.nodes[name].log.recover()


def end_of(durable: Durable) -> tuple[int, int]:
    if durable.entries:
        return durable.entries[-1].term, durable.entries[-1].index
    assert durable.snapshot is not None
    return durable.snapshot.term, durable.snapshot.index


def recover(world: RecoveredWorld, name: NodeId, identity: str, given_up: tuple[NodeId, ...]) -> Recovery:
    """What runtime.recovery does with a data folder, done to a simulated disk."""
    node = world.nodes[name]
    durable = durable_of(world, name)
    term, index = end_of(durable)
    host = new_host()
    base = 0
    if durable.snapshot is not None:
        base = durable.snapshot.index
        host.restore(node.snapshots.load(base))
    for entry in node.log.read(base + 1, index, 1 << 40) if index > base else ():
        host.apply(*decode_entry(entry))
    known = [each.configuration for each in durable.entries if each.configuration is not None]
    present = known[-1] if known else durable.snapshot.configuration  # type: ignore[union-attr]
    recovery = Recovery(1, identity * 16, name, index, term, given_up, "operator", world.now_us)
    host.begin_anew(index + INDEX_GAP)
    mark = SnapshotMark(index + INDEX_GAP, durable.term, host.time_us, configuration_after(present, recovery))
    done: list[object] = []
    node.snapshots.write(mark, host.snapshot(), lambda *told: done.append(told))
    assert world.run_until(lambda: bool(done), SECOND_US)
    node.log.recover()
    node.log.reset(mark)
    node.log.write_hard_state(HardState(durable.term + 1, name))
    entry = recovery_entry(mark.index + 1, durable.term + 1, mark.time_us, mark.configuration)
    node.log.write_entries(mark.index + 1, [entry])
    done.clear()
    node.log.sync(done.append)
    assert world.run_until(lambda: bool(done), SECOND_US) and done == [None]
    return recovery


def lose_three(seed: int, gate: bool = True, disk: bool = False) -> tuple[RecoveredWorld, list[NodeId]]:
    """A busy cluster of five that loses three members at once; those who are left, the most advanced first."""
    world = RecoveredWorld(seed, gate, disk)
    random = world.random("losses")
    for name in FIVE.voters:
        world.nodes[name].boot()
    world.network.weather = ROUGH
    world.busy(5 * SECOND_US)
    lost = random.sample(FIVE.voters, 3)
    for name in lost:
        world.crash(name)
    world.busy(2 * SECOND_US)
    left = [name for name in FIVE.voters if name not in lost]
    for name in left:
        world.crash(name)
    return world, sorted(left, key=lambda name: end_of(durable_of(world, name)), reverse=True)


def play(seed: int, gate: bool = True, disk: bool = False) -> tuple[RecoveredWorld, Recovery]:
    """One survivor goes on with two new nodes; then all four that were given up come back."""
    world, (best, _) = lose_three(seed, gate, disk)
    given_up = tuple(name for name in FIVE.voters if name != best)
    recovery = recover(world, best, "a", given_up)
    name = recovery.incarnation
    world.nodes[best].boot()
    world.busy(3 * SECOND_US)
    for back in given_up:
        world.restart(back)
    for spare in ("n6", "n7"):
        assert world.admit(name, spare), f"seed {seed}: {spare} was not admitted"
    world.busy(10 * SECOND_US)
    return world, recovery


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_old_members_that_come_back_decide_nothing_with_the_new_ones(seed):
    world, recovery = play(seed)
    name = recovery.incarnation
    assert world.refused > 0, "the old ones called"
    assert world.applied_by[name] == {recovery.survivor, "n6", "n7"}
    assert max(world.decided[name]) > recovery.index + INDEX_GAP + 20, "the new incarnation goes on"
    assert max(world.decided[""]) > recovery.index, "and so does the old one, by itself"
    assert min(world.decided[name]) > max(world.decided[""]), "no index was given out twice"


@pytest.mark.parametrize("seed", range(3))
def test_the_same_on_the_production_log(seed):
    world, recovery = play(seed, disk=True)
    assert world.applied_by[recovery.incarnation] == {recovery.survivor, "n6", "n7"}


@pytest.mark.parametrize("seed", range(6))
def test_two_recoveries_of_one_cluster_stay_two(seed):
    """Two operators, each with one survivor: the numbers are equal, and what was drawn at random is not."""
    world, left = lose_three(seed)
    made = []
    for survivor, identity in zip(left, "ab", strict=True):
        others = tuple(name for name in FIVE.voters if name != survivor)
        made.append(recover(world, survivor, identity, others))
        world.nodes[survivor].boot()
    for recovery, spare in zip(made, ("n6", "n7"), strict=True):
        assert world.admit(recovery.incarnation, spare)
    world.busy(5 * SECOND_US)
    first, second = (each.incarnation for each in made)
    assert world.applied_by[first] == {made[0].survivor, "n6"}
    assert world.applied_by[second] == {made[1].survivor, "n7"}


# Negative control: what the handshake is there for.


def broken(seed: int) -> str:
    try:
        world, _ = play(seed, gate=False)
    except Violation as error:
        return error.claim
    assert world.crossed > 0
    return ""


def test_without_the_handshake_they_mix_and_the_checkers_see_it():
    told = {seed: broken(seed) for seed in range(8)}
    assert any(told.values()), "nothing was found: the tests above would prove nothing"
