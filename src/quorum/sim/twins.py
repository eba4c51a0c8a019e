"""Every scenario of a member and its twin that is tried, by number: who has the twin, and each round's partition.

Source: Bano et al., "Twins: BFT Systems Made Robust" (2021), section 4. Their generator also says who leads each
round; here that follows from the view, so each of the four members has the twin in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from random import Random

import msgspec

from quorum.sim.stepped import request_of
from quorum.sim.stepped_claims import TIMEOUTS_US, accusations, check_progress
from quorum.sim.twins_cluster import TwinCluster

MEMBERS = ("n1", "n2", "n3", "n4")
PARTITIONS = tuple(frozenset(place for place in range(5) if bits >> place & 1) for bits in range(16))
"""Every way to split four members and the twin of one, who has the last place, in two."""
SAMPLED = 20_000
ROUND_US = 600_000
"""Longer than a view may last that decides nothing."""


class Scenario(msgspec.Struct, frozen=True):
    """`splits`: the number of each round's partition. `round_us`: how long each round lasts. `seed` draws the
    order of messages; `instant_disks`: whether what is stored is durable at once, or some messages later."""

    number: int
    member: str
    splits: tuple[int, ...]
    round_us: int = ROUND_US
    seed: int = 0
    instant_disks: bool = True


class Ending(msgspec.Struct, frozen=True):
    """What one scenario came to. `failure`: the claim that broke, "" if none; `blocks`: decided; `view`: newest
    of an honest member; `is_caught`: there is evidence against the member with the twin; `stops`: how often one
    of its copies stopped by itself, at what the other one had done."""

    number: int
    failure: str
    blocks: int = 0
    view: int = 0
    is_caught: bool = False
    stops: int = 0


def swapped(split: int, member: str) -> int:
    """The same partition with the member and its twin in each other's place."""
    places = {MEMBERS.index(member): 4, 4: MEMBERS.index(member)}
    group = {places.get(place, place) for place in PARTITIONS[split]}
    return PARTITIONS.index(frozenset(range(5)) - group if 4 in group else frozenset(group))


def _of_three_rounds() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Of each two that differ in which copy is called the twin, one."""
    for member in MEMBERS:
        other = [swapped(split, member) for split in range(len(PARTITIONS))]
        for splits in product(range(len(PARTITIONS)), repeat=3):
            if splits <= tuple(other[split] for split in splits):
                yield member, splits


@cache
def enumerated() -> tuple[tuple[str, tuple[int, ...]], ...]:
    """All of two rounds, then three rounds up to symmetry."""
    two = [(member, splits) for member in MEMBERS for splits in product(range(len(PARTITIONS)), repeat=2)]
    return (*two, *_of_three_rounds())


def count() -> int:
    """How many scenarios there are."""
    return len(enumerated()) + SAMPLED


def scenario_of(number: int) -> Scenario:
    """The scenario of this number; from len(enumerated()) on, four to seven rounds drawn from the number."""
    known = enumerated()
    if number < len(known):
        return Scenario(number, *known[number])
    random = Random(f"twins/{number}")
    splits = tuple(random.randrange(len(PARTITIONS)) for _ in range(random.randrange(4, 8)))
    round_us = random.choice((200_000, ROUND_US, 2 * ROUND_US))
    return Scenario(number, random.choice(MEMBERS), splits, round_us, number, random.random() < 0.5)


def play(scenario: Scenario) -> TwinCluster:
    """Run it. Each side of a partition hears a client of its own, so that two copies that lead have different
    blocks to propose. Then the network is whole, and everything must be decided. Raises AssertionError."""
    cluster = TwinCluster(scenario.seed, scenario.member)
    cluster.instant_disks = scenario.instant_disks
    made = []
    for number, split in enumerate(scenario.splits, 1):
        group = PARTITIONS[split]
        cluster.restart()
        cluster.split(group)
        for client, inside in (("a", True), ("b", False)):
            to = tuple(name for place, name in enumerate(cluster.places) if (place in group) == inside)
            if to:
                made.append(request_of(client, number))
                cluster.submit(made[-1], to=to)
        cluster.run(scenario.round_us)
    cluster.restart()
    cluster.split(frozenset())
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)
    return cluster


def ending_of(number: int) -> Ending:
    """How the scenario of this number ends."""
    return ending(scenario_of(number))


def ending(scenario: Scenario) -> Ending:
    """Play it; a broken claim is in the ending, not raised."""
    number = scenario.number
    try:
        cluster = play(scenario)
    except AssertionError as error:
        return Ending(number, str(error) or "an assertion without words")
    except Exception as error:  # a replica that stops at what another sends is as bad
        return Ending(number, f"{type(error).__name__}: {error}")
    view = max(node.state.view for node in cluster.honest())
    caught = bool(accusations(cluster, scenario.member))
    return Ending(number, "", len(cluster.log), view, caught, cluster.stops)


def described(scenario: Scenario) -> str:
    """Who is split from whom in each round, for people."""
    names = (*MEMBERS, scenario.member + "'")
    rounds = []
    for split in scenario.splits:
        sides: list[list[str]] = [[], []]
        for place, name in enumerate(names):
            sides[place in PARTITIONS[split]].append(name)
        rounds.append(" | ".join(" ".join(side) for side in sides if side))
    disks = "" if scenario.instant_disks else ", slow disks"
    return f"twin of {scenario.member}, rounds of {scenario.round_us // 1000} ms{disks}: {'; '.join(rounds)}"
