"""Followers that the last commit did without get the entries of lone requests a little later, several together."""

from __future__ import annotations

from quorum.protocols.effects import Admitted, Commit, Send
from quorum.runtime.stragglers import TRUSTED_US
from runtime.driver_world import DriverWorld
from runtime.network_ends import Handler, free_addresses, network, run


def _world_that_committed() -> DriverWorld:
    """Its leader has committed entry 1 without n3."""
    world = DriverWorld().start()
    world.holds(9)
    world.replica.nodes_behind = frozenset({"n3"})
    world.does(Commit(1, 1))
    return world


def _sends(first: int) -> tuple[Send, Send]:
    return Send("n2", f"append {first}", first, first), Send("n3", f"append {first}", first, first)


def test_a_lone_request_reaches_the_straggler_later():
    world = _world_that_committed()
    world.does(*_sends(2), Admitted((7,), 2, 1))
    assert world.transport.late == [("n3", "append 2")]


def test_requests_that_wait_together_reach_everyone_at_once():
    world = _world_that_committed()
    world.does(*_sends(2), Admitted((7,), 2, 1))
    world.does(*_sends(3), Admitted((8,), 3, 1))
    assert world.transport.late == [("n3", "append 2")]


def test_what_is_no_entry_never_waits():
    world = _world_that_committed()
    world.does(Send("n3", "heartbeat"))
    assert world.transport.late == []


def test_who_was_needed_is_looked_at_anew_after_a_while():
    """A fast follower that died is noticed by its absence from the next commit that everybody was told at once."""
    world = _world_that_committed()
    world.clock.us += TRUSTED_US
    world.replica.nodes_behind = frozenset({"n2"})
    world.does(*_sends(2))
    assert world.transport.late == []
    world.does(Commit(2, 2))
    world.does(*_sends(3))
    assert world.transport.late == [("n2", "append 3")]


def test_a_commit_within_that_time_changes_nothing():
    """Otherwise whoever was told later would look slow for that alone, and also fast for having been late."""
    world = _world_that_committed()
    world.replica.nodes_behind = frozenset({"n2"})
    world.does(Commit(2, 2))
    world.does(*_sends(3))
    assert world.transport.late == [("n3", "append 3")]


def test_without_a_commit_nobody_waits():
    world = DriverWorld().start()
    world.holds(9)
    world.does(*_sends(1))
    assert world.transport.late == []


def test_late_frames_leave_by_themselves_and_before_what_is_sent_after_them():
    async def main():
        addresses = dict(zip(("n1", "n2"), free_addresses(2), strict=True))
        first, second = Handler(), Handler()
        one, two = network("n1", addresses, first), network("n2", addresses, second)
        await one.start()
        await two.start()
        await first.until(lambda h: h.news == ["up n2"])
        one.send("n2", 0, b"late 1", later=True)
        one.send("n2", 0, b"late 2", later=True)
        one.flush()
        await second.until(lambda h: len(h.heads) == 2)
        one.send("n2", 0, b"late 3", later=True)
        one.send("n2", 0, b"prompt")
        one.flush()
        await second.until(lambda h: len(h.heads) == 4)
        assert [head for _, head, _ in second.heads] == [b"late 1", b"late 2", b"late 3", b"prompt"]
        one.send("n2", 0, b"lost", later=True)  # its connection ends first, and nothing is left of it
        await two.close()
        await first.until(lambda h: h.news[-1] == "lost n2")
        await one.close()

    run(main)
