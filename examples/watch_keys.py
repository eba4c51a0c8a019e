"""A copy of some keys that stays in step with the cluster, and begins anew if it was away for too long.

Run: python examples/watch_keys.py .quorum/cluster.toml
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import quorum
from quorum.apps.kv import prefix_end
from quorum.errors import Compacted
from quorum.runtime.connect import Connection

PREFIX = b"prices/"


async def copies(client: Connection) -> AsyncIterator[dict[bytes, bytes]]:
    """The keys under PREFIX as they are now, and again after each change."""
    while True:
        found = await client.kv.range(PREFIX, prefix_end(PREFIX))
        copy = {item.key: item.value for item in found.items}
        yield copy
        try:
            async with client.kv.watch(PREFIX, prefix=True, start_revision=found.revision + 1) as watch:
                async for event in watch:
                    if event.value is None:
                        copy.pop(event.key, None)
                    else:
                        copy[event.key] = event.value
                    yield copy
        except Compacted as error:
            print(f"reading anew: {error}")


async def shop(config: str) -> None:
    """Changes some prices."""
    async with quorum.connect(config=config) as client:
        await client.kv.put(PREFIX + b"apple", b"3")
        await client.kv.put(PREFIX + b"pear", b"4")
        await client.kv.put(PREFIX + b"apple", b"2")
        await client.kv.delete(PREFIX + b"pear")
        await client.kv.put(PREFIX + b"closed", b"")


async def main(config: str) -> None:
    async with quorum.connect(config=config) as client:
        shopping = asyncio.create_task(shop(config))
        async for copy in copies(client):
            print({key.decode(): value.decode() for key, value in copy.items()})
            if PREFIX + b"closed" in copy:
                break
        await shopping


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
