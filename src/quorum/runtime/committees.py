"""The committees that a client knows: one it trusts, and each later one that the one before it signed.

Without I/O. Nodes tell how the epochs went on, 16 changes at most in a message, step by step. Nothing of it is
believed for being said: a change counts with the signatures of a quorum of the committee before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple

from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange, verify_epochs
from quorum.certificate.keys import CheckSignature, is_signed
from quorum.model import NodeId
from quorum.runtime.directory import is_address
from quorum.runtime.messages import EpochsReply, EpochsRequest

if TYPE_CHECKING:
    from quorum.protocols.pbft.epochs import Epochs

GIVEN_MAX = 16
"""So many changes are told in one message."""
KEPT_MAX = 16
"""So many committees are kept for requests that were sent while they acted."""
GIVEN_WEIGHT_MAX = 4_000
"""So many members and signatures are told in one message, beyond the first change in it."""
IDLE_TICKS = 10
"""How many ticks pass between two questions while nothing waits."""

Ask = Callable[[NodeId, EpochsRequest], None]


class _Known(NamedTuple):
    epoch: int
    nodes: frozenset[NodeId]
    faults: int


class Committees:
    """Asks every node that is connected how the epochs went on, again while requests wait, now and then else.

    I1  the newest committee is the trusted one, or a quorum of the one before it signed for it.
    """

    def __init__(self, trusted: Committee, ask: Ask, check: CheckSignature = is_signed) -> None:
        self.newest = trusted
        self._ask = ask
        self._check = check
        self._known = [_Known(trusted.epoch, frozenset(trusted.nodes), trusted.faults)]
        self._connected: dict[NodeId, None] = {}
        self._asked: dict[NodeId, EpochsRequest] = {}
        self._confirmed: set[NodeId] = set()
        self._liars: set[NodeId] = set()
        self._next_request = 1
        self._ticks = 0

    @property
    def is_settled(self) -> bool:
        """Whether T+1 members of the newest committee, so one honest one, have said that they know no later."""
        return len(self._confirmed) > self.newest.faults

    def vouch(self, nodes: AbstractSet[NodeId], since: int) -> bool:
        """Whether these are T+1 of one committee, of epoch `since` or a later one."""
        return any(
            len(known.nodes & nodes) > known.faults for known in reversed(self._known) if known.epoch >= since
        )

    def connected(self, node: NodeId) -> None:
        """A node is there: it is asked at once."""
        self._connected[node] = None
        self._ask_node(node)

    def lost(self, node: NodeId) -> None:
        """The connection to a node ended, and what was asked there with it."""
        self._connected.pop(node, None)
        self._asked.pop(node, None)

    def tick(self, is_waiting: bool) -> None:
        """A second passed. `is_waiting`: a request has been without an answer for that long."""
        self._ticks += 1
        if is_waiting or not self.is_settled:
            self._ask_all()
        elif self._ticks % IDLE_TICKS == 0 and self._connected:
            nodes = tuple(self._connected)
            self._ask_node(nodes[self._ticks // IDLE_TICKS % len(nodes)])

    def received(self, node: NodeId, reply: EpochsReply) -> bool:
        """What a node says; True if a later committee is known by it. Only an answer to the question asked last
        counts; who tells a change that does not hold is asked no more."""
        asked = self._asked.get(node)
        if asked is None or asked.request != reply.request:
            return False
        del self._asked[node]
        before = self.newest
        if len(reply.changes) > GIVEN_MAX or not self._follow(reply.changes):
            self._liars.add(node)
        if self.newest is not before:
            self._ask_all()
            return True
        if not reply.changes and asked.epoch == self.newest.epoch and node in self.newest.keys:
            self._confirmed.add(node)
        return False

    def _follow(self, changes: Sequence[EpochChange]) -> bool:
        """Take the changes that hold, up to the first that does not. False if there is one."""
        for change in changes:
            if change.committee.epoch <= self.newest.epoch:
                continue
            following, verdict = verify_epochs(self.newest, (change,), self._check)
            if not verdict.valid:
                return False
            self.newest = following
            self._known.append(_Known(following.epoch, frozenset(following.nodes), following.faults))
            del self._known[:-KEPT_MAX]
            self._confirmed.clear()
        return True

    def _ask_all(self) -> None:
        for node in tuple(self._connected):
            self._ask_node(node)

    def _ask_node(self, node: NodeId) -> None:
        if node not in self._liars:
            self._asked[node] = EpochsRequest(self._next_request, self.newest.epoch)
            self._next_request += 1
            self._ask(node, self._asked[node])


def changes_after(epochs: Epochs, epoch: int) -> tuple[EpochChange, ...]:
    """What a node tells in one message of how the epochs went on after this one."""
    told: list[EpochChange] = []
    weight = 0
    for change in epochs.after(epoch, GIVEN_MAX):
        weight += len(change.committee.members) + len(change.certificate.signatures) + len(change.path)
        if told and weight > GIVEN_WEIGHT_MAX:
            break
        told.append(change)
    return tuple(told)


class Addresses:
    """Where nodes are reached: as the client was `given` it, which is tried first, then as nodes tell it.

    Told addresses are followed only where nodes prove who they are (`follows`): a liar could name its own as that
    of others, and be counted as several. One address of a node is kept from each teller.
    """

    def __init__(self, given: Iterable[tuple[NodeId, str]], follows: bool) -> None:
        self.given = dict(given)
        self._follows = follows
        self._told: dict[NodeId, dict[NodeId, str]] = {}

    def learn(self, teller: NodeId, addresses: Iterable[tuple[NodeId, str]], members: AbstractSet[NodeId]) -> None:
        """What one node tells of the members that are wanted."""
        if self._follows:
            for node, address in addresses:
                if node in members and is_address(address):
                    self._told.setdefault(node, {})[teller] = address

    def keep(self, members: AbstractSet[NodeId]) -> None:
        """Only these are wanted from now on."""
        self._told = {node: told for node, told in self._told.items() if node in members}

    def of(self, node: NodeId) -> tuple[str, ...]:
        """Every address to try, in order; none where none is known."""
        told = self._told.get(node, {})
        first = (self.given[node],) if node in self.given else ()
        return tuple(dict.fromkeys((*first, *(told[teller] for teller in sorted(told)))))
