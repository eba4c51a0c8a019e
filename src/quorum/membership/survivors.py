"""What is left of a cluster: whether a quorum could still decide, and if not, from whom it can go on.

Source of the order: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), section
5.4.1: of two logs the one whose last entry has the later term is more up-to-date, then the longer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from quorum.errors import ConfigurationError
from quorum.membership.recovery import number_of, shown_incarnation
from quorum.model import Configuration, NodeId
from quorum.systems.system import QuorumSystem


class Survivor(msgspec.Struct, frozen=True):
    """What one node still has, by its data folder or by its own word.

    `reads` and `writes` are the quorums of the newest configuration in its log, `committed` is up to where its
    entries are known to be decided. `is_usable`: a node starts on it, or runs; it `may_vote` unless its log is
    damaged at the end. `place` is the folder, or the address; `text` says how it is.
    """

    node: NodeId
    place: str
    runs: bool
    configuration: Configuration
    reads: str
    writes: str
    term: int
    last_term: int
    last_index: int
    committed: int
    is_usable: bool
    may_vote: bool
    text: str

    @property
    def end(self) -> tuple[int, int]:
        """Term and index of its last entry: how advanced it is."""
        return self.last_term, self.last_index

    @property
    def role(self) -> str:
        """Its part in the newest configuration that it knows; "" if it has none."""
        if self.node in self.configuration.witnesses:
            return "witness"
        if self.node in self.configuration.electors:
            return "voter"
        return "learner" if self.node in self.configuration.members else ""

    @property
    def keeps_state(self) -> bool:
        """Whether a cluster could go on from it: a witness has no state to go on with."""
        return self.is_usable and self.role in ("voter", "learner")


class Assessment(msgspec.Struct, frozen=True):
    """What can be said of all survivors together.

    `enough`: with these a quorum decides, so nothing is lost for good; empty: none could. `best` is the most
    advanced one that keeps state, entries up to `committed` are known to be decided, and `is_complete` says that
    nothing that was acknowledged can be missing from its log. `given_up`: the members that would be no more.
    """

    enough: tuple[NodeId, ...]
    best: Survivor
    committed: int
    is_complete: bool
    given_up: tuple[NodeId, ...]


def assess(survivors: Sequence[Survivor]) -> Assessment:
    """Judge what is left. Raises ConfigurationError where nobody is left to go on from, or where survivors of two
    recoveries are among them."""
    present = newest_incarnation(survivors)
    keepers = [each for each in present if each.keeps_state]
    if not keepers:
        told = "; ".join(f"{each.node}: {each.text}" for each in survivors) or "no data folder is left"
        raise ConfigurationError(
            f"a survivor was looked for, but nobody is left with the state of the cluster ({told}). Name further "
            "data folders by --data, or restore a backup: quorum restore."
        )
    best = max(keepers, key=lambda each: (*each.end, each.may_vote, each.committed))
    voters = {each.node for each in present if each.is_usable and each.may_vote}
    return Assessment(
        enough=_enough(present),
        best=best,
        committed=min(best.last_index, max(each.committed for each in present)),
        is_complete=_system(best).is_read_quorum(voters),
        given_up=tuple(node for node in best.configuration.members if node != best.node),
    )


def newest_incarnation(survivors: Iterable[Survivor]) -> list[Survivor]:
    """Those of the newest incarnation. Raises ConfigurationError where two recoveries made one each."""
    known = [each for each in survivors if each.configuration.members]
    number = max((number_of(each.configuration.incarnation) for each in known), default=0)
    newest = [each for each in known if number_of(each.configuration.incarnation) == number]
    by_name = {each.configuration.incarnation: each for each in newest}
    if len(by_name) > 1:
        told = " and ".join(
            f"{each.node} is of {shown_incarnation(name)}" for name, each in sorted(by_name.items())
        )
        raise ConfigurationError(
            f"survivors were compared, but {told}: the cluster was recovered twice, and the two cannot be put "
            "together. Decide for one, and keep the data folders of the other away."
        )
    return newest


def _enough(present: Sequence[Survivor]) -> tuple[NodeId, ...]:
    """The fewest of those left, found one by one, with whom one of them would be elected and could commit."""
    for leader in sorted(present, key=lambda each: each.end, reverse=True):
        if not (leader.is_usable and leader.may_vote and leader.node in leader.configuration.candidates):
            continue
        system = _system(leader)
        stores = {each.node for each in present if each.is_usable}
        # A vote goes to no candidate whose log is behind the voter's.
        voters = {each.node for each in present if each.is_usable and each.may_vote and each.end <= leader.end}
        if not (system.is_read_quorum(voters) and system.is_write_quorum(stores)):
            continue
        needed = set(stores)
        for node in sorted(stores - {leader.node}, reverse=True):
            fewer = needed - {node}
            if system.is_read_quorum(fewer & voters) and system.is_write_quorum(fewer):
                needed = fewer
        return tuple(sorted(needed))
    return ()


def _system(survivor: Survivor) -> QuorumSystem:
    return QuorumSystem(survivor.reads, survivor.writes)
