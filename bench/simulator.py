"""How fast the simulator is on one core: `python bench/simulator.py [--seeds 5] [--json]`.

An event is a message that arrives at a node or a client, a timer that fires, a sync that ends, a fault or a
change of role. All faults, the trace hash and every invariant are on, as in the campaign; the check of the history
at the end of each seed is counted in. `bytes` sends every message as bytes, `disk` keeps the production log on a
simulated disk.
"""

from __future__ import annotations

import argparse
import json
import platform
import time

from machine import usable_cores
from quorum.sim.campaign import Plan, run_seed

SECONDS = 60
WAYS: dict[str, dict[str, bool]] = {
    "plain": {},
    "bytes": {"wire": True},
    "disk": {"disk": True},
    "bytes and disk": {"wire": True, "disk": True},
}


def measure(nodes: int, ways: dict[str, bool], seeds: int) -> dict[str, float]:
    """Run seeds one after the other; the figures are means over them.

    Keys: `events_per_cpu_second`, `simulated_per_cpu_second` (seconds of the cluster), `cpu_s_per_seed`.
    Raises AssertionError if a seed fails: a fast wrong answer is no figure.
    """
    events, began = 0, time.process_time()
    for seed in range(seeds):
        outcome, _, _ = run_seed(Plan(seed, nodes=nodes, seconds=SECONDS, **ways))
        assert outcome.failure == "", outcome.failure
        events += outcome.events
    spent = time.process_time() - began
    return {
        "events_per_cpu_second": round(events / spent),
        "simulated_per_cpu_second": round(SECONDS * seeds / spent, 1),
        "cpu_s_per_seed": round(spent / seeds, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    run_seed(Plan(0, nodes=3, seconds=20))  # imports and caches are not what is measured
    rows = [
        {"nodes": nodes, "messages": name, **measure(nodes, ways, given.seeds)}
        for nodes in (3, 5, 7)
        for name, ways in WAYS.items()
    ]
    if given.json:
        about = {"python": platform.python_version(), "cores": usable_cores(), "seeds": given.seeds}
        print(json.dumps({**about, "rows": rows}))
        return
    print(f"{'nodes':>5}  {'messages':<15}{'events/s a core':>16}{'simulated s/s':>15}{'CPU s a seed':>14}")
    for row in rows:
        print(
            f"{row['nodes']:>5}  {row['messages']:<15}{row['events_per_cpu_second']:>16,}"
            f"{row['simulated_per_cpu_second']:>15}{row['cpu_s_per_seed']:>14}"
        )


if __name__ == "__main__":
    main()
