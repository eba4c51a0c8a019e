"""The participation rule with local committees, beside agreed ones: `python -m tests.simulation.rule_campaign`.

Each seed's faults strike twice: nodes that draw their committees from their own views (`participation_rule`), and
the real engine, whose committee changes through the log all the time. The first must decide two things somewhere,
or the faults prove nothing; the second must never. `--nodes 6 --faults 2 --seed 1` runs one seed of the rule
again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

from quorum.sim.campaign import CALM_US, Outcome, Plan, run_seed
from quorum.sim.churn import CHANGED
from quorum.sim.node import PUT_OUT, TAKEN_BACK

from .participation_rule import FAULTS, BlindNemesis, Rule, RuleWorld, run_rule

SECONDS, SPARES = 40, 2
RULES = (Rule(6, 2), Rule(7, 3), Rule(9, 4), Rule(5, 2, "blank"))
"""Where two committees may decide apart; and where every two quorums meet, but a retry begins anew."""
Way = Literal["churn", "adaptive", "participation"]
WAYS: tuple[Way, ...] = ("churn", "adaptive", "participation")
"""How an agreed committee changes, seed by seed in turn."""


class Both(NamedTuple):
    """What one seed showed. `agreed` is what broke in the engine; "" for nothing."""

    seed: int
    conflicts: int
    example: str
    topics: int
    agreed: str
    decided: int
    changes: int


def local(rule: Rule, seed: int) -> RuleWorld:
    """One seed of the rule."""
    return run_rule(rule, seed, SECONDS, CALM_US)


def agreed(rule: Rule, seed: int, way: Way) -> Outcome:
    """The same faults for as many nodes that run the engine, whose committee changes through the log. "churn": an
    operator changes it about once in a second and a half, and two nodes begin outside of it. "adaptive" and
    "participation": that policy does, after a second of being badly seen; the second is the rule itself, with the
    n and the threshold that it says."""
    nodes, spares, policy = (rule.nodes - SPARES, SPARES, "fixed") if way == "churn" else (rule.nodes, 0, way)
    plan = Plan(
        seed,
        nodes,
        SECONDS,
        clients=3,
        pause_ms=150,
        faults=FAULTS,
        spares=spares,
        churn_ms=1500,
        policy=policy,
    )
    with patch("quorum.sim.campaign.Nemesis", BlindNemesis):
        return run_seed(plan)[0]


def run_both(asked: tuple[Rule, int]) -> Both:
    """One seed of both."""
    rule, seed = asked
    world, outcome = local(rule, seed), agreed(rule, seed, WAYS[seed % len(WAYS)])
    conflicts = world.conflicts()
    return Both(
        seed,
        len(conflicts),
        "\n".join(f"    {each}" for each in conflicts[0]) if conflicts else "",
        len({decision.topic for decision in world.decisions}),
        outcome.failure,
        outcome.decided,
        sum(outcome.sometimes.get(branch, 0) for branch in (CHANGED, PUT_OUT, TAKEN_BACK)),
    )


def replay_command(rule: Rule, seed: int) -> str:
    """What runs one seed of the rule again."""
    return (
        f"python -m tests.simulation.rule_campaign --nodes {rule.nodes} --faults {rule.faults} "
        f"--binding {rule.binding} --seed {seed}"
    )


def _told(rule: Rule, results: Iterator[Both], count: int) -> list[Both]:
    began, found = time.monotonic(), []
    for number, result in enumerate(results, 1):
        found.append(result)
        print(f"\rN={rule.nodes}, T={rule.faults}: {number} of {count}", end="", file=sys.stderr, flush=True)
    print(f", {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found


def report(rule: Rule, found: list[Both]) -> dict[str, Any]:
    """What the seeds of one rule came to."""
    bad = [one for one in found if one.conflicts]
    failures = [f"seed {one.seed}: {one.agreed}" for one in found if one.agreed]
    return {
        **rule._asdict(),
        "participants": rule.size,
        "threshold": rule.threshold,
        "seeds": len(found),
        "local": {
            "seeds_with_conflicts": len(bad),
            "conflicts": sum(one.conflicts for one in bad),
            "topics": sum(one.topics for one in found),
            "example": bad[0].example if bad else None,
            "replay": replay_command(rule, bad[0].seed) if bad else None,
        },
        "agreed": {
            "conflicts": len(failures),
            "decided": sum(one.decided for one in found),
            "changes": sum(one.changes for one in found),
            "failures": failures,
        },
        "passed": bool(bad) and not failures,
    }


def show(result: dict[str, Any]) -> None:
    own, engine = result["local"], result["agreed"]
    print(
        f"N={result['nodes']}, T={result['faults']}: committees of {result['participants']}, "
        f"{result['threshold']} votes decide, votes bind {result['binding']}; {result['seeds']} seeds"
    )
    print(
        f"  local: {own['conflicts']} conflicting decisions on {own['topics']} topics, in "
        f"{own['seeds_with_conflicts']} seeds"
    )
    if own["example"]:
        print(f"{own['example']}\n    {own['replay']}")
    print(
        f"  agreed: {engine['conflicts']} conflicting decisions, {engine['decided']} entries decided, "
        f"{engine['changes']} members put in or out"
    )
    for failure in engine["failures"]:
        print(f"    {failure}")


def replay(rule: Rule, seed: int) -> int:
    """Show one seed of the rule."""
    world = local(rule, seed)
    for pair in world.conflicts():
        print(f"topic {pair[0].topic}:", *pair, sep="\n  ")
    print(f"{len(world.decisions)} decisions, {len(world.conflicts())} topics decided in two ways")
    return 1 if world.conflicts() else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.rule_campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="seeds of each rule (100)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--nodes", type=int, default=6, help="N, of one seed to run again (6)")
    parser.add_argument("--faults", type=int, default=2, help="T, of one seed to run again (2)")
    parser.add_argument("--binding", choices=("once", "blank", "carried"), default="once", help="how votes bind")
    parser.add_argument("--seed", type=int, help="run this seed of one rule again")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    if given.seeds < 1 or given.workers < 1 or not 0 < given.faults < given.nodes:
        parser.error("give one seed and one worker at least, and fewer faults than nodes")
    if given.seed is not None:
        return replay(Rule(given.nodes, given.faults, given.binding), given.seed)
    results = []
    with Pool(given.workers) as pool:
        for rule in RULES:
            asked = [(rule, seed) for seed in range(given.seeds)]
            results.append(report(rule, _told(rule, pool.imap(run_both, asked), given.seeds)))
    if given.json:
        print(json.dumps(results))
    else:
        for result in results:
            show(result)
    return 0 if all(result["passed"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
