"""A replicated class of your own, tested under crashes, partitions, pauses and slow disks.

Run: python examples/test_own_class.py, or as any test: pytest examples/test_own_class.py
"""

from __future__ import annotations

import sys
from random import Random

import pytest

import quorum
from quorum import Replicated, command, invariant, query


class Till(Replicated):
    """Money moves between accounts; none is made, and none is lost."""

    balances: dict[str, int] = {"ann": 10, "bob": 10}

    @command
    def move(self, source: str, target: str, amount: int) -> None:
        if amount < 0 or self.balances[source] < amount:
            raise ValueError(f"{source} cannot give {amount}")
        self.balances[source] -= amount
        self.balances[target] += amount

    @query
    def balance(self, owner: str) -> int:
        return self.balances[owner]

    @invariant
    def money_is_conserved(self) -> None:
        assert sum(self.balances.values()) == 20, f"the balances are {dict(self.balances)}"


class LeakyTill(Till):
    """A mistake: who moves money to himself gains by it."""

    @command
    def move(self, source: str, target: str, amount: int) -> None:
        before = self.balances[target]
        if amount < 0 or self.balances[source] < amount:
            raise ValueError(f"{source} cannot give {amount}")
        self.balances[source] -= amount
        self.balances[target] = before + amount


async def moves_and_looks(till: Till, random: Random) -> None:
    source, target = random.choice(("ann", "bob")), random.choice(("ann", "bob"))
    before = await till.balance(source)
    await till.move(source, target, random.randrange(before + 1))


def test_money_is_conserved_whatever_fails() -> None:
    result = quorum.simulate(Till, workload=moves_and_looks, seeds=range(5))
    assert result.operations > 1000


def test_a_till_that_leaks_is_caught() -> None:
    with pytest.raises(quorum.SimulationFailed, match="money_is_conserved holds in every state"):
        quorum.simulate(LeakyTill, workload=moves_and_looks, seeds=range(5))


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", __file__]))
