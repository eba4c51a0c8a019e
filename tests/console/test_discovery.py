"""A client outlives every node that it was told of: real processes, mutual TLS, the commands as a person runs
them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import quorum
from quorum.runtime.config import load_cluster
from quorum.runtime.local import LocalCluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def folder(run, tmp_path) -> Iterator[Path]:
    """The folder of a running cluster of n1, n2 and n3."""
    made = tmp_path / ".quorum"
    result = run("up", "--folder", made, "--nodes", 3)
    assert result.exit_code == 0, result.output
    yield made
    run("down", "--folder", made)


def test_a_client_of_one_node_goes_on_while_all_are_replaced_one_after_another(run, folder):
    path = folder / "cluster.toml"
    first = load_cluster(path).member("n1").advertise

    async def main() -> None:
        async with quorum.connect(f"quorum://{first}", tls=folder / "keys", timeout=60) as client:
            await client.kv.put(b"k", b"0")
            for number in (1, 2, 3):
                replaced = await asyncio.to_thread(
                    run, "admit", f"n{number + 3}", "--replace", f"n{number}", "--config", path
                )
                assert replaced.exit_code == 0, replaced.output
                await client.kv.put(b"k", b"%d" % number)
            assert sorted(LocalCluster(path).running()) == ["n4", "n5", "n6"]
            item = await client.kv.get(b"k")
            assert item is not None and item.value == b"3"
            members = {str(member.advertise) for member in load_cluster(path).members}
            assert set(client.client().endpoints) == members | {str(first)}

    asyncio.run(main())


def test_an_operator_with_an_old_file_reaches_the_members_of_today(run, run_json, folder, tmp_path):
    """The file names n1, n2 and n3, of which one is left; the leader is none of them."""
    path = folder / "cluster.toml"
    old = path.read_text()
    for number in (1, 2):
        replaced = run("admit", f"n{number + 3}", "--replace", f"n{number}", "--config", path)
        assert replaced.exit_code == 0, replaced.output
    assert run("transfer", "n5", "--config", path).exit_code == 0
    desk = tmp_path / "desk"
    shutil.copytree(folder / "keys", desk / "keys")
    (desk / "cluster.toml").write_text(old)
    at = ("--config", str(desk / "cluster.toml"))
    code, found = run_json("members", *at)
    assert code == 0, found
    assert found["leader"] == "n5"
    assert [row["node"] for row in found["members"]] == ["n3", "n4", "n5"]
    moved = run("transfer", "n4", *at)
    assert moved.exit_code == 0, moved.output
    assert run("kv", "put", "a", "1", *at).exit_code == 0
