"""Control loops on real nodes with TLS: in crash mode, and where members may lie."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from quorum.apps.control import Decided
from quorum.apps.replicated_types import ReplicatedCounter
from quorum.errors import ApplicationError, ConfigurationError
from quorum.runtime.connect import Connection, connect
from quorum.runtime.control_agent import ControlAgent
from quorum.runtime.keyring import issue
from quorum.runtime.setup import init_cluster
from quorum.runtime.start import start
from quorum.voting.control.channels import Channel, Reading

PATIENCE_S = 60.0
NODES = ("a", "b", "c", "d")
LOOP = "boiler"

pytestmark = pytest.mark.cluster


def value_of(node: str) -> float:
    """What the channel of a node says; that of d lies."""
    return 85.0 if node == "d" else 20.0 + NODES.index(node) / 10


@pytest.mark.parametrize("model", ["crash", "byzantine"])
def test_all_agents_act_alike_although_one_channel_lies_and_one_node_stops(tmp_path: Path, model: str):
    layout = init_cluster(tmp_path / "cluster", model=model, names=NODES)
    identities = {node: issue(layout.keys, f"probe-{node}", kind="client") for node in NODES}

    async def work() -> None:
        async with AsyncExitStack() as nodes, AsyncExitStack() as clients:
            stoppable = await nodes.enter_async_context(AsyncExitStack())
            for node in NODES:
                owner = stoppable if node == "c" else nodes
                await owner.enter_async_context(start(ReplicatedCounter, node=node, config=layout.cluster))
            links: dict[str, Connection] = {}
            for node, identity in identities.items():
                link = connect(config=layout.cluster, identity=identity)
                links[node] = await clients.enter_async_context(link)
            await declare(links)
            check(await take_part(links, ticks=4))
            check(await take_part(links, ticks=4, beside=True))
            await stoppable.aclose()
            check(await take_part(links, ticks=4))
            with pytest.raises(ConfigurationError, match="only a, b, c, d are known"):
                links["a"].control_at("e")
            with pytest.raises(ApplicationError, match="owns it"):
                await links["a"].control.report(LOOP, 1 << 50, [Reading("b", 0, 85.0)])

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))


async def declare(links: dict[str, Connection]) -> None:
    await links["a"].control.declare(
        LOOP,
        [Channel(name=node, half_width=0.5) for node in NODES],
        "3oo4 2oo3",
        faults=1,
        period=0.2,
        deadline=0.2,
        owners={node: link.caller for node, link in links.items()},
    )


async def take_part(links: dict[str, Connection], ticks: int, beside: bool = False) -> dict[str, list[Decided]]:
    """What each agent acted on in so many ticks; those `beside` a node hear of it from that node."""
    acted: dict[str, list[Decided]] = {node: [] for node in links}

    def agent(node: str, link: Connection) -> ControlAgent:
        def read(tick: int) -> list[Reading]:
            return [Reading(node, 0, value_of(node))]

        heard = link.control_at(node) if beside else None
        return ControlAgent(link.control, LOOP, read, acted[node].append, heard=heard)

    await asyncio.gather(*(agent(node, link).run(ticks) for node, link in links.items()))
    return acted


def check(acted: dict[str, list[Decided]]) -> None:
    by_tick: dict[int, Decided] = {}
    for decisions in acted.values():
        ticks = [each.tick for each in decisions]
        assert ticks and ticks == sorted(set(ticks))
        for each in decisions:
            assert by_tick.setdefault(each.tick, each) == each, "two agents acted differently"
    valued = [each for each in by_tick.values() if each.low is not None and each.high is not None]
    assert valued
    assert all(each.low <= 20.2 and each.high >= 20.0 and "d" not in each.used for each in valued)
