"""An operator who never rests: members come and go, and the sets that decide change, while all else happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quorum.entry import Buffer
from quorum.membership.reconfiguration import (
    Admit,
    Change,
    Demote,
    Evict,
    Promote,
    Replace,
    SetPriority,
    SetQuorums,
    encode_change,
    role_of,
)
from quorum.model import Configuration, NodeId
from quorum.protocols.raft.state import LEADER
from quorum.runtime.messages import ChangeRequest, Failure, Result, TransferRequest

if TYPE_CHECKING:
    from quorum.sim.world import World

SECOND_US = 1_000_000
VOTERS_MIN = 3
CHANGED = "members changed"
LEADER_LEFT = "leader removed from the members"
QUORUMS_CHANGED = "quorum system changed"
WITNESS_ADMITTED = "witness admitted"
TRANSFERRED = "leadership handed over"
REFUSED = "change refused"
UNKNOWN = "outcome of a change unknown"


class Operator:
    """Asks whoever leads for one change after the other until `stop_us`, about one each `pause_us`; an answer is
    not waited for."""

    identity = "operator"

    def __init__(self, world: World, stop_us: int, pause_us: int = 2 * SECOND_US) -> None:
        self.world = world
        self.stop_us = stop_us
        self.pause_us = pause_us
        self.random = world.random("operator")
        self.changed = 0
        self._asked: dict[int, tuple[str, ...]] = {}

    def start(self) -> None:
        self.world.schedule(self.random.randrange(SECOND_US, 2 * SECOND_US), self._act)

    def _act(self) -> None:
        if self.world.now_us >= self.stop_us:
            return
        self.world.schedule(self.random.randrange(self.pause_us // 4, 2 * self.pause_us), self._act)
        leaders = [
            name
            for name, node in sorted(self.world.nodes.items())
            if node.replica is not None and node.replica.state.role == LEADER
        ]
        if not leaders:
            return
        leader = leaders[self.random.randrange(len(leaders))]  # perhaps one that is deposed and does not know it
        node = self.world.nodes[leader]
        assert node.replica is not None, "a leader runs"
        request = len(self._asked) + 1
        if self.random.random() < 0.15:
            self._asked[request] = (TRANSFERRED,)
            node.request(self, TransferRequest(request, None), ())
            return
        change = self._draw(node.replica.configuration, leader)
        if change is not None:
            self._asked[request] = self._branches(change, leader)
            self.world.count(("change", encode_change(change)))
            node.request(self, ChangeRequest(request), (encode_change(change),))

    def _branches(self, change: Change, leader: NodeId) -> tuple[str, ...]:
        """What will have been met once this change is done."""
        match change:
            case Evict(nodes) if leader in nodes:
                return (CHANGED, LEADER_LEFT)
            case Replace(old) if old == leader:
                return (CHANGED, LEADER_LEFT)
            case SetQuorums():
                return (CHANGED, QUORUMS_CHANGED)
            case Admit(role="witness"):
                return (CHANGED, WITNESS_ADMITTED)
        return (CHANGED,)

    def _draw(self, present: Configuration, leader: NodeId) -> Change | None:
        """A change that could make sense; None where the one drawn does not."""
        draw = self.random
        outside = [name for name in sorted(self.world.nodes) if role_of(present, name) is None]
        states = [name for name in outside if name not in self.world.witnesses]
        voters = list(present.voters)
        one = leader if leader in voters and draw.random() < 0.3 else voters[draw.randrange(len(voters))]
        kind = draw.randrange(10)
        if kind in (0, 8) and outside:
            name = outside[draw.randrange(len(outside))]
            return Admit(name, "witness" if name in self.world.witnesses else "voter")
        if kind == 1 and states:
            return Admit(states[draw.randrange(len(states))], "learner")
        if kind == 2 and len(voters) > VOTERS_MIN:
            return Evict((one,))
        if kind in (3, 9) and len(voters) > VOTERS_MIN + 1:
            return Evict(tuple(draw.sample(voters, draw.randrange(2, len(voters) - VOTERS_MIN + 1))))
        if kind == 4 and states:
            return Replace(one, states[draw.randrange(len(states))])
        if kind == 5 and (present.learners or present.witnesses):
            others = [*present.learners, *present.witnesses]
            name = others[draw.randrange(len(others))]
            return Promote(name) if name in present.learners and draw.random() < 0.7 else Evict((name,))
        if kind == 6:
            return self._quorums(present)
        if kind == 7 and len(voters) > VOTERS_MIN and draw.random() < 0.5:
            return Demote(one)
        return SetPriority(one, draw.choice((1, 1, 2, 5))) if kind == 7 else None

    def _quorums(self, present: Configuration) -> SetQuorums:
        """The majority again, or a flexible system over the present electors."""
        if present.reads or self.random.random() < 0.3:
            return SetQuorums()
        names, count = ", ".join(present.electors), len(present.electors)
        writes = self.random.randrange(2, count // 2 + 2)
        elect = max(count - writes + 1, count // 2 + 1)
        return SetQuorums(f"choose({elect}, {names})", f"choose({writes}, {names})")

    # What nodes answer (runtime.gateway.Client).

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        """One change is done, or is not, or nobody knows."""
        self.world.count(("operator", message))
        if isinstance(message, Result):
            self.changed += 1
            for branch in self._asked[message.request]:
                self.world.sometimes.reached(branch)
        elif isinstance(message, Failure):
            self.world.sometimes.reached(UNKNOWN if "leadership moved" in message.text else REFUSED)

    def backlog(self) -> int:
        """Nothing is held back from it."""
        return 0
