"""Simulated threads that check signatures."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random

from quorum.protocols.effects import Signed
from quorum.sim.late_verifier import LateVerifier

LATE_US = 1_000


class Right:
    """Every signature is."""

    def verify(self, items, done):
        done((True,) * len(items))


class Time:
    """What a verifier sees of the world."""

    def __init__(self) -> None:
        self.now_us = 0
        self.due: list = []

    def later(self, delay_us, act, *arguments):
        heappush(self.due, (self.now_us + delay_us, len(self.due), act, arguments))

    def run(self):
        while self.due:
            self.now_us, _, act, arguments = heappop(self.due)
            act(*arguments)


def batch(number: int, count: int = 9) -> list[Signed]:
    return [Signed(b"key", b"%d %d" % (number, place), b"") for place in range(count)]


def ended(seed: int, count: int) -> tuple[list[int], Time]:
    """The order in which so many batches, given at once, come back."""
    time, order = Time(), []
    late = LateVerifier(Right(), Random(seed), LATE_US, lambda: time.now_us, time.later)
    for number in range(count):
        late.verify(batch(number), lambda results, number=number: order.append(number))
    assert order == []
    time.run()
    return order, time


def test_batches_that_leave_for_threads_come_back_in_any_order_but_wait_for_one_of_two():
    orders = [ended(seed, 6)[0] for seed in range(50)]
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert any(order != sorted(order) for order in orders)
    assert all(order.index(number) >= number - 1 for order in orders for number in range(6))


def test_two_threads_take_at_most_the_time_of_half_of_the_batches_each():
    for seed in range(50):
        assert ended(seed, 2)[1].now_us <= LATE_US
        assert ended(seed, 6)[1].now_us > LATE_US // 2


def test_what_is_known_comes_at_once_and_overtakes():
    time, order = Time(), []
    late = LateVerifier(Right(), Random(1), LATE_US, lambda: time.now_us, time.later)
    late.verify(batch(0), lambda results: order.append("first"))
    time.run()
    late.verify(batch(1), lambda results: order.append("slow"))
    late.verify(batch(0), lambda results: order.append("known"))
    assert order == ["first", "known"]
    time.run()
    assert order == ["first", "known", "slow"]


def test_some_lives_check_a_few_signatures_in_place_and_others_none():
    def at_once(seed: int) -> tuple[int, ...]:
        time, sizes = Time(), []
        late = LateVerifier(Right(), Random(seed), LATE_US, lambda: time.now_us, time.later)
        for count in (1, 2, 8):
            late.verify(batch(count, count), lambda results: sizes.append(len(results)))
        return tuple(sizes)

    assert {at_once(seed) for seed in range(30)} == {(), (1, 2), (1, 2, 8)}
