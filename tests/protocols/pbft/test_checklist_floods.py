"""Too much of everything, a bad network, and odd clocks.

Rows 19, 27, 42 and 43 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

from random import Random

import pytest

from protocols.pbft.cluster import SETTINGS, Cluster, request_of
from protocols.pbft.scene import (
    SIZES,
    TIMEOUTS_US,
    block_after,
    check_progress,
    complaints,
    order,
    prepare_of,
    propose_as,
    requests,
    started,
    tell,
    tell_all,
    view_change_of,
    views,
)
from quorum.protocols.pbft.messages import Commit, Fetch, Forward, Status, Votes
from quorum.protocols.pbft.settings import Settings


def held(cluster: Cluster, node: str) -> int:
    """How many things a member keeps that others made it keep."""
    state = cluster[node].state
    here = state.here
    voted = sum(len(place._votes) for places in (here.prepares, here.commits) for place in places.values())
    kept = (here.early, here.own_votes, state.view_changes, state.commits_seen, state.statuses, state.aside)
    return voted + sum(map(len, kept)) + len(state._checks) + len(state.heard_views) + len(state.pending)


def flood(cluster: Cluster, liar: str, random: Random) -> None:
    """Twenty messages of every kind that a liar can make cheaply, to everybody."""
    for _ in range(20):
        view, sequence = random.choice((0, 1, 7, 2**40)), random.randrange(1, 10**6)
        near = random.randrange(1, 60)
        digest = random.randbytes(32)
        tell_all(cluster, liar, prepare_of(cluster, liar, view, sequence, digest))
        tell_all(cluster, liar, prepare_of(cluster, liar, 0, near, digest))
        junk = random.randbytes(64)
        tell_all(cluster, liar, Commit(0, near, digest, junk))
        tell_all(cluster, liar, Votes(0, tuple((3, near + step, digest, junk) for step in range(8))))
        tell_all(cluster, liar, Status(view, True, sequence, sequence, sequence))
        tell_all(cluster, liar, Fetch(0, random.randrange(1, 30)))
        tell_all(cluster, liar, Fetch(0, 1, near, digest))
        tell_all(cluster, liar, view_change_of(cluster, liar, random.randrange(1, 2**50)))
        request = request_of("z", sequence)
        tell_all(cluster, liar, Forward(0, (request[:40] + junk[:24] + request[64:],) * 3))


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_27_a_flood_takes_bounded_memory_and_costs_no_decision(count: int, faults: int) -> None:
    cluster = started(count, faults)
    random = Random(27)
    made, most = [], 0
    liar = cluster.committee.nodes[-1]
    cluster.liars.add(liar)
    for number in range(1, 7):
        flood(cluster, liar, random)
        made.append(request_of("a", number))
        cluster.submit(made[-1])
        cluster.run(0)
        assert made[-1] in cluster.requests_decided()
        most = max(most, *(held(cluster, node.name) for node in cluster.honest()))
    window = cluster.settings.window
    assert most < 2 * (3 * window) * count + 6 * count + 10 * window
    assert views(cluster) == {0}
    check_progress(cluster, made)


def test_row_27_blocks_that_a_lying_primary_sends_early_are_few_and_each_is_bounded() -> None:
    cluster = started()
    cluster.liars.add("n1")
    before = None
    for number in range(1, 200):
        block = block_after(cluster, before, request_of("a", number))
        before = block.link()
        if number > 1:
            propose_as(cluster, "n1", 0, block, "n2")
    cluster.run(0)
    assert len(cluster["n2"].state.here.early) < cluster.settings.window
    check_progress(cluster)


def test_row_27_what_waits_is_bounded_and_no_client_takes_more_than_its_share() -> None:
    settings = Settings(state_blocks=8, log_kept_blocks=4, pending_bytes_max=100_000)
    cluster = Cluster(4, 1, settings=settings).boot()
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes}
    for number in range(1, 400):
        cluster.submit(request_of("a", number), to=("n2",))
    assert 0 < len(cluster["n2"].state.pending) * 256 <= 25_000
    cluster.submit(request_of("b", 1), to=("n2",))
    assert len([each for each in cluster["n2"].state.pending.to_propose() if each.data == request_of("b", 1)]) == 1
    cluster.cut = set()
    check_progress(cluster, requests(3, "c"))


def test_row_27_a_member_keeps_no_more_after_three_hundred_blocks_than_after_a_hundred() -> None:
    cluster = started()
    order(cluster, 100)
    early = held(cluster, "n2"), len(cluster["n2"].state.chain._links), len(cluster["n2"].state.certificates)
    for number in range(101, 301):
        cluster.submit(request_of("a", number))
        cluster.run(0)
    late = held(cluster, "n2"), len(cluster["n2"].state.chain._links), len(cluster["n2"].state.certificates)
    slack = 2 * cluster.settings.state_blocks
    assert all(after <= before + slack for before, after in zip(early, late, strict=True))
    check_progress(cluster)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_42_a_network_that_loses_doubles_and_reorders_splits_nothing_and_heals(
    count: int, faults: int
) -> None:
    for seed in range(1):
        cluster = started(count, faults, seed)
        random = Random(seed)
        late: list[tuple[str, str, object, tuple[bytes, ...]]] = []

        def bad(source, to, message, attached, random=random, late=late):
            dice = random.random()
            if dice < 0.2:
                return []
            if dice < 0.4:
                late.append((source, to, message, attached))
                return []
            return [(message, attached)] * (2 if dice < 0.5 else 1)

        cluster.filter = bad
        made = []
        for number in range(1, 13):
            made.append(request_of("a", number))
            cluster.submit(made[-1])
            cluster.run(150_000)
            random.shuffle(late)
            for source, to, message, attached in late:
                tell(cluster, source, to, message, *attached)
            late.clear()
        cluster.filter = None
        check_progress(cluster, made, within_us=2 * TIMEOUTS_US)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_42_links_that_carry_one_way_only_split_nothing_and_heal(count: int, faults: int) -> None:
    cluster = started(count, faults)
    names, random, made = cluster.committee.nodes, Random(42), []
    for number in range(1, 11):
        links = [(a, b) for a in names for b in names if a != b]
        cluster.cut = set(random.sample(links, len(links) // 3))
        made.append(request_of("a", number))
        cluster.submit(made[-1])
        cluster.run(400_000)
    cluster.cut = set()
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)


class Slow:
    """Links on which each message takes a time of its own, so that they overtake each other."""

    def __init__(self, cluster: Cluster, longest_us: int, random: Random) -> None:
        self.cluster, self.longest_us, self.random = cluster, longest_us, random
        self.under_way: list[tuple[int, str, str, object, tuple[bytes, ...]]] = []
        cluster.filter = self._hold

    def _hold(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list:
        due_us = self.cluster.now_us + self.random.randrange(self.longest_us // 2, self.longest_us)
        self.under_way.append((due_us, source, to, message, attached))
        return []

    def run(self, for_us: int, step_us: int = 10_000) -> None:
        for _ in range(for_us // step_us):
            self.cluster.run(step_us)
            arrived = [each for each in self.under_way if each[0] <= self.cluster.now_us]
            self.under_way = [each for each in self.under_way if each[0] > self.cluster.now_us]
            for _, source, to, message, attached in arrived:
                tell(self.cluster, source, to, message, *attached)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_42_delays_ten_times_as_long_split_nothing_and_what_was_asked_is_decided_under_them(
    count: int, faults: int
) -> None:
    """The three phases of a block then take longer than the timeout: views fail, until patience has grown."""
    cluster = started(count, faults)
    links = Slow(cluster, 30_000, Random(42))
    made = requests(2)
    cluster.submit(*made)
    links.run(200_000)
    assert set(made) <= set(cluster.requests_decided()) and views(cluster) == {0}
    links.longest_us *= 10
    late = requests(4, "b")
    for request in late:
        cluster.submit(request)
        links.run(100_000)
    links.run(TIMEOUTS_US)
    assert set(late) <= set(cluster.requests_decided())
    assert max(views(cluster)) > 0
    links.longest_us //= 10
    links.run(500_000)
    cluster.filter = None
    check_progress(cluster, made + late)


@pytest.mark.parametrize("by_us", [3_600_000_000, -3_600_000_000])
@pytest.mark.parametrize("who", ["n1", "n3"])
def test_row_43_a_clock_that_is_an_hour_wrong_at_a_start_orders_nothing(by_us: int, who: str) -> None:
    """Within a life clocks only grow; over a restart they may have moved either way. Log time never goes back."""
    cluster = started()
    made = order(cluster, 3)
    cluster[who].crash()
    cluster[who].clock_us += by_us
    cluster[who].boot()
    check_progress(cluster, made)
    times = [link.header.time_us for link in cluster["n2"].state.chain.links(1, cluster["n2"].state.chain.last)]
    assert times == sorted(times)
    assert times[-1] <= cluster["n2"].now_us + SETTINGS.clock_bound_us


@pytest.mark.parametrize("who", ["n1", "n3"])
def test_row_43_a_clock_that_jumps_an_hour_ahead_orders_nothing(who: str) -> None:
    cluster = started()
    made = order(cluster, 3)
    cluster[who].clock_us += 3_600_000_000
    check_progress(cluster, made)
    cluster["n2"].clock_us += 1_000_000
    check_progress(cluster, made)


@pytest.mark.parametrize(("count", "faults"), SIZES)
@pytest.mark.parametrize("who", [0, -1])
def test_row_43_a_clock_that_jumps_an_hour_back_within_a_life_orders_nothing(
    count: int, faults: int, who: int
) -> None:
    """No clock of a node does so (tests/runtime/test_clock.py): events.py asks for one that only grows. Where it
    does all the same, the member may stand still, and count as one of T; it is blamed for nothing, the others go
    on, log time does not go back, and the member's next life is a good one."""
    cluster = started(count, faults)
    made = order(cluster, 3)
    odd = cluster[cluster.committee.nodes[who]]
    cluster.run(1_000_000)
    odd.clock_us -= 3_600_000_000
    cluster.liars.add(odd.name)
    check_progress(cluster, made)
    made += order(cluster, 3, "b")
    check_progress(cluster, made)
    assert complaints(cluster, odd.name) == [] and odd.reports == []
    cluster.liars.clear()
    odd.crash()
    odd.boot()
    check_progress(cluster, made)
    chain = odd.state.chain
    times = [link.header.time_us for link in chain.links(chain.base + 1, chain.last)]
    assert times == sorted(times)


@pytest.mark.parametrize(("count", "faults"), SIZES)
@pytest.mark.parametrize("who", [0, -1])
def test_row_43_a_process_that_stood_still_for_half_a_minute_wakes_up_harmless(
    count: int, faults: int, who: int
) -> None:
    cluster = started(count, faults)
    made = order(cluster, 3)
    name = cluster.committee.nodes[who]
    paused = cluster[name]
    timers, paused.timers = paused.timers, {}
    kept: list[tuple[str, object, tuple[bytes, ...]]] = []
    cluster.cut = {(name, other) for other in cluster.nodes}
    replica, paused.replica = paused.replica, None
    cluster.filter = lambda source, to, message, attached: (
        kept.append((source, message, attached)) or [] if to == name else [(message, attached)]
    )
    cluster.submit(*requests(3, "b"))
    cluster.run(30_000_000)
    assert set(requests(3, "b")) <= set(cluster.requests_decided())
    cluster.filter, cluster.cut = None, set()
    paused.replica, paused.timers = replica, timers
    for source, message, attached in kept[:2000]:
        tell(cluster, source, name, message, *attached)
    check_progress(cluster, made + requests(3, "b"))


def test_row_43_a_block_from_the_past_is_taken_and_its_time_does_not_go_back() -> None:
    cluster = started()
    made = order(cluster, 2)
    cluster["n1"].clock_us -= 3_000_000
    made += order(cluster, 2, first=3)
    times = [link.header.time_us for link in cluster["n2"].state.chain.links(1, 4)]
    assert times == sorted(times)
    check_progress(cluster, made)
