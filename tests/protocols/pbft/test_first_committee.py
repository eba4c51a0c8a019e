"""A node's data belong to the first committee with which they began: with another it does not start."""

from __future__ import annotations

import pytest

from protocols.pbft.cluster import committee_of
from protocols.pbft.epoch_scene import EpochCluster, change
from protocols.pbft.scene import order
from quorum.certificate.committee import Committee
from quorum.errors import ConfigurationError

FOUR = ("n1", "n2", "n3", "n4")
OTHERS = (committee_of(4, 1), committee_of(5, 0))
"""One member fewer, and a lower T, than the five of whom one may lie."""


def restart(cluster: EpochCluster, node: str, first: Committee) -> None:
    cluster[node].crash()
    cluster.committee = first
    cluster[node].boot(first=False)


def told(cluster: EpochCluster, node: str, first: Committee) -> str:
    with pytest.raises(ConfigurationError) as raised:
        restart(cluster, node, first)
    return str(raised.value)


@pytest.mark.parametrize("first", OTHERS)
def test_a_log_of_another_first_committee_is_refused_with_what_to_restore(first: Committee) -> None:
    cluster = EpochCluster(5, 1)
    cluster.boot()
    order(cluster, 3)
    text = told(cluster, "n1", first)
    assert "another first committee, or T" in text and "Restore cluster.toml" in text


@pytest.mark.parametrize("first", OTHERS)
def test_so_is_one_that_holds_a_snapshot_and_later_epochs(first: Committee) -> None:
    cluster = EpochCluster(5, 1)
    cluster.boot()
    order(cluster, 20)
    assert cluster["n1"].disk.snapshot is not None
    change(cluster, FOUR)
    assert "Restore cluster.toml" in told(cluster, "n1", first)
    cluster["n2"].disk.entries.clear()
    cluster["n2"].disk.snapshot = None
    assert "Restore cluster.toml" in told(cluster, "n2", first), "its notes alone tell it"


def test_with_the_first_committee_as_it_was_the_node_goes_on() -> None:
    cluster = EpochCluster(5, 1)
    cluster.boot()
    order(cluster, 3)
    change(cluster, FOUR)
    restart(cluster, "n1", cluster.committee)
    assert cluster["n1"].state.committee.nodes == FOUR
