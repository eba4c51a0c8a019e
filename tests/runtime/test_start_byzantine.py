"""Replicated objects, locks and the rest of a client's calls on a committee of which one may lie."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from quorum.apps.replicated import Replicated, command, query
from quorum.errors import RequestRefused
from quorum.runtime.connect import connect
from quorum.runtime.setup import init_cluster
from quorum.runtime.start import start

NODES = ("a", "b", "c", "d")
PATIENCE_S = 30.0

pytestmark = pytest.mark.cluster


class Tally(Replicated):
    value: int = 0

    @command
    def add(self, n: int) -> int:
        if n < 0:
            raise ValueError("this tally only grows")
        self.value += n
        return self.value

    @query
    def get(self) -> int:
        return self.value


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return init_cluster(tmp_path / "cluster", model="byzantine", names=NODES).cluster


async def started(nodes: AsyncExitStack, config: Path, names: tuple[str, ...] = NODES) -> list[Tally]:
    """Handles of the object at each of these nodes, which run from now on."""
    return [await nodes.enter_async_context(start(Tally, node=node, config=config)) for node in names]


def test_a_replicated_class_runs_on_members_that_may_lie(config):
    """A command is believed when T+1 members answered alike; so is what it raises, and each kind of read."""

    async def work() -> None:
        async with AsyncExitStack() as nodes:
            a, b, c, d = await started(nodes, config)
            assert await a.add(3) == 3
            assert await b.add(4) == 7
            assert max(await asyncio.gather(*(c.add(1) for _ in range(50)))) == 57
            with pytest.raises(ValueError, match="only grows"):
                await d.add(-1)
            assert [await d.get(), await d.get(consistency="nearest"), await d.get(consistency="stale")] == [
                57
            ] * 3

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))


def test_a_replicated_class_goes_on_without_one_member_and_after_a_restart_of_all(config):
    async def work() -> None:
        async with AsyncExitStack() as nodes:
            a, *_ = await started(nodes, config)
            await a.add(1)
        async with AsyncExitStack() as nodes:
            a, b, *_ = await started(nodes, config, NODES[:3])
            assert await b.add(1) == 2

    asyncio.run(asyncio.wait_for(work(), 2 * PATIENCE_S))


def test_a_lock_is_passed_on_among_members_that_may_lie(config):
    """Nobody is told by one member that it is its turn: who waits looks now and then."""

    async def work() -> None:
        async with AsyncExitStack() as nodes:
            await started(nodes, config)
            one = await nodes.enter_async_context(connect(config=config, timeout=PATIENCE_S))
            other = await nodes.enter_async_context(connect(config=config, timeout=PATIENCE_S))
            async with one.lock("door") as held:
                waiting = asyncio.create_task(other.lock("door").acquire())
                await asyncio.sleep(0.5)
                assert not waiting.done() and held.is_held
                first = held.token
            assert await waiting > first
            async with one.election("chief").lead(b"one"):
                holder = await other.election("chief").leader()
                assert holder is not None and holder.value == b"one"

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))


def test_what_one_member_alone_would_vouch_for_is_refused_with_what_to_do_instead(config):
    async def work() -> None:
        async with AsyncExitStack() as nodes:
            await started(nodes, config)
            client = await nodes.enter_async_context(connect(config=config, timeout=PATIENCE_S))
            await client.kv.put(b"key", b"value")
            with pytest.raises(RequestRefused, match=r"one of them alone.*Read it again"):
                async with client.kv.watch(b"key") as changes:
                    await anext(changes)
            with pytest.raises(RequestRefused, match="Read it again"):
                await anext(client.election("chief").observe())

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))
