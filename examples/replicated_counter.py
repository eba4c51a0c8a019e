"""A replicated counter in ten lines: three nodes in one program, of which one stops and comes back.

In earnest each node is a program of its own, on a machine of its own; only `node=` differs.

Run: python examples/replicated_counter.py
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import quorum
from quorum import Replicated, command, query
from quorum.runtime.setup import init_cluster


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


async def main(config: Path) -> None:
    a = quorum.start(Counter, node="a", config=config)
    b = quorum.start(Counter, node="b", config=config)
    c = quorum.start(Counter, node="c", config=config)
    async with a as counter, b as at_b:
        async with c as at_c:
            print("three nodes:", await counter.add(3), await at_b.add(4), await at_c.get())
            try:
                await counter.add(-1)
            except ValueError as error:
                print("the caller hears:", error)
        print("two of three:", await counter.add(1))
        async with quorum.start(Counter, node="c", config=config) as back:
            sums = await asyncio.gather(*(back.add(1) for _ in range(1000)))
            print("all again:", max(sums), await at_b.get(), await at_b.get(consistency="stale") <= 1008)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        cluster = init_cluster(Path(folder) / "cluster", names=["a", "b", "c"])  # what `quorum init` does
        asyncio.run(main(cluster.cluster))
