"""PySyncObj's counter example, ported: what was a SyncObj with @replicated methods is a Replicated with @command.

There, a value was added twenty times, each with a callback that got a result or an error, and the counter was read
from the local replica. Here calls are awaited, errors are raised, and reads are linearizable by default.

Run: python examples/port_of_a_counter.py
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import quorum
from quorum import Replicated, command, query
from quorum.runtime.setup import init_cluster


class Counter(Replicated):
    counter: int = 0  # SyncObj: an attribute set in __init__, found by itself and pickled

    @command  # SyncObj: @replicated
    def inc_counter(self) -> int:
        self.counter += 1
        return self.counter

    @command
    def add_value(self, value: int, number: int) -> tuple[int, int]:
        self.counter += value
        return self.counter, number

    @query  # SyncObj: a plain method, which reads whatever this replica has
    def get_counter(self) -> int:
        return self.counter


async def main(config: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes = [quorum.start(Counter, node=name, config=config) for name in ("a", "b", "c")]
        counters = [await stack.enter_async_context(node) for node in nodes]
        for number in range(20):  # SyncObj: addValue(10, number, callback=partial(onAdd, cnt=number))
            total, answered = await counters[number % 3].add_value(10, number)
            assert (total, answered) == (10 * (number + 1), number)
        print("after twenty additions:", await counters[0].get_counter())
        print("after one more:", await counters[1].inc_counter())  # SyncObj: incCounter(sync=True)
        print("the third node reads:", await counters[2].get_counter())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        cluster = init_cluster(Path(folder) / "cluster", names=["a", "b", "c"])
        asyncio.run(main(cluster.cluster))
