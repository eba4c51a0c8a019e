"""What a certificate allows: a client with the role data uses the applications, and no more, whatever it sends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import get_args

import pytest

from quorum.errors import QuorumError, RemoteProtocolError
from quorum.membership.reconfiguration import Admit, Evict, encode_change
from quorum.runtime import keyring, messages
from quorum.runtime.client import Client
from quorum.runtime.dial import dial
from quorum.runtime.dialler import Dialler
from quorum.runtime.handshake import PROTOCOL_VERSION, Hello, HelloRejected
from quorum.runtime.messages import (
    ApproveRequest,
    BackupChunkRequest,
    BackupRequest,
    CertificateRequest,
    ChangeRequest,
    ClientMessage,
    EpochsRequest,
    Failure,
    LinkFaultRequest,
    MembersRequest,
    ProofRequest,
    Pulse,
    Query,
    StatusRequest,
    Submit,
    SubmitSigned,
    TransferRequest,
    Unwatch,
    Watch,
)
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.setup import init_cluster
from runtime.network_ends import Caller, Keys, hello, started
from runtime.network_ends import run as run_network
from runtime.test_node import Cluster

OPERATIONS = {
    StatusRequest(1): b"",
    CertificateRequest(1, "topic"): b"",
    LinkFaultRequest(1, ("b",), ("c",)): b"",
    ChangeRequest(1): encode_change(Admit("evil", address="127.0.0.1:9")),
    TransferRequest(1, None): b"",
    ApproveRequest(1): b"{}",
    BackupRequest(1): b"",
    BackupChunkRequest(1, 1, 0): b"",
}
USES = (Submit, SubmitSigned, Query, ProofRequest, MembersRequest, EpochsRequest, Watch, Unwatch, Pulse)


def on_cluster(folder: Path, scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    """Run a scenario on three nodes with certificates, and a client `app` whose role is data."""
    layout = init_cluster(folder / "cluster", names=("a", "b", "c"), allow_faults=True)
    keyring.issue(layout.keys, "app", kind="client", role="data")

    async def main() -> None:
        cluster = Cluster(layout, insecure=False)
        await cluster.start_all(bootstrap=True)
        try:
            async with asyncio.timeout(60):
                await scenario(cluster)
        finally:
            await cluster.stop_all()

    asyncio.run(main())


def app_dialler(cluster: Cluster) -> Dialler:
    tls = keyring.load_tls(cluster.layout.keys, "client.app")
    return Dialler(cluster.layout.config.cluster_id, tls)


def test_every_request_is_either_a_use_or_an_operation():
    """A request that is added later appears here, or this test fails."""
    assert set(get_args(ClientMessage)) == {type(message) for message in OPERATIONS} | set(USES)


@pytest.mark.cluster
def test_a_client_with_the_role_data_may_ask_no_operation_of_any_node(tmp_path):
    async def scenario(cluster: Cluster) -> None:
        before = await cluster.status(await cluster.leader())
        for name, endpoint in cluster.endpoints.items():
            async with NodeConnection(endpoint, app_dialler(cluster)) as node:
                for message, attached in OPERATIONS.items():
                    asked = type(message)(node._take(), *_rest(message))
                    with pytest.raises(QuorumError) as refused:
                        await node._ask(asked, attached)
                    assert str(refused.value) == (
                        f"client.app asked to operate {name}, but its role is data. Use an admin certificate."
                    )
        after = await cluster.status(await cluster.leader())
        assert (after.epoch, after.members, after.leader, after.term) == (
            before.epoch,
            before.members,
            before.leader,
            before.term,
        )
        assert after.blocked == () and not list((cluster.layout.folder / "evil").glob("*"))
        async with Client(list(cluster.endpoints.values()), app_dialler(cluster)) as client:
            assert (await client.kv.put(b"a", b"1")).revision == 1, "what it may do, it still can"

    on_cluster(tmp_path, scenario)


def _rest(message: object) -> list[object]:
    return [getattr(message, field) for field in message.__struct_fields__[1:]]  # type: ignore[attr-defined]


@pytest.mark.cluster
def test_a_refused_operation_does_not_hold_up_what_follows_it_on_the_connection(tmp_path):
    async def scenario(cluster: Cluster) -> None:
        heard: asyncio.Queue[object] = asyncio.Queue()
        dialler = app_dialler(cluster)
        await dialler.open(
            cluster.endpoints["a"], lambda received: [heard.put_nowait(m) for m, _ in received], lambda: None
        )
        dialler.send(ChangeRequest(1), encode_change(Evict(("a",))))
        dialler.send(MembersRequest(2), b"")
        dialler.flush()
        first, second = await heard.get(), await heard.get()
        assert isinstance(first, Failure) and (first.request, first.code) == (1, messages.REFUSED)
        assert isinstance(second, messages.MembersReply) and second.request == 2
        await dialler.aclose()

    on_cluster(tmp_path, scenario)


@pytest.mark.cluster
def test_a_client_can_pass_for_a_node_neither_by_calling_nor_by_answering(tmp_path):
    """Admins included: operating a cluster is not being a part of it."""

    async def scenario(cluster: Cluster) -> None:
        keys = cluster.layout.keys
        host, port = cluster.endpoints["b"].split(":")
        for identity in ("client.app", "client.admin"):
            tls = keyring.load_tls(keys, identity)
            said = Hello(PROTOCOL_VERSION, cluster.layout.config.cluster_id, "peer", "a", "b")
            with pytest.raises(HelloRejected, match=f"a was claimed, but the certificate names '{identity}'"):
                await dial((host, int(port)), tls, said, Caller())
            server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=tls.server)
            port_of_liar = server.sockets[0].getsockname()[1]
            with pytest.raises(ssl.SSLError, match="unsuitable certificate purpose"):
                await app_dialler(cluster).open(f"127.0.0.1:{port_of_liar}", lambda _: None, lambda: None)
            server.close()

    on_cluster(tmp_path, scenario)


@pytest.mark.parametrize("unit", ["data", "admin", "node", ""])
def test_whoever_answers_a_client_must_show_the_certificate_of_a_node(tmp_path, unit):
    """Also where another authority's habits leave out what the certificate may be used for."""
    keys = Keys(tmp_path)

    async def main():
        node, _ = await started("n9", keys.contexts("n9", unit=unit or "other"))
        called = dial(
            node.address, keys.contexts("client.a", unit="data"), hello("", role="client", to=""), Caller()
        )
        if unit == "node":
            (await called).close()
        else:
            with pytest.raises(RemoteProtocolError, match="a certificate that is no node's"):
                await called
        await node.close()

    run_network(main)


@pytest.mark.cluster
def test_a_revoked_client_is_turned_away_by_every_node_that_has_started_since(tmp_path):
    async def scenario(cluster: Cluster) -> None:
        dialler = app_dialler(cluster)
        keyring.revoke(cluster.layout.keys, "client.app")
        for name in "abc":
            await cluster.stop(name)
            await cluster.start(name)
            with pytest.raises(OSError):
                await dialler.open(cluster.endpoints[name], lambda _: None, lambda: None)
        async with cluster.client() as client:
            await client.kv.put(b"a", b"1")

    on_cluster(tmp_path, scenario)
