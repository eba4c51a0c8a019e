"""`quorum.start`: nodes in this process that host replicated objects, from the first start to an upgrade."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from quorum.apps.replicated import Replicated, command, query, state
from quorum.apps.replicated_schema import schema_of
from quorum.apps.replicated_types import ReplicatedSet
from quorum.errors import (
    ApplicationError,
    ConfigurationError,
    IncompatibleProgram,
    LocalProtocolError,
    NotReplicable,
)
from quorum.runtime import start as starting
from quorum.runtime.connect import at_config, connect
from quorum.runtime.first_runs import FirstRuns
from quorum.runtime.object_client import raise_version
from quorum.runtime.object_versions import raise_where_known
from quorum.runtime.setup import free_ports, init_cluster
from quorum.runtime.start import start

NODES = ("a", "b", "c")


class Counter(Replicated):
    value: int = 0

    @command
    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @query
    def get(self) -> int:
        return self.value


class NewCounter(Counter):
    version = 2
    limit: int = state(0, since=2)

    @command(since=2)
    def set_limit(self, limit: int) -> None:
        self.limit = limit

    def upgrade(self, from_version: int) -> None:
        self.limit = self.value * 100

    @query(since=2)
    def room(self) -> int:
        return self.limit - self.value


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return init_cluster(tmp_path / "cluster", names=NODES).cluster


@pytest.mark.cluster
def test_the_ten_lines_work_as_they_are_written(config):
    async def main():
        async with AsyncExitStack() as stack:
            counters = [
                await stack.enter_async_context(start(Counter, node=node, config=config)) for node in NODES
            ]
            assert await counters[0].add(3) == 3
            assert await counters[1].add(4) == 7
            assert await counters[2].get() == 7
            async with connect(config=config) as client:
                assert await client.object("counter", Counter).add(1) == 8
                await client.kv.put(b"k", b"v")

    collected = gc.get_threshold()
    asyncio.run(main())
    assert gc.get_threshold() == collected, "a guest leaves the collector of the program alone"
    with ExitStack() as threads:  # again, without an event loop, on the same data
        handles = [threads.enter_context(start(Counter, node=node, config=config)) for node in NODES[:2]]
        assert handles[0].get.sync() == 8 and handles[1].add.sync(1) == 9


@pytest.mark.cluster
def test_several_objects_live_in_one_cluster(config):
    objects = {"stock": Counter, "seen": ReplicatedSet[str], "other": Counter}

    async def main():
        async with AsyncExitStack() as stack:
            first, *_ = [await stack.enter_async_context(start(objects, node=n, config=config)) for n in NODES]
            stock, other = first.object("stock", Counter), first.object("other", Counter)
            seen = first.object("seen", ReplicatedSet[str])
            assert await asyncio.gather(stock.add(1), other.add(5), seen.add("x"), seen.add("x")) == [
                1,
                5,
                True,
                False,
            ]
            assert (await stock.get(), await other.get(), await seen.items()) == (1, 5, ["x"])

    asyncio.run(main())


@pytest.mark.cluster
def test_a_cluster_file_alone_is_enough(tmp_path):
    ports = free_ports(3)
    members = [f'[[members]]\nid = "{node}"\nlisten = "127.0.0.1:{port}"\n' for node, port in zip(NODES, ports)]
    config = tmp_path / "cluster.toml"
    config.write_text('cluster_id = "alone"\n' + "\n".join(members))

    async def main():
        async with AsyncExitStack() as stack:
            counters = [
                await stack.enter_async_context(
                    start(
                        Counter,
                        node=node,
                        config=config,
                        name="count",
                        insecure=True,
                        data=tmp_path / f"data of {node}",
                    )
                )
                for node in NODES
            ]
            assert await counters[2].add(1) == 1

    asyncio.run(main())


@pytest.mark.cluster
def test_an_upgrade_rolls_from_node_to_node_and_the_last_one_raises_the_version(config, monkeypatch):
    monkeypatch.setattr(starting, "RAISE_PAUSE_S", 0.05)

    async def main():
        hosts = {}
        for node in NODES:
            hosts[node] = start(Counter, node=node, config=config)
            counter = await hosts[node].__aenter__()
        total = await counter.add(1)
        for node in NODES:
            await hosts[node].__aexit__(None, None, None)
            hosts[node] = start(NewCounter, node=node, config=config, name="counter")
            counter = await hosts[node].__aenter__()
            total = await counter.add(1)
        assert total == 4
        async with asyncio.timeout(20):
            while not (room := await room_of(counter)):
                await asyncio.sleep(0.05)
        assert room in (300 - 4, 400 - 4), "the limit follows from the value at which the version was raised"
        await counter.set_limit(5)
        assert await counter.room() == 1
        for node in NODES:
            await hosts[node].__aexit__(None, None, None)

    asyncio.run(main())


async def room_of(counter: NewCounter) -> int | None:
    try:
        return await counter.room()
    except ApplicationError as error:
        if error.kind != "version":
            raise
        return None


@pytest.mark.cluster
def test_an_old_program_stops_rather_than_diverge(config, capsys, monkeypatch):
    monkeypatch.setattr(starting, "_is_heard", lambda: False)  # pytest's own handlers aside

    async def main():
        new = [start(NewCounter, node=node, config=config, name="counter") for node in NODES[:2]]
        old = start(Counter, node="c", config=config)
        handles = [await host.__aenter__() for host in new]
        async with connect(config=config) as client:
            await client.kv.put(b"k", b"v")  # one of these leads
        assert await (await old.__aenter__()).add(5) == 5
        place = at_config(config)
        async with place.client() as client:
            with pytest.raises(LocalProtocolError, match="the program of c knows Counter from version 1 to 1"):
                await raise_where_known(place, client, "counter", 2)
            kept = await raise_where_known(place, client, "counter")
            assert (kept.version, kept.behind) == (1, ("c",))
            await raise_version(client, "counter", 2, schema_of(NewCounter).fingerprint(2))
        with pytest.raises(IncompatibleProgram, match="knows version 2"):
            await old._serving
        assert "node c of this program stopped: object 'counter' was to be raised" in capsys.readouterr().err
        with pytest.raises(IncompatibleProgram):
            await old.__aexit__(None, None, None)
        assert await handles[0].room() == 495
        async with place.client() as client:
            with pytest.raises(LocalProtocolError, match="c could not be asked"):
                await raise_where_known(place, client, "counter")
        late = start(NewCounter, node="c", config=config, name="counter")
        assert await (await late.__aenter__()).room() == 495
        for host in (*new, late):
            await host.__aexit__(None, None, None)

    asyncio.run(main())


@pytest.mark.cluster
def test_plain_with_works_where_a_loop_runs_as_in_a_notebook(config):
    async def cell():
        with start(Counter, node="a", config=config), start(Counter, node="b", config=config) as counter:
            with connect(config=config).sync as client:
                client.kv.put(b"k", b"v")
            return counter.add.sync(2)

    assert asyncio.run(cell()) == 2


@pytest.mark.cluster
def test_a_name_that_a_class_does_not_have_is_answered_with_those_it_has(config):
    async def main():
        async with connect(config=config) as client:
            counter = client.object("counter", Counter)
            with pytest.raises(AttributeError, match="Counter has no 'ad' to be called"):
                counter.ad(1)
            with pytest.raises(AttributeError, match="the state is on the nodes"):
                counter.value  # noqa: B018

    asyncio.run(main())


def test_a_log_is_heard_where_a_program_has_set_one_up():
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [logging.NullHandler()]
    try:
        assert not starting._is_heard()
        root.handlers = [logging.StreamHandler()]
        assert starting._is_heard()
    finally:
        root.handlers = handlers


@pytest.mark.cluster
def test_a_node_that_lost_its_data_does_not_begin_again(config):
    def run(node: str) -> None:
        with start(Counter, node=node, config=config):
            pass

    run("a")
    run("a")
    shutil.rmtree(config.parent / "a" / "data")
    with pytest.raises(ConfigurationError, match="evict it"):
        run("a")
    run("b")


def test_only_a_node_that_never_ran_begins_and_only_on_one_machine(config):
    from quorum.runtime.config import load_cluster, parse_cluster

    cluster = load_cluster(config)
    runs = FirstRuns(config.parent)
    data = config.parent / "a" / "data"
    assert runs.may_begin(cluster, "a", data)
    assert runs.may_begin(cluster, "a", data), "a start that was cut short goes on"
    runs.has_begun("a")
    runs.has_begun("a")
    assert not runs.may_begin(cluster, "a", data)
    assert runs.may_begin(cluster, "b", config.parent / "b" / "data")
    far = parse_cluster('cluster_id = "far"\n[[members]]\nid = "a"\nlisten = "10.0.0.1:7000"\n')
    assert not FirstRuns(config.parent / "b").may_begin(far, "a", data)


def test_a_cluster_that_others_began_is_not_begun_again(config):
    from quorum.runtime.config import load_cluster

    (config.parent / "b" / "data").mkdir()
    (config.parent / "b" / "data" / "identity.json").write_text("damaged")
    assert not FirstRuns(config.parent).may_begin(load_cluster(config), "a", config.parent / "a" / "data")


@pytest.mark.parametrize(
    ("what", "options", "error", "said"),
    [
        (int, {}, NotReplicable, "no replicated class"),
        ({"a": int}, {}, NotReplicable, "no replicated class"),
        ({"a": Counter}, {"name": "b"}, ConfigurationError, "beside objects that have names"),
        (Counter, {"node": "z"}, ConfigurationError, "no such member"),
        (Counter, {"config": "missing.toml"}, ConfigurationError, "cannot be opened"),
        (Counter, {"keys": "nowhere"}, ConfigurationError, "no certificate of a client is there"),
    ],
)
def test_what_cannot_be_started_is_refused_at_once(config, what, options, error, said):
    with pytest.raises(error, match=said):
        start(what, **{"node": "a", "config": config, **options})


def test_a_node_is_started_once(config):
    async def main():
        host = start(Counter, node="a", config=config)
        async with host:
            with pytest.raises(LocalProtocolError, match=r"Call quorum\.start again"):
                await host.__aenter__()

    asyncio.run(main())


def test_a_start_that_fails_leaves_no_thread(config):
    import threading

    (config.parent / "a" / "data").write_text("no folder")
    before = threading.active_count()
    with pytest.raises(ConfigurationError), start(Counter, node="a", config=config):
        pass
    assert threading.active_count() == before
