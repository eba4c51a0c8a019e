"""One control decision in each tick, the same on five simulated nodes, although a channel lies and a node crashes.

Beside each node is a probe that owns one channel. The probe that lies says 85 all the time; the true value moves
between 20 and 30. After two seconds a node crashes, and its probe with it; after two more it is back.

Run: python examples/control_loop.py
"""

from __future__ import annotations

from quorum.sim.control_scene import BEGIN_US, PERIOD_US, ControlPlan, ControlScene, truth_at, world_of

SECOND_TICKS = 1_000_000 // PERIOD_US
plan = ControlPlan(seed=1, liars=1, lie="far", strikes=())
scene = ControlScene(plan, world_of(plan))
world = scene.world
scene.start()
liar = scene.liars[0]
crashing = "n1" if liar != 1 else "n2"
print(f"channel c{liar} lies; {crashing} will crash")


def run_to(tick: int) -> None:
    """Let time pass to the end of this tick, and show what was decided in it."""
    world.run(BEGIN_US + (tick + 1) * PERIOD_US)
    scene.compare()  # raises where two nodes decided differently
    decided = scene.decisions[tick]
    assert decided.low is not None and decided.high is not None and decided.value is not None
    assert decided.low <= truth_at(tick) <= decided.high
    print(
        f"tick {tick:2}: {decided.low:.2f} to {decided.high:.2f}, the truth is {truth_at(tick):.2f}; "
        f"{decided.stage}, of {', '.join(decided.used)}"
    )


for tick in (0, 1, SECOND_TICKS, 2 * SECOND_TICKS):
    run_to(tick)
print(f"{crashing} crashes")
world.crash(crashing)
for tick in (3 * SECOND_TICKS, 4 * SECOND_TICKS):
    run_to(tick)
print(f"{crashing} is back")
world.restart(crashing)
run_to(6 * SECOND_TICKS)

decided_of_all = [scene.decisions.get(tick) for tick in range(6 * SECOND_TICKS)]
missed = sum(decided is None or decided.value is None for decided in decided_of_all)
print(f"{len(decided_of_all) - missed} of {len(decided_of_all)} ticks have a value, the same on every node")
