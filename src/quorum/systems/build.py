"""From a configuration in the log to the quorum system in force."""

from __future__ import annotations

import functools

from quorum.errors import ConfigurationError
from quorum.model import Configuration, NodeId
from quorum.systems.algebra import ALWAYS, Expression
from quorum.systems.classic import joint, weighted
from quorum.systems.expression import parse
from quorum.systems.system import QuorumSystem

_CONFIGURATIONS_KEPT = 256


@functools.lru_cache(maxsize=_CONFIGURATIONS_KEPT)
def build(configuration: Configuration) -> QuorumSystem:
    """The quorum system of a configuration: reads elect, writes replicate.

    Without texts both are the weighted majority of voters and witnesses (weight 1 where none is given); where
    their votes are an even number, a witness that would make them odd without it has no vote: more would then be
    needed to decide, and no more losses survived. One text alone: the other side is its dual. While `outgoing` is
    set, both configurations must agree, on each side (joint consensus; Ongaro 2014, section 4.3). No electors at
    all: every set is a quorum. An elector that no text names has no say. Whether quorums meet is judged by
    `check`, not here. Raises ConfigurationError if a text is no expression, a text or a weight names nobody who
    votes, the weights are not votes, or the outgoing configuration has an outgoing one itself.
    """
    outgoing = configuration.outgoing
    if outgoing is None:
        return _single(configuration)
    if outgoing.outgoing is not None:
        raise ConfigurationError(
            f"epoch {configuration.epoch} was given three configurations at once, but a change joins two. "
            "Finish one change before the next."
        )
    return joint(_single(configuration), _single(outgoing))


def _single(configuration: Configuration) -> QuorumSystem:
    electors = tuple(sorted({*configuration.voters, *configuration.witnesses}))
    if not configuration.reads and not configuration.writes:
        decide = _by_weight(configuration, electors)
        return QuorumSystem(decide, decide)
    return QuorumSystem(
        _read("reads", configuration.reads, electors), _read("writes", configuration.writes, electors)
    )


def _by_weight(configuration: Configuration, electors: tuple[NodeId, ...]) -> Expression:
    given = dict(configuration.weights)
    if len(given) < len(configuration.weights):
        raise ConfigurationError(
            f"{len(configuration.weights)} weights were given for {len(given)} nodes, but a node has one weight. "
            "Name each node once."
        )
    strangers = sorted(set(given) - set(electors) - set(configuration.learners))
    if strangers:
        raise ConfigurationError(
            f"weights were given for {', '.join(strangers)}, but only members of the configuration can vote. "
            "Admit them, or remove their weights."
        )
    if not electors:
        return ALWAYS
    votes = {node: given.get(node, 1) for node in electors}
    if sum(votes.values()) % 2 == 0:
        odd = [node for node in configuration.witnesses if votes[node] % 2 == 1]
        if odd and len(odd) < len(votes):
            del votes[max(odd)]
    return weighted(votes).reads


def _read(side: str, text: str, electors: tuple[NodeId, ...]) -> Expression | None:
    """One side of a configuration; None where it is left to the dual of the other."""
    if not text:
        return None
    expression = parse(text)
    strangers = sorted(set(expression.nodes) - set(electors))
    if strangers:
        raise ConfigurationError(
            f"the {side} {text[:80]!r} name {', '.join(strangers)}, but only voters and witnesses decide: "
            f"{', '.join(electors) or 'none'}. Make them voters, or leave them out of the expression."
        )
    return expression
