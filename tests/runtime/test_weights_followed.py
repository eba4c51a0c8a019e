"""Whole nodes on loopback whose messages are held back as on long links: weights and the lead follow."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.membership.weighing import WeightTuning
from quorum.runtime.config import load_node, parse_cluster
from quorum.runtime.node import Node
from quorum.runtime.setup import init_cluster
from runtime.test_node import PATIENCE_S, Cluster

pytestmark = pytest.mark.cluster
NEAR_S, FAR_S = 0.001, 0.03
NEAR = frozenset(("n4", "n5"))


class LongLinks:
    """Sends each message later, by how far its receiver is."""

    def __init__(self, transport: Any, node: str, near: frozenset[str] = NEAR) -> None:
        self._transport, self._node, self._near = transport, node, near

    def send(self, to: str, message: object, attached: Sequence[Buffer], later: bool = False) -> None:
        away_s = NEAR_S if {to, self._node} <= self._near else FAR_S
        asyncio.get_running_loop().call_later(away_s, self._leave, to, message, tuple(map(bytes, attached)))

    def _leave(self, to: str, message: object, attached: tuple[bytes, ...]) -> None:
        self._transport.send(to, message, attached)
        self._transport.flush()

    def flush(self) -> None:
        """Whatever leaves is flushed then."""


class WideCluster(Cluster):
    """Five nodes, of which n4 and n5 are near each other; weights may change every second."""

    async def start(self, name: str, bootstrap: bool = False) -> None:
        node = Node(
            load_node(self.layout.nodes[name]), bootstrap, lie=lambda transport, engine: LongLinks(transport, name)
        )
        ready = asyncio.Event()
        self.nodes[name] = node
        self.tasks[name] = asyncio.create_task(node.run(lambda _: ready.set()))
        await ready.wait()
        assert node.engine.steward is not None and node.driver.beside.echoes is not None
        node.engine.steward.follow_network(
            node.driver.beside.echoes.reports, partial(WeightTuning, period_us=1_000_000)
        )


def test_weights_and_the_lead_follow_the_links_of_a_real_cluster(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path / "cluster", nodes=5, insecure=True, faults=1)
    text = layout.cluster.read_text()
    assert 'weights = "fixed"' in text
    layout.cluster.write_text(text.replace('weights = "fixed"  ', 'weights = "network"'))

    async def main() -> None:
        cluster = WideCluster(layout, True)
        await cluster.start_all(bootstrap=True)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                while True:
                    status = await cluster.status(await cluster.leader())
                    weighed = status.node in NEAR and status.weights == {status.node: 3} and not status.outgoing
                    if weighed and len(status.round_trips) == 5:
                        break
                    await asyncio.sleep(0.1)
            (other,) = NEAR - {status.node}
            assert status.weighing, "people are told what was made of it"
            row = status.round_trips[status.node]
            assert min(row, key=row.__getitem__) == other
            async with cluster.client() as client:
                await client.kv.put(b"a", b"1")
        finally:
            await cluster.stop_all()

    asyncio.run(main())


def test_nothing_is_measured_where_weights_are_fixed(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path / "cluster", nodes=3, insecure=True)

    async def main() -> None:
        cluster = Cluster(layout, True)
        await cluster.start_all(bootstrap=True)
        try:
            status = await cluster.status(await cluster.leader())
            assert cluster.nodes[status.node].driver.beside.echoes is None
            assert status.round_trips == {} and status.weighing == ""
        finally:
            await cluster.stop_all()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("model", "reads", "said"),
    [
        ("byzantine", "choose(3, n1, n2, n3, n4)", "in which weights do not count"),
        ("crash", "choose(3, n1, n2, n3, n4)", "in which weights do not count"),
    ],
)
def test_weights_that_would_not_count_are_refused_in_the_file(
    tmp_path: Path, model: str, reads: str, said: str
) -> None:
    named = {"reads": reads} if model == "crash" else {"writes": reads}
    layout = init_cluster(tmp_path / "cluster", nodes=4, insecure=model == "crash", model=model, **named)
    text = re.sub(r"(?ms)^\[participation\].*?^$", "", layout.cluster.read_text())
    with pytest.raises(ConfigurationError, match=said):
        parse_cluster(text.replace("[timing]", 'participation = { weights = "network" }\n[timing]', 1))
