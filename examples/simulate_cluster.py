"""Run a whole cluster under faults, in virtual time; run it again; break a promise and see it caught.

Run: python examples/simulate_cluster.py
"""

from quorum.sim.campaign import Plan, run_seed

plan = Plan(seed=7, nodes=5, seconds=60)
outcome, history, _ = run_seed(plan)
print(f"seed 7: {outcome.operations} operations, {outcome.leaders} leaders, {outcome.events} events")
print("claims that failed:", outcome.failure or "none")
assert not outcome.failure

again, _, _ = run_seed(plan)
print("the same trace again:", again.trace == outcome.trace)
assert again.trace == outcome.trace

# Reads that any node answers from what it has applied are not linearizable. Some seed shows it.
for seed in range(1, 50):
    stale, _, _ = run_seed(Plan(seed=seed, nodes=3, seconds=25, clients=4, stale=True))
    if stale.failure:
        print(f"stale reads, seed {seed}: {stale.failure[:80]}...")
        print("to see it again:", stale.replay)
        break
else:
    raise SystemExit("no seed showed a stale read")
