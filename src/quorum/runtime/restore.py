"""A new cluster from a backup: new members, new keys, a new cluster id, and the state of the old one.

What tells the new incarnation from the old one:

* The cluster id is new, and so are all keys: no node and no client of the old cluster can speak to the new one.
* The client sessions of the backup are dropped: a client that comes back in one hears that it has expired, never
  that a command of another history was applied.
* The log begins INDEX_GAP entries after the backup, in a later term and epoch. So indexes, and the fencing tokens
  and session names made of them, are larger than any that the old cluster gave out after the backup was taken.
* The key-value store goes on REVISION_GAP revisions above the backup, with everything before compacted: a watcher
  or cache of the old cluster that comes with its revision hears that, instead of missing or mistaking changes.
* Locks and leases stay as they were. Nobody keeps them alive, so they end by lease time after the first start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits

from msgspec.structs import replace

from quorum.apps.host import Host
from quorum.protocols.effects import HardState
from quorum.protocols.events import SnapshotMark
from quorum.runtime.backup import BackupReport, Progress, load_backup, objects_of, opened_backup, report_of
from quorum.runtime.config import ClusterConfig
from quorum.runtime.files import RealFiles
from quorum.runtime.folder import DataFolder
from quorum.runtime.ledger_mark import UNSETTLED
from quorum.runtime.setup import DATA_FOLDER, ClusterLayout, init_cluster
from quorum.runtime.snapshots import SnapshotStore
from quorum.runtime.wal import Wal

INDEX_GAP = 10**12
"""A year of entries at 30,000 a second."""


@dataclass(frozen=True)
class Restored:
    """The files of the new cluster, the backup they came from, and where the new log begins. `objects` are the
    versions of the replicated objects in it, by their names: its nodes need their classes."""

    layout: ClusterLayout
    backup: BackupReport
    index: int
    term: int
    epoch: int
    objects: dict[str, int]


def restore_cluster(
    backup: Path,
    folder: Path,
    nodes: int | None = None,
    names: Sequence[str] | None = None,
    base_port: int | None = None,
    addresses: Sequence[str] | None = None,
    reads: str | None = None,
    writes: str | None = None,
    insecure: bool = False,
    progress: Progress = lambda done, total: None,
) -> Restored:
    """Set up in `folder` a new cluster whose every node has the state of `backup`; start nothing.

    Neither `nodes` nor `names` given: members of the same names as the backup's voters, with its quorum system
    unless `reads` or `writes` say otherwise. Everything appears at once or, after an error, not at all.
    Raises ConfigurationError for what cannot run, and where any part of a cluster exists; StorageCorrupt if the
    backup is damaged; StorageError if the disk refuses.
    """
    with opened_backup(backup) as reader:
        report = report_of(reader)
        index, term, epoch = report.index + INDEX_GAP, report.term + 1, report.epoch + 1
        if nodes is None and names is None:
            names = report.voters
            reads = report.reads if reads is None else reads
            writes = report.writes if writes is None else writes

        objects: dict[str, int] = {}

        def fill(made: Path, config: ClusterConfig) -> None:
            host = load_backup(reader)
            objects.update(objects_of(host))
            host.begin_anew(index)
            configuration = replace(config.configuration(), epoch=epoch)
            mark = SnapshotMark(index, term, host.time_us, configuration)
            for done, member in enumerate(config.members, 1):
                write_data(made / member.id / DATA_FOLDER, config.cluster_id, member.id, mark, host)
                progress(done * report.bytes, len(config.members) * report.bytes)

        layout = init_cluster(
            folder,
            nodes=len(report.voters) if nodes is None else nodes,
            names=names,
            base_port=base_port,
            addresses=addresses,
            reads=reads or "",
            writes=writes or "",
            insecure=insecure,
            fill=fill,
        )
    return Restored(layout, report, index, term, epoch, objects)


def write_data(path: Path, cluster: str, node: str, mark: SnapshotMark, host: Host) -> None:
    """The data folder of a node that stands at `mark`, with the state of `host`, an empty log and no vote.

    Raises StorageError if the disk refuses.
    """

    def check(error: BaseException | None) -> None:
        if error is not None:
            raise error

    written: list[SnapshotMark] = []

    def on_written(mark: SnapshotMark | None, error: BaseException | None) -> None:
        check(error)
        assert mark is not None, "a snapshot is written, or there is an error"
        written.append(mark)

    folder = DataFolder.open(path, cluster, node, bootstrap=True)
    try:
        snapshots = SnapshotStore(RealFiles(), folder.snapshots_path, cluster)
        snapshots.write(mark, host.snapshot(), on_written)
        snapshots.close()
        log = Wal(
            RealFiles(), folder.wal_path, cluster, node, snapshot=written[0], create=True, nonce=randbits(32)
        )
        log.recover()
        log.write_hard_state(HardState(mark.term, None))
        log.sync(check)
        log.close()
        folder.mark_used(UNSETTLED)
    finally:
        folder.close()
