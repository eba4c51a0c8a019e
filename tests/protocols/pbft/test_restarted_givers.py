"""Whoever lacks what is compacted away is given a state also by members that restarted, without a certificate."""

from __future__ import annotations

import pytest

from protocols.pbft.cluster import Cluster, request_of
from protocols.pbft.scene import block_after, check_progress, order, receive, started
from quorum.model import Configuration
from quorum.protocols import effects
from quorum.protocols.events import SnapshotMark
from quorum.protocols.pbft.messages import Offer


def one_behind(blocks: int) -> Cluster:
    """n3 was down for so many blocks, or one more. Now n4 is gone, and n1 and n2 have restarted."""
    cluster = started()
    order(cluster, 2)
    cluster["n3"].crash()
    for number in range(blocks):
        cluster.submit(request_of("b", number), to=("n1", "n2", "n4"))
        cluster.run(0)
    cluster.liars.add("n4")
    for name in ("n1", "n2", "n4"):
        cluster[name].crash()
    for name in ("n1", "n2", "n3"):
        cluster[name].boot(first=False)
    return cluster


@pytest.mark.parametrize("blocks", [3, 5, 6, 7, 13, 14, 15, 30, 38])
def test_a_member_behind_all_logs_is_given_a_state_where_all_others_restarted(blocks: int) -> None:
    """PBFT, section 5.3: without it nothing could be decided any more, and so no certificate be made. With 14 and
    38 blocks nothing names the newest state yet."""
    cluster = one_behind(blocks)
    behind = cluster["n3"].state.commit_sequence
    assert behind <= 2 and not cluster["n1"].state.certificates
    check_progress(cluster, within_us=10 * cluster.settings.view_timeout_us)
    assert cluster["n3"].state.commit_sequence > blocks


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_state_without_signatures_is_fetched_only_under_the_block_that_was_asked_for(is_waiting: bool) -> None:
    cluster = one_behind(14) if is_waiting else started()
    if not is_waiting:
        order(cluster, 3)
    while is_waiting and cluster["n3"].state.has_base:
        assert cluster.deliver() or not cluster.run(50_000)
    state = cluster["n3"].state
    cluster.liars.add("n1")
    before = state.chain.newest
    blocks = []
    for number in range(9):
        named = (0, bytes(32)) if number < 8 else (before.header.sequence + 8, b"\x01" * 32)
        blocks.append(block_after(cluster, blocks[-1].link() if blocks else before, state=named))
    place = blocks[7].header
    mark = SnapshotMark(
        place.sequence, 0, 0, Configuration(1, ("n1",)), place=place.packed(), state_root=b"\x01" * 32
    )
    fetched: list[effects.Effect] = []
    cluster.fetch_snapshot = lambda *given: fetched.append(given)  # type: ignore[method-assign,assignment]
    receive(cluster, "n3", "n1", Offer(state.view, mark, (blocks[8].header.packed(),), ()))
    assert fetched == []
