"""The policy code, driven by failures and repairs one by one, is up as much as the exact chain says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quorum.membership.adaptation import Adaptation
from quorum.membership.observation import Observation
from quorum.membership.policy import policy_of
from quorum.model import Configuration
from quorum.systems.build import build
from quorum.systems.markov import stationary

from .participation_campaign import SIGMAS
from .participation_events import AT_ONCE, Case, Cluster, measure

pytestmark = pytest.mark.slow

LIVES = 4_000
FEW = 60
"""So many losses at least, or agreement within three errors says little."""


@pytest.mark.parametrize("case", [Case(5, 5, "fixed"), Case(5, 5), Case(7, 3), Case(5, 20, "fixed")], ids=str)
def test_the_policy_code_agrees_with_the_exact_chain(case: Case) -> None:
    measured = measure(list(Cluster(case, 1).cycles(LIVES)))
    assert measured.losses >= FEW
    assert abs(measured.deviation(case.exact)) <= SIGMAS
    assert measured.fewest == (case.nodes if case.policy == "fixed" else 3)


def test_changes_by_joint_consensus_agree_with_it_too() -> None:
    case = Case(5, 3, change="joint")
    measured = measure(list(Cluster(case, 1).cycles(LIVES / 4)))
    assert measured.losses >= FEW / 2 and measured.fewest == 3
    assert abs(measured.deviation(case.exact)) <= SIGMAS


@pytest.mark.parametrize(
    ("run", "other"),
    [
        (Case(5, 5), Case(5, 5, "fixed")),
        (Case(5, 5, "fixed"), Case(5, 5)),
        (Case(5, 5, reconfiguration_ratio=1), Case(5, 5)),
        (Case(7, 3), Case(5, 3)),
    ],
    ids=str,
)
def test_another_figure_than_that_of_its_own_model_is_told_apart(run: Case, other: Case) -> None:
    """What agrees with everything measures nothing."""
    measured = measure(list(Cluster(run, 1).cycles(LIVES)))
    assert abs(measured.deviation(run.exact)) <= SIGMAS < abs(measured.deviation(other.exact))


def test_looking_proposals_up_changes_nothing() -> None:
    case = Case(6, 3)
    asked, looked_up = (list(Cluster(case, 7, is_looked_up=way).cycles(150)) for way in (False, True))
    assert asked == looked_up and sum(cycle.losses for cycle in asked) > 0


def test_a_seed_repeats_itself() -> None:
    first, again, other = (list(Cluster(Case(5, 5), seed).cycles(50)) for seed in (3, 3, 4))
    assert first == again != other


State = tuple[tuple[str, ...], frozenset[str]]
"""Who votes, and who is up."""


@pytest.mark.parametrize("nodes", [4, 5])
@pytest.mark.parametrize("ratio", [5, 20])
def test_the_policy_code_itself_as_a_chain_has_the_exact_figure(nodes: int, ratio: int) -> None:
    """No chance is in it: every committee and every set of nodes that are up is asked what the code proposes."""
    case = Case(nodes, ratio)
    names = tuple(f"n{number}" for number in range(1, nodes + 1))

    def works(state: State) -> bool:
        return build(Configuration(1, state[0])).writes.contains(state[1])

    def wanted(state: State) -> State:
        voters, up = state
        if not works(state):
            return state
        adaptation = Adaptation(policy_of("adaptive"), nodes, (nodes - 1) // 2, limits=AT_ONCE)
        observed = [Observation(name, phi=0.0 if name in up else 20.0) for name in names]
        present = Configuration(1, voters, tuple(sorted(set(names) - set(voters))))
        proposal = adaptation.step(present, min(up & set(voters)), observed, 1)
        if proposal is None:
            return state
        return tuple(sorted({*voters, *proposal.promote} - set(proposal.demote))), up

    def moves(state: State) -> Iterator[tuple[State, float]]:
        voters, up = state
        for name in names:
            yield (voters, up ^ {name}), 1.0 if name in up else float(ratio)
        if (following := wanted(state)) != state:
            yield following, case.reconfiguration_ratio * ratio

    shares = stationary(wanted((names, frozenset(names))), moves)
    without = sum(share for state, share in shares.items() if not works(state))
    assert without == pytest.approx(case.exact, rel=1e-9)
