"""A view that begins far ahead of what its members know to be decided, as after a power cut of all of them."""

from __future__ import annotations

import pytest

from protocols.pbft.cluster import Cluster, request_of
from quorum.protocols.pbft.settings import Settings

BLOCKS = 40
STATES_FAR_APART = 512
"""No state is certified meanwhile: which blocks are decided is known to nobody after a restart."""


def one_by_one(cluster: Cluster, first: int, last: int) -> list[bytes]:
    made = []
    for number in range(first, last + 1):
        made.append(request_of("c", number))
        cluster.submit(made[-1])
        cluster.run(1_000)
    return made


@pytest.mark.parametrize("fetch_bytes_max", [4 * 1024 * 1024, 2_000])
def test_a_base_beyond_the_window_is_fetched_in_as_many_messages_as_it_takes(fetch_bytes_max: int) -> None:
    """PBFT, section 5.2: what others miss is sent again. Two have the newest block, one has lost all of its log by
    a lie, one lacks the end; none of those can prepare the base before it has what leads there."""
    settings = Settings(state_blocks=STATES_FAR_APART, fetch_bytes_max=fetch_bytes_max)
    cluster = Cluster(settings=settings).boot()
    made = one_by_one(cluster, 1, BLOCKS)
    assert cluster["n1"].state.commit_sequence == BLOCKS > 2 * settings.window
    for other in ("n1", "n2", "n3"):
        cluster.cut |= {("n4", other), (other, "n4")}
    made += one_by_one(cluster, BLOCKS + 1, BLOCKS + 3)
    for node in cluster.nodes.values():
        node.crash()
    cluster.liars.add("n3")
    lost = cluster["n3"].disk
    del lost.entries[5:]
    lost.notes.pop("claim")
    cluster.cut.clear()
    for node in cluster.nodes.values():
        node.boot()
        assert node.state.commit_sequence == 0
    made += [request_of("c", 1_000)]
    cluster.submit(made[-1])
    cluster.run(10 * settings.view_timeout_us)
    assert set(cluster.requests_decided()) >= set(made)
    assert {node.state.commit_sequence for node in cluster.honest()} == {BLOCKS + 4}
    assert not cluster.evidence and not any(node.reports for node in cluster.honest())
