"""From one round of a ballot to the next: who votes then, and which option alone may still win.

A round that ends without a decision may have been decided all the same, as far as those can tell who saw votes
that we did not. A retry that began with a blank sheet could then decide something else. So the option that alone
can have won is carried on as the locked value, as a proposer of Paxos carries on the value of the highest ballot
that it hears of (Lamport, "Paxos Made Simple", 2001, section 2.2). Where several options can have won, nobody can
carry on the right one: opinions are free, so this is a fast round, whose quorums would have to be larger (Lamport,
"Fast Paxos", 2006, section 2.2). There the log alone decides, or, where the signatures alone are to prove the
decision, no round follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from quorum.voting.ballot.standing import Opinion, possible_options
from quorum.voting.ballot.terms import MEASURED, Terms
from quorum.voting.refused import Refused


def next_lock(
    terms: Terms, participants: Sequence[str], opinions: Mapping[str, Opinion], locked: str | None
) -> str | Refused | None:
    """The locked value of the round that follows this one, None where no option binds it. Refused, where
    signatures alone are to prove the decision and more than one option can have won."""
    if locked is not None:
        return locked
    if terms.kind in MEASURED or terms.secret or terms.changeable or terms.rule.kind == "plurality":
        return None
    possible = possible_options(terms, participants, opinions)
    if len(possible) == 1:
        return possible[0]
    if possible and terms.transferable:
        return Refused(
            f"{' and '.join(map(repr, possible[:3]))} can each have won this round by votes that are not here, "
            "and signatures would prove it. Wait for votes"
        )
    return None


def participants_problem(
    terms: Terms,
    before: Sequence[str],
    after: Sequence[str],
    removable: Collection[str],
    gone: Collection[str],
) -> str | None:
    """Why `after` must not follow `before`: only `removable` participants may leave (they are silent, or proven to
    lie), those who are `gone` stay away, and `floor` remain. None: it may."""
    names = {voter.name for voter in terms.electorate}
    if len(set(after)) < len(after) or not set(after) <= names:
        return "a participant is named twice, or is not in the electorate"
    stayed = [name for name in before if name not in set(after) and name not in removable]
    if stayed:
        return f"{stayed[0][:60]!r} has voted, and a vote is not taken away for an opinion"
    back = sorted(set(after) & set(gone))
    if back:
        return f"{back[0][:60]!r} was put out of this ballot before"
    if len(after) < terms.floor:
        return f"{len(after)} participants would be left of the {terms.floor} that it needs"
    return None


def replaced(
    terms: Terms, before: Sequence[str], silent: Collection[str], gone: Collection[str]
) -> tuple[str, ...]:
    """The participants after the silent were replaced by standbys, in the order of the electorate; those for whom
    there is none go as well, the last first, as far as `floor` allows."""
    present = set(before)
    standbys = [voter.name for voter in terms.electorate if voter.name not in present and voter.name not in gone]
    after = list(before)
    for place, name in enumerate(before):
        if name in silent and standbys:
            after[place] = standbys.pop(0)
    for name in reversed(before):
        if name in silent and name in after and len(after) > terms.floor:
            after.remove(name)
    return tuple(after)
