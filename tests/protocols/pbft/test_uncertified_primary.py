"""A lying primary that orders everything, but names no newer state: nothing could be compacted away any more."""

from __future__ import annotations

from protocols.pbft.cluster import Cluster, request_of
from protocols.pbft.scene import check_progress, order, started
from quorum.protocols import events


def without_states(cluster: Cluster, name: str) -> None:
    """From now on this member hears of no state of its own, and so names none."""
    cluster.liars.add(name)
    replica = cluster[name].replica
    assert replica is not None
    replica._handlers[events.StateKnown] = lambda event: None


def test_a_primary_that_names_no_newer_state_is_replaced_before_the_log_grows() -> None:
    cluster = started()
    order(cluster, 3)
    without_states(cluster, "n1")
    settings = cluster.settings
    for number in range(20 * settings.state_blocks):
        cluster.submit(request_of("b", number))
        cluster.run(20_000)
    for node in cluster.honest():
        assert node.state.primary != "n1"
        assert len(node.state.chain._links) <= 4 * settings.state_blocks + 4 * settings.window
    check_progress(cluster)


def test_an_honest_primary_whose_state_is_late_waits_for_it_and_is_not_named() -> None:
    cluster = started()
    order(cluster, 3)
    replica = cluster["n1"].replica
    assert replica is not None
    take, kept = replica._handlers[events.StateKnown], []
    replica._handlers[events.StateKnown] = kept.append
    settings = cluster.settings
    for number in range(2 * settings.unnamed_max):
        cluster.submit(request_of("b", number))
        cluster.run(0)
    state = cluster["n1"].state
    assert state.chain.last == state.commit_sequence == settings.unnamed_max - 1
    replica._handlers[events.StateKnown] = take
    for event in kept:
        cluster["n1"].step(event)
    cluster.run(0)
    assert state.view == 0 and len(state.pending) == 0
    check_progress(cluster)
