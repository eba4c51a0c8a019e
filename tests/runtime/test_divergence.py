"""A replica whose state differs is named by a quorum, never by one node's word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorum.model import Configuration
from quorum.runtime.divergence import INDEXES_KEPT, Divergence
from quorum.systems.build import build

FIVE = Configuration(epoch=1, voters=("n1", "n2", "n3", "n4", "n5"), learners=("n6",))


def _named(reports: list[tuple[str, bytes]], configuration: Configuration = FIVE) -> tuple[str, ...]:
    """Who differs at index 10, after these digests came in."""
    divergence = Divergence("n1")
    named: tuple[str, ...] = ()
    for node, digest in reports:
        named = divergence.add(node, 10, digest, configuration)
    return named


def test_equal_digests_name_nobody() -> None:
    assert _named([(node, b"a") for node in FIVE.members]) == ()


def test_two_against_one_is_no_quorum_of_five() -> None:
    assert _named([("n1", b"a"), ("n2", b"a"), ("n3", b"b")]) == ()


def test_whoever_differs_from_a_quorum_is_named_even_the_node_itself() -> None:
    assert _named([("n1", b"b"), ("n2", b"a"), ("n3", b"a"), ("n4", b"a")]) == ("n1",)


def test_a_learner_that_differs_is_named_but_makes_no_quorum() -> None:
    reports = [("n1", b"a"), ("n2", b"a"), ("n3", b"a"), ("n6", b"b")]
    assert _named(reports) == ("n6",)
    assert _named([("n1", b"b"), ("n2", b"a"), ("n3", b"a"), ("n6", b"a")]) == ()


def test_a_stranger_is_not_listened_to() -> None:
    assert _named([("n1", b"a"), ("n2", b"a"), ("n3", b"a"), ("n9", b"b")]) == ()


def test_weights_decide_who_is_right() -> None:
    weighted = Configuration(epoch=1, voters=("n1", "n2", "n3", "n4"), weights=(("n4", 5),))
    reports = [("n1", b"a"), ("n2", b"a"), ("n3", b"a"), ("n4", b"b")]
    assert _named(reports, weighted) == ("n1", "n2", "n3")


def test_digests_of_different_indexes_are_not_compared() -> None:
    divergence = Divergence("n1")
    for place, node in enumerate(FIVE.voters):
        assert divergence.add(node, 10 + place, b"%d" % place, FIVE) == ()


def test_only_the_newest_indexes_are_kept() -> None:
    """What a peer sends cannot fill the memory; an index that was dropped begins anew."""
    divergence = Divergence("n1")
    for node in ("n1", "n2", "n3"):
        divergence.add(node, 0, b"a", FIVE)
    for index in range(1, INDEXES_KEPT + 1):
        divergence.add("n1", index, b"a", FIVE)
    assert divergence.add("n4", 0, b"b", FIVE) == ()


@given(
    reports=st.dictionaries(st.sampled_from(FIVE.members), st.sampled_from([b"a", b"b", b"c"]), min_size=1),
    order=st.randoms(use_true_random=False),
)
def test_a_node_that_agrees_with_a_quorum_is_never_named(reports: dict[str, bytes], order: st.DataObject) -> None:
    """Whatever the order of the reports is."""
    system = build(FIVE)
    arrival = sorted(reports.items())
    order.shuffle(arrival)  # type: ignore[attr-defined]
    named = _named(arrival)
    for node, digest in reports.items():
        agreeing = {other for other, theirs in reports.items() if theirs == digest}
        assert not (system.is_write_quorum(agreeing) and node in named)
    right = [d for d in set(reports.values()) if system.is_write_quorum({n for n in reports if reports[n] == d})]
    expected = sorted(node for node in reports if right and reports[node] != right[0])
    assert list(named) == expected
