"""Which committee should be in force: pure functions from a situation to the voters wanted.

None of them acts, and none looks at time: who is fit has been judged before (membership.health), and whether the
change may be made now is judged after (membership.adaptation).
Sources: Elasticsearch reference, "Voting configurations" (auto-shrink), for odd sizes and who is given a seat
first; Jajodia and Mutchler (1990), section 4, for the floor of three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from math import gcd
from typing import Final, TypeAlias

from quorum.errors import ConfigurationError
from quorum.membership.health import HELD
from quorum.membership.observation import Situation
from quorum.membership.votes import system_with, votes_of
from quorum.model import NodeId, check_fault_budget

Policy: TypeAlias = Callable[[Situation], Iterable[NodeId]]
"""The voters that a situation asks for; those in force mean that nothing should change."""

FLOOR: Final = 3
CUSTOM: Final = "custom"
POLICIES: Final = ("fixed", "adaptive", "participation", CUSTOM)
OR_ANOTHER: Final = "or take another policy by `quorum policy set`"
ADAPTIVE_FROM: Final = 5
"""From so many members on, adapting the committee is worth something."""
TEXT_MAX: Final = 300
"""So much of the text of a user's own error is told."""


def fixed(situation: Situation) -> tuple[NodeId, ...]:
    """Nobody is put in or out but by an operator."""
    return situation.configuration.voters


def adaptive(situation: Situation) -> tuple[NodeId, ...]:
    """All who are fit, but an odd number of votes, and the floor at least; a seat that nobody fit is there for
    stays with who has it, the lightest first.

    The floor counts members, since it is about disks. All else counts votes, as the quorum system of the committee
    has them (weights that would not suit it are dropped with the change: membership.votes). Where they are even,
    who has a single one is left out: half of the rest and one more are then as many as before without it, so
    nothing that was survived is not survived any more. With unequal weights there may be nobody such, and then
    nobody is left out; nor where a fit witness makes the votes odd. A committee that those who are fit could not
    decide in is not asked for while they can decide in another: the present one, if need be.

    Where expressions name the sets that decide, votes do not count, and members are counted in their place.
    """
    fit, floor = _by_preference(situation), floor_of(situation)
    everyone = _filled(situation, fit, max(len(fit), floor))
    spare = _spare(situation, everyone, fit) if len(fit) > floor else None
    choices = [everyone, situation.configuration.voters]
    if spare is not None:
        choices.insert(0, tuple(node for node in everyone if node != spare))
    return next((voters for voters in choices if _could_decide(situation, voters)), choices[0])


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
        configuration = situation.configuration
        members = {*configuration.voters, *configuration.learners}
        wanted = _answer(function, situation, len(members) + 1)
        held = {seat.node for seat in configuration.seats if seat.reason == HELD and seat.node in members}
        strangers = [node for node in wanted if node not in members - held]
        if strangers or len(set(wanted)) < len(wanted):
            first = strangers[0] if strangers else ""
            why = "which an operator keeps out of the vote" if first in held else "which is no member"
            what = f"{first[:80]!r}, {why}" if strangers else "a member twice"
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


def _answer(function: Policy, situation: Situation, most: int) -> list[NodeId]:
    """The names that a user's function gives, `most` of them at most: it may raise anything, even to end the
    process, give no names, or never come to an end of them. Raises ConfigurationError for that."""
    try:
        wanted = list(islice(function(situation), most))
        strange = next((type(each).__name__ for each in wanted if not isinstance(each, str)), "")
        names = [str.__str__(each) for each in wanted if isinstance(each, str)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ConfigurationError(
            f"the custom policy was asked for a committee, but it raised {_told(error)}. Correct it, "
            f"{OR_ANOTHER}; the committee stays as it is."
        ) from error
    if strange:
        raise ConfigurationError(
            f"the custom policy was asked for the names of members, but it gave a value of type {strange[:80]}. "
            f"Correct it, {OR_ANOTHER}; the committee stays as it is."
        )
    return names


def _told(error: BaseException) -> str:
    """An error that is a user's own, in one line; even its text may raise another."""
    name = type(error).__name__[:80]
    try:
        text = str(error)[:TEXT_MAX]
    except Exception:
        return name
    return f"{name}: {''.join(each if each.isprintable() else ' ' for each in text)}"


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


def _spare(situation: Situation, everyone: tuple[NodeId, ...], fit: list[NodeId]) -> NodeId | None:
    """Whom nobody misses where the votes of `everyone` are even; None: nobody is such."""
    if _is_named(situation):
        return None if len(everyone) % 2 or situation.fit_witnesses else fit[-1]
    votes = _votes(situation, everyone)
    unit = gcd(*votes.values())
    single = [node for node in fit[1:] if votes.get(node) == unit]
    if sum(votes.values()) // unit % 2 or not single:
        return None
    spare = single[-1]
    del votes[spare]
    return spare if _votes(situation, set(everyone) - {spare}) == votes else None


def _votes(situation: Situation, voters: Iterable[NodeId]) -> dict[NodeId, int]:
    """The votes in a committee, without those of a witness that is not fit."""
    present = situation.configuration
    lost = set(present.witnesses) - set(situation.fit_witnesses)
    votes = votes_of(system_with(present, voters))
    return {node: each for node, each in votes.items() if node not in lost}


def _could_decide(situation: Situation, voters: Iterable[NodeId]) -> bool:
    """Whether those who are fit hold a quorum of a committee."""
    if _is_named(situation):
        return True  # judged with the change itself, which says what is wrong (membership.adaptation)
    present = frozenset((*situation.fit, *situation.fit_witnesses))
    return system_with(situation.configuration, voters).writes.contains(present)


def _is_named(situation: Situation) -> bool:
    """Whether expressions name the sets that decide."""
    return bool(situation.configuration.reads or situation.configuration.writes)


def _by_preference(situation: Situation) -> list[NodeId]:
    """Who is fit: the leader, then who votes already, then standbys, each by name."""
    voting = frozenset(situation.configuration.voters)
    return sorted(situation.fit, key=lambda node: (node != situation.leader, node not in voting, node))


def _filled(situation: Situation, chosen: list[NodeId], size: int) -> tuple[NodeId, ...]:
    """The chosen, and as many of the present voters as are missing; those who are worst stay out first."""
    reasons, weights = dict(situation.unfit), dict(situation.configuration.weights)
    left = sorted(
        set(situation.configuration.voters) - set(chosen),
        key=lambda node: (node in reasons, weights.get(node, 1), node),
    )
    return tuple(sorted([*chosen, *left[: max(0, size - len(chosen))]]))


_NAMED: Final[Mapping[str, Policy]] = {"fixed": fixed, "adaptive": adaptive, "participation": participation}
