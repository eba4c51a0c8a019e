"""Which committee acts now, as more members than may lie say it: nobody's single word."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from quorum.certificate.committee import Committee
from quorum.console.inquiry import Answers, answering
from quorum.model import NodeId
from quorum.runtime.byzantine_config import tolerated, voters_of
from quorum.runtime.config import ClusterConfig
from quorum.runtime.status import NodeStatus


class Present(NamedTuple):
    """`faults` of the `nodes` may lie; `writes` is their quorums, `name` the membership hash in hexadecimal."""

    epoch: int
    nodes: tuple[NodeId, ...]
    faults: int
    writes: str
    name: str

    def those_of(self, answers: Answers) -> list[NodeStatus]:
        """What those say who act now. Who answered is who was asked, whatever the answer says."""
        return answering({node: answer for node, answer in answers.items() if node in self.nodes})


def present_of(answers: Answers, cluster: ClusterConfig, proven: Committee | None = None) -> Present | None:
    """The newest committee that more than T members of the one that is `proven` (None: the first) stand in; None
    where they do not tell."""
    first = {member.id for member in voters_of(cluster)} if proven is None else set(proven.nodes)
    may_lie = tolerated(cluster) if proven is None else proven.faults
    told = Counter(
        Present(each.epoch, each.voters, each.faults, each.writes, each.committee)
        for each in answering({node: answer for node, answer in answers.items() if node in first})
        if each.committee
    )
    return max((present for present, times in told.items() if times > may_lie), default=None)
