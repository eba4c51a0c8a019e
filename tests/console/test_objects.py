"""Nodes that host the classes which cluster.toml names, and `quorum objects`, on a real cluster of processes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import quorum
from quorum.apps.replicated import Replicated, command, query

MODULE = """
from quorum import Replicated, ReplicatedDict, command, query, state

class Stock(Replicated):
    count: int = 0

    @command
    def add(self, n: int) -> int:
        self.count += n
        return self.count

    @query
    def get(self) -> int:
        return self.count

PRICES = ReplicatedDict[str, float]
"""
NEWER = """
    version = 2
    sold: int = state(0, since=2)

    @command(since=2)
    def sell(self, n: int) -> int:
        self.sold += n
        return self.add.sync(-n)
"""
OBJECTS = '\n[objects]\nstock = "shop_of_nodes:Stock"\nprices = "shop_of_nodes:PRICES"\n'


class Stock(Replicated):
    """As clients know it."""

    version = 2
    count: int = 0
    sold: int = quorum.state(0, since=2)

    @command
    def add(self, n: int) -> int: ...

    @command(since=2)
    def sell(self, n: int) -> int: ...

    @query
    def get(self) -> int: ...


@pytest.fixture(scope="module")
def cluster(run, tmp_path_factory) -> Iterator[Path]:
    """The cluster.toml of a running cluster, with the module beside it."""
    folder = tmp_path_factory.mktemp("objects") / ".quorum"
    assert run("init", "--folder", folder, "--nodes", 3).exit_code == 0
    config = folder / "cluster.toml"
    config.write_text(config.read_text() + OBJECTS)
    (folder / "shop_of_nodes.py").write_text(MODULE)
    up = run("up", "--folder", folder)
    assert up.exit_code == 0, up.output
    yield config
    run("down", "--folder", folder)


@pytest.mark.cluster
def test_nodes_host_what_the_cluster_file_names_and_are_upgraded_one_after_another(run, run_json, cluster):
    at = ("--config", cluster)
    assert run("objects", "list", *at).stdout.splitlines() == [
        "prices: ReplicatedDict[str, float], not there yet; known: n1 1-1, n2 1-1, n3 1-1",
        "stock: Stock, not there yet; known: n1 1-1, n2 1-1, n3 1-1",
    ]

    async def use() -> None:
        async with quorum.connect(config=cluster) as client:
            assert await client.object("stock", Stock).add(5) == 5
            await client.object("prices", quorum.ReplicatedDict[str, float]).set("tea", 2)

    asyncio.run(use())
    code, found = run_json("objects", "list", *at)
    assert code == 0 and [each["version"] for each in found["objects"]] == [1, 1]
    refused = run("objects", "raise", "stock", "--to", 2, *at)
    assert refused.exit_code == 1 and "knows Stock from version 1 to 1" in refused.stderr
    assert run_json("objects", "raise", "stock", *at) == (0, {"object": "stock", "raised": False, "version": 1})

    head, _, rest = MODULE.partition("    count: int = 0\n")
    newer = head + "    count: int = 0\n" + NEWER + rest
    (cluster.parent / "shop_of_nodes.py").write_text(newer)
    run("down", "--folder", cluster.parent)
    assert run("up", "--folder", cluster.parent).exit_code == 0
    assert "stock: Stock, version 1; known: n1 1-2, n2 1-2, n3 1-2" in run("objects", "list", *at).stdout
    assert run("objects", "raise", "stock", *at).stdout == "stock is at version 2 from 1\n"
    assert run("objects", "raise", "stock", *at).stdout == "stock is at version 2 already\n"

    with quorum.connect(config=cluster).sync as client:
        stock = client.object("stock", Stock)
        assert (stock.get.sync(), stock.sell.sync(2), stock.get.sync()) == (5, 3, 3)
        assert client.object("prices", quorum.ReplicatedDict[str, float]).get.sync("tea") == 2.0
    assert run("objects", "raise", "nothing", *at).exit_code == 1


@pytest.mark.cluster
def test_up_tells_why_nodes_stop_that_cannot_apply_what_is_in_the_log(run, cluster):
    """Each stops a moment after it has begun, at the entry that made the object."""
    with quorum.connect(config=cluster).sync as client:
        client.object("stock", Stock).add.sync(1)
    assert run("down", "--folder", cluster.parent).exit_code == 0
    module = cluster.parent / "shop_of_nodes.py"
    before = module.read_text()
    module.write_text(before.replace("count: int", "count: float"))
    try:
        up = run("up", "--folder", cluster.parent)
        assert up.exit_code == 1, up.output
        assert up.stderr.startswith("Error: the cluster was to be started, but n")
        assert up.stderr.count("has another Stock of version") == 1, "a reason that nodes share is told once"
    finally:
        module.write_text(before)
        run("down", "--folder", cluster.parent)
        assert run("up", "--folder", cluster.parent).exit_code == 0


def test_a_node_whose_classes_cannot_be_had_does_not_start(run, tmp_path):
    folder = tmp_path / ".quorum"
    run("init", "--folder", folder, "--nodes", 1)
    config = folder / "cluster.toml"
    config.write_text(config.read_text() + '\n[objects]\nstock = "no_such_module:Stock"\n')
    code = run("node", "--config", folder / "n1" / "node.toml", "--json")
    assert code.exit_code == 2
    assert "there is no module 'no_such_module'" in json.loads(code.stdout)["error"]["text"]
    assert str(folder) in sys.path, "beside cluster.toml it was looked for"
    sys.path.remove(str(folder))
