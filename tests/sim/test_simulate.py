"""`quorum.simulate`: a class that is right passes, one with a planted mistake is caught, with its seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import quorum
from quorum import ConfigurationError, ReplicatedDict, Simulation, SimulationFailed
from quorum.protocols import log as protocols_log
from simulated_classes import (
    Bank,
    ByIdentity,
    ByModuleState,
    BySetOrder,
    Counter,
    Divides,
    ForgetsInSnapshot,
    Machine,
    Overdrawn,
    Register,
    adds_and_asks,
)
from simulation.planted import BUGS, planted

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent.parent


def failure_of(what, **given) -> SimulationFailed:
    given.setdefault("hash_seeds", ())
    with pytest.raises(SimulationFailed) as caught:
        quorum.simulate(what, **given)
    return caught.value


@pytest.mark.parametrize("what", [Counter, Bank, ReplicatedDict[str, int]], ids=lambda what: what.__name__)
def test_a_class_that_is_right_passes(what):
    seen = []
    result = quorum.simulate(what, seeds=4, on_run=seen.append)
    assert result and result.unchecked == "" and list(result.runs) == seen
    for run in result.runs:
        assert run.operations > 300 and run.entries > 100 and run.failure == ""
        assert run.verdict == "linearizable" and sum(run.faults.values()) > 2
    assert len({run.trace for run in result.runs}) == 4
    assert "every claim held" in str(result)


def test_a_state_machine_of_your_own_passes():
    result = quorum.simulate(Machine, workload=adds_and_asks, seeds=3, snapshot_entries=20)
    assert result.operations > 1000 and result.unchecked == ""


def test_five_nodes_of_which_two_crash_pass():
    result = quorum.simulate(Counter, seeds=2, N=5, T=2, faults=("crash", "crash-all"), hash_seeds=())
    assert result.faults["crash"] > 0


def test_a_single_node_can_be_simulated():
    assert quorum.simulate(Counter, seeds=2, N=1, T=0, hash_seeds=()).operations > 300


def test_a_workload_may_await_several_calls():
    async def reads_then_adds(counter: Counter, draw: random.Random) -> None:
        before = await counter.get()
        after = await counter.add(draw.randrange(3))
        assert after >= before, "a client sees its own commands"
        with pytest.raises(ValueError, match="only grows"):
            await counter.add(-1)

    assert quorum.simulate(Counter, workload=reads_then_adds, seeds=3, hash_seeds=()).operations > 500


# Planted mistakes.


@pytest.mark.parametrize("what", [ByIdentity, ByModuleState], ids=lambda what: what.__name__)
def test_a_command_that_differs_between_replicas_is_named(what):
    error = failure_of(what)
    command = "stamp()" if what is ByIdentity else "bump()"
    assert f"every replica does the same: {what.__name__}.{command} at entry" in str(error)


def test_a_command_that_depends_on_the_order_of_a_set_is_caught_in_another_process():
    def draws(it, draw):
        return it.draw(frozenset(draw.sample(("ann", "bob", "cid", "dan"), 3)))

    assert quorum.simulate(BySetOrder, workload=draws, seeds=1, hash_seeds=()), "in one process it is not seen"
    error = failure_of(BySetOrder, workload=draws, seeds=2, hash_seeds=(1, 2, 3))
    assert "BySetOrder.draw(frozenset(" in str(error) and "under another PYTHONHASHSEED" in str(error)


def test_stale_reads_that_are_used_as_linearizable_are_caught():
    error = failure_of(Register, seeds=30, stale=True)
    assert "what clients were told is linearizable: no order" in str(error) and "get() -> " in str(error)
    last = error.run.tale[-1]
    assert "get() -> " in last and "(asked at " in last, "the tale ends with the operation that does not fit"
    assert quorum.simulate(Register, seeds=[error.run.seed], hash_seeds=())


def test_an_update_lost_by_a_stale_read_is_caught_by_a_check_of_the_history():
    async def increments(register: Register, draw: random.Random) -> None:
        value = await register.get(consistency="stale")
        await register.set(value + 1)

    def nothing_is_lost(operations) -> None:
        written = [each.text for each in operations if each.text.startswith("set") and each.outcome == "ok"]
        assert len(set(written)) == len(written), "two clients wrote the same number"

    error = failure_of(Register, workload=increments, check_history=nothing_is_lost)
    assert "nothing_is_lost holds at the end: AssertionError: two clients wrote the same number" in str(error)


def test_an_exception_that_is_not_meant_is_caught():
    error = failure_of(Divides)
    assert "Divides.split(0) raised ZeroDivisionError" in str(error)
    assert quorum.simulate(Divides, seeds=1, raises=ZeroDivisionError, hash_seeds=())


def test_an_exception_that_is_not_listed_is_caught_even_if_it_is_usual():
    assert "Counter.add(-1) raised ValueError: this counter only grows" in str(failure_of(Counter, raises=()))


def test_a_broken_invariant_is_caught_with_the_state_that_broke_it():
    error = failure_of(Overdrawn)
    assert "Overdrawn.is_covered holds in every state: after withdraw(" in str(error)
    assert "AssertionError: the balance is -" in str(error)


@pytest.mark.parametrize("failing", [lambda counter: counter.value < 20, lambda counter: counter.get.sync() < 20])
def test_a_check_that_does_not_hold_is_caught(failing):
    assert "check holds in every state: after add(" in str(failure_of(Counter, check=failing))


def test_a_check_may_not_change_the_object():
    def meddles(counter: Counter) -> None:
        counter.value = 5

    assert "meddles holds in every state: after add(" in str(failure_of(Counter, check=meddles))


def test_a_snapshot_that_forgets_is_caught():
    error = failure_of(ForgetsInSnapshot, workload=adds_and_asks, snapshot_entries=20)
    assert "a snapshot that is restored gives the state it was taken from" in str(error)


def test_a_workload_that_draws_elsewhere_is_caught():
    def draws(counter, draw):
        return counter.add(random.randrange(5))

    assert "the same seed gives the same run" in str(failure_of(Counter, workload=draws))


def test_a_workload_that_fails_is_caught():
    def breaks(counter, draw):
        raise RuntimeError("oops")

    assert "the workload ends without an exception: c" in str(failure_of(Counter, workload=breaks))


ENGINE_BUGS = {
    "retry applied again": "what clients were told is linearizable",
    "read without index check": "what clients were told is linearizable",
    "dedup table not in snapshot": "state digests",
    "ack before fsync": "leader completeness",
}


@pytest.mark.skipif(
    not str(protocols_log.__file__).endswith(".py"), reason="compiled modules cannot be given a mistake"
)
@pytest.mark.parametrize("name", ENGINE_BUGS)
def test_a_mistake_of_the_engine_is_caught_by_what_a_class_shows(name):
    bug = next(bug for bug in BUGS if bug.name == name)
    with planted(bug):
        error = failure_of(Counter, seeds=30)
    assert f"not every claim held: {ENGINE_BUGS[name]}: " in str(error)
    assert quorum.simulate(Counter, seeds=[error.run.seed], hash_seeds=()), "without the mistake it passes"


# What a failure says.


def test_a_failing_seed_says_how_it_is_run_again_and_what_happened_last():
    error = failure_of(Overdrawn, seeds=range(7, 20), N=5, T=2, hash_seeds=(1, 2))
    assert isinstance(error, AssertionError)
    assert error.replay == "quorum.simulate(Overdrawn, seeds=[7], N=5, T=2)"
    assert f"Replay it: {error.replay}\nThe last events:\n" in str(error)
    assert " s  c" in str(error).splitlines()[-1]
    again = failure_of(Overdrawn, seeds=[7], N=5, T=2)
    assert again.run == error.run


def test_all_seeds_can_be_run_whatever_fails():
    result = quorum.simulate(Overdrawn, seeds=3, must_hold=False, hash_seeds=())
    assert not result and len(result.failed) == 3 and "3 failed" in str(result)


def test_the_same_seeds_give_the_same_runs_under_any_hash_seed():
    program = (
        "import quorum, simulated_classes as c\n"
        "print([run.trace for run in quorum.simulate(c.Bank, seeds=2, hash_seeds=()).runs])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=TESTS,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told) == 1


def test_a_class_that_another_process_cannot_find_is_said_to_be_unchecked():
    class Local(Counter):
        pass

    result = quorum.simulate(Local, seeds=1)
    assert isinstance(result, Simulation) and "has no name at the top level" in result.unchecked


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"N": 2}, "N=2 nodes were asked to tolerate T=1 crashed"),
        ({"seeds": []}, "a run needs whole numbers as seeds"),
        ({"clients": 0}, "clients=0 was asked for"),
        ({"faults": ("meteor",)}, "the fault 'meteor' was asked for with 3 nodes"),
        ({"faults": "split", "N": 1, "T": 0}, "the fault 'split' was asked for with 1 nodes"),
        ({"workload": 5}, "workload=5 was given"),
        ({"check": 5}, "check=5 was given"),
        ({"raises": 5}, "raises=5 was given"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_remedy(given, said):
    with pytest.raises(ConfigurationError, match=said.replace("(", "\\(")):
        quorum.simulate(Counter, **given)


def test_what_cannot_be_simulated_is_refused_with_a_remedy():
    class Unknown(Counter):
        @quorum.command
        def put(self, value: bytearray, depth: memoryview) -> None:
            pass

    for what, said in (
        (int, "it is neither a replicated class nor a state machine: it has no apply"),
        (Counter(), "Give the class"),
        (Machine, "without a workload"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            quorum.simulate(what, seeds=1)


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (lambda it, draw: 5, "it returned 5. Return one call"),
        (lambda it, draw: it.get.sync(), "a simulated client cannot wait in a thread"),
        (lambda it, draw: it.value, "value was read in a workload"),
        (lambda it, draw: it.add("x"), "called with arguments that do not fit"),
        (lambda it, draw: None, "A workload returns the call that it makes, or is async and awaits its calls."),
    ],
)
def test_a_workload_that_does_not_fit_is_told_how_to(workload, said):
    text = str(failure_of(Counter, workload=workload))
    assert said in text and not text.splitlines()[0].endswith("..")
