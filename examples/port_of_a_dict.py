"""PySyncObj's dictionary examples, ported: a key-value storage of one's own, and the ready-made counter and dict.

There, ready-made types were consumers of one SyncObj, named by their place in a list, and `sync=True` made a call
wait. Here objects have names, and scripts without an event loop call `.sync`.

Run: python examples/port_of_a_dict.py
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import quorum
from quorum import Replicated, ReplicatedCounter, ReplicatedDict, command, query
from quorum.runtime.setup import init_cluster


class Storage(Replicated):
    data: dict[str, str] = {}

    @command
    def set(self, key: str, value: str) -> None:
        self.data[key] = value

    @command
    def pop(self, key: str) -> str | None:
        return self.data.pop(key, None)

    @query
    def get(self, key: str) -> str | None:
        return self.data.get(key)


OBJECTS = {  # SyncObj: consumers=[counter1, counter2, dict1]
    "storage": Storage,
    "counter1": ReplicatedCounter,
    "counter2": ReplicatedCounter,
    "dict1": ReplicatedDict[str, str],
}


def main(config: Path) -> None:
    with ExitStack() as stack:
        nodes = [quorum.start(OBJECTS, node=name, config=config) for name in ("a", "b", "c")]
        first, second, _ = [stack.enter_context(node) for node in nodes]

        storage = first.object("storage", Storage)
        storage.set.sync("colour", "green")
        print("another node reads:", second.object("storage", Storage).get.sync("colour"))
        print("popped:", storage.pop.sync("colour"), storage.get.sync("colour"))

        counter1 = first.object("counter1", ReplicatedCounter)
        dict1 = first.object("dict1", ReplicatedDict[str, str])
        counter1.set.sync(42)  # SyncObj: counter1.set(42, sync=True)
        counter1.add.sync(10)
        dict1.set.sync("testKey1", "testValue1")
        dict1.set.sync("testKey2", "testValue2")
        print("counter1:", counter1.get.sync())
        print("counter2:", second.object("counter2", ReplicatedCounter).get.sync())
        print("dict1:", second.object("dict1", ReplicatedDict[str, str]).items.sync())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        cluster = init_cluster(Path(folder) / "cluster", names=["a", "b", "c"])
        main(cluster.cluster)
