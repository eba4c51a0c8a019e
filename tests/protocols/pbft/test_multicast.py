"""A request that few members heard of is decided although the primary is dead; who departed learns the views."""

from __future__ import annotations

import pytest

from .cluster import SETTINGS, Cluster, request_of
from .epoch_scene import EpochCluster, change, check_goes_on
from .scene import check_blame

TIMEOUT_US = SETTINGS.view_timeout_us


@pytest.mark.parametrize("heard", ["n2", "n3", "n4"])
def test_a_request_that_one_backup_heard_is_decided_although_the_primary_is_dead(heard):
    """Section 4.1: what is not answered in time goes to all replicas; here a backup passes it on."""
    cluster = Cluster().boot()
    cluster["n1"].crash()
    request = request_of("alone", 1)
    cluster.submit(request, to=(heard,))
    cluster.run(6 * TIMEOUT_US)
    assert request in cluster.requests_decided()
    check_blame(cluster)


def test_a_request_that_only_a_departed_member_heard_is_decided_although_the_primary_is_dead():
    cluster = EpochCluster(4, 1, spares=("n5", "n6")).boot()
    change(cluster, ("n2", "n3", "n4", "n5"))
    change(cluster, ("n3", "n4", "n5", "n6"))
    primary = cluster["n3"].state.primary
    cluster[primary].crash()
    request = request_of("alone", 1)
    cluster.submit(request, to=("n1",))
    cluster.run(8 * TIMEOUT_US)
    assert request in cluster.requests_decided()
    check_blame(cluster)


def test_whoever_departed_two_epochs_ago_stands_in_the_present_view():
    cluster = EpochCluster(4, 1, spares=("n5", "n6")).boot()
    change(cluster, ("n2", "n3", "n4", "n5"))
    change(cluster, ("n3", "n4", "n5", "n6"))
    check_goes_on(cluster)
    cluster.run(10 * SETTINGS.status_us)
    member, departed = cluster["n4"].state, cluster["n1"].state
    assert departed.active and (departed.view, departed.primary) == (member.view, member.primary)
    assert not departed.may_sign


def test_each_request_is_passed_on_once_in_a_view_and_few_at_a_time():
    cluster = Cluster().boot()
    cluster["n1"].crash()
    passed: list[int] = []

    def watch(source, to, message, attached):
        if type(message).__name__ == "Forward" and source == "n2" and to == "n3":
            passed.append(len(message.requests))
        return [(message, attached)]

    cluster.filter = watch
    cluster.submit(*(request_of("many", number) for number in range(40)), to=("n2",))
    cluster.run(TIMEOUT_US - 1)
    assert passed == [16]
    cluster.run(8 * TIMEOUT_US)
    assert len(cluster.requests_decided()) == 40
