"""Evidence against members, kept in the data folder of a node for whoever wants to see it.

One file for each lie, `evidence/NODE-NUMBER.json`, as `quorum verify` reads it. So many of one member are kept
that nobody doubts, and no more: a liar must not fill a disk.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange
from quorum.certificate.evidence import Equivocation, Evidence, accused
from quorum.certificate.evidence_forms import encode_evidence
from quorum.model import NodeId

log = logging.getLogger("quorum.node")
KEPT_MAX = 8
FOLDER = "evidence"
_NAME = re.compile(r"(?P<node>[a-z0-9-]+)-[0-9]+\.json")


class EvidenceBook:
    """What this node can prove against others, in this life and those before. `committee_of` says whose keys judge
    a piece of it, `genesis` is the file with the first of them, for whoever verifies, and `changes_to` gives what
    leads from there to an epoch."""

    def __init__(
        self,
        data: Path,
        committee_of: Callable[[Evidence], Committee],
        genesis: Path = Path("genesis.json"),
        changes_to: Callable[[int], Sequence[EpochChange]] = lambda epoch: (),
    ) -> None:
        self._folder = data.absolute() / FOLDER
        self._committee_of = committee_of
        self._genesis = genesis
        self._changes_to = changes_to
        self._counts: dict[NodeId, int] = {}
        self._files: dict[NodeId, str] = {}
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            found = _NAME.fullmatch(path.name)
            if found is not None:
                self._counts[found["node"]] = self._counts.get(found["node"], 0) + 1
                self._files.setdefault(found["node"], str(path))

    @property
    def accused(self) -> dict[NodeId, int]:
        """How many pieces of evidence are kept against whom."""
        return dict(sorted(self._counts.items()))

    @property
    def files(self) -> dict[NodeId, str]:
        """The first piece of evidence that is kept against each: the path of its file."""
        return dict(sorted(self._files.items()))

    def add(self, evidence: Evidence) -> None:
        """Keep a piece of evidence, verified before. A disk that refuses costs the evidence, not the node."""
        node = accused(evidence)
        number = self._counts.get(node, 0) + 1
        if number > KEPT_MAX:
            return
        path = self._folder / f"{node}-{number}.json"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            committee = self._committee_of(evidence)
            path.write_bytes(encode_evidence(evidence, committee, self._changes_to(committee.epoch)) + b"\n")
        except OSError as error:
            log.warning("evidence against %s could not be kept: %s", node, error.strerror)
            return
        self._counts[node] = number
        self._files.setdefault(node, str(path))
        verify = f"quorum verify {shlex.quote(str(path))} --genesis {shlex.quote(str(self._genesis))}"
        log.error("%s lied: %s. The proof is %s; verify it: %s", node, said(evidence), path, verify)


def said(evidence: Evidence) -> str:
    """The lie in words."""
    if isinstance(evidence, Equivocation):
        vote = evidence.first
        return f"two {vote.kind.name} votes for block {vote.sequence} of view {vote.view}"
    commit, left = evidence.commit, evidence.view_change
    return f"a vote to commit block {commit.sequence} of view {commit.view}, hidden in view {left.view}"
