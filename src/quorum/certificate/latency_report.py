"""A member's word on how long its round trips with the others take, for weights that follow the network.

Nobody can check it; up to T of such words are lies (membership.latency says what those can do). It is signed, so
that whoever proposes weights can show everybody the words that they follow from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

from quorum.certificate.committee import Committee
from quorum.certificate.vote import DIGEST_BYTES, NUMBER_MAX, VoteKind
from quorum.model import NodeId

TOOK_US_MAX = 10_000_000
"""Nothing longer is reported."""


class LatencyReport(msgspec.Struct, frozen=True, array_like=True):
    """What `by` measured in `epoch`: the round trip with each member that answers it, in microseconds, sorted by
    name. `number` is the time by `by`'s clock, in microseconds, and grows: the newest report counts."""

    by: NodeId
    epoch: int
    number: int
    took_us: tuple[tuple[NodeId, int], ...]
    signature: bytes


def latency_statement(report: LatencyReport, committee: Committee) -> bytes:
    """What `by` signs: good in one epoch of one cluster, and for nothing else."""
    said = msgspec.msgpack.encode(report.took_us)
    digest = blake2b(said, digest_size=DIGEST_BYTES, person=b"quorum latency 1").digest()
    return committee.domain.statement(VoteKind.REPORT, report.number, 0, digest)


def flaws_of_report(report: LatencyReport, committee: Committee) -> str:
    """Why a report cannot be one of this committee's, before its signature is checked; empty: it may be."""
    if report.epoch != committee.epoch:
        return f"a report of epoch {report.epoch} is none of epoch {committee.epoch}."
    if report.by not in committee.keys:
        return "a report by a stranger."
    names = [node for node, _ in report.took_us]
    if len(names) >= len(committee.nodes) or names != sorted(set(names)):
        return "a report that does not name each other member once at most, in order."
    if report.by in names or not set(names) <= committee.keys.keys():
        return "a report on a stranger, or of a member on itself."
    if not 0 <= report.number <= NUMBER_MAX or any(not 0 <= us <= TOOK_US_MAX for _, us in report.took_us):
        return "a report with numbers outside every clock."
    return ""


def rows_of(reports: Iterable[LatencyReport]) -> Mapping[NodeId, Mapping[NodeId, int]]:
    """The reports as membership.latency takes them."""
    return {report.by: dict(report.took_us) for report in reports}
