"""Letting a cluster go on from one survivor: what `quorum recover` writes, in steps that may be cut short.

1. The survivor's data folder is copied beside, whole, and the copy made durable. It is never removed.
2. The state after its last entry, all that the survivor ever stored, becomes a snapshot far above its log
   (runtime.restore says why), with the configuration of the new incarnation. Its file is renamed into place: at
   that moment, and not before, the folder is of the new incarnation.
3. The log begins anew behind the snapshot, with an entry that says how the incarnation came to be.
4. cluster.toml names the new incarnation, and the survivor as its only member.

Before the second step is done nothing but the copy has changed, and the command begins again. After it, the
command finds the new incarnation, and does what is left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from secrets import randbits

from quorum.apps.catalogue import new_host
from quorum.apps.host import Host
from quorum.entry import decode_entry
from quorum.errors import ConfigurationError, IncompatibleProgram
from quorum.membership.recovery import configuration_after, recovery_entry
from quorum.model import Configuration, Recovery
from quorum.protocols.effects import HardState
from quorum.protocols.events import Durable, SnapshotMark
from quorum.runtime.config import ClusterConfig, load_cluster
from quorum.runtime.enrol import enter_incarnation
from quorum.runtime.files import Files, RealFiles, durably, refusal
from quorum.runtime.folder import LOCK_NAME, DataFolder
from quorum.runtime.ledger_class import load_ledger
from quorum.runtime.ledger_mark import mark_of
from quorum.runtime.object_classes import load_classes
from quorum.runtime.overlay import OverlayFiles
from quorum.runtime.restore import INDEX_GAP
from quorum.runtime.snapshots import SnapshotStore
from quorum.runtime.wal import Wal

COPY_BYTES = 1 << 20
READ_BYTES = 1 << 20
IDENTITY_BYTES = 8
UNFINISHED = ".new"
Step = Callable[[str], None]
"""Told of each step when it is done: copied, entered, logged, filed."""


def new_identity() -> str:
    """What tells a recovery from any other one of the same cluster."""
    return os.urandom(IDENTITY_BYTES).hex()


def recover_cluster(
    cluster: Path,
    data: Path,
    recovery: Recovery,
    done: Step = lambda step: None,
    files: Files | None = None,
    faults: int | None = None,
) -> Path:
    """Let the cluster of `cluster` (a cluster.toml) go on from the data folder `data`, which is
    `recovery.survivor`'s and has its last entry at `recovery.index`, with T = `faults` (None: as before). Returns
    where the copy of the folder is.

    Raises ConfigurationError, nothing changed, if the folder is in use or not as `recovery` says, or its objects
    are of classes that cluster.toml does not name; StorageCorrupt for damage; StorageError if the disk refuses.
    """
    config = load_cluster(cluster)
    files = files or RealFiles()
    folder = DataFolder.open(data, config.cluster_id, recovery.survivor)
    try:
        host, durable = _state_of(folder, config, cluster, recovery)
        following = configuration_after(_newest_configuration(durable), recovery, faults)
        copy = f"{folder.path}.before-{recovery.incarnation}"
        _drop_unfinished(folder.path)
        _copy(files, folder.path, copy)
        done("copied")
        _enter(files, folder, config.cluster_id, host, durable.term, following)
        done("entered")
        _log(files, folder, config.cluster_id, recovery.survivor)
        done("logged")
    finally:
        folder.close()
    enter_incarnation(cluster, recovery)
    done("filed")
    return Path(copy)


def finish_recovery(
    cluster: Path,
    data: Path | None,
    recovery: Recovery,
    done: Step = lambda step: None,
    files: Files | None = None,
) -> None:
    """Do what is left of a recovery that was cut short, or was done with another cluster.toml. `data` is the
    folder of its survivor, None where that runs, or is elsewhere. Raises as `recover_cluster`."""
    config = load_cluster(cluster)
    if data is not None:
        folder = DataFolder.open(data, config.cluster_id, recovery.survivor)
        try:
            _log(files or RealFiles(), folder, config.cluster_id, recovery.survivor)
        finally:
            folder.close()
        done("logged")
    enter_incarnation(cluster, recovery)
    done("filed")


# What the survivor has, read without changing it.


def _state_of(
    folder: DataFolder, config: ClusterConfig, cluster: Path, recovery: Recovery
) -> tuple[Host, Durable]:
    """The state after every entry in the folder, and what recovery found there."""
    beside = cluster.resolve().parent
    ledger = load_ledger(config.ledger, beside)
    folder.check_ledger(mark_of(config.ledger, ledger))
    host = new_host(load_classes(config.objects, beside), ledger)
    overlay = OverlayFiles()
    try:
        snapshots = SnapshotStore(overlay, folder.snapshots_path, config.cluster_id)
        newest = snapshots.newest()
        log = Wal(overlay, folder.wal_path, config.cluster_id, recovery.survivor, snapshot=newest)
        durable = log.recover()
        base = 0 if newest is None else newest.index
        end = durable.entries[-1].index if durable.entries else base
        if end != recovery.index:
            raise ConfigurationError(
                f"{folder.path} was to go on from entry {recovery.index}, but its last one is {end}: its node has "
                "run since it was looked at. Look again: quorum recover --dry-run."
            )
        _replay(host, snapshots.load(base) if base else None, log, base, end)
        return host, durable
    except (IncompatibleProgram, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(
            f"the state in {folder.path} was to be taken up to its last entry, but this command cannot run what "
            f"is in it: {str(error).removesuffix('.')}. Nothing was changed. Name the classes of its objects "
            "under [objects] in cluster.toml, where they can be imported from here."
        ) from error
    finally:
        overlay.close_all()


def _replay(host: Host, chunks: Iterable[bytes] | None, log: Wal, base: int, end: int) -> None:
    """Begin with the snapshot, if there is one, and apply everything behind it, as the node would."""
    if chunks is not None:
        host.restore(chunks)
    at = base + 1
    while at <= end:
        for entry in log.read(at, end, READ_BYTES):
            header, body = decode_entry(entry)
            host.apply(header, body)
            at = header.index + 1


# The steps.


def _drop_unfinished(path: str) -> None:
    """Remove what earlier attempts left of a copy that they did not finish."""
    begun = f"{os.path.basename(path)}.before-"
    for name in os.listdir(os.path.dirname(path)):
        if name.startswith(begun) and name.endswith(UNFINISHED):
            shutil.rmtree(f"{os.path.dirname(path)}/{name}", ignore_errors=True)


def _copy(files: Files, path: str, copy: str) -> None:
    """Copy a data folder, durably, and give the copy its name once it is whole."""
    beside = copy + UNFINISHED
    parent = os.path.dirname(path)
    try:
        files.make_folder(beside)
        for part in ("/wal", "/snapshots", ""):  # the folder last: it names the others
            files.make_folder(beside + part)
            for name in files.names(path + part):
                if name != LOCK_NAME and not os.path.isdir(f"{path}{part}/{name}"):
                    _copy_file(files, f"{path}{part}/{name}", f"{beside}{part}/{name}")
            durably(files.fsync_dir, beside + part, beside + part)
        files.rename(beside, copy)
        durably(files.fsync_dir, parent, parent)
    except OSError as error:
        raise refusal(error, f"{path} was to be copied to {copy}") from error


def _copy_file(files: Files, source: str, target: str) -> None:
    """Stretches of zeros, as reserved space has them, take no space in the copy."""
    reading = files.open(source)
    writing = files.open(target, create=True)
    try:
        size = files.size(reading)
        for offset in range(0, size, COPY_BYTES):
            data = files.pread(reading, COPY_BYTES, offset)
            if data.strip(b"\0"):
                files.pwritev(writing, (data,), offset)
        if size:
            files.pwritev(writing, (files.pread(reading, 1, size - 1),), size - 1)
        durably(files.fsync, writing, target)
    finally:
        files.close(reading)
        files.close(writing)


def _enter(
    files: Files, folder: DataFolder, cluster: str, host: Host, term: int, following: Configuration
) -> None:
    """Put the first snapshot of the new incarnation into the folder."""
    recovery = following.recovered
    assert recovery is not None, "the first configuration of an incarnation says how that began"
    index = recovery.index + INDEX_GAP
    host.begin_anew(index)
    mark = SnapshotMark(index, max(term, recovery.term), host.time_us, following)
    snapshots = SnapshotStore(files, folder.snapshots_path, cluster)
    snapshots.write(mark, host.snapshot(), _written)
    snapshots.close()


def _newest_configuration(durable: Durable) -> Configuration:
    known = [entry.configuration for entry in durable.entries if entry.configuration is not None]
    if known:
        return known[-1]
    assert durable.snapshot is not None, "a log begins with a configuration, or behind a snapshot that has one"
    return durable.snapshot.configuration


def _log(files: Files, folder: DataFolder, cluster: str, node: str) -> None:
    """Let the log begin behind the snapshot, with the entry of the recovery, unless the node has done more."""
    snapshots = SnapshotStore(files, folder.snapshots_path, cluster)
    mark = snapshots.newest()
    snapshots.close()
    assert mark is not None and mark.configuration.recovered is not None, "the new incarnation has been entered"
    log = Wal(files, folder.wal_path, cluster, node, snapshot=mark, nonce=randbits(32))
    durable = log.recover()
    try:
        if not durable.entries and mark.index == mark.configuration.recovered.index + INDEX_GAP:
            term = max(durable.term, mark.term) + 1
            # A vote for itself, in a term of which nobody has heard, also says that the end of the log is whole.
            log.write_hard_state(HardState(term, node))
            entry = recovery_entry(mark.index + 1, term, mark.time_us, mark.configuration)
            log.write_entries(mark.index + 1, [entry])
        log.sync(_synced)
    finally:
        log.close()


def _written(mark: SnapshotMark | None, error: BaseException | None) -> None:
    if error is not None:
        raise error


def _synced(error: BaseException | None) -> None:
    if error is not None:
        raise error
