"""Who looks after the members beside a driver: the steward of a leader, echoes that measure the network, and the
attendants of a committee that may lie.

Each is asked at its own moments; the driver itself knows none of them. What they want is an event like an
operator's, under a token below 0; requests of others have tokens from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quorum.certificate.evidence import Evidence
from quorum.errors import QuorumError
from quorum.model import Configuration, NodeId
from quorum.runtime.echoes import ECHO, Echoes
from quorum.runtime.messages import OF_COMMITTEE, OF_WEIGHTS, Echo, EchoReply, RoundTripsTold
from quorum.runtime.ports import Attendant, Ports, Steward

STEWARD = "steward"
"""The timer of the steward's turns; replicas never see it."""
STEWARDS_TOKEN = -1
_ECHOES = frozenset((Echo, EchoReply, RoundTripsTold))
_OF_ATTENDANTS = frozenset((*OF_COMMITTEE, *OF_WEIGHTS))

Change = Callable[[int, Configuration], None]
Transfer = Callable[[int, NodeId | None], None]


class Beside:
    """Those beside one driver, each where there is one. `change` and `transfer` are the driver's."""

    def __init__(
        self,
        ports: Ports,
        change: Change,
        transfer: Transfer,
        steward: Steward | None,
        echoes: Echoes | None,
    ) -> None:
        self._timers, self._clock = ports.timers, ports.clock
        self._change, self._transfer = change, transfer
        self.steward, self.echoes = steward, echoes
        self.attendants: list[Attendant] = []

    def start(self, notes: Mapping[str, bytes]) -> None:
        """The replica has begun; `notes` is what was kept in earlier lives."""
        if self.echoes is not None:
            self.echoes.start()
        for attendant in self.attendants:
            attendant.start(dict(notes))

    def heard(self, sender: NodeId, message: object) -> bool:
        """A message came. Whether it is of these, and not of the replica; it is dropped where nobody wants it."""
        for attendant in self.attendants:
            if attendant.heard(sender, message):
                return True
        kind = type(message)
        if kind in _ECHOES:
            if self.echoes is not None:
                self.echoes.on_message(sender, message)  # type: ignore[arg-type]
            return True
        return kind in _OF_ATTENDANTS

    def fired(self, name: str) -> bool:
        """A timer ran out. Whether it is of these."""
        if name == STEWARD:
            self._look_after()
        elif name == ECHO:
            if self.echoes is not None:
                self.echoes.fired()
        else:
            owners = [attendant for attendant in self.attendants if attendant.timer == name]
            for attendant in owners:
                attendant.fired()
            return bool(owners)
        return True

    def _look_after(self) -> None:
        """Let the steward look at the members."""
        if self.steward is None:
            return
        target = self.steward.turn(self._clock.now_us())
        if target is not None:
            self._change(STEWARDS_TOKEN, target)
        successor = self.steward.successor()
        if successor is not None:
            self._transfer(STEWARDS_TOKEN, successor)
        if self.steward.leads:
            self._timers.set(STEWARD, self.steward.period_us)

    def settled(self, token: int, error: QuorumError | None) -> bool:
        """What became of a request with this token. Whether it is of these."""
        if token >= 0:
            return False
        if self.steward is not None:
            self.steward.done(error)
            return True
        for attendant in self.attendants:
            if attendant.approved(token, error):
                break
        return True

    def lead(self, leads: bool) -> None:
        """This node leads, or does not."""
        if self.steward is not None and self.steward.lead(leads, self._clock.now_us()):
            self._timers.set(STEWARD, self.steward.period_us)

    def accused(self, evidence: Evidence) -> None:
        """A member lied, and this proves it."""
        for attendant in self.attendants:
            attendant.accused(evidence)
