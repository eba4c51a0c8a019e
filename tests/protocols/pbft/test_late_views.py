"""Members that were given blocks of a later view before they hear of the view itself."""

from __future__ import annotations

from protocols.pbft.cluster import Cluster, request_of
from protocols.pbft.scene import Sent, check_progress, order, started
from quorum.protocols.pbft.messages import NewView, PrePrepare, ViewChange

LATE = ("n6", "n7")


def cut_off(cluster: Cluster) -> None:
    """The late ones reach each other alone."""
    for other in cluster.committee.nodes[:5]:
        cluster.cut |= {(other, late) for late in LATE} | {(late, other) for late in LATE}


def given_blocks_of_a_later_view() -> Cluster:
    """n6 and n7 are in view 0, and claim a block that view 1 decided."""
    cluster = started(7, 2)
    order(cluster, 2)
    cut_off(cluster)

    def slow(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        return [] if source == "n1" and isinstance(message, PrePrepare) else [(message, attached)]

    cluster.filter = slow
    for number in range(1, 11):
        cluster.submit(request_of("b", number), to=cluster.committee.nodes[:5])
        cluster.run(1_000_000)
    cluster.cut = set()

    def without_views(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        is_lost = to in LATE and source not in LATE and isinstance(message, NewView | ViewChange)
        return [] if is_lost else [(message, attached)]

    cluster.filter = without_views
    cluster.run(1_000_000)
    for name in LATE:
        state = cluster[name].state
        assert (state.view, state.active, state.claim.claim.view) == (0, True, 1)
        assert state.commit_sequence >= 12
    return cluster


def test_a_member_does_not_ask_for_a_view_of_which_it_claims_a_block() -> None:
    """Others would refuse that claim, and name an honest member."""
    cluster = given_blocks_of_a_later_view()
    cut_off(cluster)
    cluster.submit(request_of("c", 1), to=LATE)
    cluster.run(2_000_000)
    for name in LATE:
        assert (cluster[name].state.view, cluster[name].state.active) == (1, False)
        cluster[name].crash()
        cluster[name].boot(first=False)
    cluster.run(2_000_000)
    assert cluster.errors == []
    cluster.filter, cluster.cut = None, set()
    cluster.run(200_000)
    for name in LATE:
        assert (cluster[name].state.view, cluster[name].state.active) == (1, True)
    check_progress(cluster, [request_of("c", 1)])
