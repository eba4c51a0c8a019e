"""A node of a real cluster that lies on the wire, for drills: by the behaviours of simulated liars."""

from __future__ import annotations

from collections.abc import Sequence
from random import SystemRandom
from typing import TYPE_CHECKING

from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.sim.adversary import BEHAVIOURS, Liar

if TYPE_CHECKING:
    from quorum.protocols.pbft.state import PbftState
    from quorum.runtime.engine import Lie, PbftEngine, RaftEngine
    from quorum.runtime.ports import Transport


class LyingTransport:
    """runtime.ports.Transport: what the replica says, after the behaviour had its way with it. It lies to the
    committee that acts, with the key that it has."""

    def __init__(self, transport: Transport, liar: Liar, state: PbftState) -> None:
        self._transport = transport
        self._liar, self._state = liar, state

    def send(self, to: NodeId, message: object, attached: Sequence[Buffer], later: bool = False) -> None:
        self._liar.committee = self._state.committee
        for said, pieces in self._liar.lie(to, message, attached):
            self._transport.send(to, said, pieces, later)

    def flush(self) -> None:
        self._transport.flush()


def lying_as(behaviour: str) -> Lie:
    """What a node is given to lie so. Raises ConfigurationError for a behaviour that is not known."""
    if behaviour not in BEHAVIOURS:
        raise ConfigurationError(
            f"a node was to lie by {behaviour[:40]!r}, but that is not known. Choose from "
            f"{', '.join(sorted(BEHAVIOURS))}."
        )

    def lie(transport: Transport, engine: RaftEngine | PbftEngine) -> Transport:
        from quorum.runtime.engine import RaftEngine

        if isinstance(engine, RaftEngine):
            raise ConfigurationError(
                'a node was to lie, but its cluster has model = "crash", where members are trusted. Set up one '
                'with model = "byzantine".'
            )
        state = engine.replica.state

        def sign(data: bytes) -> bytes:
            return state.sign_bytes(data)  # with a fresh key, where it got one meanwhile

        liar = BEHAVIOURS[behaviour](state.node, state.committee, sign, SystemRandom())
        return LyingTransport(transport, liar, state)

    return lie
