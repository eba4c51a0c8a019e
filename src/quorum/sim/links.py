"""How long the links of a simulated network are: laid once, or changing all the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quorum.model import NodeId
from quorum.sim.world import World

MOVED_US: Final = 8_000_000
FARTHEST_US: Final = 80_000


def lay_links(world: World, rtt_us: Mapping[tuple[NodeId, NodeId], int]) -> None:
    """Let links take half of these round trips each way, in microseconds."""
    for (one, other), took_us in rtt_us.items():
        world.network.distances[one, other] = world.network.distances[other, one] = took_us // 2


class Wandering:
    """Every few seconds each node of a world is somewhere else, by its seed, until `calm_us`."""

    def __init__(self, world: World, calm_us: int) -> None:
        self._world, self._random, self._calm_us = world, world.random("links"), calm_us

    def move(self) -> None:
        """Everybody is somewhere else, on a line."""
        world = self._world
        if world.now_us >= self._calm_us:
            return
        places = {node: self._random.randrange(FARTHEST_US) for node in sorted(world.nodes)}
        names = sorted(places)
        pairs = ((one, other) for one in names for other in names if one < other)
        lay_links(world, {(one, other): abs(places[one] - places[other]) for one, other in pairs})
        world.schedule(MOVED_US, self.move)
