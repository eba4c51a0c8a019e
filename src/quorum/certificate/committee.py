"""Who decides in one epoch of a Byzantine cluster, with their keys: what an auditor has to trust."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from typing import Final

import msgspec

from quorum.certificate.keys import check_public_key
from quorum.certificate.vote import SigningDomain
from quorum.errors import ConfigurationError
from quorum.model import NodeId, check_fault_budget, check_node_id
from quorum.systems.byzantine import byzantine, check_byzantine, weighted_byzantine
from quorum.systems.expression import parse
from quorum.systems.system import QuorumSystem

MEMBERSHIP_HASH_BYTES: Final = 32
MEMBERS_MAX: Final = 1_000


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One node, its Ed25519 public key, and its votes."""

    node: NodeId
    public_key: bytes
    weight: int = 1


class Committee(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """The members of `epoch` in `cluster`, sorted by name, of which up to `faults` may lie.

    `quorums` is an expression over the members; empty text means ceil((N+T+1)/2) of them, or where weights differ
    the fewest votes of which every two quorums share more than `faults` nodes can have. `primary` is who orders in
    the first view of the epoch; empty text means whom the order of leaders names (protocols.pbft.leaders).
    """

    cluster: str
    epoch: int
    members: tuple[Member, ...]
    faults: int
    quorums: str = ""
    primary: NodeId = ""

    @cached_property
    def packed(self) -> bytes:
        """The one form in which it is signed and stands in blocks: a primary that is not named is left out."""
        named = (self.primary,) if self.primary else ()
        fields = (self.cluster, self.epoch, self.members, self.faults, self.quorums, *named)
        return msgspec.msgpack.encode(fields)

    @cached_property
    def membership_hash(self) -> bytes:
        """32 bytes that stand for all of this: certificates name their committee by it."""
        return blake2b(self.packed, digest_size=MEMBERSHIP_HASH_BYTES, person=b"quorum members 1").digest()

    @cached_property
    def nodes(self) -> tuple[NodeId, ...]:
        """The members' names, sorted."""
        return tuple(member.node for member in self.members)

    @cached_property
    def keys(self) -> dict[NodeId, bytes]:
        """The public key of each member."""
        return {member.node: member.public_key for member in self.members}

    @cached_property
    def domain(self) -> SigningDomain:
        """What the members' signatures are bound to."""
        return SigningDomain(self.cluster, self.epoch)

    @cached_property
    def system(self) -> QuorumSystem:
        """Which members decide together. Raises ConfigurationError where the text is no expression over them."""
        if self.quorums:
            decide = parse(self.quorums)
            return QuorumSystem(decide, decide)
        weights = {member.node: member.weight for member in self.members}
        if set(weights.values()) == {1}:
            return byzantine(self.nodes, self.faults)
        return weighted_byzantine(weights, self.faults)


def check_committee(committee: Committee) -> None:
    """Raise ConfigurationError unless the committee is safe and live with its faults, and its keys are sound.

    Members are sorted, named once, each with a key of its own; N >= 3T+1; every two quorums share T+1 nodes.
    """
    check_members(committee)
    check_fault_budget(len(committee.members), committee.faults, "byzantine")
    assert committee.domain.epoch == committee.epoch, "the signing domain takes the epoch as it is"
    strangers = sorted(set(committee.system.nodes) - set(committee.nodes))
    if strangers:
        raise ConfigurationError(
            f"the quorums {committee.quorums[:80]!r} name {', '.join(strangers[:5])}, but only members of the "
            "committee decide. Make them members, or leave them out."
        )
    check_byzantine(committee.system, committee.faults)


def check_members(committee: Committee) -> None:
    """The quick part of `check_committee`, for a committee of unknown origin: members and keys, no quorums."""
    members = committee.members
    if len(members) > MEMBERS_MAX:
        raise ConfigurationError(
            f"a committee of {len(members)} members was given, but more than {MEMBERS_MAX} are never verified. "
            "Let fewer of the cluster's members vote."
        )
    if list(committee.nodes) != sorted(set(committee.nodes)):
        raise ConfigurationError(
            "a committee was given whose members are not sorted, or one is named twice and would vote twice. "
            "Name each member once, in the order of their names."
        )
    if committee.primary and committee.primary not in committee.nodes:
        raise ConfigurationError(
            f"{committee.primary[:80]} was to lead epoch {committee.epoch} first, but it is no member of it. Name "
            "a member, or nobody."
        )
    owners: dict[bytes, NodeId] = {}
    for member in members:
        check_node_id(member.node)
        check_public_key(member.node, member.public_key)
        other = owners.setdefault(member.public_key, member.node)
        if other != member.node:
            raise ConfigurationError(
                f"one key was given for {other} and {member.node}, but whoever holds it would vote twice. "
                "Make a key for each member."
            )
        if member.weight < 1:
            raise ConfigurationError(
                f"weight {member.weight} was given for {member.node}, but votes count from 1. "
                "Give 1 or more, or leave the node out of the committee."
            )
