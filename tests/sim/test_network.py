"""Links lose, duplicate, delay and reorder as the weather says, and partitions cut exactly what they name."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from quorum.sim.network import CALM, Network, Weather


class Heap:
    """Takes what a network schedules, and delivers it in order of arrival."""

    def __init__(self, seed: int = 0, weather: Weather = CALM) -> None:
        self.scheduled: list[tuple[int, int, tuple[object, ...]]] = []
        self.arrived: list[tuple[str, str, object]] = []
        self.network = Network(Random(seed), self.schedule, self.deliver)
        self.network.weather = weather

    def schedule(self, delay_us: int, act: object, *arguments: object) -> None:
        self.scheduled.append((self.network.now_us + delay_us, len(self.scheduled), arguments))

    def deliver(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> None:
        self.arrived.append((source, to, message))

    def run(self) -> list[object]:
        """Deliver everything; the messages in the order in which they arrive."""
        for _, _, arguments in sorted(self.scheduled, key=lambda item: item[:2]):
            self.deliver(*arguments)
        return [message for _, _, message in self.arrived]


@given(st.integers(0, 1000), st.integers(1, 60))
def test_in_calm_weather_every_message_arrives_once_and_in_order(seed: int, count: int):
    heap = Heap(seed)
    for number in range(count):
        heap.network.send("a", "b", number, ())
    assert heap.run() == list(range(count))


@given(st.integers(0, 1000))
def test_every_arrival_is_within_the_delay_that_the_weather_allows(seed: int):
    heap = Heap(seed, Weather(delay_us=5_000, jitter_us=3_000, fifo=False))
    for number in range(30):
        heap.network.send("a", "b", number, ())
    assert all(5_000 <= at < 8_000 for at, _, _ in heap.scheduled)


def test_bad_weather_loses_some_doubles_some_and_reorders():
    heap = Heap(1, Weather(loss=0.3, duplication=0.3, jitter_us=60_000, fifo=False))
    for number in range(300):
        heap.network.send("a", "b", number, ())
    got = heap.run()
    assert heap.network.dropped + (300 - len(set(got))) > 100 and len(set(got)) < 300
    assert len(got) > len(set(got))
    assert got != sorted(got)


def test_a_partition_cuts_both_ways_between_groups_and_not_within_them():
    heap = Heap()
    heap.network.partition(["a", "b"], ["c"])
    for source, to in (("a", "b"), ("a", "c"), ("c", "b"), ("b", "a")):
        heap.network.send(source, to, (source, to), ())
    assert sorted(heap.run()) == [("a", "b"), ("b", "a")]
    assert heap.network.dropped == 2


def test_a_blocked_direction_leaves_the_other_open_until_it_heals():
    heap = Heap()
    heap.network.block("a", "b")
    assert heap.network.is_blocked("a", "b") and not heap.network.is_blocked("b", "a")
    heap.network.send("a", "b", 1, ())
    heap.network.send("b", "a", 2, ())
    heap.network.heal()
    heap.network.send("a", "b", 3, ())
    assert sorted(heap.run()) == [2, 3]


def test_the_attached_bytes_are_those_at_the_time_of_sending():
    heap, attached = Heap(), [b"one"]
    heap.network.send("a", "b", 1, attached)
    attached.append(b"two")
    assert heap.scheduled[0][2][3] == (b"one",)
