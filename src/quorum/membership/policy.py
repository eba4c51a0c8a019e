"""Which committee should be in force: pure functions from a situation to the voters wanted.

None of them acts, and none looks at time: who is fit has been judged before (membership.health), and whether the
change may be made now is judged after (membership.adaptation).
Sources: Elasticsearch reference, "Voting configurations" (auto-shrink), for odd sizes and who is given a seat
first; Jajodia and Mutchler (1990), section 4, for the floor of three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from quorum.errors import ConfigurationError
from quorum.membership.observation import Situation
from quorum.model import NodeId, check_fault_budget

Policy: TypeAlias = Callable[[Situation], Iterable[NodeId]]
"""The voters that a situation asks for; those in force mean that nothing should change."""

FLOOR: Final = 3
CUSTOM: Final = "custom"
POLICIES: Final = ("fixed", "adaptive", "participation", CUSTOM)
OR_ANOTHER: Final = "or take another policy by `quorum policy set`"
ADAPTIVE_FROM: Final = 5
"""From so many members on, adapting the committee is worth something."""


def fixed(situation: Situation) -> tuple[NodeId, ...]:
    """Nobody is put in or out but by an operator."""
    return situation.configuration.voters


def adaptive(situation: Situation) -> tuple[NodeId, ...]:
    """All who are fit, but an odd number of votes, and the floor at least; a seat that nobody fit is there for
    stays with who has it. A fit witness makes an even number odd, so that nobody is left out for it."""
    fit = _by_preference(situation)
    size = len(fit) - (len(fit) % 2 == 0 and not situation.witness)
    size = max(size, min(floor_of(situation), situation.nodes))
    return _filled(situation, fit[:size], size)


def participation(situation: Situation) -> tuple[NodeId, ...]:
    """A committee of n = N-T+1, agreed through the log, and of the floor at least: who is in it stays while it is
    fit, and is replaced by a standby that is. The majority of n decides (`quorum check --rule participation` says
    what that is worth)."""
    size = max(floor_of(situation), min(situation.nodes, situation.nodes - situation.faults + 1))
    return _filled(situation, _by_preference(situation)[:size], size)


def custom(function: Policy) -> Policy:
    """A policy of the user's own, whose answers are checked: members alone, each once, and the floor at least.
    The result raises ConfigurationError for an answer that is none."""

    def checked(situation: Situation) -> tuple[NodeId, ...]:
        try:
            wanted = tuple(function(situation))
        except Exception as error:
            raise ConfigurationError(
                f"the custom policy was asked for a committee, but it raised {type(error).__name__}: {error}. "
                f"Correct it, {OR_ANOTHER}; the committee stays as it is."
            ) from error
        members = {*situation.configuration.voters, *situation.configuration.learners}
        strangers = [node for node in wanted if node not in members]
        if strangers or len(set(wanted)) < len(wanted):
            what = f"{strangers[0]!r}, which is no member" if strangers else "a member twice"
            raise ConfigurationError(
                f"the custom policy was asked for a committee, but it named {what}. Correct it, "
                f"{OR_ANOTHER}; the committee stays as it is."
            )
        if len(wanted) < floor_of(situation):
            raise ConfigurationError(
                f"the custom policy was asked for a committee, but it named {len(wanted)} members, and the floor "
                f"is {floor_of(situation)}. Correct it, or lower the floor; the committee stays as it is."
            )
        return tuple(sorted(wanted))

    return checked


def usual(nodes: int) -> str:
    """The policy of a cluster of N for which none is named."""
    return "adaptive" if nodes >= ADAPTIVE_FROM else "fixed"


def policy_of(name: str, function: Policy | None = None) -> Policy:
    """The policy of that name; `function` is the user's own for `custom`. Without one nothing is changed: another
    node, which has it, may lead next."""
    if name == CUSTOM:
        return fixed if function is None else custom(function)
    return _NAMED[name]


def check_policy(name: str, nodes: int, faults: int, floor: int) -> None:
    """Raise ConfigurationError unless this policy can choose among N nodes of which T may fail."""
    if name not in POLICIES:
        raise ConfigurationError(
            f"policy {name[:40]!r} was asked for, which is none. Name one of {', '.join(POLICIES)}."
        )
    if floor < FLOOR:
        raise ConfigurationError(
            f"a floor of {floor} voters was asked for, but what fewer than {FLOOR} disks hold is lost too easily. "
            f"Give {FLOOR} or more."
        )
    if name != "participation":
        return  # T bears on nothing
    check_fault_budget(nodes, faults, "crash")
    if faults == 0:
        raise ConfigurationError(
            f"the participation policy was asked for with T=0, but its n = N-T+1 = {nodes + 1} nodes are more "
            f"than the N={nodes} there are. Give a T of 1 or more, or use the adaptive policy."
        )


def floor_of(situation: Situation) -> int:
    """The fewest voters: what was configured, and never under three where there are three."""
    return min(situation.nodes, max(FLOOR, situation.floor))


def _by_preference(situation: Situation) -> list[NodeId]:
    """Who is fit: the leader, then who votes already, then standbys, each by name."""
    voting = frozenset(situation.configuration.voters)
    return sorted(situation.fit, key=lambda node: (node != situation.leader, node not in voting, node))


def _filled(situation: Situation, chosen: list[NodeId], size: int) -> tuple[NodeId, ...]:
    """The chosen, and as many of the present voters as are missing; those who are worst stay out first."""
    reasons = dict(situation.unfit)
    left = sorted(set(situation.configuration.voters) - set(chosen), key=lambda node: (node in reasons, node))
    return tuple(sorted([*chosen, *left[: max(0, size - len(chosen))]]))


_NAMED: Final[Mapping[str, Policy]] = {"fixed": fixed, "adaptive": adaptive, "participation": participation}
