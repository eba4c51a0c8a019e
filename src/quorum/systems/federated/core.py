"""Which nodes can matter: strongly connected components of who needs whom.

Source: Lachowski, "Complexity of the quorum intersection property of the Federated Byzantine Agreement System"
(2019), section 5: every minimal quorum lies within one strongly connected component. Components: Tarjan,
"Depth-first search and linear graph algorithms" (1972).
"""

from __future__ import annotations

from quorum.systems.federated.federation import UNKNOWN, Federation, NodeMask, places


def quorum_components(federation: Federation) -> list[NodeMask]:
    """The strongly connected components that hold a quorum, among the nodes that are in any quorum at all.

    Two of them make two disjoint quorums. Minimal quorums, and all that follows from these, are within them.
    """
    alive = federation.greatest_quorum(federation.everyone)
    return [each for each in _components(federation, alive) if federation.greatest_quorum(each)]


def core(federation: Federation) -> NodeMask:
    """The nodes of all components that hold a quorum."""
    mask = 0
    for component in quorum_components(federation):
        mask |= component
    return mask


def _components(federation: Federation, alive: NodeMask) -> list[NodeMask]:
    """Tarjan's algorithm with its own stack, so that a long chain of nodes cannot exhaust the interpreter's."""
    numbers: dict[int, int] = {}
    lowest: dict[int, int] = {}
    stack: list[int] = []
    on_stack = 0
    found: list[NodeMask] = []
    for start in places(alive):
        if start in numbers:
            continue
        path = [start]
        unseen = {start: _needs(federation, start) & alive}
        while path:
            node = path[-1]
            if node not in numbers:
                numbers[node] = lowest[node] = len(numbers)
                stack.append(node)
                on_stack |= 1 << node
            if unseen[node]:
                low = unseen[node] & -unseen[node]
                unseen[node] ^= low
                other = low.bit_length() - 1
                if other not in numbers:
                    path.append(other)
                    unseen[other] = _needs(federation, other) & alive
                elif on_stack & low:
                    lowest[node] = min(lowest[node], numbers[other])
                continue
            path.pop()
            if path:
                lowest[path[-1]] = min(lowest[path[-1]], lowest[node])
            if lowest[node] == numbers[node]:
                component = 0
                while not component >> node & 1:
                    component |= 1 << stack.pop()
                on_stack &= ~component
                found.append(component)
    return found


def _needs(federation: Federation, node: int) -> NodeMask:
    rule = federation.rule_of[node]
    return 0 if rule == UNKNOWN else federation.reach[rule]
