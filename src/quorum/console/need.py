"""What a cluster needs to decide, in words: who orders, how many nodes must answer, which links are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from quorum.errors import ConfigurationError
from quorum.runtime.status import NodeStatus
from quorum.systems.algebra import Expression
from quorum.systems.expression import parse
from quorum.systems.system import QuorumSystem

if TYPE_CHECKING:
    from quorum.console.inquiry import Answers
    from quorum.runtime.place import Place

EXPRESSION_SHOWN_MAX = 120


def may_lie(answers: Answers, place: Place | None = None) -> bool:
    """Whether the cluster is one whose members may lie."""
    return (place is not None and place.may_lie) or any(each.model == "byzantine" for each in _statuses(answers))


def orderer(answers: Answers, place: Place | None = None) -> str:
    """What the node is called that orders: "leader", or "primary" where members may lie."""
    return "primary" if may_lie(answers, place) else "leader"


def hears_quorum(status: NodeStatus) -> bool:
    """Whether a node has links to enough others to decide with them, by its own word."""
    try:
        decide = parse(status.writes)
    except ConfigurationError:  # what no honest node says
        return False
    return decide.contains(frozenset({status.node, *status.connected}) - set(status.blocked))


def is_primary_of(status: NodeStatus, answers: Answers, place: Place | None = None) -> bool:
    """Whether more nodes call `status` the primary than may lie, so that at least one honest node does, and it has
    links to a quorum.

    How many may lie the committee says, where more nodes name that committee than may lie by the cluster's file;
    else the file does.
    """
    told = Counter((one.epoch, one.committee, one.faults) for one in _statuses(answers))
    (_, _, faults), supporters = told.most_common(1)[0]
    of_file = faults if place is None else place.faults
    liars = faults if supporters > of_file else of_file
    naming = [one for one in _statuses(answers) if one.leader == status.node]
    return len(naming) > liars and hears_quorum(status)


def system_of(answers: Answers, place: Place | None = None) -> QuorumSystem | None:
    """The quorums that most of the nodes say are in force, else those of the file; None if neither tells. What no
    more nodes say than may lie is not believed."""
    told = Counter((each.reads, each.writes) for each in _statuses(answers))
    for (reads, writes), tellers in told.most_common():
        if place is not None and tellers <= place.faults:
            break
        try:
            return QuorumSystem(parse(reads), parse(writes))
        except ConfigurationError:  # what no honest node says
            continue
    return None if place is None else place.system()


def needed_text(answers: Answers, place: Place | None = None) -> str:
    """How many nodes must answer, as in "3 are needed"; "" if nobody tells."""
    system = system_of(answers, place)
    if system is None:
        return ""
    counts = [count_of(side) for side in (system.reads, system.writes)]
    if None not in counts:
        most = max(count for count in counts if count is not None)
        voting = set(system.nodes)
        of = f" of {', '.join(sorted(voting))}, who vote" if voting < set(answers) else ""
        return f"{most} {'is' if most == 1 else 'are'} needed{of}"
    sides = [str(side)[:EXPRESSION_SHOWN_MAX] for side in (system.reads, system.writes)]
    return f"needed are {' and '.join(dict.fromkeys(sides))}"


def count_of(side: Expression) -> int | None:
    """How many nodes are enough, whichever they are; None where it matters which."""
    votes = side.as_threshold()
    if votes is None or {weight for _, weight in votes.weights} != {1}:
        return None
    return votes.k


def missing_links(answers: Answers, running: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Those of `running` that answer and miss links to others of them, and to whom."""
    found = {}
    for node in sorted(running):
        answer = answers.get(node)
        missing = {*running} - {node} - set(answer.connected) if isinstance(answer, NodeStatus) else set()
        if missing:
            found[node] = tuple(sorted(missing))
    return found


def links_text(answers: Answers) -> str:
    """The links that are missing between those who answer; "" for none."""
    missing = missing_links(answers, [each.node for each in _statuses(answers)])
    return "; ".join(f"{node} has no link to {', '.join(others)}" for node, others in missing.items())


def _statuses(answers: Answers) -> list[NodeStatus]:
    return [answer for answer in answers.values() if isinstance(answer, NodeStatus)]
