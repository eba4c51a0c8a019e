"""The participation rule with local committees decides two things at once; with an agreed committee never."""

from __future__ import annotations

import pytest

from quorum.sim.churn import CHANGED
from quorum.sim.node import PUT_OUT, TAKEN_BACK

from .participation_rule import Binding, Rule
from .rule_campaign import RULES, WAYS, Way, agreed, local, main

pytestmark = pytest.mark.slow

TRIED = 12
FINDS = {(6, 2): 1, (7, 3): 0, (9, 4): 0, (5, 2): 0}
"""A seed that shows it; a change of the simulator may move it, so the next ones are tried as well."""


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_committees_drawn_from_local_views_decide_two_things(rule: Rule) -> None:
    """Neither a lie nor a failure beyond T is needed. What the test below asserts can fail."""
    first = FINDS[rule.nodes, rule.faults]
    found = next(world for seed in range(first, first + TRIED) if (world := local(rule, seed)).conflicts())
    one, other = found.conflicts()[0]
    assert one.topic == other.topic and one.value != other.value
    for decision in (one, other):
        assert len(decision.committee) == rule.size and len(decision.voters) >= rule.threshold
        assert set(decision.voters) <= set(decision.committee)
    if rule.binding == "once":
        assert one.committee != other.committee and not set(one.voters) & set(other.voters)
    else:
        assert set(one.voters) & set(other.voters), "the quorums meet, and that is not enough"
        assert other.round[0] > one.round[0], "in a retry"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_an_agreed_committee_under_the_same_faults_decides_one_thing(rule: Rule, way: Way) -> None:
    seed = FINDS[rule.nodes, rule.faults]
    outcome = agreed(rule, seed, way)
    assert outcome.failure == "" and outcome.decided > 50
    changed = (CHANGED,) if way == "churn" else (PUT_OUT, TAKEN_BACK)
    assert sum(outcome.sometimes.get(branch, 0) for branch in changed) > 0, "its committee changes meanwhile"


def test_the_same_faults_strike_both() -> None:
    for seed in range(3):
        one, other = local(RULES[0], seed), agreed(RULES[0], seed, WAYS[seed])
        struck = {name: times for name, times in one.sometimes.counts.items() if name.startswith("fault ")}
        assert struck and struck == {
            name: times for name, times in other.sometimes.items() if name.startswith("fault ")
        }


@pytest.mark.parametrize(("nodes", "faults", "binding"), [(5, 2, "once"), (5, 2, "carried"), (5, 1, "once")])
def test_where_quorums_meet_and_a_retry_forgets_nothing_the_same_faults_do_no_harm(
    nodes: int, faults: int, binding: Binding
) -> None:
    worlds = [local(Rule(nodes, faults, binding), seed) for seed in range(TRIED)]
    assert not any(world.conflicts() for world in worlds)
    assert sum(len(world.decisions) for world in worlds) > 10 * TRIED


def test_carrying_values_over_does_not_mend_committees_that_miss_each_other() -> None:
    assert any(local(Rule(6, 2, "carried"), seed).conflicts() for seed in range(1, TRIED))


def test_a_counterexample_is_printed_and_runs_again(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--nodes", "7", "--faults", "3", "--seed"]
    seed = next(seed for seed in range(TRIED) if local(Rule(7, 3), seed).conflicts())
    said = []
    for _ in range(2):
        assert main([*asked, str(seed)]) == 1
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "decides 'A'" in said[0] and "decides 'B'" in said[0]
