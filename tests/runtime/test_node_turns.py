"""The turns of a node: one for each turn of the loop, however much there is to do."""

from __future__ import annotations

import asyncio
import time

from quorum.runtime.config import load_node
from quorum.runtime.node import Node
from quorum.runtime.setup import init_cluster

SLICES = 60
SLICE_S = 0.0025


def test_long_work_is_done_in_one_slice_a_turn_whatever_else_comes_meanwhile(tmp_path):
    layout = init_cluster(tmp_path / "cluster", nodes=1, insecure=True)
    ((_, settings),) = layout.nodes.items()
    done_in_turns: list[int] = []
    done: list[bytes] = []
    slices_done = 0

    def slices():
        nonlocal slices_done
        for _ in range(SLICES):
            slices_done += 1
            time.sleep(SLICE_S)
            yield b""
        yield b"digest"

    async def main() -> None:
        nonlocal slices_done
        node = Node(load_node(settings), bootstrap=True, is_guest=True)
        serving = asyncio.create_task(node.run())
        async with asyncio.timeout(20):
            while getattr(node, "replica", None) is None or node.replica.leader is None:
                await asyncio.sleep(0.01)
            node.driver.comparison._digests.add(1, slices(), lambda index, digest: done.append(digest))
            node._wake()
            while not done:
                slices_done = 0
                node._act(lambda: None)  # as whatever a thread has done
                await asyncio.sleep(0)
                done_in_turns.append(slices_done)
            node.stop()
            await serving

    asyncio.run(main())
    assert done == [b"digest"]
    assert max(done_in_turns) <= 4  # of what comes and of what is scheduled: a round, and one for a sync's end
