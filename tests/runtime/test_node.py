"""Whole nodes in one process: real log, snapshots, network and clients, on loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quorum.errors import ConfigurationError, NotLeader, Overloaded, QuorumError, RequestRefused
from quorum.membership.reconfiguration import Admit, Change, Evict
from quorum.runtime.client import Client
from quorum.runtime.config import load_node
from quorum.runtime.dialler import Dialler
from quorum.runtime.keyring import issue, load_tls
from quorum.runtime.node import Node
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.setup import ClusterLayout, init_cluster
from quorum.runtime.status import NodeStatus, decode_status

pytestmark = pytest.mark.cluster
PATIENCE_S = 30.0


class Cluster:
    """Nodes as tasks of one loop."""

    def __init__(self, layout: ClusterLayout, insecure: bool) -> None:
        self.layout = layout
        self.tls = None if insecure else load_tls(layout.keys, layout.admin)
        self.endpoints = {member.id: str(member.advertise) for member in layout.config.members}
        self.nodes: dict[str, Node] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, bootstrap: bool = False) -> None:
        node = Node(load_node(self.layout.nodes[name]), bootstrap)
        ready = asyncio.Event()
        self.nodes[name] = node
        self.tasks[name] = asyncio.create_task(node.run(lambda _: ready.set()))
        waiter = asyncio.create_task(ready.wait())
        await asyncio.wait((waiter, self.tasks[name]), return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if self.tasks[name].done():
            await self.tasks[name]

    async def start_all(self, bootstrap: bool = False) -> None:
        for name in self.layout.nodes:
            await self.start(name, bootstrap)

    async def stop(self, name: str) -> None:
        self.nodes.pop(name).stop()
        await self.tasks.pop(name)

    async def stop_all(self) -> None:
        for name in list(self.nodes):
            await self.stop(name)

    def dialler(self) -> Dialler:
        return Dialler(self.layout.config.cluster_id, self.tls)

    def client(self) -> Client:
        return Client(list(self.endpoints.values()), self.dialler(), timeout=PATIENCE_S)

    async def status(self, name: str) -> NodeStatus:
        async with NodeConnection(self.endpoints[name], self.dialler()) as connection:
            return decode_status(await connection.status())

    async def leader(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for name in self.nodes:
                    if (await self.status(name)).role == "leader":
                        return name
                await asyncio.sleep(0.02)

    async def caught_up(self, name: str) -> NodeStatus:
        """Wait until `name` has applied what the leader has."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                leader = await self.status(await self.leader())
                status = await self.status(name)
                if status.applied_index == leader.applied_index:
                    return status
                await asyncio.sleep(0.02)


def run(folder: Path, scenario: Callable[[Cluster], Awaitable[None]], insecure: bool = True) -> None:
    """Run a scenario on three nodes that take a snapshot every 20 entries."""
    layout = init_cluster(folder / "cluster", nodes=3, insecure=insecure)
    text = layout.cluster.read_text()
    text = re.sub(r"(?m)^\[limits\]\n(?:.+\n)*", "", text)
    layout.cluster.write_text(text + "\n[limits]\nsnapshot_entries = 20\nlog_kept_entries = 5\n")

    async def main() -> None:
        cluster = Cluster(layout, insecure)
        await cluster.start_all(bootstrap=True)
        try:
            await scenario(cluster)
        finally:
            await cluster.stop_all()

    asyncio.run(main())


async def put_one_by_one(client: Client, first: int, last: int) -> None:
    for number in range(first, last):
        await client.kv.put(b"key%d" % number, b"value%d" % number)


def test_a_member_that_was_evicted_is_not_dialled_for_ever_and_is_again_once_it_returns(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async def change(change: Change) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while True:  # a leader that was just elected may not have heard from the others yet
                    endpoint = cluster.endpoints[await cluster.leader()]
                    async with NodeConnection(endpoint, cluster.dialler()) as connection:
                        try:
                            return await connection.change(change)
                        except (RequestRefused, Overloaded, NotLeader):
                            await asyncio.sleep(0.05)

        def wanted(name: str) -> set[str]:
            return {"n2", "n3"} - {name} - set(cluster.nodes[name].network._given_up_s)

        async def until_wanted(by_first: set[str], by_second: set[str]) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while (wanted("n1"), wanted("n2")) != (by_first, by_second):
                    await asyncio.sleep(0.02)

        await until_wanted({"n2", "n3"}, {"n3"})
        await change(Evict(("n3",)))
        await until_wanted({"n2"}, set())
        await change(Admit("n3", role="learner"))
        await until_wanted({"n2", "n3"}, {"n3"})

    run(tmp_path, scenario)


def test_a_node_that_missed_everything_fetches_a_snapshot(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        leader = await cluster.leader()
        late = next(name for name in cluster.nodes if name != leader)
        await cluster.stop(late)
        async with cluster.client() as client:
            await put_one_by_one(client, 0, 100)
            await cluster.start(late)
            status = await cluster.caught_up(late)
            assert status.snapshot_index > 20
            await put_one_by_one(client, 100, 110)
            await cluster.caught_up(late)
        assert cluster.nodes[late].host.digest() == cluster.nodes[leader].host.digest()

    run(tmp_path, scenario)


def test_everything_acknowledged_is_there_after_all_nodes_restart(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:
            await put_one_by_one(client, 0, 50)
        await cluster.stop_all()
        await cluster.start_all()
        async with cluster.client() as client:
            found = await client.kv.range(b"key", None)
            assert {item.key: item.value for item in found.items} == {
                b"key%d" % number: b"value%d" % number for number in range(50)
            }

    run(tmp_path, scenario)


def test_a_client_finishes_its_writes_across_leader_changes_each_once(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:
            writes = [client.kv.put_soon(b"counter%d" % number, b"x") for number in range(500)]
            for _ in range(2):
                leader = await cluster.leader()
                await cluster.stop(leader)
                writes += [client.kv.put_soon(b"more%d" % number, b"y") for number in range(100)]
                await asyncio.gather(*writes)
                await cluster.start(leader)
            found = await client.kv.range(b"", None)
            once = {item.key for item in found.items if item.version == 1}
            assert {b"counter%d" % number for number in range(500)} <= once

    run(tmp_path, scenario)


def test_under_mutual_tls_a_cluster_decides_and_certifies(tmp_path: Path) -> None:
    from quorum.certificate import decode_json, verify
    from quorum.systems.build import build

    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:
            first = await client.decide("colour", b"red")
            again = await client.decide("colour", b"blue")
            assert (first.first, again.first, again.value) == (True, False, b"red")
            read = await client.decision("colour")
            assert read is not None and read.value == b"red"
            assert await client.decision("shape") is None
        async with NodeConnection(cluster.endpoints[await cluster.leader()], cluster.dialler()) as connection:
            certificate = decode_json(await connection.certificate("colour"))
        verdict = verify(certificate, build(cluster.layout.config.configuration()), value=b"red")
        assert verdict.valid and not verdict.signed
        assert len(certificate.voters) >= 2

    run(tmp_path, scenario, insecure=False)


def test_a_client_whose_role_is_data_may_not_operate(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path, nodes=3)
    issue(layout.keys, "app", kind="client", role="data")

    async def main() -> None:
        cluster = Cluster(layout, insecure=False)
        await cluster.start_all(bootstrap=True)
        leader = await cluster.leader()
        cluster.tls = load_tls(layout.keys, "client.app")
        async with cluster.client() as client:
            await client.kv.put(b"a", b"1")
            await client.decide("topic", b"value")
        async with NodeConnection(cluster.endpoints[leader], cluster.dialler()) as node:
            for asked in (node.status(), node.certificate("topic"), node.set_link_faults((), ())):
                with pytest.raises(QuorumError, match="its role is data"):
                    await asked
            found = await node.read_stale(b"a")
            assert found is not None and found.value == b"1"
        await cluster.stop_all()

    asyncio.run(main())


def test_stale_reads_are_served_by_any_node_and_linearizable_ones_by_the_leader(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:
            await client.kv.put(b"k", b"v")
            item = await client.kv.get(b"k")
            assert item is not None and item.value == b"v"
        leader = await cluster.leader()
        follower = next(name for name in cluster.nodes if name != leader)
        await cluster.caught_up(follower)
        async with Client([cluster.endpoints[follower]], cluster.dialler()) as client:
            stale = await client.kv.get(b"k", consistency="stale")
            assert stale is not None and stale.value == b"v"

    run(tmp_path, scenario)


def test_a_follower_serves_linearizable_reads_at_the_index_that_its_leader_names(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        leader = await cluster.leader()
        follower = next(name for name in cluster.nodes if name != leader)
        nearest = Client([cluster.endpoints[follower]], cluster.dialler())
        async with cluster.client() as writer, nearest as reader:
            for number in range(20):
                await writer.kv.put(b"k", b"%d" % number)
                item = await reader.kv.get(b"k", consistency="nearest")
                assert item is not None and item.value == b"%d" % number
            assert reader._session.endpoint == cluster.endpoints[follower]

    run(tmp_path, scenario)


def test_a_node_without_its_data_is_refused_and_so_is_a_second_bootstrap(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path / "cluster", nodes=3, insecure=True)
    first = layout.nodes["n1"]

    async def lost() -> None:
        await Node(load_node(first)).run()

    with pytest.raises(ConfigurationError, match="--bootstrap"):
        asyncio.run(lost())

    async def twice() -> None:
        node = Node(load_node(first), bootstrap=True)
        task = asyncio.create_task(node.run(lambda node: node.stop()))
        await task
        await Node(load_node(first), bootstrap=True).run()

    with pytest.raises(ConfigurationError):
        asyncio.run(twice())
