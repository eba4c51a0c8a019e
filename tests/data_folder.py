"""A real data folder of one node, written by the production log and snapshots."""

from __future__ import annotations

from pathlib import Path

from quorum.apps import objects
from quorum.apps.catalogue import KV_APP, OBJECTS_APP, new_host
from quorum.apps.host import Host
from quorum.apps.kv import Put, encode_batch
from quorum.apps.replicated import Replicated, command
from quorum.apps.replicated_schema import schema_of
from quorum.entry import COMMAND, decode_entry, encode_entry
from quorum.header import Batch
from quorum.model import Configuration
from quorum.protocols.effects import HardState
from quorum.protocols.events import SnapshotMark
from quorum.runtime.files import RealFiles
from quorum.runtime.folder import DataFolder
from quorum.runtime.snapshots import SnapshotStore
from quorum.runtime.wal import Wal
from wal_world import configuration_entry

CLUSTER, NODE, SEGMENT_BYTES = "cluster", "n1", 4096
THREE = Configuration(epoch=1, voters=("n1", "n2", "n3"))


def command_entry(index: int, term: int = 2) -> bytes:
    body = encode_batch([Put(b"key %d" % index, b"value" * 10)])
    batch = Batch(app=KV_APP, client=0, first_sequence=0, acked_below=0, count=1, body=body)
    return encode_entry(index, term, COMMAND, 1, index * 10, 0, batch)


def entries_to(last: int) -> list[bytes]:
    """The first configuration, then puts."""
    return [configuration_entry(1, 1, THREE), *(command_entry(index) for index in range(2, last + 1))]


def open_log(folder: DataFolder, snapshot: SnapshotMark | None = None, node: str = NODE) -> Wal:
    create = not folder.used
    return Wal(
        RealFiles(),
        folder.wal_path,
        CLUSTER,
        node,
        snapshot=snapshot,
        create=create,
        segment_bytes=SEGMENT_BYTES,
        nonce=7,
    )


def make_folder(
    path: Path,
    last: int = 60,
    snapshots_at: tuple[int, ...] = (20, 40),
    clean: bool = True,
    node: str = NODE,
) -> Path:
    """A node's data after `last` entries in rounds of five; without `clean` as a killed process leaves it."""
    folder = DataFolder.open(path, CLUSTER, node)
    log = open_log(folder, node=node)
    log.recover()
    folder.mark_used()
    log.write_hard_state(HardState(2, "n2"))
    log.sync(_fine)
    entries = entries_to(last)
    for at in range(0, last, 5):
        log.write_entries(at + 1, entries[at : at + 5])
        log.sync(_fine)
    store = SnapshotStore(RealFiles(), folder.snapshots_path, CLUSTER)
    host = new_host()
    for index, entry in enumerate(entries, 1):
        host.apply(*decode_entry(entry))
        if index in snapshots_at:
            store.write(SnapshotMark(index, 2, host.time_us, THREE), host.snapshot(), _written)
    store.close()
    if clean:
        log.close()
    folder.close()
    return path


def _fine(error: BaseException | None) -> None:
    assert error is None


def _written(mark: SnapshotMark | None, error: BaseException | None) -> None:
    assert mark is not None, error


class Stock(Replicated):
    """A class that the commands of an operator know nothing of."""

    of: dict[str, int] = {}

    @command
    def put(self, name: str, count: int) -> None:
        self.of[name] = count


def stock_host() -> Host:
    """The state after two entries: there is an object of the class, and tea in it."""
    host = new_host({"stock": Stock})
    schema = schema_of(Stock)
    arguments = schema.methods["put"].encode(("tea", 3), {})
    bodies = (
        objects.encode_raise(objects.Raise("stock", 1, schema.fingerprint(1))),
        objects.encode_batch([objects.Call("stock", "put", 1, arguments)]),
    )
    for index, body in enumerate(bodies, 1):
        batch = Batch(OBJECTS_APP, 0, 0, 0, 1, body)
        host.apply(*decode_entry(encode_entry(index, 1, COMMAND, 1, index, 0, batch)))
    return host
