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
    from quorum.runtime.engine import Lie, PbftEngine, RaftEngine
    from quorum.runtime.ports import Transport


class LyingTransport:
    """runtime.ports.Transport: what the replica says, after the behaviour had its way with it."""

    def __init__(self, transport: Transport, liar: Liar) -> None:
        self._transport = transport
        self._liar = liar

    def send(self, to: NodeId, message: object, attached: Sequence[Buffer], later: bool = False) -> None:
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
        committee = getattr(engine, "committee", None)
        signer = getattr(engine, "signer", None)
        if committee is None or signer is None:
            raise ConfigurationError(
                'a node was to lie, but its cluster has model = "crash", where members are trusted. Set up one '
                'with model = "byzantine".'
            )
        liar = BEHAVIOURS[behaviour](signer.node, committee, signer.sign, SystemRandom())
        return LyingTransport(transport, liar)

    return lie
