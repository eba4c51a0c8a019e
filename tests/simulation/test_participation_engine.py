"""The real engine, crashing and repaired in simulation, is up as much as the exact chain says."""

from __future__ import annotations

import pytest

from .participation_campaign import SIGMAS
from .participation_engine import EngineCase, run_engine, verdict

RATIO, LIFE_S, SECONDS = 3.0, 60, 4_000
"""Failures so frequent that a quorum is lost often; the campaign runs the rarer losses of ratio 5."""


@pytest.mark.slow
def test_the_engine_is_without_a_quorum_as_much_as_the_chain_says() -> None:
    """And the same failures that stop a fixed committee stop one that adapts much less."""
    shares = {}
    for policy, losses in (("fixed", 20), ("adaptive", 8)):
        case = EngineCase(policy=policy, ratio=RATIO, life_s=LIFE_S)
        watched = run_engine(case, 1, SECONDS)
        measured, ratio, exact = verdict(case, watched)
        assert measured.losses >= losses, "else agreement says little"
        assert abs(measured.deviation(exact)) <= SIGMAS
        assert measured.fewest == (5 if policy == "fixed" else 3) and ratio > 5
        shares[policy] = measured.unavailability
    assert shares["adaptive"] < 0.7 * shares["fixed"]


def test_a_run_of_the_engine_repeats_itself() -> None:
    case = EngineCase(ratio=2.0, life_s=60)
    first, again, other = (run_engine(case, seed, 150) for seed in (1, 1, 2))
    assert first == again != other and first.changes > 0
