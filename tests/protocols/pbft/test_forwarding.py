"""A request that one backup alone has is passed on to the primary, and again where that was lost."""

from __future__ import annotations

from protocols.pbft.cluster import SETTINGS
from protocols.pbft.scene import (
    block_after,
    check_progress,
    lie,
    order,
    propose_as,
    request_of,
    requests,
    started,
    views,
)
from quorum.protocols.pbft import view_change
from quorum.protocols.pbft.messages import Forward
from quorum.protocols.pbft.state import PAST_VIEWS


def test_a_request_whose_forward_was_lost_is_forwarded_again_before_the_view_is_left() -> None:
    cluster = started()
    told: list[int] = []

    def lost_once(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list:  # type: ignore[type-arg]
        if isinstance(message, Forward) and to == "n1":
            told.append(cluster.now_us)
            if len(told) == 1:
                return []
        return [(message, attached)]

    cluster.filter = lost_once
    (request,) = requests(1)
    cluster.submit(request, to=("n2",))
    cluster.run(SETTINGS.view_timeout_us - 1)
    assert request in cluster.requests_decided()
    assert views(cluster) == {0}
    assert len(told) == 2, "no more often than that"
    check_progress(cluster)


def test_what_came_before_the_state_that_a_member_fetches_waits_there_no_more() -> None:
    """It cannot tell which of it was decided, and would have all of it ordered again, one after the other."""
    cluster = started()
    cluster.cut = {pair for other in ("n1", "n2", "n3") for pair in (("n4", other), (other, "n4"))}
    order(cluster, 3 * SETTINGS.state_blocks)
    node = cluster["n4"]
    assert len(node.state.pending) == 3 * SETTINGS.state_blocks
    cluster.cut.clear()
    cluster.run(2 * SETTINGS.view_timeout_us)
    assert node.base > 0, "it fetched a state"
    assert len(node.state.pending) == 0
    assert len(cluster.requests_decided()) == len(set(cluster.requests_decided()))
    check_progress(cluster)


def test_row_27_blocks_that_came_early_are_forgotten_with_their_view() -> None:
    """Of a view that was left only its votes are of use: they may prove a lie."""
    cluster = started()
    lie(cluster, "n1", lambda to, message, attached: [])
    before = block_after(cluster, None, request_of("a", 1)).link()
    for number in range(2, 7):
        block = block_after(cluster, before, request_of("a", number))
        before = block.link()
        propose_as(cluster, "n1", 0, block, "n2")
    cluster.run(0)
    state = cluster["n2"].state
    assert len(state.here.early) == 5
    view_change.leave_view(state, state.view + 1)
    assert not state.here.early and 0 in state.past
    assert all(not left.early for left in state.past.values()) and len(state.past) <= PAST_VIEWS
