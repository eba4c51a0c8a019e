"""How far the other members are: each asks each now and then, and where nobody lies tells the leader what it
measured. Where members may lie each tells all, signed (runtime.committee_weigher).

An answer is asked for by a number that nobody can guess, so that none comes before the question. Where nobody
follows the network (`weights` in cluster.toml) there is none of this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

from quorum.membership.latency import FAR_US, STALE_US, RoundTrips
from quorum.model import NodeId
from quorum.protocols.replica import Replica
from quorum.runtime.messages import Echo, EchoReply, RoundTripsTold
from quorum.runtime.ports import Ports

ECHO = "echo"
"""The driver's own timer; replicas never see it."""
EVERY_US = 1_000_000
ASKED_KEPT = 16
"""Questions to which an answer may still come."""
ANSWERS_MAX = 8
"""One member gets so many answers a turn at most."""

EchoMessage = Echo | EchoReply | RoundTripsTold


class Echoes:
    """Measures the round trips of one node, and gathers what others measured while it leads.

    I1  only members count, and each of them has one row.
    """

    def __init__(
        self,
        replica: Replica,
        ports: Ports,
        random: Random,
        every_us: int = EVERY_US,
        *,
        tells_leader: bool = True,
    ) -> None:
        self._replica = replica
        self._transport, self._timers, self._clock = ports.transport, ports.timers, ports.clock
        self._random = random
        self._every_us = every_us
        self._tells_leader = tells_leader
        self._trips = RoundTrips()
        self._asked: dict[int, tuple[int, set[NodeId]]] = {}
        self._answered: Counter[NodeId] = Counter()
        self._told: dict[NodeId, tuple[int, dict[NodeId, int]]] = {}

    def start(self) -> None:
        """Begin, a little later than others that begin now."""
        self._timers.set(ECHO, 1 + self._random.randrange(self._every_us))

    def fired(self) -> None:
        """The timer ran out: ask everybody, and tell the leader."""
        self._timers.set(ECHO, self._every_us)
        self._answered.clear()
        node, now_us = self._replica.node, self._clock.now_us()
        members = self._replica.configuration.members
        self._trips.keep(members)
        others = [other for other in members if other != node]
        if node not in members:
            return
        number = self._random.getrandbits(63)
        self._asked[number] = (now_us, set(others))
        if len(self._asked) > ASKED_KEPT:
            del self._asked[next(iter(self._asked))]
        for other in others:
            self._transport.send(other, Echo(number), ())
        leader = self._replica.leader
        if self._tells_leader and leader is not None and leader != node:
            self._transport.send(leader, RoundTripsTold(self.row()), ())

    def row(self) -> dict[NodeId, int]:
        """This node's round trips with each member that answers, in microseconds, by name."""
        return self._trips.row(self._clock.now_us())

    def on_message(self, sender: NodeId, message: EchoMessage) -> None:
        """A member asks, answers, or tells what it measured."""
        if sender not in self._replica.configuration.members:
            return
        match message:
            case Echo(number):
                self._answered[sender] += 1
                if self._answered[sender] <= ANSWERS_MAX:
                    self._transport.send(sender, EchoReply(number), ())
            case EchoReply(number):
                asked_us, waited = self._asked.get(number, (0, set()))
                if sender in waited:
                    waited.discard(sender)
                    now_us = self._clock.now_us()
                    self._trips.took(sender, now_us - asked_us, now_us)
            case RoundTripsTold(took_us):
                members = self._replica.configuration.members
                row = {node: min(FAR_US, max(0, took_us[node])) for node in members if node in took_us}
                self._told[sender] = (self._clock.now_us(), row)

    def reports(self) -> Mapping[NodeId, Mapping[NodeId, int]]:
        """What is known here now of round trips, in microseconds, by the member that measured them."""
        now_us, members = self._clock.now_us(), self._replica.configuration.members
        self._told = {
            node: (at_us, row)
            for node, (at_us, row) in self._told.items()
            if node in members and now_us - at_us <= STALE_US
        }
        return {node: row for node, (_, row) in sorted(self._told.items())} | {self._replica.node: self.row()}
