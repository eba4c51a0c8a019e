"""What an operator relies on, on five real processes: data that verifies, liars found out, clusters kept apart."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from quorum.apps.catalogue import KV_APP, new_host
from quorum.apps.kv import Put, encode_batch
from quorum.entry import COMMAND
from quorum.errors import QuorumError
from quorum.header import Header
from quorum.membership.reconfiguration import Evict, encode_change
from quorum.runtime.codec import MessageCodec, cluster_tag, encode_frame
from quorum.runtime.config import load_cluster
from quorum.runtime.connect import connect
from quorum.runtime.dialler import Dialler
from quorum.runtime.files import RealFiles
from quorum.runtime.handshake import CONTROL_CHANNEL, HANDSHAKE, PROTOCOL_VERSION, Hello
from quorum.runtime.local import LocalCluster
from quorum.runtime.messages import ChangeRequest, ClientMessage, Submit
from quorum.runtime.snapshots import SnapshotStore

pytestmark = pytest.mark.cluster


@pytest.fixture
def folder(run, tmp_path) -> Iterator[Path]:
    """The folder of a running cluster of five that takes a snapshot every 50 entries."""
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 5).exit_code == 0
    with_snapshots(made / "cluster.toml")
    result = run("up", "--folder", made)
    assert result.exit_code == 0, result.output
    yield made
    run("down", "--folder", made)


def with_snapshots(path: Path) -> None:
    text = re.sub(r"(?m)^\[limits\]\n(?:.+\n)*", "", path.read_text())
    path.write_text(text + "\n[limits]\nsnapshot_entries = 50\nlog_kept_entries = 100\ndigest_entries = 100\n")


def write(folder: Path, count: int) -> None:
    """So many entries, one after another."""

    async def main() -> None:
        async with connect(config=folder / "cluster.toml", timeout=60) as client:
            for number in range(count):
                await client.kv.put(b"key %d" % (number % 100), b"%d" % number)

    asyncio.run(main())


def test_the_data_of_a_stopped_node_verifies_and_no_node_begins_anew_on_data(run, run_json, folder):
    write(folder, 120)
    local = LocalCluster(folder / "cluster.toml")
    refused = run("verify-data", folder / "n5" / "data")
    assert refused.exit_code == 2 and "n5" in refused.stderr, "a running node has its folder"
    local.stop(("n5",))
    code, report = run_json("verify-data", folder / "n5" / "data")
    assert code == 0 and report["start"] == "clean" and report["last_index"] >= 120
    for flag in ("--bootstrap", "--join"):
        begun = subprocess.run(
            [sys.executable, "-m", "quorum", "node", "--config", folder / "n5" / "node.toml", flag],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert begun.returncode == 2 and "Traceback" not in begun.stderr
        assert "already run" in begun.stderr, begun.stderr
    assert run_json("verify-data", folder / "n5" / "data")[1]["last_index"] == report["last_index"]
    assert run("init", "--folder", folder, "--nodes", 5).exit_code == 2
    assert run("up", "--folder", folder).exit_code == 0
    assert run_json("status", "--config", folder / "cluster.toml")[1]["healthy"]


def forge_snapshot(folder: Path, node: str) -> None:
    """The newest snapshot of a stopped node now holds another state, and is whole by every checksum in it."""
    cluster = load_cluster(folder / "cluster.toml").cluster_id
    place = folder / node / "data" / "snapshots"
    store = SnapshotStore(RealFiles(), str(place), cluster)
    mark = store.newest()
    assert mark is not None, "50 entries were written"
    host = new_host()
    host.restore(store.load(mark.index))
    forged = encode_batch([Put(b"key 1", b"forged")])
    host.application(KV_APP).apply(Header(mark.index, 1, COMMAND, KV_APP, 1, 0, 0, 0, 0, 0, 1, b""), forged)
    chunks = list(host.snapshot())
    store.close()
    for path in place.glob("*.snap"):
        path.unlink()
    store = SnapshotStore(RealFiles(), str(place), cluster)

    def written(found: object, error: BaseException | None) -> None:
        assert error is None

    store.write(mark, iter(chunks), written)
    store.close()


def test_a_leader_whose_state_is_not_that_of_a_quorum_is_named_whatever_it_says(run, run_json, folder):
    """Digests are compared by quorum: the one that leads is in the wrong here, and nobody takes its word."""
    at = ("--config", folder / "cluster.toml")
    write(folder, 120)
    LocalCluster(folder / "cluster.toml").stop(("n1",))
    forge_snapshot(folder, "n1")
    assert run("verify-data", folder / "n1" / "data").exit_code == 0, "by itself it looks sound"
    assert run("up", "--folder", folder).exit_code == 0
    assert run("transfer", "n1", *at).exit_code == 0
    write(folder, 210)
    code, overview = run_json("status", *at)
    assert code == 1 and not overview["healthy"]
    assert overview["leader"] != "n1", "it led, and has handed over"
    assert any("n1 has diverged" in warning for warning in overview["warnings"])
    for node, status in overview["nodes"].items():
        assert status["diverged"] == ["n1"], f"{node} knows it, n1 itself too"
    assert "DIVERGED" in run("members", *at).stdout
    refused = run("backup", folder / "wrong", "--node", "n1", *at)
    assert refused.exit_code == 1 and "its state differs" in refused.stderr and not (folder / "wrong").exists()
    assert run("admit", "n6", "--replace", "n1", *at).exit_code == 0, "and so it is cured"
    write(folder, 210)
    overview = run_json("status", *at)[1]
    assert overview["healthy"], overview["warnings"]


def insecure(run, path: Path) -> Path:
    assert run("init", "--folder", path, "--nodes", 5, "--insecure").exit_code == 0
    assert run("up", "--folder", path).exit_code == 0
    return path


def test_no_message_of_another_cluster_is_taken_even_in_plain_text(run, run_json, tmp_path):
    """The hello names the cluster, and every frame has its tag; no certificate helps here."""
    folder = insecure(run, tmp_path / "one")
    try:
        config = load_cluster(folder / "cluster.toml")
        before = run_json("members", "--config", folder / "cluster.toml")[1]
        encode = MessageCodec(ClientMessage).encode
        strange = cluster_tag("another")
        requests = [
            *encode_frame(strange, 0, encode(ChangeRequest(1)), (encode_change(Evict(("n1",))),)),
            *encode_frame(
                strange, 0, encode(Submit(2, KV_APP, 0, 0, 0, 1)), (encode_batch([Put(b"stray", b"1")]),)
            ),
        ]
        for member in config.members:
            for cluster in ("another", config.cluster_id, "", None):
                hello = []
                if cluster is not None:
                    said = HANDSHAKE.encode(Hello(PROTOCOL_VERSION, cluster, "client", "", ""))
                    hello = encode_frame(cluster_tag(cluster), CONTROL_CHANNEL, said)
                with (
                    socket.create_connection(member.advertise, timeout=20) as stranger,
                    suppress(ConnectionResetError, BrokenPipeError),  # it is cut while it still sends
                ):
                    if cluster in (config.cluster_id, ""):  # welcome, and then another's messages
                        stranger.sendall(b"".join(hello))
                        assert config.cluster_id.encode() in stranger.recv(4096)
                        hello = []
                    stranger.sendall(b"".join([*hello, *requests]))
                    while answer := stranger.recv(4096):
                        assert b"belongs to another one" in answer

            async def ask(place: str = str(member.advertise)) -> None:
                await Dialler("another", None).open(place, lambda _: None, lambda: None)

            with pytest.raises(QuorumError, match="belongs to another one"):
                asyncio.run(ask())
        after = run_json("members", "--config", folder / "cluster.toml")[1]
        assert (after["epoch"], after["members"]) == (before["epoch"], before["members"])
        assert run("kv", "get", "stray", "--config", folder / "cluster.toml").exit_code == 1
    finally:
        run("down", "--folder", folder)


def test_a_node_with_the_id_of_another_cluster_in_its_file_does_not_start_on_its_data(run, folder):
    local = LocalCluster(folder / "cluster.toml")
    local.stop(("n2",))
    text = (folder / "cluster.toml").read_text()
    own = load_cluster(folder / "cluster.toml").cluster_id
    (folder / "cluster.toml").write_text(text.replace(own, "another"))
    refused = run("node", "--config", folder / "n2" / "node.toml")
    (folder / "cluster.toml").write_text(text)
    assert refused.exit_code == 2 and "belongs to node n2 of cluster" in refused.stderr
    assert run("up", "--folder", folder).exit_code == 0
