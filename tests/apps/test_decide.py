"""Write-once decisions."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps_log import header
from quorum.apps.decide import (
    TOPIC_BYTES_MAX,
    VALUE_BYTES_MAX,
    Decide,
    Decision,
    Decisions,
    decode_answers,
    decode_results,
    encode_batch,
    encode_query,
)


def do(decisions, index, *commands):
    return decode_results(decisions.apply(header(index), encode_batch(commands)).reply)


def ask(decisions, *topics):
    return decode_answers(decisions.query(encode_query(topics)))


def test_the_first_committed_value_wins_and_later_ones_hear_it():
    decisions = Decisions()
    assert do(decisions, 4, Decide("t", b"a")) == [Decision("t", b"a", 4, 7, 3, True)]
    assert do(decisions, 5, Decide("t", b"b")) == [Decision("t", b"a", 4, 7, 3, False)]
    assert do(decisions, 6, Decide("t", b"a")) == [Decision("t", b"a", 4, 7, 3, False)]


def test_within_one_batch_the_first_wins_too():
    results = do(Decisions(), 4, Decide("t", b"a"), Decide("t", b"b"), Decide("u", b"b"))
    assert [(result.value, result.first) for result in results] == [(b"a", True), (b"a", False), (b"b", True)]


def test_a_query_tells_decided_topics_from_open_ones():
    decisions = Decisions()
    do(decisions, 4, Decide("t", b"a"))
    assert ask(decisions, "t", "u", "") == [Decision("t", b"a", 4, 7, 3, False), None, None]


def test_limits_are_met_by_a_result():
    decisions = Decisions(topics_max=2)
    results = do(
        decisions,
        4,
        Decide("", b"a"),
        Decide("é" * (TOPIC_BYTES_MAX // 2 + 1), b"a"),
        Decide("t", b"a" * (VALUE_BYTES_MAX + 1)),
        Decide("t" * TOPIC_BYTES_MAX, b"a" * VALUE_BYTES_MAX),
        Decide("u", b""),
        Decide("v", b""),
        Decide("u", b"again"),
    )
    assert [getattr(result, "reason", None) for result in results] == [
        "topic",
        "topic",
        "value",
        None,
        None,
        "topics",
        None,
    ]
    assert len(decisions) == 2


def test_a_malformed_proposal_spoils_only_itself():
    body = msgspec.msgpack.encode([["t", 5], ["t", b"a"], "x"])
    first, decided, last = decode_results(Decisions().apply(header(4), body).reply)
    assert (first.reason, last.reason) == ("malformed", "malformed")
    assert decided.first
    assert ask(Decisions(), 5)[0].reason == "malformed"


@given(
    proposals=st.lists(st.tuples(st.sampled_from("abcde"), st.binary(max_size=3)), max_size=30),
    cut=st.integers(0, 30),
)
def test_decisions_never_change_whatever_is_proposed_and_restored(proposals, cut):
    decisions, replayed = Decisions(), Decisions()
    decided: dict[str, bytes] = {}
    for index, (topic, value) in enumerate(proposals, start=1):
        (result,) = do(decisions, index, Decide(topic, value))
        do(replayed, index, Decide(topic, value))
        assert result.first == (topic not in decided)
        assert result.value == decided.setdefault(topic, value)
        if index == cut:
            restored = Decisions()
            restored.restore(decisions.snapshot())
            decisions = restored
    assert decisions.digest() == replayed.digest()


def test_a_new_decision_changes_the_digest_and_a_lost_proposal_does_not():
    decisions = Decisions()
    do(decisions, 1, Decide("t", b"a"))
    before = decisions.digest()
    do(decisions, 2, Decide("t", b"b"))
    assert decisions.digest() == before
    do(decisions, 3, Decide("u", b"b"))
    assert decisions.digest() != before


def test_damaged_decisions_are_refused_and_change_nothing():
    decisions = Decisions()
    do(decisions, 1, Decide("t", b"a"))
    before = decisions.digest()
    damaged = msgspec.msgpack.encode([b"", [b"t"], [[b"no decision", 1, 1, 1]]])
    for chunks in ([], [b"x"], [damaged]):
        with pytest.raises(ValueError):
            decisions.restore(chunks)
    assert decisions.digest() == before
