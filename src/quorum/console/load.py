"""Clients that use a real cluster without a pause, and write down what they asked and were told."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import Any

from quorum.checkers.history import FAIL, INFO, INVOKE, OK, History
from quorum.errors import ApplicationError, NotLeader, Overloaded, QuorumError
from quorum.runtime.client import Client
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.place import Place

KEYS = tuple(f"k{number}" for number in range(6))
LEDGER = "ledger/"
"""Keys written once each: whatever was acknowledged under it must be there at the end."""
PAUSE_S = 0.03
TIMEOUT_S = 10.0
STALE_TIMEOUT_S = 1.0
PAGE_KEYS = 1000


class Load:
    """`clients` workers on one clock, each with one operation at a time, until `stop`.

    With `stale` they read at any node, what that node has applied; else linearizably. `history` is what the
    checker judges; `acknowledged` are the ledger's keys and values; `unknown` counts operations whose outcome
    nobody knows.
    """

    def __init__(self, place: Place, clients: int = 8, seed: int = 0, stale: bool = False) -> None:
        self.history = History()
        self.acknowledged: dict[bytes, bytes] = {}
        self.operations = 0
        self.unknown = 0
        self._place = place
        self._stale = stale
        self._seed = seed
        self._names = [f"c{number}" for number in range(1, clients + 1)]
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._hopes: list[tuple[int, asyncio.Future[int]]] = []

    def start(self) -> None:
        """Begin, on the running loop."""
        loop = asyncio.get_running_loop()
        workers = [_Worker(self, name, Random(f"{self._seed}/{name}")) for name in self._names]
        self._tasks = [loop.create_task(worker.run(self._place, self._stale)) for worker in workers]

    async def stop(self) -> None:
        """Ask nothing more and wait for what is under way. What is not answered by then stays open in the history.

        Raises what a worker raised.
        """
        self._is_stopping = True
        done, waiting = await asyncio.wait(self._tasks, timeout=TIMEOUT_S + 1)
        await self._end(waiting)
        for task in done:
            task.result()

    async def abandon(self) -> None:
        """Stop at once, whatever is under way."""
        await self._end({task for task in self._tasks if not task.done()})

    async def next_write(self) -> int:
        """Wait for the acknowledgement of a write that is asked from now on; return when it came, in ns."""
        hope: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._hopes.append((time.monotonic_ns(), hope))
        return await hope

    async def lost(self, client: Client) -> list[str]:
        """Acknowledged writes that the cluster does not have any more."""
        there: dict[bytes, bytes] = {}
        start, more = LEDGER.encode(), True
        while more:
            found = await client.kv.range(start, LEDGER.encode() + b"\xff", PAGE_KEYS)
            there.update((item.key, item.value) for item in found.items)
            more = found.more
            start = found.items[-1].key + b"\0" if found.items else start
        return sorted(key.decode() for key, value in self.acknowledged.items() if there.get(key) != value)

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def wrote(self, invoked_ns: int) -> None:
        """A write was acknowledged: whoever hoped for one hears of it."""
        now_ns = time.monotonic_ns()
        for hope in [hope for since_ns, hope in self._hopes if since_ns <= invoked_ns]:
            if not hope.done():
                hope.set_result(now_ns)
        self._hopes = [(since_ns, hope) for since_ns, hope in self._hopes if not hope.done()]

    async def _end(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Worker:
    """One client. After an unknown outcome it goes on under a new process name."""

    def __init__(self, load: Load, name: str, random: Random) -> None:
        self._load = load
        self._name = name
        self._random = random
        self._lives = 0
        self._writes = 0
        self._seen: dict[str, str | None] = {}

    async def run(self, place: Place, stale: bool) -> None:
        reader = StaleReader(place, self._random) if stale else None
        try:
            async with place.client(TIMEOUT_S) as client:
                while not self._load.is_stopping:
                    await self._step(client, reader)
                    await asyncio.sleep(self._random.uniform(0, 2 * PAUSE_S))
        finally:
            if reader is not None:
                await reader.aclose()

    async def _step(self, client: Client, reader: StaleReader | None) -> None:
        """One operation: half reads; the rest writes, swaps from a value seen, deletes, and the ledger."""
        dice = self._random.random()
        key = KEYS[self._random.randrange(len(KEYS))]
        self._writes += 1
        value = f"{self._name}-{self._writes}"
        if dice < 0.45:
            await self._record("read", key, None, self._read(client, reader, key))
        elif dice < 0.70:
            await self._record("write", key, value, client.kv.put(key.encode(), value.encode()))
        elif dice < 0.88:
            old = self._seen.get(key)
            await self._record("cas", key, [old, value], self._swap(client, key, old, value))
        elif dice < 0.92:
            await self._record("delete", key, None, client.kv.delete(key.encode()))
        else:
            await self._enter(client, value)

    async def _read(self, client: Client, reader: StaleReader | None, key: str) -> str | None:
        item = await (client.kv.get(key.encode()) if reader is None else reader.read(key.encode()))
        self._seen[key] = None if item is None else item.value.decode()
        return self._seen[key]

    async def _swap(self, client: Client, key: str, old: str | None, new: str) -> bool:
        expected = None if old is None else old.encode()
        return (await client.kv.compare_and_swap(key.encode(), expected, new.encode())).succeeded

    async def _enter(self, client: Client, value: str) -> None:
        """Write a ledger key, once; it counts as acknowledged only with its answer."""
        key = f"{LEDGER}{value}".encode()
        began_ns = time.monotonic_ns()
        try:
            await client.kv.put(key, value.encode())
        except ApplicationError:
            raise
        except QuorumError:
            return
        self._load.acknowledged[key] = value.encode()
        self._load.operations += 1
        self._load.wrote(began_ns)

    async def _record(self, f: str, key: str, value: Any, doing: Any) -> None:
        """Await one operation between its two events in the history."""
        load, process = self._load, f"{self._name}.{self._lives}"
        began_ns = time.monotonic_ns()
        load.history.record(process, INVOKE, f, key, value, began_ns)
        load.operations += 1
        kind, answer = OK, value
        try:
            told = await doing
            if f == "read":
                answer = told
            elif told is False:
                kind = FAIL
        except ApplicationError:
            raise
        except (QuorumError, OSError, TimeoutError) as error:
            kind = FAIL if f == "read" or isinstance(error, NotLeader | Overloaded) else INFO
            answer = None if f == "read" else value
        load.history.record(process, kind, f, key, answer, time.monotonic_ns())
        if kind == INFO:
            self._lives += 1
            load.unknown += 1
        elif kind == OK and f != "read":
            load.wrote(began_ns)


class StaleReader:
    """Reads at a node drawn for each read, whatever that node has applied: what a careless client does."""

    def __init__(self, place: Place, random: Random) -> None:
        self._place = place
        self._random = random
        self._open: dict[str, NodeConnection] = {}

    async def read(self, key: bytes) -> Any:
        """The item under `key` at some node. Raises OSError (TimeoutError too) or QuorumError."""
        name = self._random.choice(sorted(self._place.endpoints))
        try:
            async with asyncio.timeout(STALE_TIMEOUT_S):
                if name not in self._open:
                    connection = self._place.node(name)
                    await connection.__aenter__()
                    self._open[name] = connection
                return await self._open[name].read_stale(key)
        except (OSError, QuorumError):
            broken = self._open.pop(name, None)
            if broken is not None:
                await broken.__aexit__()
            raise

    async def aclose(self) -> None:
        """Close what is open."""
        for connection in self._open.values():
            await connection.__aexit__()
        self._open.clear()
