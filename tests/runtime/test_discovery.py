"""A client follows its cluster while every node that it knew is replaced: whole nodes, real certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quorum.errors import ConfigurationError, NotLeader, QuorumError
from quorum.membership.reconfiguration import Replace
from quorum.runtime.client import Client
from quorum.runtime.config import load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.dialler import Dialler
from quorum.runtime.enrol import add_member
from quorum.runtime.keyring import load_tls
from quorum.runtime.node import Node
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.setup import NODE_FILE, init_cluster
from runtime.test_node import PATIENCE_S, Cluster

pytestmark = pytest.mark.cluster


class Counting(Dialler):
    """A dialler that notes whom it calls, and as whom."""

    def __init__(self, cluster: str, tls: object) -> None:
        super().__init__(cluster, tls)  # type: ignore[arg-type]
        self.called: list[tuple[str, str]] = []

    async def open(self, endpoint, on_messages, on_closed, node="") -> None:
        self.called.append((endpoint, node))
        await super().open(endpoint, on_messages, on_closed, node)


def run(folder: Path, scenario: Callable[[Cluster], Awaitable[None]], insecure: bool = False) -> None:
    layout = init_cluster(folder, names=("a", "b", "c"), insecure=insecure)

    async def main() -> None:
        cluster = Cluster(layout, insecure)
        await cluster.start_all(bootstrap=True)
        try:
            async with asyncio.timeout(3 * PATIENCE_S):
                await scenario(cluster)
        finally:
            await cluster.stop_all()

    asyncio.run(main())


async def replace(cluster: Cluster, old: str, new: str) -> None:
    """`new` takes the place of `old`, which is then stopped."""
    layout = cluster.layout
    known = {member.id for member in load_cluster(layout.cluster).members}
    if new not in known:
        add_member(layout.cluster, new)
    layout.nodes[new] = layout.folder / new / NODE_FILE
    cluster.endpoints[new] = str(load_cluster(layout.cluster).member(new).advertise)
    await join(cluster, new)
    for _ in range(200):
        async with NodeConnection(cluster.endpoints[await cluster.leader()], cluster.dialler()) as connection:
            try:
                await connection.change(Replace(old, new, cluster.endpoints[new]))
                break
            except (NotLeader, ConfigurationError, QuorumError) as error:
                if "is no member" in str(error):
                    break
                await asyncio.sleep(0.05)
    await cluster.stop(old)


async def join(cluster: Cluster, name: str) -> None:
    from quorum.runtime.config import load_node

    node, ready = Node(load_node(cluster.layout.nodes[name]), join=True), asyncio.Event()
    cluster.nodes[name] = node
    cluster.tasks[name] = asyncio.create_task(node.run(lambda _: ready.set()))
    await ready.wait()


async def settled(client: Client, members: set[str]) -> None:
    """Wait until the client knows these addresses, and prefers no other."""
    while set(client.endpoints[: len(members)]) != members:
        await asyncio.sleep(0.02)


def test_a_client_that_knew_one_node_goes_on_after_every_node_was_replaced(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        dialler = Counting(cluster.layout.config.cluster_id, cluster.tls)
        async with Client([cluster.endpoints["a"]], dialler, timeout=PATIENCE_S) as client:
            assert (await client.kv.put(b"k", b"0")).revision > 0
            await settled(client, set(cluster.endpoints.values()))
            gone = []
            for number, (old, new) in enumerate(zip("abc", "def", strict=True), 1):
                await replace(cluster, old, new)
                gone.append(cluster.endpoints.pop(old))
                await client.kv.put(b"k", b"%d" % number)
                await settled(client, set(cluster.endpoints.values()))
            assert set(cluster.endpoints) == set("def")
            for _ in range(2):  # leaders come and go; nobody who has left is dialled
                dialler.called.clear()
                leader = await cluster.leader()
                await cluster.stop(leader)
                await client.kv.put(b"k", b"again")
                await cluster.start(leader)
                item = await client.kv.get(b"k")
                assert item is not None and item.value == b"again"
                assert not {endpoint for endpoint, _ in dialler.called} & set(gone)
            names = {endpoint: name for name, endpoint in cluster.endpoints.items()}
            assert dialler.called and all(node == names[endpoint] for endpoint, node in dialler.called)

    run(tmp_path / "cluster", scenario)


def test_without_discovery_only_the_given_addresses_are_dialled(tmp_path: Path) -> None:
    """A negative control, too: this client is lost once its node has gone."""

    async def scenario(cluster: Cluster) -> None:
        dialler = Counting(cluster.layout.config.cluster_id, cluster.tls)
        leader = await cluster.leader()
        async with Client([cluster.endpoints[leader]], dialler, timeout=1.5, discover=False) as client:
            await client.kv.put(b"k", b"0")
            await cluster.stop(leader)
            with pytest.raises(QuorumError):
                await client.kv.put(b"k", b"1")
        assert {endpoint for endpoint, _ in dialler.called} == {cluster.endpoints[leader]}

    run(tmp_path / "cluster", scenario)


def test_a_client_of_some_nodes_dials_no_others(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        place, leader = at_config(cluster.layout.cluster), await cluster.leader()
        async with place.client(PATIENCE_S, only=[leader]) as client, place.client(PATIENCE_S) as other:
            await settled(other, set(cluster.endpoints.values()))
            await client.kv.put(b"key", b"value")
            assert client.endpoints == (place.endpoints[leader],)

    run(tmp_path / "cluster", scenario)


def test_at_the_address_of_a_member_only_that_member_is_believed(tmp_path: Path) -> None:
    """Another node of the cluster, honest or not, at an address that is not its own, is refused by name."""

    async def scenario(cluster: Cluster) -> None:
        async with Client([cluster.endpoints["a"]], cluster.dialler(), timeout=PATIENCE_S) as client:
            await client.kv.put(b"k", b"0")
            await settled(client, set(cluster.endpoints.values()))
        with pytest.raises(QuorumError, match="node 'b' was asked for, but this is a"):
            await cluster.dialler().open(cluster.endpoints["a"], lambda _: None, lambda: None, "b")

    run(tmp_path / "cluster", scenario)


def test_in_plain_text_on_this_machine_members_are_followed_as_well(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with Client([cluster.endpoints["a"]], cluster.dialler(), timeout=PATIENCE_S) as client:
            await client.kv.put(b"k", b"0")
            await settled(client, set(cluster.endpoints.values()))
            await cluster.stop("a")
            await client.kv.put(b"k", b"1")

    run(tmp_path / "cluster", scenario, insecure=True)


def test_a_client_whose_role_is_data_discovers_members_too(tmp_path: Path) -> None:
    from quorum.runtime.keyring import issue

    async def scenario(cluster: Cluster) -> None:
        issue(cluster.layout.keys, "app", kind="client", role="data")
        cluster.tls = load_tls(cluster.layout.keys, "client.app")
        async with Client([cluster.endpoints["c"]], cluster.dialler(), timeout=PATIENCE_S) as client:
            await client.kv.put(b"k", b"0")
            await settled(client, set(cluster.endpoints.values()))

    run(tmp_path / "cluster", scenario)
