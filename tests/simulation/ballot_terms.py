"""What the simulated ballots ask, of whom and by which rule: drawn, of every kind that terms allow."""

from __future__ import annotations

from functools import cache
from random import Random

from nacl.signing import SigningKey

from quorum.errors import ConfigurationError
from quorum.voting.ballot.standing import Opinion
from quorum.voting.ballot.terms import MEASURED, Kind, Terms, Voter, check_terms
from quorum.voting.tally import Rule

SECOND_US = 1_000_000
VOTERS = tuple(f"v{number}" for number in range(1, 8))
KINDS: tuple[Kind, ...] = ("approval", "approval", "choice", "choice", "choice", "value", "interval", "vector")
OPTIONS = ("blue", "green", "red")
TRUTH = 100.0
SPREAD = 5.0
"""Honest voters give numbers so far from the truth at most, and intervals that hold it."""
FALSE_NUMBERS = (-1e300, -1e6, 0.0, TRUTH + 3 * SPREAD, 1e9, 1.7e308)


@cache
def key_of(voter: str) -> SigningKey:
    """The key by which a voter signs."""
    return SigningKey(voter.encode().ljust(32, b"."))


def draw_terms(random: Random, name: str, number: int, is_keyed: bool, is_transferable: bool) -> Terms:
    """Terms that can be opened; `number` makes two of them differ. `is_keyed`: every voter has a key.
    `is_transferable`: signatures are to be the proof, not only now and then."""
    while True:
        terms = _drawn(random, name, number, is_keyed)
        if is_transferable and not (terms.transferable and len(terms.first_participants) < len(terms.electorate)):
            continue
        try:
            check_terms(terms)
        except ConfigurationError:
            continue
        return terms


def _drawn(random: Random, name: str, number: int, is_keyed: bool) -> Terms:
    kind = random.choice(KINDS)
    is_measured = kind in MEASURED
    names = random.sample(VOTERS, random.randrange(3, len(VOTERS) + 1))
    keyed = is_keyed or random.random() < 0.6
    has_identities = not is_keyed and random.random() < 0.3
    weights = [random.randrange(1, 5) for _ in names] if not is_measured and random.random() < 0.3 else [1] * 7
    electorate = tuple(
        Voter(
            voter,
            weight,
            voter if has_identities else "",
            key_of(voter).verify_key.encode() if keyed else b"",
        )
        for voter, weight in zip(names, weights, strict=False)
    )
    transferable = keyed and not is_measured and random.random() < 0.6
    faults = random.choice((0, 0, 1, 1, 2)) if not is_measured else random.choice((0, 1, 1))
    secret = not transferable and random.random() < 0.3
    has_fewer = random.random() < 0.6
    return Terms(
        name=name,
        question=f"Ballot {number} of {name}?",
        electorate=electorate,
        kind=kind,
        options=OPTIONS[: random.choice((2, 2, 3))] if kind == "choice" else (),
        axes=random.choice((1, 2, 3)) if kind == "vector" else 0,
        rule=Rule() if is_measured else _rule(random, faults),
        faults=faults,
        participants=random.randrange(2, len(names) + 1) if has_fewer else 0,
        deadline_us=random.randrange(2 * SECOND_US, 12 * SECOND_US) if random.random() < 0.6 else 0,
        round_us=random.randrange(SECOND_US // 2, 3 * SECOND_US) if random.random() < 0.5 else 0,
        reveal_us=random.randrange(SECOND_US, 4 * SECOND_US) if secret else 0,
        changeable=not secret and not transferable and random.random() < 0.25,
        secret=secret,
        transferable=transferable,
    )


def _rule(random: Random, faults: int) -> Rule:
    kind = random.choice(("majority", "majority", "share", "unanimous", "byzantine", "plurality"))
    match kind:
        case "share":
            return Rule("share", *random.choice(((2, 3), (3, 4), (3, 5))))
        case "byzantine":
            return Rule("byzantine", faults=faults)
        case "plurality":
            return Rule("plurality", least=random.randrange(1, 4))
        case "unanimous":
            return Rule("unanimous")
    return Rule()


def honest_opinion(random: Random, terms: Terms) -> Opinion:
    """What somebody may think who tells it as it is. Most agree, so that much is won; but where signatures are to
    be the proof, opinions are divided, so that there is another one to prove."""
    if terms.transferable:
        return random.choice(terms.choices[:2])
    if terms.kind not in MEASURED:
        return terms.choices[0] if random.random() < 0.65 else random.choice(terms.choices)
    near = [round(TRUTH + random.uniform(-SPREAD, SPREAD), 3) for _ in range(max(1, terms.axes))]
    if terms.kind == "value":
        return near[0]
    if terms.kind == "vector":
        return tuple(near)
    return round(TRUTH - random.uniform(0, SPREAD), 3), round(TRUTH + random.uniform(0, SPREAD), 3)


def false_opinion(random: Random, terms: Terms, besides: Opinion) -> Opinion:
    """What a liar says instead of `besides`."""
    if terms.kind not in MEASURED:
        return random.choice([option for option in terms.choices if option != besides])
    if terms.kind == "value":
        return random.choice(FALSE_NUMBERS)
    if terms.kind == "vector":
        return tuple(random.choice(FALSE_NUMBERS) for _ in range(terms.axes))
    low = random.choice(FALSE_NUMBERS)
    return low, low + random.choice((0.0, 1.0, 1e5)) if abs(low) < 1e100 else low
