"""What is left of each member of a cluster: read from its data folder, of which no byte is changed, or asked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.membership.survivors import Survivor
from quorum.model import NodeId
from quorum.runtime.config import load_cluster, load_node
from quorum.runtime.folder import is_held
from quorum.runtime.setup import NODE_FILE
from quorum.runtime.status import NodeStatus
from quorum.runtime.verify_data import BEGIN, CLEAN, CUT, NO_VOTE, FolderReport, Progress, verify_data
from quorum.systems.build import build


def data_folders(cluster: Path) -> dict[NodeId, Path]:
    """The data folders of the members whose node.toml stands beside cluster.toml, as far as they exist."""
    found = {}
    for member in load_cluster(cluster).members:
        settings = cluster.parent / member.id / NODE_FILE
        if settings.is_file():
            data = load_node(settings).data
            if os.path.isdir(data):
                found[member.id] = data
    return found


def by_status(status: NodeStatus) -> Survivor:
    """What a node that runs says of itself."""
    return Survivor(
        node=status.node,
        place=status.addresses.get(status.node, ""),
        runs=True,
        configuration=replace(status.configuration(), recovered=status.recovered),
        reads=status.reads,
        writes=status.writes,
        term=status.term,
        last_term=status.last_term,
        last_index=status.last_index,
        committed=status.commit_index,
        is_usable=True,
        may_vote=status.may_vote,
        text="runs" if status.may_vote else "runs, and may not vote until a leader has confirmed its log",
    )


def by_folder(path: Path, cluster: str, progress: Progress = lambda done, total: None) -> Survivor | None:
    """What a data folder holds, read from end to end; None where no node of `cluster` has ever run on it.

    Raises ConfigurationError where it is of another cluster, or cannot be read.
    """
    if is_held(str(path)):
        raise ConfigurationError(
            f"{path} was to be read, but a process holds it that does not answer. Stop it, and retry."
        )
    report = verify_data(path, progress)
    if report.cluster and report.cluster != cluster:
        raise ConfigurationError(
            f"{path} was to be read as a member's of cluster {cluster}, but it is of cluster {report.cluster}. "
            "Name folders of one cluster."
        )
    return None if report.start == BEGIN or not report.node else _of_report(report)


def _of_report(report: FolderReport) -> Survivor:
    configuration = report.configuration
    usable = report.start in (CLEAN, CUT, NO_VOTE) and bool(configuration.members)
    system = build(configuration) if usable else None
    return Survivor(
        node=report.node,
        place=report.folder,
        runs=False,
        configuration=configuration,
        reads="" if system is None else str(system.reads),
        writes="" if system is None else str(system.writes),
        term=report.term,
        last_term=report.last_term,
        last_index=report.last_index,
        committed=max((snapshot.index for snapshot in report.snapshots), default=0),
        is_usable=usable,
        may_vote=usable and report.start != NO_VOTE,
        text=f"{report.start}: {report.start_text}",
    )


def survey(
    cluster: str,
    running: Iterable[NodeStatus],
    folders: Iterable[tuple[NodeId, Path]],
    progress: Progress = lambda done, total: None,
) -> list[Survivor]:
    """Everybody of whom anything is left, by name. `folders` come with the name of their node, "" where it is not
    known. A node that runs tells of itself: its folder is in use.

    Raises ConfigurationError as `by_folder` does, and where two folders are of one node.
    """
    found = {status.node: by_status(status) for status in running}
    for node, path in folders:
        if node in found:
            continue
        survivor = by_folder(path, cluster, progress)
        if survivor is None or (survivor.node in found and found[survivor.node].runs):
            continue
        if survivor.node in found:
            raise ConfigurationError(
                f"{path} and {found[survivor.node].place} were given, but both are of {survivor.node}, and only "
                "one can be what it had last. Name one of them."
            )
        found[survivor.node] = survivor
    return [found[node] for node in sorted(found)]
