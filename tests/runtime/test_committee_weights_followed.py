"""Whole nodes on loopback, of which one may lie, with messages held back as on long links: weights follow."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from quorum.certificate.committee import Committee
from quorum.runtime import engine
from quorum.runtime.committee_weigher import CommitteeWeigher, Pace
from quorum.runtime.config import load_node
from quorum.runtime.connect import connect
from quorum.runtime.engine import PbftEngine
from quorum.runtime.node import Node
from quorum.runtime.setup import init_cluster
from runtime.test_node import PATIENCE_S, Cluster
from runtime.test_weights_followed import LongLinks

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NEAR = frozenset(("n3", "n4", "n5"))


class WideCommittee(Cluster):
    """Five members, of which three are near each other."""

    async def start(self, name: str, bootstrap: bool = False) -> None:
        config = load_node(self.layout.nodes[name])
        node = Node(config, bootstrap, lie=lambda transport, _: LongLinks(transport, name, NEAR))
        ready = asyncio.Event()
        self.nodes[name] = node
        self.tasks[name] = asyncio.create_task(node.run(lambda _: ready.set()))
        await ready.wait()

    def committee(self, name: str) -> Committee:
        found = self.nodes[name].engine
        assert isinstance(found, PbftEngine)
        return found.replica.state.committee


def test_weights_and_the_lead_follow_the_links_of_members_that_may_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(CommitteeWeigher, pace=Pace(report_us=300_000, period_us=2_000_000))
    monkeypatch.setattr(engine, "CommitteeWeigher", quick)
    layout = init_cluster(tmp_path / "cluster", nodes=5, model="byzantine")
    text = layout.cluster.read_text()
    assert 'weights = "fixed"' in text, "the file says what there is to choose"
    layout.cluster.write_text(text.replace('weights = "fixed"  ', 'weights = "network"'))

    async def main() -> None:
        cluster = WideCommittee(layout, False)
        await cluster.start_all(bootstrap=True)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                while not all(cluster.committee(name).primary in NEAR for name in cluster.nodes):
                    await asyncio.sleep(0.1)
            committee = cluster.committee("n1")
            assert {member.node for member in committee.members if member.weight == 2} < NEAR
            status = await cluster.status("n1")
            assert any(said in status.weighing for said in ("a decision should take", "round trips", "looks"))
            async with asyncio.timeout(PATIENCE_S):
                while len((await cluster.status("n1")).round_trips) < 5:
                    await asyncio.sleep(0.1)
            assert status.writes == str(committee.system.writes)
            async with connect(config=layout.cluster) as client:
                await client.kv.put(b"a", b"1")
        finally:
            await cluster.stop_all()

    asyncio.run(main())
