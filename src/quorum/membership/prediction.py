"""How long a decision would take, under a leader and weights, if links are as long as is believed.

Nothing but messages is counted: no disk, no queue. All arithmetic is whole, so that every member that has the same
reports predicts the same.
Source: Berger, Reiser, Sousa and Bessani, "AWARE: Adaptive Wide-Area Replication" (2022), for the phases of PBFT.
"""

from __future__ import annotations

from collections.abc import Iterable

from quorum.membership.latency import FAR_US, Latencies
from quorum.model import FaultModel, NodeId
from quorum.systems.algebra import Threshold

NEVER_US = 8 * FAR_US
"""Beyond every prediction."""


def predict_us(latencies: Latencies, leader: NodeId, votes: Threshold, model: FaultModel) -> int:
    """Microseconds from the leader's proposal until it knows that it is decided: one round trip with a quorum
    where nodes crash, PBFT's three phases where they lie."""
    if model == "crash":
        return _reached(((latencies.rtt_us(leader, node), weight) for node, weight in votes.weights), votes.k)
    return _three_phases(latencies, leader, votes)


def _three_phases(latencies: Latencies, leader: NodeId, votes: Threshold) -> int:
    """Each node hears the proposal, has prepared once a quorum's votes have reached it, and the leader hears that
    of a quorum. A message takes half of a round trip; times are doubled, and so are whole."""
    rtt_us = latencies.rtt_us
    heard = {node: rtt_us(leader, node) for node, _ in votes.weights}
    prepared = {
        node: _reached(((heard[other] + rtt_us(other, node), weight) for other, weight in votes.weights), votes.k)
        for node in heard
    }
    committed = ((prepared[node] + rtt_us(node, leader), weight) for node, weight in votes.weights)
    return _reached(committed, votes.k) // 2


def _reached(arrivals: Iterable[tuple[int, int]], k: int) -> int:
    """When the votes that arrive, as pairs of time and weight, come to `k`."""
    held = 0
    for at_us, weight in sorted(arrivals):
        held += weight
        if held >= k:
            return at_us
    return NEVER_US
