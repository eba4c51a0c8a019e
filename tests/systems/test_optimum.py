"""The best strategies: as brute force finds them, as published, and for a thousand nodes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from systems.full_program import SIX, architectures, best, contacts, latency
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError, NoStrategy
from quorum.systems import classic
from quorum.systems.architecture import Architecture, NodeTraits
from quorum.systems.expression import parse
from quorum.systems.optimum import AIMS, Aim, Limits, Optimum, optimise
from quorum.systems.system import QuorumSystem

aims = st.sampled_from(AIMS)


def figure(found: Optimum, aim: Aim) -> float:
    return {"load": found.load, "network": found.network_load, "latency": found.latency}[aim]


def check_figures(architecture: Architecture, found: Optimum, failures: int) -> None:
    """The figures are those of the strategy that is listed, and all that is listed may be asked."""
    system, share = architecture.system, architecture.mean_read_fraction
    network = time = 0.0
    chances: list[dict[str, float]] = []
    for mixture, expression, part in ((found.reads, system.reads, share), (found.writes, system.writes, 1 - share)):
        listed = mixture.listed(10_000)
        assert listed is not None
        assert sum(each.probability for each in listed) == pytest.approx(1, rel=1e-9)
        allowed = set(contacts(expression, failures))
        assert {each.quorum for each in listed} <= allowed
        network += part * sum(each.probability * len(each.quorum) for each in listed)
        time += part * sum(each.probability * latency(architecture, expression, each.quorum) for each in listed)
        chances.append({node: sum(p for quorum, p in listed if node in quorum) for node in system.nodes})
    peaks = []
    for mix in architecture.mixes:
        each = []
        for node in system.nodes:
            traits = architecture.traits(node)
            reads = mix.fraction * chances[0][node] / traits.read_capacity
            each.append(reads + (1 - mix.fraction) * chances[1][node] / traits.write_capacity)
        peaks.append(max(each))
    weights = [mix.weight for mix in architecture.mixes]
    assert found.load == pytest.approx(sum(w * p for w, p in zip(weights, peaks, strict=True)), rel=1e-7)
    assert found.capacity == pytest.approx(sum(w / p for w, p in zip(weights, peaks, strict=True)), rel=1e-7)
    assert found.network_load == pytest.approx(network, rel=1e-7)
    assert found.latency == pytest.approx(time, rel=1e-7)


@settings(max_examples=200, deadline=None)
@given(architecture=architectures(), aim=aims, failures=st.sampled_from((0, 0, 0, 1, 1, 2)))
def test_every_optimum_is_that_of_the_program_over_all_sets(architecture: Architecture, aim: Aim, failures: int):
    wanted = best(architecture, aim, failures)
    if wanted is None:
        with pytest.raises(NoStrategy, match="survive any"):
            optimise(architecture, aim, failures)
        return
    found = optimise(architecture, aim, failures)
    assert found.value == pytest.approx(wanted, rel=1e-8)
    assert found.bound == pytest.approx(wanted, rel=1e-8)
    assert figure(found, aim) == pytest.approx(wanted, rel=1e-8)
    check_figures(architecture, found, failures)


@settings(max_examples=100, deadline=None)
@given(
    architecture=architectures(),
    aim=aims,
    failures=st.sampled_from((0, 0, 1)),
    room=st.tuples(*[st.one_of(st.none(), st.sampled_from((0.9, 1.0, 1.05, 1.3, 2.0)))] * 3),
)
def test_limits_are_kept_at_the_least_cost_or_refused_by_name(
    architecture: Architecture, aim: Aim, failures: int, room: tuple[float | None, ...]
):
    assume(best(architecture, aim, failures) is not None)
    least = [best(architecture, name, failures) or 0.0 for name in AIMS]
    limits = Limits(*(None if r is None else r * each for r, each in zip(room, least, strict=True)))
    slack = Limits(*(None if each is None else each * (1 + 1e-8) for each in limits))
    wanted = best(architecture, aim, failures, slack)
    if wanted is None:
        with pytest.raises(NoStrategy) as refused:
            optimise(architecture, aim, failures, limits)
        assert refused.value.binding
        assert all(limits[AIMS.index(name)] is not None for name in refused.value.binding)
        return
    found = optimise(architecture, aim, failures, limits)
    assert found.value == pytest.approx(wanted, rel=1e-5)
    for name, limit in zip(AIMS, limits, strict=True):
        assert limit is None or figure(found, name) <= limit * (1 + 1e-8)
    check_figures(architecture, found, failures)
