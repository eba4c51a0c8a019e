"""Two workers campaign; one leads and works, then the other. A third program watches.

Run: python examples/election.py .quorum/cluster.toml
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing

import quorum


async def worker(config: str, name: bytes) -> None:
    """Leads once, for a short while, then resigns."""
    async with quorum.connect(config=config) as client:
        election = client.election("worker", ttl=5)
        async with election.lead(name) as leading:
            print(f"{name.decode()} leads and works under token {leading.token}")
            await asyncio.sleep(0.2)
            await election.proclaim(name + b", done")


async def watcher(config: str) -> None:
    """Prints who leads, now and after each change."""
    async with quorum.connect(config=config) as client, aclosing(client.election("worker").observe()) as seen:
        async for leader in seen:
            print("seen:", "nobody" if leader is None else leader.value.decode())


async def main(config: str) -> None:
    watching = asyncio.create_task(watcher(config))
    await asyncio.gather(worker(config, b"ann"), worker(config, b"bob"))
    watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
