"""Weights that follow a simulated network, whose links become longer and shorter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from quorum.entry import Buffer
from quorum.membership.reconfiguration import encode_change
from quorum.membership.weighing import Tuning, WeightTuning
from quorum.model import NodeId
from quorum.runtime.driver import Driver
from quorum.runtime.echoes import Echoes
from quorum.runtime.messages import ChangeRequest, Failure, Result, TransferRequest
from quorum.runtime.ports import Ports
from quorum.sim.node import SimNode
from quorum.sim.world import World

SECOND_US = 1_000_000
TURN_US = SECOND_US
WEIGHED = "weights changed"
LED = "leadership moved to a better place"
REFUSED = "weights refused"


class Tuner:
    """Asks at whoever leads, each second, whether weights or the lead should move, and lets them."""

    identity = "tuner"

    def __init__(self, world: WeighedWorld, faults: int, stop_us: int | None = None, **limits: int) -> None:
        self.world = world
        self._stop_us = stop_us
        self._faults, self._limits = faults, limits
        self._leads: tuple[NodeId, int] = ("", 0)
        self._tuning = WeightTuning(faults, **limits)
        self._asked: dict[int, Tuning] = {}
        self._requests = 0
        self.changed = 0

    def start(self) -> None:
        self.world.schedule(TURN_US, self._turn)

    def _turn(self) -> None:
        if self._stop_us is not None and self.world.now_us >= self._stop_us:
            return
        self.world.schedule(TURN_US, self._turn)
        leader = self.world.leader()
        if leader is None:
            return
        node = self.world.nodes[leader]
        if node.paused or node.driver is None or node.driver.echoes is None or node.replica is None:
            return
        if (leader, node.life) != self._leads:  # what another leader knew is not known here
            self._leads, self._tuning = (leader, node.life), WeightTuning(self._faults, **self._limits)
        now_us = node.clock.now_us()
        tuning = self._tuning.step(node.replica.configuration, leader, node.driver.echoes.reports(), now_us)
        if tuning is None:
            return
        self._requests += 1
        self._asked[self._requests] = tuning
        if tuning.change is not None:
            self.world.count(("weigh", encode_change(tuning.change)))
            node.request(self, ChangeRequest(self._requests), (encode_change(tuning.change),))
        else:
            node.request(self, TransferRequest(self._requests, tuning.leader), ())

    # What nodes answer (runtime.gateway.Client).

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        """A change is done: then the lead moves, if it should."""
        self.world.count(("tuner", message))
        if isinstance(message, Failure):
            self.world.sometimes.reached(REFUSED)
        elif isinstance(message, Result):
            tuning = self._asked[message.request]
            self.changed += 1
            self.world.sometimes.reached(LED if tuning.change is None else WEIGHED)
            if tuning.change is not None and tuning.leader is not None:
                self._hand_over(tuning)

    def _hand_over(self, tuning: Tuning) -> None:
        leader = self.world.leader()
        if leader is not None and leader != tuning.leader:
            self._requests += 1
            self._asked[self._requests] = tuning._replace(change=None)
            self.world.nodes[leader].request(self, TransferRequest(self._requests, tuning.leader), ())

    def backlog(self) -> int:
        """Nothing is held back from it."""
        return 0


class WeighedWorld(World):
    """A world whose nodes measure their links. `tuner` is started with them, if there is one."""

    echo_us = SECOND_US // 2

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.tuner: Tuner | None = None

    def make_driver(self, node: SimNode, ports: Ports) -> Driver:
        assert node.replica is not None and node.host is not None and node.gateway is not None
        random = Random(f"{self.seed}/echoes/{node.node}/{node.life}")
        echoes = Echoes(node.replica, ports, random, self.echo_us)
        return Driver(node.replica, ports, node.host, node.gateway, node, self.digest_entries, None, echoes)

    def boot(self) -> None:
        super().boot()
        if self.tuner is not None:
            self.tuner.start()

    def lay_links(self, rtt_us: Mapping[tuple[NodeId, NodeId], int]) -> None:
        """Let links take half of these round trips each way."""
        for (one, other), took_us in rtt_us.items():
            self.network.distances[one, other] = self.network.distances[other, one] = took_us // 2


class RestlessWorld(WeighedWorld):
    """Its links change every few seconds, by the seed, and weights follow as fast as they may, until `calm_us`."""

    FAULTS_TOLERATED = 1
    MOVED_US = 8 * SECOND_US
    FARTHEST_US = 80_000

    def __init__(self, *given: Any, calm_us: int | None = None, **named: Any) -> None:
        super().__init__(*given, **named)
        self._links = self.random("links")
        self.tuner = Tuner(self, self.FAULTS_TOLERATED, calm_us, period_us=3 * SECOND_US, gain_percent=5)

    def boot(self) -> None:
        self._move()
        super().boot()

    def _move(self) -> None:
        """Everybody is somewhere else, on a line."""
        places = {node: self._links.randrange(self.FARTHEST_US) for node in sorted(self.nodes)}
        names = sorted(places)
        self.lay_links(
            {(one, other): abs(places[one] - places[other]) for one in names for other in names if one < other}
        )
        self.schedule(self.MOVED_US, self._move)
