"""Measure every peer that is installed, one after the other, and say which were skipped and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from load import BadRequest, PeerFailed, Report
from peers import etcd, pysyncobj, zookeeper

PEERS = {"etcd": etcd, "zookeeper": zookeeper, "pysyncobj": pysyncobj}


def run(
    names: Sequence[str],
    outstanding: Sequence[int],
    seconds: float,
    value_bytes: int,
    failovers: int,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Report]:
    """Return one report per name; a peer that is not installed, or fails, is reported as skipped.

    `progress` gets one line as each peer begins. Raises BadRequest for a name or an argument that makes no sense.
    """
    if unknown := sorted(set(names) - set(PEERS)):
        raise BadRequest(f"{', '.join(unknown)}: no such peer. Choose from {', '.join(PEERS)}.")
    reports = []
    for name in names:
        peer = PEERS[name]
        if reason := peer.available():
            reports.append(Report(name, skipped=reason))
            continue
        progress(f"{name}: {len(outstanding)} rows of {seconds:g} s, {failovers} failovers")
        try:
            reports.append(peer.run(outstanding, seconds, value_bytes, failovers))
        except PeerFailed as error:
            reports.append(Report(name, skipped=str(error)))
    return reports
