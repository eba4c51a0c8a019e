"""Locks in a replicated object, for users of PySyncObj's ReplLockManager: owners, limits, queues, fencing tokens.

There, a lock's time was that of each client's own clock, and a holder that came too late was not found out. Here
the limit is judged by the log's time, alike on every replica, and there is a token that what is guarded compares.

Run: python examples/replicated_lock.py
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import quorum
from quorum import ReplicatedLock, command, query
from quorum.runtime.setup import init_cluster


class Account(ReplicatedLock):
    """Locks, and beside them what they guard. It could as well be a file server or a device."""

    balance: int = 0
    newest_token: int = 0

    @command
    def store(self, balance: int, token: int) -> None:
        if token < self.newest_token:
            raise ValueError(f"token {token} is older than {self.newest_token}")
        self.newest_token = token
        self.balance = balance

    @query
    def load(self) -> int:
        return self.balance


async def acquired(locks: ReplicatedLock, name: str, owner: str, ttl: float) -> int:
    """Wait for a lock: each time of asking keeps the place in the queue, and finds out whose limit has passed."""
    while (token := await locks.acquire(name, owner, ttl)) is None:  # ReplLockManager: tryAcquire(name, sync=True)
        await asyncio.sleep(ttl / 10)
    return token


async def deposit(account: Account, owner: str, amount: int) -> None:
    token = await acquired(account, "account", owner, ttl=5)
    before = await account.load()
    await asyncio.sleep(0.01)  # what others did here would be lost, were they not kept out
    await account.store(before + amount, token)
    await account.release("account", owner)


async def main(config: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes = [quorum.start(Account, node=name, config=config) for name in ("a", "b", "c")]
        accounts = [await stack.enter_async_context(node) for node in nodes]
        await asyncio.gather(*(deposit(accounts[n % 3], f"teller-{n}", 10) for n in range(6)))
        print("after six deposits of 10:", await accounts[0].load())

        lost = await acquired(accounts[0], "account", "sleeper", ttl=0.5)  # and is not heard of for a while
        token = await acquired(accounts[1], "account", "teller-7", ttl=0.5)
        await accounts[1].store(70, token)
        print("the sleeper's limit has passed, a larger token was given:", token > lost)
        try:
            await accounts[0].store(0, lost)
        except ValueError:
            print("the sleeper wakes, and its write is refused:", await accounts[2].load())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        cluster = init_cluster(Path(folder) / "cluster", names=["a", "b", "c"])
        asyncio.run(main(cluster.cluster))
