"""One seed: the plan, its replay command, and the verdicts that a broken run gets."""

from __future__ import annotations

from typing import NoReturn

import pytest

from quorum.checkers.history import History
from quorum.checkers.violation import Violation
from quorum.errors import ConfigurationError
from quorum.sim import campaign
from quorum.sim.campaign import Plan, configuration_of, run_seed
from quorum.sim.world import World

SHORT = Plan(1, nodes=3, seconds=16, clients=2)


def test_a_run_says_what_it_did():
    outcome, history, world = run_seed(SHORT)
    assert outcome.failure == ""
    assert outcome.operations > 20 and outcome.decided > 10 and outcome.leaders >= 1
    assert outcome.simulated_us == 16_000_000 == world.now_us
    assert outcome.events == world.trace.events
    assert len(history.operations()) == outcome.operations


def test_the_replay_command_names_all_that_is_unusual_and_nothing_else():
    assert SHORT.replay_command() == "quorum replay --seed 1 --nodes 3 --seconds 16 --clients 2 --pause-ms 100"
    odd = Plan(
        2, faults=(), reads="n1", writes="n1", stale=True, wire=True, disk=True, snapshot_entries=9, sync_us=7
    )
    command = odd.replay_command()
    for part in ("--faults none", "--reads 'n1'", "--writes 'n1'", "--snapshot-entries 9", "--sync-us 7"):
        assert part in command
    assert command.endswith("--stale --wire --disk")


def test_the_configuration_is_the_plans_quorum_system():
    configuration = configuration_of(Plan(0, nodes=3, reads="choose(3, n1, n2, n3)", writes="n1 + n2 + n3"))
    assert configuration.voters == ("n1", "n2", "n3")
    assert (configuration.reads, configuration.writes) == ("choose(3, n1, n2, n3)", "n1 + n2 + n3")


def test_quorums_that_miss_each_other_are_refused():
    with pytest.raises(ConfigurationError, match="share no node"):
        run_seed(Plan(0, nodes=3, seconds=16, reads="n1 + n2", writes="n1 + n2"))


def test_a_broken_claim_and_a_broken_invariant_are_outcomes_and_other_errors_are_not_hidden():
    class Breaks(World):
        error: Exception = Violation("some claim", "some detail")

        def boot(self) -> NoReturn:
            raise self.error

    assert run_seed(SHORT, Breaks)[0].failure == "some claim: some detail"
    Breaks.error = AssertionError("I7")
    assert run_seed(SHORT, Breaks)[0].failure == "an invariant of the code broke: I7"
    Breaks.error = KeyError("a mistake in the simulator")
    with pytest.raises(KeyError):
        run_seed(SHORT, Breaks)


def test_a_cluster_that_never_elects_makes_no_progress():
    class Deaf(World):
        def deliver(self, *arguments: object) -> None:
            return

    assert run_seed(SHORT, Deaf)[0].failure.startswith("progress: the calm network elects a leader")


def test_a_node_that_stays_behind_fails_the_run():
    class OneStaysDown(World):
        def boot(self) -> None:
            for name, node in self.nodes.items():
                if name != "n3":
                    node.boot()

    plan = Plan(1, nodes=3, seconds=16, clients=2, faults=())
    assert run_seed(plan, OneStaysDown)[0].failure.startswith("progress: every member catches up")


def test_a_history_without_a_linearization_fails_the_run():
    history = History()
    history.record("a", "invoke", "write", "x", "1", 0)
    history.record("a", "ok", "write", "x", "1", 1)
    history.record("b", "invoke", "read", "x", None, 2)
    history.record("b", "ok", "read", "x", None, 3)
    with pytest.raises(Violation, match="the history is linearizable"):
        campaign._check_history(history)


def test_a_client_may_have_several_operations_open():
    outcome, history, _ = run_seed(Plan(3, nodes=3, seconds=20, clients=2, pause_ms=20, in_flight=4))
    assert outcome.failure == ""
    operations = history.operations()
    of_one = [op for op in operations if op.process.startswith("c1.")]
    assert len({op.process.split(".")[1] for op in of_one}) == 4
    ends = sorted((op.invoked_ns, 1) for op in of_one) + sorted((op.completed_ns, -1) for op in of_one)
    open_now = most = 0
    for _, change in sorted(ends):
        open_now += change
        most = max(most, open_now)
    assert 2 <= most <= 4
    assert outcome.replay.endswith("--in-flight 4")


def test_faults_may_overlap_and_are_over_in_the_calm():
    plan = Plan(5, nodes=3, seconds=30, clients=2, faults=("slow-disk", "clock"), faults_at_once=3)
    outcome, _, world = run_seed(plan)
    assert outcome.failure == ""
    assert {node.log.sync_us for node in world.nodes.values()} == {plan.sync_us}
    alone = run_seed(Plan(5, nodes=3, seconds=30, clients=2, faults=("slow-disk", "clock")))[0]
    assert struck(outcome.sometimes) > struck(alone.sometimes)


def struck(sometimes: dict[str, int]) -> int:
    return sum(count for name, count in sometimes.items() if name.startswith("fault "))
