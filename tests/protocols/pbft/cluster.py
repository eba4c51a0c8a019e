"""The replicas on a network of lists that the tests of PBFT step (quorum.sim.stepped)."""

from __future__ import annotations

import msgspec

from quorum.sim.stepped import SETTINGS, Cluster, committee_of, request_of
from quorum.sim.stepped_node import EPOCH_US, Disk, Node, key_of

__all__ = ["EPOCH_US", "SETTINGS", "Cluster", "Disk", "Node", "committee_of", "encoded", "key_of", "request_of"]


def encoded(message: object) -> bytes:
    return msgspec.msgpack.encode(message)
