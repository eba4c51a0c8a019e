"""From one round of a ballot to the next: who votes then, and which option alone may still win.

A round that ends without a decision may have been decided all the same, as far as those can tell who saw votes
that we did not. A retry that began with a blank sheet could then decide something else. So the option that alone
can have won is carried on as the locked value, as a proposer of Paxos carries on the value of the highest ballot
that it hears of (Lamport, "Paxos Made Simple", 2001, section 2.2). Where several options can have won, nobody can
carry on the right one: opinions are free, so this is a fast round, whose quorums would have to be larger (Lamport,
"Fast Paxos", 2006, section 2.2). There the log alone decides.

A lock says what follows in the log, and proves nothing by itself: votes name no round, so whoever holds signed
votes can tell of other rounds than there were, each in order. Where the signatures alone are to prove the
decision, quorums are therefore those of the whole electorate in every round (`Terms.proof_weight`), and nothing is
locked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from quorum.voting.ballot.standing import Opinion, possible_options
from quorum.voting.ballot.terms import MEASURED, Terms


def next_lock(
    terms: Terms, participants: Sequence[str], opinions: Mapping[str, Opinion], locked: str | None
) -> str | None:
    """The locked value of the round that follows this one, None where no option binds it."""
    if locked is not None:
        return locked
    if terms.kind in MEASURED or terms.secret or terms.changeable or terms.transferable:
        return None
    if terms.rule.kind == "plurality":
        return None
    possible = possible_options(terms, participants, opinions)
    return possible[0] if len(possible) == 1 else None


def participants_problem(
    terms: Terms,
    before: Sequence[str],
    after: Sequence[str],
    removable: Collection[str],
    gone: Collection[str],
) -> str | None:
    """Why `after` must not follow `before`: only `removable` participants may leave (they are silent, or proven to
    lie), those who are `gone` stay away, and those who remain suffice. None: it may."""
    names, coming, may_leave = {voter.name for voter in terms.electorate}, set(after), set(removable)
    if len(coming) < len(after) or not coming <= names:
        return "a participant is named twice, or is not in the electorate"
    stayed = [name for name in before if name not in coming and name not in may_leave]
    if stayed:
        return f"{stayed[0][:60]!r} has voted, and a vote is not taken away for an opinion"
    back = sorted(coming & set(gone))
    if back:
        return f"{back[0][:60]!r} was put out of this ballot before"
    if len(after) < terms.floor:
        return f"{len(after)} participants would be left of the {terms.floor} that it needs"
    if not terms.suffices(after):
        return f"those who would be left weigh less than the {terms.proof_weight} that prove a decision"
    return None


def replaced(
    terms: Terms, before: Sequence[str], silent: Collection[str], gone: Collection[str]
) -> tuple[str, ...]:
    """The participants after the silent were replaced by standbys, in the order of the electorate; those for whom
    there is none go as well, the last first, as far as the others suffice."""
    present, quiet = set(before), set(silent)
    standbys = iter([voter for voter in terms.electorate if voter.name not in present and voter.name not in gone])
    after = []
    for name in before:
        standby = next(standbys, None) if name in quiet else None
        after.append(name if standby is None else standby.name)
    weights = {voter.name: voter.weight for voter in terms.electorate}
    count, weight, leaving = len(after), sum(weights[name] for name in after), set[str]()
    floor, proof_weight = terms.floor, terms.proof_weight
    for name in reversed(after):
        if name in quiet and count > floor and weight - weights[name] >= proof_weight:
            leaving.add(name)
            count, weight = count - 1, weight - weights[name]
    return tuple(name for name in after if name not in leaving)
