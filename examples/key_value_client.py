"""Use a running cluster: write, read, compare-and-swap, a transaction, many writes at once.

Run: python examples/key_value_client.py .quorum/cluster.toml
"""

from __future__ import annotations

import asyncio
import sys

import quorum
from quorum.apps.kv import Compare, Get, Put


async def main(config: str) -> None:
    async with quorum.connect(config=config) as client:
        kv = client.kv
        await kv.delete(b"stock")
        await kv.put(b"stock", b"10")

        # Take one, unless somebody else was faster.
        swapped = await kv.compare_and_swap(b"stock", expected=b"10", value=b"9")
        print("taken:", swapped.succeeded)
        swapped = await kv.compare_and_swap(b"stock", expected=b"10", value=b"9")
        print("taken again from the old value:", swapped.succeeded)

        # Two keys change together, or neither does.
        done = await kv.txn(
            compares=[Compare(b"stock", "value", "=", b"9")],
            then=[Put(b"stock", b"8"), Put(b"order", b"1 piece")],
            otherwise=[Get(b"stock")],
        )
        print("ordered:", done.succeeded)

        # What waits together travels together.
        await asyncio.gather(*(kv.put(b"many/%03d" % number, b"x") for number in range(200)))
        found = await kv.range(b"many/", b"many0", limit=3)
        print("first of many:", [item.key.decode() for item in found.items], "and more" if found.more else "")

        stock = await kv.get(b"stock")
        assert stock is not None and stock.value == b"8"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
