"""Where a client finds its cluster, without I/O: the addresses it was given, then the members' as nodes tell
them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.runtime.address import parse_address
from quorum.runtime.messages import MembersReply

MEMBERS_MAX = 1_024
"""Who names more is not believed."""


def anywhere(_: str) -> bool:
    """Every address that a node tells is followed."""
    return True


def loopback_only(endpoint: str) -> bool:
    """What a node tells in plain text may come from anybody on the way: it leads nowhere beyond this machine."""
    try:
        return parse_address(endpoint, "an address").is_loopback
    except ConfigurationError:
        return False


def nowhere(_: str) -> bool:
    """Only the addresses that the client was given are dialled."""
    return False


def is_address(endpoint: str) -> bool:
    """Whether what a node told can be dialled."""
    try:
        parse_address(endpoint, "an address")
    except ConfigurationError:
        return False
    return True


class Directory:
    """The addresses of a cluster, in the order in which they are tried.

    The *seeds* were given to the client. Once a node has named the members of an epoch, those are tried, and a
    seed that is none of them only after a round in which no member could be reached: it may have been evicted,
    or be a name that leads to other nodes by now. `discovers`: nodes are asked for the members. `follows` says
    of an address that a node told whether it may be dialled.
    """

    def __init__(
        self, seeds: Sequence[str], discovers: bool = False, follows: Callable[[str], bool] = anywhere
    ) -> None:
        self._seeds = tuple(dict.fromkeys(seeds))
        self.discovers = discovers
        self._follows = follows
        self._epoch = 0
        self._nodes: dict[str, NodeId] = {}
        self._ring = self._seeds
        self._others: tuple[str, ...] = ()
        self._turn = 0
        self._other = -1

    def __len__(self) -> int:
        """How many addresses a round has."""
        return len(self._ring)

    @property
    def first(self) -> str:
        """Where to begin."""
        return self._seeds[0]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every address that may be tried: the present members', then the other seeds."""
        return self._ring + self._others

    def node_at(self, endpoint: str) -> NodeId:
        """The member that is to answer at an address; "" where none was named: any node of the cluster may."""
        return self._nodes.get(endpoint, "")

    def may_follow(self, endpoint: str) -> bool:
        """Whether the leader may be looked for at an address that a node told."""
        return endpoint in self._nodes or endpoint in self._seeds or self._follows(endpoint)

    def take_up(self, endpoint: str) -> None:
        """This address is tried now: the round goes on behind it."""
        if endpoint in self._ring:
            self._turn = self._ring.index(endpoint)

    def next(self, failures: int) -> str:
        """The address to try after `failures` in a row."""
        if self._others and failures > 0 and failures % (len(self._ring) + 1) == 0:
            self._other = (self._other + 1) % len(self._others)
            return self._others[self._other]
        self._turn = (self._turn + 1) % len(self._ring)
        return self._ring[self._turn]

    def learn(self, reply: MembersReply) -> bool:
        """Take what a node says of the members, unless a later epoch is known. True if the node that said it is
        none of them any more, while others are known: it must be left."""
        if not self.discovers or reply.epoch < self._epoch or not 0 < len(reply.members) <= MEMBERS_MAX:
            return False
        nodes: dict[str, NodeId] = {}
        for node, endpoint in reply.members:
            if self._is_usable(endpoint):
                nodes[endpoint] = "" if endpoint in nodes else node  # two at one address: whoever answers
        if not nodes:
            return False
        at = self._ring[self._turn]
        self._epoch, self._nodes = reply.epoch, nodes
        self._ring = tuple(nodes)
        self._others = tuple(seed for seed in self._seeds if seed not in nodes)
        self._turn = self._ring.index(at) if at in nodes else -1
        return all(node != reply.node for node, _ in reply.members)

    def _is_usable(self, endpoint: str) -> bool:
        return self._follows(endpoint) and is_address(endpoint)
