"""How a ballot ends, counted by its definition alone; it shares no code with what it judges."""

from __future__ import annotations

from fractions import Fraction

from quorum.apps.ballot import BallotView
from quorum.voting.ballot.terms import MEASURED, Terms


def count_problem(terms: Terms, view: BallotView) -> str:
    """What is wrong with the outcome of a ballot that has ended, by its votes; empty: nothing."""
    assert view.outcome is not None, "it has ended"
    told, last = view.outcome.standing, view.rounds[-1]
    opinions = {vote.voter: vote.opinion for vote in view.votes if vote.opinion is not None}
    opinions = {name: opinion for name, opinion in opinions.items() if name in last.participants}
    if told.state not in ("won", "lost") or (told.state == "won") != (told.opinion is not None):
        return f"it ended as {told}"
    if terms.kind in MEASURED:
        enough = len(opinions) >= max(len(last.participants) - terms.faults, 2 * terms.faults + 1)
        if told.cast != len(opinions) or told.total != len(last.participants):
            return f"{len(opinions)} of {len(last.participants)} gave numbers, and {told} says otherwise"
        if told.state == "won" and not enough:
            return f"{len(opinions)} numbers are too few for {told}"
        return "" if told.state == "won" or not enough or terms.kind == "interval" else f"enough voted, but {told}"
    weights = {voter.name: voter.weight for voter in terms.electorate}
    total = sum(weights[name] for name in last.participants)
    sums = {
        option: sum(weights[name] for name, opinion in opinions.items() if opinion == option)
        for option in terms.choices
    }
    if (told.weights, told.cast, told.total) != (sums, sum(sums.values()), total):
        return f"{sums} of {total} were cast, and {told} says otherwise"
    winners = [option for option in sums if _wins(terms, sums, option, total, weights, last.participants)]
    winners = [option for option in winners if last.locked in (None, option)]
    decided = None if told.state == "lost" else told.opinion
    return "" if [decided] == (winners or [None]) else f"{sums} of {total} decide {winners}, and it is {told}"


def _wins(
    terms: Terms,
    sums: dict[str, int],
    option: str,
    total: int,
    weights: dict[str, int],
    participants: tuple[str, ...],
) -> bool:
    own, rule = sums[option], terms.rule
    everybody = sorted(weights.values(), reverse=True)
    if terms.transferable and 2 * own <= sum(everybody) + sum(everybody[: terms.faults]):
        return False
    match rule.kind:
        case "majority":
            return 2 * own > total
        case "share":
            return Fraction(own, total) >= Fraction(rule.numerator, rule.denominator)
        case "unanimous":
            return own == total
        case "byzantine":
            heaviest = sum(sorted((weights[name] for name in participants), reverse=True)[: rule.faults])
            return 2 * own > total + heaviest
        case _:
            return own >= rule.least and all(own > other for name, other in sums.items() if name != option)


def hull_problem(terms: Terms, view: BallotView, liars: set[str]) -> str:
    """Why the decision of a ballot of numbers is not between those of honest participants; empty: it is."""
    assert view.outcome is not None, "it has ended"
    decided = view.outcome.standing.opinion
    if terms.kind not in MEASURED or decided is None:
        return ""
    honest = [vote.opinion for vote in view.votes if vote.voter not in liars and vote.opinion is not None]
    wrong = [vote.voter for vote in view.votes if vote.voter in liars]
    assert len(wrong) <= terms.faults, "the voters of a run keep to T"
    if terms.kind == "value":
        axes = [(decided, honest)]
    elif terms.kind == "vector":
        axes = [(decided[axis], [row[axis] for row in honest]) for axis in range(terms.axes)]
    else:
        axes = [(decided[0], [row[0] for row in honest]), (decided[1], [row[1] for row in honest])]
        if not (max(low for low, _ in honest) >= decided[0] and decided[1] >= min(high for _, high in honest)):
            return f"{decided} of {honest} holds no point of the honest"
        axes = [(each, [row[0] for row in honest] + [row[1] for row in honest]) for each in decided]
    for number, given in axes:
        if not min(given) <= number <= max(given):
            return f"{decided} is not among {honest}, with {wrong} lying"
    return ""
