"""What the steward sees of members, and what it does while a change waits for a newcomer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from quorum.model import Configuration
from quorum.runtime.steward import RaftSteward

NODES = ("n1", "n2", "n3", "n4", "n5")
PERIOD_US = 100_000
SECOND = 1_000_000 // PERIOD_US


class Seen:
    """The leader n1, which hears everybody at every turn; n5 stores each entry `behind` turns later."""

    def __init__(self, behind: int = 20) -> None:
        self.behind = behind
        self.progress = {node: SimpleNamespace(match=0, heard_us=0) for node in NODES[1:]}
        self.state = SimpleNamespace(node="n1", progress=self.progress, commit_index=0, pending_change=None)
        configuration = Configuration(epoch=3, voters=NODES, policy="adaptive", faults=2)
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
    seen = Seen()
    seen.lost = {"n5"}
    (first,) = seen.run(30 * SECOND, decides=True)
    assert "n5" not in first.voters
    seen.state.pending_change = SimpleNamespace(entered=True)
    assert seen.run(SECOND, decides=True) == [], "I1"
    seen.state.pending_change = SimpleNamespace(entered=False)
    assert seen.run(1, decides=True) != []
