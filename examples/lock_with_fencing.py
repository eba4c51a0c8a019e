"""A lock, a holder that stands still for too long, and the token that keeps it from doing harm.

One process takes the lock and is stopped, as a long pause or a suspended machine would stop it. Its session ends,
another process holds the lock and writes. Then the first one goes on, as if nothing had happened, and writes too:
the resource has seen a larger token, and refuses.

Run: python examples/lock_with_fencing.py .quorum/cluster.toml
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import quorum
from quorum.apps.kv import Compare, Put
from quorum.runtime.connect import Connection

ACCOUNT = b"account"


async def write_fenced(client: Connection, key: bytes, value: bytes, token: int) -> bool:
    """The resource: write unless a holder with a larger token has written. False if one has.

    One transaction looks at the largest token seen and remembers this one. Eight bytes, the most significant
    first, compare as the numbers do; where no token was seen yet the comparison does not hold.
    """
    guard, mine = key + b"/token", token.to_bytes(8, "big")
    outcome = await client.kv.txn(
        compares=[Compare(guard, "value", ">", mine)],
        then=[],
        otherwise=[Put(guard, mine), Put(key, value)],
    )
    return not outcome.succeeded


async def careless_holder(config: str) -> None:
    """Takes the lock, waits until it is told to go on, and writes without asking whether it still holds it."""
    async with quorum.connect(config=config) as client:
        lock = client.lock("account", ttl=1)
        token = await lock.acquire()
        print(token, flush=True)
        sys.stdin.readline()  # the whole process stands still here: nothing keeps the session alive
        written = await write_fenced(client, ACCOUNT, b"stale", token)
        print("the holder that stood still:", "written" if written else f"refused, token {token} is too old")
        print("what its client knows:", "held" if lock.is_held else "the lock may be lost", flush=True)


async def main(config: str) -> None:
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        config,
        "careless",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert other.stdin is not None and other.stdout is not None
    old = int(await other.stdout.readline())
    print("the first holder has token", old)
    os.kill(other.pid, signal.SIGSTOP)

    async with quorum.connect(config=config) as client:
        async with client.lock("account", ttl=10) as lock:  # waits until the session of the first has ended
            print("the next holder has a larger one:", lock.token > old)
            written = await write_fenced(client, ACCOUNT, b"good", lock.token)
            print("the next holder:", "written" if written else "refused")
        os.kill(other.pid, signal.SIGCONT)
        told, _ = await other.communicate(b"go on\n")
        print(told.decode(), end="")
        account = await client.kv.get(ACCOUNT)
        assert account is not None
        print("the account:", account.value.decode())
        assert account.value == b"good" and b"refused" in told and other.returncode == 0


if __name__ == "__main__":
    asyncio.run(careless_holder(sys.argv[1]) if "careless" in sys.argv else main(sys.argv[1]))
