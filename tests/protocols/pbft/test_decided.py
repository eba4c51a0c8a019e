"""Requests that were decided, and come again: by a member that passes them on, and by clients.

Row 27 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.pbft.cluster import SETTINGS, Cluster
from protocols.pbft.scene import TIMEOUTS_US, check_blame, check_progress, order, receive, requests, started, views
from quorum.certificate.requests import decode_request
from quorum.protocols import effects, events
from quorum.protocols.pbft import decided
from quorum.protocols.pbft.decided import Decided
from quorum.protocols.pbft.messages import Forward
from quorum.protocols.pbft.quotas import AGAIN, AGAIN_TURNS

TURN_US = SETTINGS.status_us


@given(st.lists(st.lists(st.binary(min_size=1, max_size=1), max_size=5)), st.integers(1, 6))
def test_the_newest_names_are_known_and_no_more(blocks: list[list[bytes]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decided, "NAMES_MAX", most)
        known = Decided()
        newest: list[bytes] = []
        for block in blocks:
            known.add(block)
            newest += [name for name in dict.fromkeys(block) if name not in newest]
            del newest[:-most]
            assert len(known) == len(newest) <= most
            assert all(name in known for name in newest)


def again(cluster: Cluster, way: str, made: list[bytes]) -> None:
    """Each of them comes to the primary again, several at a time."""
    for first in range(0, len(made), 50):
        some = tuple(made[first : first + 50])
        if way == "forwarded":
            receive(cluster, "n1", "n4", Forward(0, some))
        else:
            cluster.submit(*some, to=("n1",))
        cluster.run(0)


@pytest.mark.parametrize("way", ["forwarded", "submitted"])
def test_row_27_a_thousand_requests_that_were_decided_long_ago_make_hardly_a_block(way: str) -> None:
    cluster = started()
    cluster.liars.add("n4")
    made = order(cluster, 60)
    blocks = len(cluster.log)
    for _ in range(20):
        again(cluster, way, made)
    assert len(cluster.log) <= blocks + AGAIN
    assert len(cluster.requests_decided()) == len(made) + AGAIN
    assert all(len(node.state.pending) == 0 for node in cluster.nodes.values())
    cluster.run(3 * AGAIN_TURNS * TURN_US)
    again(cluster, way, made)
    assert len(cluster.requests_decided()) == len(made) + AGAIN + 3
    check_progress(cluster, requests(3, "c"))
    assert views(cluster) == {0}


def test_a_member_that_is_behind_passes_on_what_is_decided_and_its_new_requests_are_ordered() -> None:
    cluster = started()
    made = order(cluster, 60)
    new = requests(3, "b")
    receive(cluster, "n1", "n4", Forward(0, (*made, *new)))
    cluster.run(0)
    assert set(new) <= set(cluster.requests_decided())
    for _ in range(40):
        receive(cluster, "n1", "n4", Forward(0, tuple(made)))
    check_blame(cluster)
    fresh = requests(1, "c")
    receive(cluster, "n1", "n4", Forward(0, tuple(fresh)))
    cluster.run(0)
    assert set(fresh) <= set(cluster.requests_decided()), "it is still heard"
    check_progress(cluster)


def test_a_request_that_is_decided_while_its_signature_is_checked_waits_no_more() -> None:
    cluster = started()
    (request,) = requests(1)
    node = cluster["n2"]
    assert node.replica is not None
    produced = node.replica.step(events.Submitted(node.now_us, (request,)))
    (asked,) = [each for each in produced if isinstance(each, effects.Verify)]
    cluster.submit(request, to=("n1",))
    cluster.run(0)
    node.step(events.Verified(node.now_us, asked.token, (True,)))
    assert decode_request(request).name not in node.state.pending


def test_a_retry_at_members_that_do_not_know_it_was_decided_costs_no_view() -> None:
    """Two began again, and know less of the past than the primary: it orders their few again."""
    cluster = started()
    made = order(cluster, 30)
    for name in ("n2", "n3"):
        cluster[name].crash()
        cluster[name].boot()
        cluster[name].state.pending.decided = Decided()
    cluster.run(TIMEOUTS_US)
    cluster.submit(*made[:3], to=("n2", "n3"))
    cluster.run(TIMEOUTS_US)
    assert all(len(node.state.pending) == 0 for node in cluster.nodes.values())
    assert views(cluster) == {0}
    check_progress(cluster)
