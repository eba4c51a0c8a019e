"""Log time: the leader's clock, never back from entry to entry, and moving under every leader."""

from __future__ import annotations

from random import Random

from quorum.entry import BARRIER, TICK, entry_identity
from quorum.header import Batch
from quorum.model import Configuration
from quorum.protocols import events
from quorum.protocols.effects import Entries, Persist
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.state import ELECTION, LEADER

SECOND_US = 1_000_000
BATCH = Batch(1, 0, 0, 0, 1, b"x")


class Alone:
    """A cluster of one, whose disk answers at once; `times` and `kinds` are those of what it ordered."""

    def __init__(self) -> None:
        self.replica = RaftReplica("a", Random(1))
        self.times: list[int] = []
        self.kinds: list[int] = []

    def step(self, event) -> None:
        persists = self.replica.state.persists
        for effect in self.replica.step(event):
            if type(effect) is Persist and type(effect.record) is Entries:
                self.times += [entry_identity(entry)[3] for entry in effect.record.entries]
                self.kinds += [entry_identity(entry)[2] for entry in effect.record.entries]
        if self.replica.state.persists > persists:
            self.step(events.Stored(event.now_us, self.replica.state.persists))

    def lead(self, now_us: int, **durable: object) -> None:
        self.step(events.Started(now_us, events.Durable(**durable), Configuration(epoch=1, voters=("a",))))
        self.step(events.TimerFired(now_us + 10 * SECOND_US, ELECTION))
        assert self.replica.state.role == LEADER

    def order(self, now_us: int) -> int:
        self.step(events.Proposed(now_us, (1,), (BATCH,)))
        return self.times[-1]


def test_entries_carry_the_clock_of_their_leader():
    node = Alone()
    node.lead(SECOND_US)
    assert node.order(20 * SECOND_US) == 20 * SECOND_US
    assert node.order(19 * SECOND_US) == 20 * SECOND_US


def test_log_time_moves_on_under_a_leader_whose_clock_is_behind_the_log():
    node = Alone()
    node.lead(SECOND_US, time_us=3600 * SECOND_US)
    assert node.times[-1] == 3600 * SECOND_US
    assert node.order(14 * SECOND_US) == 3603 * SECOND_US


def test_a_leader_orders_a_tick_when_one_is_wanted():
    node = Alone()
    node.lead(SECOND_US)
    node.step(events.TickWanted(20 * SECOND_US))
    assert node.kinds[-2:] == [BARRIER, TICK] and node.times[-1] == 20 * SECOND_US
    assert node.replica.state.commit_index == node.replica.state.log.last_index


def test_nobody_else_orders_one():
    replica = RaftReplica("a", Random(1))
    replica.step(events.Started(0, events.Durable(), Configuration(epoch=1, voters=("a", "b"))))
    assert replica.step(events.TickWanted(1)) == ()
