"""Weights that follow a simulated network, whose links become longer and shorter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from quorum.membership.weighing import WeightTuning
from quorum.model import NodeId
from quorum.runtime.driver import Driver
from quorum.runtime.echoes import Echoes
from quorum.runtime.ports import Ports
from quorum.sim.links import Wandering, lay_links
from quorum.sim.node import SimNode
from quorum.sim.world import World

SECOND_US = 1_000_000


class WeighedWorld(World):
    """A world whose nodes measure their links. With `new_tuning` weights and the lead follow them."""

    echo_us = SECOND_US // 2

    def __init__(self, *given: Any, new_tuning: Callable[[], WeightTuning] | None = None, **named: Any) -> None:
        super().__init__(*given, **named)
        self._new_tuning = new_tuning

    def make_driver(self, node: SimNode, ports: Ports) -> Driver:
        assert node.replica is not None and node.host is not None and node.gateway is not None
        random = Random(f"{self.seed}/echoes/{node.node}/{node.life}")
        echoes = Echoes(node.replica, ports, random, self.echo_us)
        steward = self.make_steward(node.replica)
        if steward is not None and self._new_tuning is not None:
            steward.follow_network(echoes.reports, self._new_tuning)
        driver_ports = (node.replica, ports, node.host, node.gateway, node)
        return Driver(*driver_ports, self.digest_entries, steward, echoes)

    def lay_links(self, rtt_us: Mapping[tuple[NodeId, NodeId], int]) -> None:
        """Let links take half of these round trips each way."""
        lay_links(self, rtt_us)


class RestlessWorld(WeighedWorld):
    """Its links change every few seconds, by the seed, and weights follow as fast as they may, until `calm_us`."""

    def __init__(self, *given: Any, calm_us: int, faults: int = 1, **named: Any) -> None:
        tuning = partial(WeightTuning, faults, gain_percent=5, period_us=3 * SECOND_US)
        super().__init__(*given, new_tuning=tuning, **named)
        self._links = Wandering(self, calm_us)

    def boot(self) -> None:
        self._links.move()
        super().boot()
