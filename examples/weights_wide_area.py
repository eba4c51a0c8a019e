"""Five to seven members around the world: how long a decision takes with equal weights, and with others.

Run: python examples/weights_wide_area.py

Simulated time, so every run prints the same. The round trips are about those between data centres there.
"""

from __future__ import annotations

from functools import partial

from quorum.membership.weighing import WeightTuning
from quorum.model import Configuration
from quorum.protocols.raft.settings import Settings
from quorum.sim.stopwatch import Stopwatch
from quorum.sim.weighing import WeighedWorld

SECOND_US = 1_000_000
REGIONS = ("frankfurt", "ireland", "virginia", "oregon", "singapore", "sydney", "sao-paulo")
RTT_MS = (
    (0, 25, 90, 160, 165, 285, 205),
    (25, 0, 70, 130, 175, 260, 185),
    (90, 70, 0, 65, 215, 200, 115),
    (160, 130, 65, 0, 165, 140, 175),
    (165, 175, 215, 165, 0, 95, 325),
    (285, 260, 200, 140, 95, 0, 310),
    (205, 185, 115, 175, 325, 310, 0),
)
SLOW = Settings(heartbeat_us=200_000, election_timeout_us=3 * SECOND_US)
PUTS = 100


def decision_ms(regions: tuple[str, ...], leader: str | None, faults: int | None) -> tuple[float, str]:
    """The mean time of a decision and who led: `leader` if it is given. With `faults` (T) weights follow."""
    priorities = () if leader is None else ((leader, 2),)
    configuration = Configuration(epoch=1, voters=regions, priorities=priorities, faults=faults or 0)
    new_tuning = None if faults is None else partial(WeightTuning, period_us=5 * SECOND_US)
    world = WeighedWorld(1, configuration, SLOW, new_tuning=new_tuning)
    places = [REGIONS.index(region) for region in regions]
    world.lay_links({(REGIONS[a], REGIONS[b]): RTT_MS[a][b] * 1_000 for a in places for b in places if a != b})
    world.boot()
    world.run(30 * SECOND_US)  # elect, measure, move
    mean_us = Stopwatch(world).run(PUTS, 120 * SECOND_US)
    return mean_us / 1_000, str(world.leader())


def row(nodes: int, faults: int) -> str:
    regions = REGIONS[:nodes]
    each = [decision_ms(regions, region, None)[0] for region in regions]
    mean, best = sum(each) / nodes, min(each)
    weighed, leader = decision_ms(regions, None, faults)
    assert weighed <= best
    figures = f"{mean:10.0f} ms {best:8.0f} ms {weighed:9.0f} ms"
    gain = f"{mean / weighed:11.1f} and {best / weighed:.1f} times as fast"
    return f"N={nodes} T={faults} {figures} {gain}, {leader} leads"


if __name__ == "__main__":
    print("weights:  equal, any lead  best lead  following")
    for nodes, faults in ((5, 1), (6, 1), (7, 1), (7, 2)):
        print(row(nodes, faults))
