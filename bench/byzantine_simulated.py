"""`python bench/byzantine_simulated.py`: committees larger than one machine can run as processes, in simulation.

All members are in one process and share one cache of verified signatures, so that each distinct one is checked
once for all of them; signatures are Ed25519. `blocks/s` is by the clock on the wall: what the protocol's messages
cost one core with N members on it. Members of a real cluster each have a core, and verify for themselves: `asked`
divided by N is what each of them would check.
"""

from __future__ import annotations

import argparse
import json
import time

from quorum.checkers.history import History
from quorum.protocols.pbft.settings import Settings
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.workload import Worker

SECOND_US = 1_000_000
STEP_US = 20_000
CLIENTS = 4
PAUSE_US = 40_000
LIMIT_S = 120.0
PATIENT = Settings(view_timeout_us=20 * SECOND_US)
"""Nobody fails here, and a view that changes is not what is measured."""


def measure(nodes: int, seconds: float) -> dict[str, object]:
    """Let a committee of `nodes` order what four clients ask, for so many seconds by the clock on the wall.

    Raises AssertionError if it decides nothing, or different things."""
    world = ByzantineWorld(0, nodes, (nodes - 1) // 3, {}, PATIENT, real=True)
    world.boot()
    workers = [Worker(world, f"c{i}", History(), PAUSE_US, 10**12, False) for i in range(1, CLIENTS + 1)]
    for worker in workers:
        worker.start()
    began_s = time.perf_counter()
    while not any(worker.answered for worker in workers) and time.perf_counter() - began_s < LIMIT_S:
        world.run(world.now_us + STEP_US)  # sessions open, caches fill
    first, verifier = _decided(world), world.verifier
    asked, checked, answered = verifier.asked, verifier.checked, _answered(workers)
    began_s, began_us = time.perf_counter(), world.now_us
    while (took_s := time.perf_counter() - began_s) < seconds:
        world.run(world.now_us + STEP_US)
    blocks = _decided(world) - first
    assert blocks > 0, f"{nodes} simulated members decided nothing in {took_s:.0f} s"
    return {
        "nodes": nodes,
        "blocks": blocks,
        "blocks_per_s": round(blocks / took_s, 2),
        "operations_per_block": round((_answered(workers) - answered) / blocks, 2),
        "asked_per_block": round((verifier.asked - asked) / blocks, 1),
        "checked_per_block": round((verifier.checked - checked) / blocks, 1),
        "simulated_s": round((world.now_us - began_us) / SECOND_US, 2),
    }


def _decided(world: ByzantineWorld) -> int:
    return min(node.replica.state.commit_sequence for node in world.nodes.values())  # type: ignore[union-attr]


def _answered(workers: list[Worker]) -> int:
    return sum(worker.answered for worker in workers)


def told(row: dict[str, object]) -> str:
    """A row for people."""
    return (
        "simulated N={nodes}: {blocks_per_s} blocks/s on one core by the wall clock, each with "
        "{operations_per_block} operations; signatures of a block: {asked_per_block} asked for by all members, "
        "{checked_per_block} checked".format(**row)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python bench/byzantine_simulated.py",
        epilog="Example: python bench/byzantine_simulated.py --nodes 31",
    )
    parser.add_argument("--nodes", nargs="+", type=int, default=[31, 100], help="Sizes of committees, 4 at least.")
    parser.add_argument("--seconds", type=float, default=8.0, help="How long each is measured.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object a size.")
    options = parser.parse_args()
    for nodes in options.nodes:
        row = measure(nodes, options.seconds)
        print(json.dumps(row) if options.json else told(row))


if __name__ == "__main__":
    main()
