"""Who can lead two quorums of a federation apart: the fewest nodes. Imported only when needed, as the solver is.

A set splits when two quorums share no node once it is deleted. Its nodes may tell one side this and the other
that, so each side takes them for its own, and their own quorum sets bind nobody.
Source: Mazieres, "The Stellar Consensus Protocol" (2015), section 4.2; Florian, Henningsen, Ndolo and Scheuermann,
"The sum of its parts: Analysis of federated Byzantine agreement systems" (2022), section 4.
"""

from __future__ import annotations

from quorum.systems.federated.federation import UNKNOWN, Federation, NodeMask, places
from quorum.systems.federated.search import Groups, Search


def smallest_splitting(federation: Federation, groups: Groups | None = None) -> NodeMask | None:
    """The fewest nodes, or groups some nodes of which suffice, that can lead two quorums apart; None if none can.

    Nodes that nobody names can be led astray one by one only. They are looked at after all others, and only where
    the lists that they ask for are short enough to do better. Raises ConfigurationError where the solver gives up.
    """
    if len(federation.names) < 2:
        return None
    named = 0
    for _, members, _ in federation.rules:
        named |= members
    found = _search(federation, groups, named, {})
    followers: dict[int, int] = {}
    for node in places(federation.everyone & ~named):
        rule = federation.rule_of[node]
        if rule != UNKNOWN and (
            found is None or groups is not None or _least(federation, rule) < found.bit_count()
        ):
            followers[rule] = followers.get(rule, 0) + 1
    better = _search(federation, groups, named, followers, found) if followers and found != 0 else None
    return found if better is None else better


def _search(
    federation: Federation,
    groups: Groups | None,
    named: NodeMask,
    followers: dict[int, int],
    below: NodeMask | None = None,
) -> NodeMask | None:
    """A smallest splitting set, if it is smaller than `below`. A side is a quorum of nodes that are named, or a
    single follower; `followers` has for each rule how many nodes have it."""
    search = Search(federation, groups)
    mine, theirs = search.literals(), search.literals()
    alone, other_alone, shared = search.literals(), search.literals(), search.literals()
    for node, (one, other) in enumerate(zip(mine, theirs, strict=True)):
        search.clauses += [
            [-one, -other, shared[node]],
            [-shared[node], one],
            [-shared[node], other],
            [-alone[node], one],
            [-alone[node], -other],
            [-other_alone[node], other],
            [-other_alone[node], -one],
            [-one, other, alone[node]],
            [-other, one, other_alone[node]],
        ]
        if not named >> node & 1:
            search.clauses += [[-one], [-other]]
            continue
        search.agree(node, alone[node], mine)
        search.agree(node, other_alone[node], theirs)
    first, second = (_led_astray(search, followers, shared) for _ in range(2))
    search.clauses += [[*alone, *first.values()], [*other_alone, *second.values()]]
    for rule, single in first.items():
        search.clauses.append([-single, *second.values()])  # if one side alone is a follower, it is the second
        if followers[rule] == 1:
            search.clauses.append([-single, -second[rule]])
    _waste_none(search, federation, mine, alone)
    _waste_none(search, federation, theirs, other_alone)
    search.order(mine, theirs)
    search.order_sides(mine, theirs)
    return search.smallest(shared, below)


def _led_astray(search: Search, followers: dict[int, int], shared: list[int]) -> dict[int, int]:
    """For each rule a literal that is true only where those who are shared satisfy it without anybody else."""
    found = {}
    for rule in followers:
        gate = search.satisfied(rule, shared)
        if gate is not None:
            found[rule] = search.circuit.variable()
            search.clauses.append([-found[rule], gate])
    return found


def _least(federation: Federation, rule: int) -> int:
    """No fewer nodes than these satisfy a rule; exactly so many where no node repeats in it."""
    k, members, children = federation.rules[rule]
    reached, seats = members.bit_count(), members
    for child in children:
        reached += federation.reach[child].bit_count()
        seats |= federation.reach[child]
    if seats.bit_count() < reached:
        return 1
    costs = sorted([1] * members.bit_count() + [_least(federation, child) for child in children])
    return sum(costs[:k])


def _waste_none(search: Search, federation: Federation, chosen: list[int], alone: list[int]) -> None:
    """Of two minimal quorums that are led apart, none has a node that nobody needs, unless it is the only one
    that is alone: of a team it has just as many as the list asks for, or none but shared nodes."""
    single = search.circuit.variable()
    others = search.circuit.at_least(len(alone) - 1, [(-each, 1) for each in alone])
    search.clauses.append([-single, others])
    for rule in search.symmetry.teams:
        k, members, _ = federation.rules[rule]
        inside = list(places(members))
        gate = search.satisfied(rule, chosen)
        assert gate is not None, "a team has as many nodes as its list asks for"
        search.clauses += [[-alone[node], gate, single] for node in inside]
        if len(inside) > k:
            unused = [(-chosen[node], 1) for node in inside]
            search.clauses.append([search.circuit.at_least(len(inside) - k, unused), single])
