"""What the steward sees of members, and what it does while a change waits for a newcomer."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from quorum.errors import Overloaded
from quorum.model import Configuration
from quorum.runtime.steward import RaftSteward

NODES = ("n1", "n2", "n3", "n4", "n5")
PERIOD_US = 100_000
SECOND = 1_000_000 // PERIOD_US


class Seen:
    """The leader n1, which hears everybody at every turn; n5 stores each entry `behind` turns later."""

    def __init__(self, behind: int = 20, standbys: tuple[str, ...] = (), policy: str = "adaptive") -> None:
        self.behind = behind
        self.progress = {node: SimpleNamespace(match=0, heard_us=0) for node in (*NODES[1:], *standbys)}
        self.state = SimpleNamespace(node="n1", progress=self.progress, commit_index=0, pending_change=None)
        faults = (len(NODES) + len(standbys) - 1) // 2
        configuration = Configuration(3, NODES, standbys, policy=policy, faults=faults)
        replica: Any = SimpleNamespace(node="n1", state=self.state, configuration=configuration)
        self.steward = RaftSteward(replica, PERIOD_US)
        self.now_us = 0
        self.lost: set[str] = set()
        assert self.steward.lead(True, 0)

    def run(self, turns: int, decides: bool) -> list[Configuration]:
        """So many turns; in each of them ten entries are decided, or none."""
        wanted = []
        for _ in range(turns):
            self.now_us += PERIOD_US
            self.state.commit_index += 10 * decides
            for node, progress in self.progress.items():
                if node in self.lost:
                    continue
                progress.heard_us = self.now_us
                progress.match = self.state.commit_index - (10 * self.behind if decides and node == "n5" else 0)
            target = self.steward.turn(self.now_us)
            wanted += [] if target is None else [target]
        return wanted

    def let_wait(self, target: Configuration) -> set[str]:
        """The change is taken up, and waits for those who are to vote, who are returned."""
        arriving = set(target.voters) - set(NODES)
        self.state.pending_change = SimpleNamespace(entered=False, target=target, arriving=arriving, ready=set())
        return arriving


def test_a_member_that_stores_too_late_what_is_decided_is_put_out():
    wanted = Seen().run(20 * SECOND, decides=True)
    assert wanted and "n5" not in wanted[0].voters


def test_a_member_that_is_well_and_far_away_keeps_its_vote():
    """Else a cluster around the world would shrink to those near its leader, and be lost with them."""
    assert Seen(behind=4).run(60 * SECOND, decides=True) == []


def test_a_member_that_was_late_in_a_burst_and_has_it_all_since_stays():
    seen = Seen()
    assert seen.run(6 * SECOND, decides=True) == []
    assert seen.run(60 * SECOND, decides=False) == []


def test_who_is_lost_is_put_out_also_while_a_change_of_the_stewards_own_waits_for_a_newcomer():
    seen = Seen(standbys=("n6",))
    seen.run(12 * SECOND, decides=False)
    seen.lost = {"n5"}
    (first,) = seen.run(14 * SECOND, decides=False)
    assert first.voters == ("n1", "n2", "n3", "n4", "n6")
    seen.let_wait(first)
    seen.lost = {"n5", "n6"}
    assert seen.run(1, decides=False) == [], "I1"
    (second,) = seen.run(3 * SECOND, decides=False)
    assert second.voters == ("n1", "n2", "n3"), "n6 is lost, too"
    seen.state.pending_change = SimpleNamespace(entered=True)
    assert seen.run(5 * SECOND, decides=False) == [], "I1"


def waiting_for_n6(standbys: tuple[str, ...], policy: str = "participation") -> tuple[Seen, Configuration]:
    """n5 is lost, and n6 is to take its seat; it is heard, and has not caught up yet."""
    seen = Seen(standbys=standbys, policy=policy)
    seen.run(12 * SECOND, decides=False)
    seen.lost = {"n5"}
    (first,) = seen.run(14 * SECOND, decides=False)
    assert seen.let_wait(first) == {"n6"} and "n5" not in first.voters
    return seen, first


def test_a_standby_that_does_not_catch_up_within_the_hold_time_gives_its_seat_to_the_next_one():
    seen, _ = waiting_for_n6(("n6", "n7"))
    (second,) = seen.run(14 * SECOND, decides=False)
    assert second.voters == ("n1", "n2", "n3", "n4", "n7")
    assert "n6 is out" in seen.steward.explained()["n6"]
    seen.let_wait(second)
    assert seen.run(5 * SECOND, decides=False) == [], "I1: n7 is given its time"


def test_a_standby_that_does_not_catch_up_is_waited_for_where_there_is_no_other():
    """It may be loading a snapshot. The protocol ends the waiting in its time."""
    seen, _ = waiting_for_n6(("n6",))
    assert seen.run(300 * SECOND, decides=False) == []


def test_who_is_lost_is_put_out_without_a_standby_that_does_not_catch_up():
    """An adaptive committee need not be as large as it was."""
    seen, _ = waiting_for_n6(("n6",), "adaptive")
    (second,) = seen.run(14 * SECOND, decides=False)
    assert second.voters == ("n1", "n2", "n3")


def test_standbys_that_never_catch_up_are_tried_in_turn_and_ever_less_often():
    seen, _ = waiting_for_n6(("n6", "n7"))
    tried = []
    for _ in range(600):
        for wanted in seen.run(SECOND, decides=False):
            tried.append((seen.now_us // 1_000_000, seen.let_wait(wanted)))
    assert [each for _, each in tried[:3]] == [{"n7"}, {"n6"}, {"n7"}]
    times = [at for at, nodes in tried if nodes == {"n6"}]
    gaps = [after - before for before, after in pairwise(times)]
    assert len(tried) < 12 and len(gaps) > 2 and all(b > 1.5 * a for a, b in pairwise(gaps))


def test_a_change_that_an_operator_asked_for_is_not_taken_back():
    seen, first = waiting_for_n6(("n6", "n7"))
    others = replace(first, epoch=9)
    seen.steward.done(Overloaded("the operator's is under way"))
    seen.let_wait(others)
    for target in seen.run(30 * SECOND, decides=False):
        assert target.voters == first.voters, "the protocol refuses it while the other one waits"
