"""Whatever an operator asks, by mistake or in anger, no node falls over it: it is refused, with the reason."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from quorum.errors import QuorumError
from quorum.membership.reconfiguration import (
    Admit,
    Change,
    Demote,
    Evict,
    Promote,
    Replace,
    Reseat,
    SetPolicy,
    SetPriority,
    SetQuorums,
    SetWeight,
    SetWeights,
    apply_change,
    encode_change,
)
from quorum.model import Seat
from quorum.runtime.client import Client
from quorum.runtime.messages import (
    BackupChunkRequest,
    CertificateRequest,
    ChangeRequest,
    LinkFaultRequest,
    TransferRequest,
)
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.setup import init_cluster
from runtime.test_directory import Reader
from runtime.test_node import Cluster

pytestmark = pytest.mark.cluster
HUGE = 1 << 62
DEEP = "(" * 5000 + "n1" + ")" * 5000
TAKEN = b"taken"

CHANGES: dict[str, Change | bytes] = {
    "no json": b"\xff\xfe",
    "nothing": b"",
    "a number": b"5",
    "json in ten thousand levels": b"[" * 10_000,
    "another change": b'{"change": "explode"}',
    "a field of its own": b'{"change": "evict", "nodes": ["n1"], "force": true}',
    "a node of another type": b'{"change": "promote", "node": 7}',
    "an address that is none": Admit("n9", address="nonsense"),
    "an address without a port": Admit("n9", address="127.0.0.1"),
    "an address of every interface": Admit("n9", address="0.0.0.0:7000"),
    "an address with a line feed": Admit("n9", address="127.0.0.1:7\n"),
    "the address of another member": TAKEN,
    "an address for a replacement that is none": Replace("n1", "n9", "nonsense"),
    "a name that is a path": Admit("../../etc", address="127.0.0.1:7"),
    "a name of ten thousand letters": Admit("n" * 10_000, address="127.0.0.1:7"),
    "a weight of nothing": Admit("n9", "learner", "127.0.0.1:7", 0),
    "a weight beyond bounds": SetWeight("n1", HUGE),
    "a priority beyond bounds": SetPriority("n1", HUGE),
    "a priority below": SetPriority("n1", -HUGE),
    "nobody evicted": Evict(()),
    "everybody evicted": Evict(("n1", "n2", "n3")),
    "a stranger evicted": Evict(("n7",)),
    "a stranger demoted": Demote("n7"),
    "a voter promoted": Promote("n1"),
    "a quorum of nobody": SetQuorums("n7", "n7"),
    "quorums that miss each other": SetQuorums("n1", "n2"),
    "an expression that is none": SetQuorums("n1 +", "* n2"),
    "an expression that is deep": SetQuorums(DEEP, ""),
    "an expression that is long": SetQuorums(" + ".join(["n1"] * 50_000), ""),
    "a choice beyond its nodes": SetQuorums("choose(9, n1, n2)", ""),
    "a choice of a negative number": SetQuorums("choose(-1, n1, n2)", ""),
    "a policy that is none": SetPolicy("nonsense" * 10_000),
    "a T that no log can hold": SetPolicy("adaptive", faults=HUGE * HUGE),
    "a T that no cluster tolerates": SetPolicy("adaptive", faults=HUGE),
    "a T of less than nobody": SetPolicy("adaptive", faults=-1),
    "a floor of less than nobody": SetPolicy("adaptive", floor=-HUGE),
    "a floor beyond all members": SetPolicy("adaptive", floor=HUGE * HUGE),
    "weights that survive less than nothing": SetWeights((("n1", 2),), -1),
    "a seat with flaps that fell every leader": Reseat((Seat("n3", "late", 0, -1),)),
    "a seat with a reason of a million letters": Reseat((Seat("n3", "x" * 1_000_000, HUGE, HUGE),)),
}
REQUESTS = {
    "a transfer to a stranger": lambda request: TransferRequest(request, "n7"),
    "a transfer to nobody": lambda request: TransferRequest(request, ""),
    "a transfer to a text of a million letters": lambda request: TransferRequest(request, "n" * 1_000_000),
    "a certificate of nothing": lambda request: CertificateRequest(request, ""),
    "a certificate of half a character": lambda request: CertificateRequest(request, "topic\0" * 1000),
    "a drill where none is allowed": lambda request: LinkFaultRequest(request, ("n1",), ("n2",)),
}
CHUNKS = [(-1, 0), (0, -1), (HUGE, 0), (0, HUGE), (-HUGE, -HUGE), (1, HUGE), (5, -5)]


def test_no_request_of_an_operator_fells_a_node_or_changes_what_it_should_not(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path / "c", nodes=3, insecure=True)

    async def main() -> None:
        cluster = Cluster(layout, insecure=True)
        await cluster.start_all(bootstrap=True)
        try:
            async with asyncio.timeout(120):
                await attack(cluster)
        finally:
            await cluster.stop_all()

    asyncio.run(main())


async def attack(cluster: Cluster) -> None:
    leader = await cluster.leader()
    async with Client(list(cluster.endpoints.values()), cluster.dialler(), timeout=20) as client:
        await client.kv.put(b"a", b"1")
        before = await cluster.status(leader)
        for name, change in CHANGES.items():
            if change is TAKEN:
                change = Admit("n9", address=cluster.endpoints["n2"])
            body = change if isinstance(change, bytes) else encode_change(change)
            await refused(cluster, leader, name, ChangeRequest, body)
        for name, make in REQUESTS.items():
            await refused(cluster, leader, name, make)
        async with NodeConnection(cluster.endpoints[leader], cluster.dialler()) as node:
            await node.backup()
            for index, offset in CHUNKS:
                assert (await node._ask(BackupChunkRequest(node._take(), index, offset)))[1] == b""
        for name in cluster.nodes:
            assert not cluster.tasks[name].done(), f"{name} runs on"
            found = await cluster.status(name)
            assert (found.epoch, found.voters, found.term) == (before.epoch, before.voters, before.term)
        assert (await client.kv.put(b"a", b"2")).revision == 2
        await order_a_wrong_address(cluster, leader)
        assert (await client.kv.put(b"a", b"3")).revision == 3


async def order_a_wrong_address(cluster: Cluster, leader: str) -> None:
    """A log that has one already, from before it was looked at: no node stops for it."""
    node, face = cluster.nodes[leader], Reader()
    target = apply_change(node.replica.configuration, Admit("n9", "learner", "nonsense"))
    node.driver.change(node.gateway._operation(face, 1), target)
    node._wake()
    while not face.heard:
        await asyncio.sleep(0.02)
    for name in cluster.nodes:
        while "n9" not in (await cluster.status(name)).members:
            await asyncio.sleep(0.02)
        assert not cluster.tasks[name].done() and "n9" not in (await cluster.status(name)).addresses


async def refused(cluster: Cluster, leader: str, name: str, make, body: bytes = b"") -> None:
    """The request is answered, on a connection that goes on."""
    async with NodeConnection(cluster.endpoints[leader], cluster.dialler()) as node:
        try:
            with pytest.raises(QuorumError) as told:
                await node._ask(make(node._take()), body, within_s=5)
        except BaseException as error:
            raise AssertionError(f"{name}: {error!r}") from error
        assert "closed the connection" not in str(told.value) and "did not answer" not in str(told.value), name
        assert len(str(told.value)) < 3000, f"{name}: the answer is as long as the question"
        msgspec.json.decode(await node.status())
