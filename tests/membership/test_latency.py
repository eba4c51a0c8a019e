"""What is believed of links, where some members lie about them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorum.membership.latency import FAR_US, STALE_US, WINDOW, Latencies, RoundTrips, median

TIMES = st.integers(0, FAR_US)


def honest_reports(data: st.DataObject, nodes: list[str]) -> dict[str, dict[str, int]]:
    return {
        one: {other: data.draw(TIMES, label=f"{one}-{other}") for other in nodes if other != one} for one in nodes
    }


@given(faults=st.integers(0, 2), spare=st.integers(0, 2), data=st.data())
def test_liars_cannot_move_a_distance_beyond_what_honest_members_say(faults: int, spare: int, data: st.DataObject):
    """With 2T+1 reports on a node and T lies among them, the trimmed median is within the honest ones."""
    nodes = [f"n{place}" for place in range(3 * faults + 2 + spare)]
    reports = honest_reports(data, nodes)
    liars = set(data.draw(st.permutations(nodes))[:faults])
    told = Latencies(nodes, reports, faults)
    for node in nodes:
        honest = [reports[teller][node] for teller in nodes if teller not in liars and teller != node]
        distance = told.distance(node)
        assert distance is not None and min(honest) <= distance <= max(honest)


def test_without_trimming_a_single_liar_would_move_the_distance():
    """The negative control of the test above: T = 0 believes the liar."""
    reports = {"a": {"d": 5}, "b": {"d": 7}, "c": {"d": FAR_US}}
    assert Latencies("abcd", {"b": {"d": 7}, "c": {"d": FAR_US}}).distance("d") == FAR_US
    assert Latencies("abcd", reports, 1).distance("d") == 7


@given(data=st.data(), faults=st.integers(0, 1))
def test_a_pair_is_at_least_as_long_as_its_honest_end_says_and_never_beyond_the_longer_report(
    data: st.DataObject, faults: int
):
    """So a liar makes its own links seem longer at most, and has no say on those of others."""
    nodes = [f"n{place}" for place in range(5)]
    reports = honest_reports(data, nodes)
    liar = data.draw(st.sampled_from(nodes))
    lying = dict(reports)
    lying[liar] = {node: data.draw(TIMES) for node in nodes if data.draw(st.booleans())}
    honestly, told = Latencies(nodes, reports, faults), Latencies(nodes, lying, faults)
    for one in nodes:
        for other in nodes:
            if one == other:
                assert told.rtt_us(one, other) == 0
            elif liar not in (one, other):
                assert told.rtt_us(one, other) == honestly.rtt_us(one, other)
            else:
                end, of = (one, other) if other == liar else (other, one)
                assert told.rtt_us(one, other) == told.rtt_us(other, one) >= reports[end][of]
                if end in lying[liar]:
                    assert told.rtt_us(one, other) == max(reports[end][of], lying[liar][end])


def test_ends_that_differ_by_a_factor_are_disputed_and_the_larger_counts():
    told = Latencies("abc", {"a": {"b": 20_000, "c": 400}, "b": {"a": 90_000}, "c": {"a": 100}})
    assert told.disputed == (("a", "b"),) and told.rtt_us("a", "b") == 90_000
    assert told.rtt_us("a", "c") == 400, "below a millisecond nobody disputes"


def test_one_report_is_enough_where_nobody_lies_and_not_where_somebody_may():
    reports = {"a": {"b": 5, "c": 40, "d": 40}, "c": {"d": 50, "b": 60}, "d": {"b": 70}}
    assert Latencies("abcd", reports).rtt_us("a", "b") == 5
    alone = Latencies("abcd", reports, 1)
    assert alone.distance("b") == 60 and alone.distance("a") is None
    assert alone.rtt_us("a", "b") == FAR_US, "nobody can tell how far a is"


def test_nobody_is_farther_than_far_however_large_the_report():
    told = Latencies("ab", {"a": {"b": 10**15}, "b": {"a": -5}})
    assert told.rtt_us("a", "b") == FAR_US and told.distance("a") == 0


def test_a_row_is_the_median_of_the_newest_round_trips_of_those_who_still_answer():
    trips = RoundTrips()
    for took in (1, 10**9, 5, 7, 6):
        trips.took("b", took, 1_000)
    trips.took("c", 3, 500)
    assert trips.row(1_000) == {"b": 6, "c": 3}
    for _ in range(WINDOW):
        trips.took("b", 100, 2_000)
    assert trips.row(2_000)["b"] == 100
    assert trips.row(500 + STALE_US + 1) == {"b": 100}
    trips.keep(["c"])
    assert trips.row(1_000) == {"c": 3}


def test_the_median_of_two_is_the_greater():
    assert median([3, 1]) == 3 and median([9, 1, 2]) == 2
