"""Round trips are measured by numbers that nobody can guess, of members alone, and at a bounded rate."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

from quorum.membership.latency import FAR_US, STALE_US
from quorum.model import Configuration
from quorum.runtime.codec import MessageCodec
from quorum.runtime.echoes import ANSWERS_MAX, ASKED_KEPT, ECHO, EVERY_US, Echoes
from quorum.runtime.messages import Echo, EchoReply, PeerMessage, RoundTripsTold


class Bench:
    """One node, n1, of three, whose messages are kept."""

    def __init__(self, leader: str | None = "n1") -> None:
        self.now = 0
        self.sent: list[tuple[str, Any]] = []
        self.timers: list[tuple[str, int]] = []
        self.replica: Any = SimpleNamespace(
            node="n1", leader=leader, configuration=Configuration(epoch=1, voters=("n1", "n2", "n3"))
        )
        ports: Any = SimpleNamespace(
            transport=SimpleNamespace(send=lambda to, message, attached: self.sent.append((to, message))),
            timers=SimpleNamespace(set=lambda name, delay_us: self.timers.append((name, delay_us))),
            clock=SimpleNamespace(now_us=lambda: self.now),
        )
        self.echoes = Echoes(self.replica, ports, Random(1))

    def asked(self) -> int:
        """The number of the question that leaves now."""
        self.sent.clear()
        self.echoes.fired()
        return next(message.number for _, message in self.sent if isinstance(message, Echo))


def test_a_round_trip_is_the_time_until_the_answer_came():
    bench = Bench()
    number = bench.asked()
    assert [to for to, message in bench.sent if isinstance(message, Echo)] == ["n2", "n3"]
    bench.now = 7_000
    bench.echoes.on_message("n2", EchoReply(number))
    bench.now = 90_000
    bench.echoes.on_message("n2", EchoReply(number))
    assert bench.echoes.reports() == {"n1": {"n2": 7_000}}, "the first answer counts"


def test_an_answer_to_no_question_and_one_of_a_stranger_count_for_nothing():
    bench = Bench()
    number = bench.asked()
    bench.echoes.on_message("n2", EchoReply(number + 1))
    bench.echoes.on_message("n9", EchoReply(number))
    assert bench.echoes.reports() == {"n1": {}}


def test_numbers_cannot_be_told_from_those_before():
    bench = Bench()
    numbers = [bench.asked() for _ in range(ASKED_KEPT + 3)]
    gaps = {after - before for before, after in pairwise(numbers)}
    assert len(gaps) == len(numbers) - 1
    bench.echoes.on_message("n2", EchoReply(numbers[0]))
    assert bench.echoes.reports() == {"n1": {}}, "old questions are forgotten"


def test_a_member_that_floods_gets_a_few_answers_a_turn_and_a_stranger_none():
    bench = Bench()
    bench.asked()
    bench.sent.clear()
    for number in range(100):
        bench.echoes.on_message("n2", Echo(number))
        bench.echoes.on_message("n9", Echo(number))
    assert bench.sent == [("n2", EchoReply(number)) for number in range(ANSWERS_MAX)]
    bench.asked()
    bench.sent.clear()
    bench.echoes.on_message("n2", Echo(5))
    assert bench.sent == [("n2", EchoReply(5))]


def test_a_follower_tells_the_leader_and_the_leader_nobody():
    follower, leader = Bench(leader="n3"), Bench(leader="n1")
    number = follower.asked()
    follower.now = 400
    follower.echoes.on_message("n2", EchoReply(number))
    follower.asked()
    assert ("n3", RoundTripsTold({"n2": 400})) in follower.sent
    leader.asked()
    assert not any(isinstance(message, RoundTripsTold) for _, message in leader.sent)


def test_what_others_tell_is_bounded_and_grows_old():
    bench = Bench()
    bench.echoes.on_message("n2", RoundTripsTold({"n1": -4, "n3": 10**30, "n7": 1}))
    bench.echoes.on_message("n9", RoundTripsTold({"n1": 1}))
    assert bench.echoes.reports() == {"n1": {}, "n2": {"n1": 0, "n3": FAR_US}}
    bench.now = STALE_US + 1
    assert bench.echoes.reports() == {"n1": {}}


def test_who_is_no_member_asks_nobody():
    bench = Bench()
    bench.replica.configuration = Configuration(epoch=2, voters=("n2", "n3"))
    bench.sent.clear()
    bench.echoes.fired()
    assert bench.sent == [] and bench.timers[-1] == (ECHO, EVERY_US)


def test_the_messages_travel_as_bytes():
    codec: MessageCodec[object] = MessageCodec(PeerMessage)
    for message in (Echo(1 << 62), EchoReply(3), RoundTripsTold({"n1": 5})):
        assert codec.decode(codec.encode(message), "n2") == message
