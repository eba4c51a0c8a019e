"""How a ballot stands by the opinions of its participants, and what the end of a round means for the next.

Everything here is comparison, whole numbers and the halving of sums of two numbers: the same on every replica.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TypeAlias

import msgspec

from quorum.voting.ballot.terms import MEASURED, Terms
from quorum.voting.control.loop import agreement
from quorum.voting.tally import State, needed_weight, tally

Opinion: TypeAlias = str | float | tuple[float, ...]
"""An option; a number; low and high; or the axes of a vector."""


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """pending, won by `opinion`, or lost: nothing can be decided any more.

    `weights` of each option (none where numbers are asked for), of `cast` and `total`; `needed`, None under
    plurality. `withstands`: had any so many participants said something else, the decision would be the same, or
    for numbers would lie among those of the others.
    """

    state: State
    opinion: Opinion | None
    weights: dict[str, int]
    cast: int
    total: int
    needed: int | None
    withstands: int


def opinion_problem(terms: Terms, opinion: object) -> str | None:
    """Why this is no opinion of the ballot's kind; None if it is one."""
    match terms.kind:
        case "approval" | "choice":
            if not isinstance(opinion, str) or opinion not in terms.choices:
                return f"it is none of {', '.join(terms.choices)[:200]}"
        case "value":
            if not _is_number(opinion):
                return "it is no finite number"
        case "interval":
            if not isinstance(opinion, tuple) or len(opinion) != 2 or not all(map(_is_number, opinion)):
                return "it is no pair of finite numbers"
            if opinion[0] > opinion[1]:
                return "it ends below its beginning"
        case "vector":
            if not isinstance(opinion, tuple) or len(opinion) != terms.axes or not all(map(_is_number, opinion)):
                return f"it is not {terms.axes} finite numbers"
    return None


def canonical(opinion: Opinion) -> Opinion:
    """One spelling for each opinion: numbers are floats, and there is one zero."""
    if isinstance(opinion, str):
        return opinion
    if isinstance(opinion, tuple):
        return tuple(float(number) + 0.0 for number in opinion)
    return float(opinion) + 0.0


def standing(
    terms: Terms,
    participants: Sequence[str],
    opinions: Mapping[str, Opinion],
    closed: bool = False,
    locked: str | None = None,
) -> Standing:
    """How it stands: opinions of others than `participants` do not count, and with `closed` no more come.

    While an option is `locked` from an earlier round it alone can win. T bound, of options: see voting.tally, and
    `Terms.proof_weight`. Of numbers: at least n-T of n participants were heard, n >= 3T+1, so that with T liars
    among them the decision lies between numbers that honest participants gave (on each axis).
    """
    if terms.kind in MEASURED:
        return _of_numbers(terms, participants, opinions, closed)
    weights = {voter.name: voter.weight for voter in terms.electorate}
    electorate = {name: weights[name] for name in participants}
    votes = {name: opinion for name, opinion in opinions.items() if isinstance(opinion, str)}
    found = tally(votes, electorate, terms.choices, terms.rule, closed, terms.proof_weight)
    state, option = found.state, found.option
    if locked is not None and found.needed is not None and state != "lost":
        left = 0 if closed else found.total - found.cast
        if option is not None and option != locked:
            state, option = "lost", None
        elif option is None and found.weights[locked] + left < found.needed:
            state = "lost"
    withstands = found.withstands if state == "won" else 0
    return Standing(state, option, found.weights, found.cast, found.total, found.needed, withstands)


def possible_options(
    terms: Terms, participants: Sequence[str], opinions: Mapping[str, Opinion]
) -> tuple[str, ...]:
    """The options that may have won this round, as far as these votes tell: those who are silent may have voted
    for any of them where nobody of us saw it."""
    weights = {voter.name: voter.weight for voter in terms.electorate}
    electorate = {name: weights[name] for name in participants}
    needed = needed_weight(electorate, terms.choices, terms.rule)
    assert needed is not None, "under plurality nothing is sure before the end"
    silent = sum(weight for name, weight in electorate.items() if name not in opinions)
    own = dict.fromkeys(terms.choices, 0)
    for name, weight in electorate.items():
        said = opinions.get(name)
        if isinstance(said, str) and said in own:
            own[said] += weight
    return tuple(option for option, weight in own.items() if weight + silent >= needed)


def _of_numbers(
    terms: Terms, participants: Sequence[str], opinions: Mapping[str, Opinion], closed: bool
) -> Standing:
    given = [opinions[name] for name in participants if name in opinions]
    total, needed = len(participants), len(participants) - terms.faults
    if len(given) < total and not closed:
        return Standing("pending", None, {}, len(given), total, needed, 0)
    joined = _joined(terms, given) if len(given) >= max(needed, 2 * terms.faults + 1) else None
    if joined is None:
        return Standing("lost", None, {}, len(given), total, needed, 0)
    return Standing("won", joined, {}, len(given), total, needed, terms.faults)


def _joined(terms: Terms, given: Sequence[Opinion]) -> Opinion | None:
    if terms.kind == "value":
        return _median([number for number in given if isinstance(number, float)])
    rows = [row for row in given if isinstance(row, tuple)]
    if terms.kind == "vector":
        return tuple(_median([row[axis] for row in rows]) for axis in range(terms.axes))
    return agreement([(row[0], row[1]) for row in rows], len(rows) - terms.faults)


def _median(numbers: Sequence[float]) -> float:
    ordered = sorted(numbers)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return min(high, max(low, low / 2 + high / 2)) if low != high else low


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
