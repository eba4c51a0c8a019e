"""The faults of a drill, one after the other: kill -9, SIGSTOP, a partition, and the end of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorum.console.drill import Arena

CALM_S = 2.0
"""The last seconds of a drill are without new faults."""
FAULT_S_MIN = 0.5


async def strike(target: Arena, random: Random, faults: Sequence[str], seconds: float) -> None:
    """One fault after the other, each kind in turn; half of them, and some more, hit the leader. No more nodes are
    hurt at once than may be missing."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    kinds: list[str] = []
    honest = [node for node in target.nodes if node not in target.lies]  # a liar that is down lies no more
    while faults and loop.time() < end_s - CALM_S - FAULT_S_MIN:
        if not kinds:
            kinds = random.sample(list(faults), len(faults))
        victims = random.sample(honest, random.randint(1, target.minority))
        leader = target.leading()
        if random.random() < 0.6 and leader in honest and leader not in victims:
            victims[0] = leader
        left_s = max(0.0, end_s - CALM_S - loop.time())
        await _hurt(target, kinds.pop(), victims, min(random.uniform(FAULT_S_MIN, 3.0), left_s))
        await asyncio.sleep(min(random.uniform(0.3, 1.2), max(0.0, end_s - loop.time())))
    await asyncio.sleep(max(0.0, end_s - loop.time()))


async def _hurt(target: Arena, kind: str, victims: Sequence[str], lasts_s: float) -> None:
    """One fault, and its end."""
    match kind:
        case "kill":
            for node in victims:
                await target.kill(node)
            await asyncio.sleep(lasts_s)
            for node in victims:
                target.restart(node)
        case "stop":
            for node in victims:
                target.freeze(node)
            await asyncio.sleep(lasts_s)
            for node in victims:
                target.thaw(node)
        case "split":
            await target.split(sorted(victims))
            await asyncio.sleep(lasts_s)
            await target.heal()
