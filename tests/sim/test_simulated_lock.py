"""`ReplicatedLock` under `quorum.simulate`: owners that never release, and writes that come too late."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

import quorum
from quorum import SimulationFailed
from quorum.sim.actor import Operation
from simulated_classes import Guarded, SameToken

pytestmark = pytest.mark.slow


async def holds_and_writes(lock: Guarded, draw: Random) -> None:
    """Take a lock, write by its token, and give it up; one in four forgets to, and its limit has to pass."""
    owner = f"owner-{draw.randrange(10**9)}"
    token = None
    for _ in range(5):
        token = await lock.acquire("door", owner, draw.choice((0.2, 1.0)))
        if token is not None:
            break
    if token is None:
        await lock.release("door", owner)
        return
    await lock.write(token)
    if draw.random() < 0.75:
        await lock.release("door", owner)


def tokens_grow(operations: Sequence[Operation]) -> None:
    """Who was granted the lock after somebody else had been, in real time, has a larger token."""
    grants = [
        (each.invoked, each.completed, each.result, each.text.split(",")[1])
        for each in operations
        if each.text.startswith("acquire") and each.outcome == "ok" and each.result is not None
    ]
    assert len({owner for *_, owner in grants}) > 10, "hardly anybody was granted the lock"
    for invoked, _, token, owner in grants:
        for _, completed, earlier, other in grants:
            if owner != other and completed < invoked:
                assert earlier < token, f"{owner} has token {token}, which is not above {earlier} of {other}"


def test_a_lock_keeps_its_promises_whatever_fails():
    result = quorum.simulate(Guarded, workload=holds_and_writes, check_history=tokens_grow, seeds=4, duration_s=10)
    assert result.operations > 1000 and result.unchecked == "", str(result)
    assert sum(result.faults.values()) > 10


def test_any_calls_at_all_give_the_same_on_every_replica():
    assert quorum.simulate(quorum.ReplicatedLock, seeds=2, duration_s=10)


def test_a_lock_whose_tokens_do_not_grow_is_caught():
    with pytest.raises(SimulationFailed, match=r"tokens_grow holds at the end: AssertionError: .* is not above"):
        quorum.simulate(SameToken, workload=holds_and_writes, check_history=tokens_grow, seeds=4, hash_seeds=())
