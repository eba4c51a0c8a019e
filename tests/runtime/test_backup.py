"""What a restore changes in the state, and what a driver does when a snapshot is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_folder import CLUSTER, THREE, Stock, entries_to, make_folder, stock_host
from quorum.apps import objects
from quorum.apps.answer import EXPIRED
from quorum.apps.catalogue import KV_APP, OBJECTS_APP, new_host
from quorum.apps.host import OPEN, SESSIONS, Host, decode_session
from quorum.apps.kv import Get, Put, decode_results, encode_batch, encode_query
from quorum.apps.kv_store import REVISION_GAP, KeyValueStore
from quorum.apps.objects_carried import CarriedObjects
from quorum.entry import COMMAND, decode_entry, encode_entry
from quorum.errors import ConfigurationError, LocalProtocolError, StorageCorrupt
from quorum.header import Batch, Header
from quorum.protocols.events import SnapshotMark
from quorum.runtime.backup import verify_backup
from quorum.runtime.files import RealFiles
from quorum.runtime.restore import INDEX_GAP, restore_cluster
from quorum.runtime.snapshots import SnapshotStore
from quorum.runtime.verify_data import CLEAN, verify_data


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """The newest snapshot of a node is a backup, byte for byte."""
    data = make_folder(tmp_path / "data")
    made = tmp_path / "backup"
    made.write_bytes(sorted((data / "snapshots").glob("*.snap"))[-1].read_bytes())
    return made


def test_a_session_of_the_old_cluster_has_expired_in_the_new_one() -> None:
    host = new_host()
    opening = Batch(SESSIONS, 0, 0, 0, 1, OPEN)
    applied = host.apply(*decode_entry(encode_entry(1, 1, COMMAND, 1, 1, 0, opening)))
    session = decode_session(applied.body)
    host.begin_anew(100)
    assert host.session_count == 0 and host.applied_index == 100
    put = Batch(KV_APP, session, 1, 0, 1, encode_batch([Put(b"key", b"value")]))
    answer = host.apply(*decode_entry(encode_entry(101, 2, COMMAND, 2, 2, 0, put)))
    assert answer.status == EXPIRED
    assert decode_results(host.query(KV_APP, encode_query([Get(b"key")])).body)[0].item is None


def test_a_revision_of_the_old_cluster_is_behind_what_the_new_one_remembers() -> None:
    """Otherwise a watcher that had seen more than the backup holds would miss changes of the new cluster."""
    store = KeyValueStore()
    header = Header(1, 1, COMMAND, KV_APP, 1, 0, 0, 0, 0, 0, 1, b"")
    for _ in range(300):
        store.apply(header, encode_batch([Put(b"key", b"old")]))
    before = store.digest()
    store.begin_anew()
    assert store.revision == 300 + REVISION_GAP == store.history.compacted_revision
    assert list(store.history.since(store.history.begin)) == []
    item = decode_results(store.query(encode_query([Get(b"key")])))[0].item
    assert (item.value, item.mod_revision) == (b"old", 300), "what was written keeps its revision"
    outputs = store.apply(header, encode_batch([Put(b"key", b"new")]))
    assert decode_results(outputs.reply)[0].revision == 301 + REVISION_GAP
    assert len(list(store.history.since(store.history.begin))) == 1
    copy = KeyValueStore()
    copy.restore(store.snapshot())
    assert copy.digest() == store.digest() != before


def test_every_node_of_a_restored_cluster_has_the_same_sound_data(backup: Path, tmp_path: Path) -> None:
    restored = restore_cluster(backup, tmp_path / "new", nodes=3)
    assert (restored.index, restored.term, restored.epoch) == (40 + INDEX_GAP, 3, THREE.epoch + 1)
    reports = [verify_data(tmp_path / "new" / node / "data") for node in ("n1", "n2", "n3")]
    for report in reports:
        assert report.sound and report.start == CLEAN
        assert (report.entries, report.last_index, report.term, report.vote) == (0, 40 + INDEX_GAP, 3, None)
        assert report.cluster == restored.layout.config.cluster_id != CLUSTER
    assert len({report.snapshots[0].digest for report in reports}) == 1
    store = SnapshotStore(RealFiles(), str(tmp_path / "new/n1/data/snapshots"), reports[0].cluster)
    host, expected = new_host(), new_host()
    host.restore(store.load(restored.index))
    for entry in entries_to(40):
        expected.apply(*decode_entry(entry))
    query = encode_query([Get(b"key %d" % number) for number in range(45)])
    found, was = (decode_results(each.query(KV_APP, query).body) for each in (host, expected))
    assert [got.item for got in found] == [got.item for got in was]
    assert found[0].revision == was[0].revision + REVISION_GAP


def test_the_members_and_quorum_system_of_the_backup_are_kept_unless_others_are_named(
    backup: Path, tmp_path: Path
) -> None:
    kept = restore_cluster(backup, tmp_path / "kept", reads="n1*n2 + n1*n3 + n2*n3")
    assert [member.id for member in kept.layout.config.members] == ["n1", "n2", "n3"]
    assert kept.layout.config.reads == "n1*n2 + n1*n3 + n2*n3"
    named = restore_cluster(backup, tmp_path / "named", names=["a", "b", "c", "d", "e"])
    assert [member.id for member in named.layout.config.members] == ["a", "b", "c", "d", "e"]


def backup_with_objects(folder: Path) -> tuple[Path, Host]:
    """A backup of a cluster that hosts an object of a class, and the state that is in it."""
    host = stock_host()
    store = SnapshotStore(RealFiles(), str(folder), CLUSTER)
    store.write(SnapshotMark(2, 1, host.time_us, THREE), host.snapshot(), lambda mark, error: None)
    return next(folder.iterdir()), host


def test_objects_are_restored_where_their_classes_are_not_at_hand(tmp_path: Path) -> None:
    backup, was = backup_with_objects(tmp_path / "snapshots")
    assert verify_backup(backup).index == 2
    restored = restore_cluster(backup, tmp_path / "new", nodes=3)
    assert restored.objects == {"stock": 1}
    cluster = restored.layout.config.cluster_id
    found = new_host({"stock": Stock})
    found.restore(
        SnapshotStore(RealFiles(), str(tmp_path / "new/n1/data/snapshots"), cluster).load(restored.index)
    )
    stocks = [host.application(OBJECTS_APP) for host in (was, found)]
    assert stocks[0].digest() == stocks[1].digest()
    assert stocks[1].look("stock", lambda stock: dict(stock.of)) == {"tea": 3}


def test_carried_objects_are_whole_and_nobody_can_call_them(tmp_path: Path) -> None:
    _, host = backup_with_objects(tmp_path / "snapshots")
    chunks = list(host.application(OBJECTS_APP).snapshot())
    carried = CarriedObjects()
    carried.restore(chunks)
    assert list(carried.snapshot()) == chunks and carried.versions == {"stock": 1}
    for damaged in ([*chunks, b"more"], chunks[:1], [b"no head", *chunks[1:]]):
        with pytest.raises(ValueError, match="another snapshot"):
            carried.restore(damaged)
    assert list(carried.snapshot()) == chunks and carried.digest() != CarriedObjects().digest()
    with pytest.raises(LocalProtocolError, match="has their classes"):
        carried.query(objects.DESCRIBE)


def test_a_restore_leaves_nothing_behind_when_the_backup_is_damaged(backup: Path, tmp_path: Path) -> None:
    data = bytearray(backup.read_bytes())
    data[len(data) // 2] ^= 1
    backup.write_bytes(data)
    with pytest.raises(StorageCorrupt, match=r"offset .* use another backup"):
        restore_cluster(backup, tmp_path / "new", nodes=3)
    assert not (tmp_path / "new").exists()
    with pytest.raises(StorageCorrupt):
        verify_backup(backup)


def test_a_restore_refuses_where_any_state_exists(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / "n2").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="exists"):
        restore_cluster(backup, tmp_path / "new", nodes=3)


def test_a_backup_without_state_that_fits_is_refused(tmp_path: Path) -> None:
    """A witness keeps no state, so its snapshot restores nothing."""
    store = SnapshotStore(RealFiles(), str(tmp_path / "snapshots"), CLUSTER)
    store.write(SnapshotMark(5, 1, 0, THREE), [], lambda mark, error: None)
    with pytest.raises(StorageCorrupt, match="cannot be read"):
        verify_backup(next((tmp_path / "snapshots").iterdir()))
