"""The votes of a committee: which weights stay in force with it, and what its quorum system makes of them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.model import Configuration, NodeId
from quorum.systems.build import build
from quorum.systems.system import QuorumSystem
from quorum.systems.weights import check_weights


def with_sound_weights(present: Configuration, target: Configuration) -> Configuration:
    """Weights that suited the committee before may let the loss of fewer than T stop the next one: then all weigh
    the same. What an operator made so stays."""
    faults = min(target.faults, (len(target.electors) - 1) // 2)
    if target.weights and _survives(present, faults) and not _survives(target, faults):
        return replace(target, weights=())
    return target


def _survives(configuration: Configuration, faults: int) -> bool:
    """Whether any `faults` of those who vote can be lost; True where weights do not count."""
    votes = build(configuration).writes.as_threshold()
    if votes is None or configuration.reads or configuration.writes:
        return True
    try:
        check_weights(dict(votes.weights), faults)
    except ConfigurationError:
        return False
    return True


def system_with(present: Configuration, voters: Iterable[NodeId]) -> QuorumSystem:
    """The quorum system of `present` once these of its members vote, and no others."""
    voting = tuple(sorted(voters))
    standing = tuple(sorted({*present.voters, *present.learners} - set(voting)))
    # Nothing but what decides: so the same question is the same value, and the system is built once.
    deciding = Configuration(
        voters=present.voters,
        learners=present.learners,
        witnesses=present.witnesses,
        weights=present.weights,
        faults=present.faults,
    )
    return build(with_sound_weights(deciding, replace(deciding, voters=voting, learners=standing)))


def votes_of(system: QuorumSystem) -> dict[NodeId, int]:
    """How many votes each node has in a system that decides by votes."""
    votes = system.writes.as_threshold()
    assert votes is not None, "votes decide by a threshold"
    return dict(votes.weights)
