"""Tallies of opinions: which option wins among voters with weights, when that is certain, and how sure it is.

A tally looks at votes by voter, so each counts once, and strangers do not count. It is pending as long as votes
that are still to come could change it: a winner stays the winner whatever they say.

Sources: Grofman, Owen and Feld, "Thirteen theorems in search of the truth" (1983), for what majorities are worth;
Malkhi and Reiter, "Byzantine Quorum Systems" (1998), section 5, for the quorum of which T voters may lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Literal, TypeAlias

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import NodeId, check_fault_budget

Kind: TypeAlias = Literal["majority", "share", "unanimous", "byzantine", "plurality"]
State: TypeAlias = Literal["pending", "won", "lost"]
OPTIONS_MAX: Final = 1_000
WEIGHT_MAX: Final = 2**53


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an option wins, by the weight of all who may vote, not of those who do.

    majority: more than half. share: `numerator` of `denominator` at least, which is more than half (2 of 3, say).
    unanimous: all. byzantine: so much that two options could not both seem to win although `faults` voters say
    different things to different listeners: ceil((N+T+1)/2) of equal voters. plurality: more than any other
    option, and of `least` weight at least; certain before the end only if nobody can catch up.
    """

    kind: Kind = "majority"
    numerator: int = 2
    denominator: int = 3
    faults: int = 0
    least: int = 1


class Tally(msgspec.Struct, frozen=True):
    """How it stands. `option` is the winner, None unless won. `weights` of each option, of `cast` and a `total`.
    `needed`: the weight that wins; None where that depends on the others (plurality).

    `withstands`: whichever so many voters had said something else, the winner would be the same; 0 unless won.
    """

    state: State
    option: str | None
    weights: dict[str, int]
    cast: int
    total: int
    needed: int | None
    withstands: int = 0

    def __bool__(self) -> bool:
        return self.state == "won"


def tally(
    votes: Mapping[NodeId, str],
    electorate: Mapping[NodeId, int],
    options: Sequence[str],
    rule: Rule,
    closed: bool = False,
    needed_at_least: int = 0,
) -> Tally:
    """Tally `votes` for `options` of voters who are in `electorate`, with their weights (1 or more). Votes of
    others, or for something else, do not count. `closed`: no more votes come. `needed_at_least`: less weight does
    not win, whatever the rule says (of plurality `least` does).

    T bound: an option that honest voters of more than `needed` weight in all reject never wins, if the liars have
    less than `needed`. Raises ConfigurationError for electorates, options or rules by which nobody could decide.
    """
    needed = needed_weight(electorate, options, rule)
    if needed is not None:
        needed = max(needed, needed_at_least)
    weights = dict.fromkeys(options, 0)
    counted = {voter: votes[voter] for voter in sorted(electorate) if votes.get(voter) in weights}
    for voter, option in counted.items():
        weights[option] += electorate[voter]
    total, cast = sum(electorate.values()), sum(weights.values())
    left = 0 if closed else total - cast
    best, second = _best_two(weights)
    winner: str | None = None
    if needed is not None:
        winner = best if weights[best] >= needed else None
        may_win = weights[best] + left >= needed
    else:
        lead = weights[best] - (weights[second] if second is not None else 0)
        winner = best if lead > left and weights[best] >= rule.least else None
        may_win = left > 0
    state: State = "won" if winner is not None else "pending" if may_win else "lost"
    sure = 0
    if winner is not None:
        sure = _withstands(winner, counted, electorate, weights, needed, rule.least)
    return Tally(state, winner, weights, cast, total, needed, sure)


def needed_weight(electorate: Mapping[NodeId, int], options: Sequence[str], rule: Rule) -> int | None:
    """The weight that wins, None under plurality. Raises ConfigurationError as `tally`."""
    _check(electorate, options, rule)
    total = sum(electorate.values())
    match rule.kind:
        case "majority":
            return total // 2 + 1
        case "share":
            return -(-total * rule.numerator // rule.denominator)
        case "unanimous":
            return total
        case "byzantine":
            heaviest = sum(sorted(electorate.values(), reverse=True)[: rule.faults])
            return (total + heaviest) // 2 + 1
    return None


def _check(electorate: Mapping[NodeId, int], options: Sequence[str], rule: Rule) -> None:
    why = ""
    if not electorate or any(type(weight) is not int or weight < 1 for weight in electorate.values()):
        why, remedy = "nobody may vote, or a weight is below 1", "Name voters with weights of 1 or more"
    elif sum(electorate.values()) > WEIGHT_MAX:
        why, remedy = f"the voters weigh more than {WEIGHT_MAX} together", "Scale the weights down"
    elif not options:
        why, remedy = "there are no options", "Give one or more"
    elif len(options) > OPTIONS_MAX:
        why, remedy = f"there are {len(options)} options", f"Give {OPTIONS_MAX} at most"
    elif len(set(options)) < len(options):
        twice = next(option for place, option in enumerate(options) if option in options[:place])
        why, remedy = f"the option {twice[:40]!r} is there twice", "Give each once"
    elif rule.kind == "share" and not 0 < rule.denominator < 2 * rule.numerator:
        why = f"{rule.numerator} of {rule.denominator} is not more than half, so two options could win"
        remedy = "Ask for more than half, such as 2 of 3"
    elif rule.kind == "share" and rule.numerator > rule.denominator:
        why = f"{rule.numerator} of {rule.denominator} is more than all"
        remedy = "Ask for more than half, such as 2 of 3, and for all at most"
    elif rule.kind == "plurality" and rule.least < 1:
        why, remedy = f"the least weight that may win is {rule.least}", "Give 1 or more"
    if why:
        raise ConfigurationError(f"a vote was to be tallied, but {why}. {remedy}.")
    if rule.kind == "byzantine":
        check_fault_budget(len(electorate), rule.faults, "byzantine")


def _best_two(weights: Mapping[str, int]) -> tuple[str, str | None]:
    """The option with most weight and the next one; of equals, the first by name."""
    ordered = sorted(weights, key=lambda option: (-weights[option], option))
    return ordered[0], ordered[1] if len(ordered) > 1 else None


def _withstands(
    winner: str,
    counted: Mapping[NodeId, str],
    electorate: Mapping[NodeId, int],
    weights: Mapping[str, int],
    needed: int | None,
    least: int,
) -> int:
    """How many voters may have said anything else. The worst of them are those that take most away."""
    floor = least if needed is None else needed
    away = [electorate[voter] for voter, option in counted.items() if option == winner]
    withstood = _spent(sorted(away, reverse=True), weights[winner] - floor)
    if needed is not None:
        return withstood
    change = [
        ((2 if option == winner else 1) * electorate[voter], option)
        for voter, option in ((voter, counted.get(voter)) for voter in electorate)
    ]
    change.sort(key=lambda each: -each[0])
    for other in sorted(weights, key=lambda option: -weights[option]):
        if other != winner:  # no option takes more than `withstood` voters that are not its own
            amounts = (amount for amount, option in change if option != other)
            withstood = min(withstood, _spent(islice(amounts, withstood), weights[winner] - weights[other] - 1))
    return withstood


def _spent(amounts: Iterable[int], budget: int) -> int:
    """How many of the amounts, the greatest first, fit into the budget, one after the other."""
    count = 0
    for amount in amounts:
        budget -= amount
        if budget < 0:
            return count
        count += 1
    return count
