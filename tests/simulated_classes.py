"""Classes that are simulated: good ones, and ones with a planted mistake. They stand at the top level of a module,
where another process finds them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec

from quorum import Replicated, ReplicatedLock, command, invariant, query
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer
from quorum.header import Header


class Counter(Replicated):
    value: int = 0

    @command
    def add(self, n: int) -> int:
        if n < 0:
            raise ValueError("this counter only grows")
        self.value += n
        return self.value

    @query
    def get(self) -> int:
        return self.value

    @invariant
    def never_falls_below_zero(self) -> bool:
        return self.value >= 0


class Account(msgspec.Struct):
    owner: str
    level: Literal["basic", "gold"] = "basic"


class Bank(Replicated):
    """Uses most kinds of argument, log time and randomness."""

    balances: dict[str, int] = {}
    accounts: dict[str, Account] = {}
    tags: set[str] = set()
    moves: list[tuple[str, str, int]] = []
    stamped: float = 0.0

    @command
    def open(self, account: Account, tags: set[str], start: Annotated[int, msgspec.Meta(ge=1, le=9)] = 5) -> bool:
        if account.owner in self.balances:
            return False
        self.accounts[account.owner] = account
        self.balances[account.owner] = start
        self.tags |= tags
        return True

    @command
    def move(self, source: str, target: str, amount: Annotated[int, msgspec.Meta(ge=0)]) -> int | None:
        if source not in self.balances or target not in self.balances or self.balances[source] < amount:
            return None
        self.balances[source] -= amount
        self.balances[target] += amount
        self.moves.append((source, target, amount))
        self.stamped = self.context.now
        return self.context.random.randrange(1000)

    @query
    def total(self, of: list[str] | None = None) -> int:
        names = list(self.balances) if of is None else of
        return sum(self.balances.get(name, 0) for name in names)

    @query
    def history(self, limit: int = 3) -> list[tuple[str, str, int]]:
        return self.moves[-limit:] if limit > 0 else []


class Guarded(ReplicatedLock):
    """Locks beside what they guard: a register that refuses tokens older than the newest it has seen."""

    seen: int = 0
    writes: int = 0

    @command
    def write(self, token: int) -> bool:
        if token < self.seen:
            return False
        self.seen = token
        self.writes += 1
        return True

    @invariant
    def nobody_waits_for_a_lock_that_is_free(self) -> None:
        for name in self.queues:
            assert name in self.holders, f"{name} is free, and somebody waits for it"

    @invariant
    def tokens_are_those_of_grants(self) -> None:
        tokens = [holder.token for holder in self.holders.values()]
        assert len(set(tokens)) == len(tokens), "two locks have one token"
        assert all(token <= self.newest for token in tokens), "a token is larger than the newest"


# Planted mistakes.


class SameToken(Guarded):
    """Counts the locks that are held, and not the grants."""

    def _grant(self, name: str, owner: str, ttl_us: int) -> int:
        self.newest = 0
        return super()._grant(name, owner, ttl_us) - self.context.index + len(self.holders)


class ByIdentity(Replicated):
    last: int = 0

    @command(allow={"id"})
    def stamp(self) -> None:
        self.last = id(object()) + id(self)


class BySetOrder(Replicated):
    winner: str = ""

    @command(allow={"set"})
    def draw(self, names: frozenset[str]) -> str:
        for name in names:
            self.winner = name
            break
        return self.winner


CALLS = {"n": 0}


class ByModuleState(Replicated):
    value: int = 0

    @command
    def bump(self) -> int:
        CALLS["n"] += 1
        self.value += CALLS["n"] % 2
        return self.value


class Register(Replicated):
    value: int = 0
    writes: int = 0

    @command
    def set(self, value: int) -> None:
        self.value = value
        self.writes += 1

    @query
    def get(self) -> int:
        return self.value


class Divides(Replicated):
    value: int = 100

    @command
    def split(self, parts: int) -> int:
        self.value = 100 // parts
        return self.value


class Overdrawn(Replicated):
    balance: int = 10

    @command
    def withdraw(self, n: Annotated[int, msgspec.Meta(ge=1)]) -> int:
        self.balance -= n
        return self.balance

    @invariant
    def is_covered(self) -> None:
        assert self.balance >= 0, f"the balance is {self.balance}"


class Machine:
    """A state machine of bytes: adds a number to a total and counts the commands."""

    def __init__(self) -> None:
        self.total = self.commands = 0

    def apply(self, header: Header, body: Buffer) -> Outputs:
        self.total += int(bytes(body))
        self.commands += 1
        return Outputs(b"%d/%d" % (self.total, self.commands))

    def query(self, body: Buffer) -> bytes:
        return b"%d" % self.total

    def digest(self) -> bytes:
        return blake2b(b"%d/%d" % (self.total, self.commands), digest_size=32).digest()

    def snapshot(self) -> Iterator[bytes]:
        return iter((b"%d/%d" % (self.total, self.commands),))

    def restore(self, chunks: Iterable[bytes]) -> None:
        total, _, commands = b"".join(chunks).partition(b"/")
        self.total, self.commands = int(total or 0), int(commands or 0)


class ForgetsInSnapshot(Machine):
    def restore(self, chunks: Iterable[bytes]) -> None:
        super().restore(chunks)
        self.commands = 0


def adds_and_asks(machine: Any, draw: random.Random) -> Any:
    """A workload for `Machine`; some of it is no number, which is an answer like another."""
    if draw.random() < 0.5:
        return machine.query(b"")
    return machine.command(draw.choice((b"1", b"2", b"no number")))
