"""The newest state is certified by a later block, which may need the very member that asks for a state."""

from __future__ import annotations

from protocols.pbft.cluster import SETTINGS
from protocols.pbft.scene import TIMEOUTS_US, order, requests, started

NEWEST = 3 * SETTINGS.state_blocks


def test_the_state_before_is_given_while_the_newest_is_not_certified() -> None:
    cluster = started()
    for other in ("n1", "n2", "n3"):
        cluster.cut |= {("n4", other), (other, "n4")}
    order(cluster, NEWEST)
    state = cluster["n1"].state
    assert state.commit_sequence == state.snapshot.index == NEWEST and state.certified.index < NEWEST
    assert (cluster["n4"].state.commit_sequence, state.chain.base > 0) == (0, True)
    cluster["n3"].crash()
    cluster.cut.clear()
    waiting = requests(1, "b")
    cluster.submit(*waiting, to=("n1", "n2", "n4"))
    cluster.run(TIMEOUTS_US)
    assert set(waiting) <= set(cluster.requests_decided())
    assert cluster["n4"].state.commit_sequence > NEWEST
