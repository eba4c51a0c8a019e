"""Which committee may follow another, and who of the old one wants it: what makes a change of epoch valid.

A change stands in a block of its own, the last of its epoch, as two pieces: the next committee
(`epochs.epoch_request`), and the approvals of a quorum of the old one. Neither a client nor T liars can make one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from quorum.certificate.committee import MEMBERS_MAX, Committee, check_committee
from quorum.certificate.epochs import epoch_request
from quorum.certificate.requests import EPOCH_TAG
from quorum.certificate.vote import VoteKind
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.model import NodeId

APPROVALS_TAG: Final = b"quorum approvals 1\x00"
CHANGE_BYTES_MAX: Final = 256 * 1024
"""A committee has at most so many bytes in a block."""

Approvals = tuple[tuple[NodeId, bytes], ...]
"""(member of the old committee, its signature over `approval_statement`), sorted by member, each once."""

UsedKeys = Mapping[bytes, tuple[NodeId, int]]
"""Who had a public key, and in which epoch last."""


class Change(msgspec.Struct, frozen=True):
    """The committee of the next epoch, and who of the one before approves of it."""

    committee: Committee
    approvals: Approvals


_ENCODE = msgspec.msgpack.Encoder()
_DECODE_COMMITTEE = msgspec.msgpack.Decoder(Committee)
_DECODE_APPROVALS = msgspec.msgpack.Decoder(Approvals)


def approval_statement(old: Committee, following: Committee) -> bytes:
    """What a member of `old` signs to have `following` in its place. It is good while the epoch of `old` lasts."""
    return old.domain.statement(VoteKind.APPROVE, 0, following.epoch, following.membership_hash)


def pack_change(change: Change) -> tuple[bytes, bytes]:
    """The two pieces of a change, as they stand in its block."""
    return epoch_request(change.committee), APPROVALS_TAG + _ENCODE.encode(change.approvals)


def unpack_change(pieces: Sequence[Buffer]) -> Change:
    """The change that these pieces of a block are; nothing in it is checked. Raises ValueError for bytes that
    `pack_change` never makes."""
    if len(pieces) != 2:
        raise ValueError(f"a change of epoch has 2 pieces, not {len(pieces)}")
    first, second = map(bytes, pieces)
    if len(first) > CHANGE_BYTES_MAX or not second.startswith(APPROVALS_TAG):
        raise ValueError("a change of epoch is too long, or has no approvals")
    try:
        committee = _DECODE_COMMITTEE.decode(first[len(EPOCH_TAG) :])
        change = Change(committee, _DECODE_APPROVALS.decode(second[len(APPROVALS_TAG) :]))
    except msgspec.DecodeError as error:
        raise ValueError(f"a change of epoch cannot be read: {error}") from None
    if pack_change(change) != (first, second):
        raise ValueError("a change of epoch is not in the form that is its own")
    return change


def flaws_of_approvals(change: Change, old: Committee) -> list[str]:
    """What is wrong with a change before any signature is checked, and before the new committee is looked at: its
    quorums could take for ever to check, so that is done last, once a quorum of the old one vouches for it."""
    following = change.committee
    if following.cluster != old.cluster or following.epoch != old.epoch + 1:
        return [f"it leads to epoch {following.epoch} of cluster {following.cluster[:40]!r}."]
    if len(following.members) > MEMBERS_MAX:
        return [f"it names {len(following.members)} members."]
    members = [member for member, _ in change.approvals]
    if members != sorted(set(members)) or not set(members) <= set(old.nodes):
        return ["its approvals are not sorted, one is named twice, or strangers approve."]
    if not old.system.is_write_quorum(frozenset(members)):
        return [f"the {len(members)} who approve hold no quorum of epoch {old.epoch}."]
    return []


def check_following(newest: Committee, used: UsedKeys, following: Committee) -> None:
    """Raise ConfigurationError unless `following` may come after `newest`, where these keys are `used`, by it or a
    committee before it.

    It is the next epoch of the same cluster, safe and live with its faults. A key stays with its member: one that
    was another member's, or was left out of an epoch, may be known to others, and what it signed is not known to
    who comes back with it, so that it never comes back.
    """
    if following.cluster != newest.cluster or following.epoch != newest.epoch + 1:
        raise ConfigurationError(
            f"epoch {following.epoch} of cluster {following.cluster[:40]!r} was to follow epoch {newest.epoch} of "
            f"{newest.cluster[:40]!r}, but epochs of one cluster count up by one. Name epoch {newest.epoch + 1}."
        )
    if len(epoch_request(following)) > CHANGE_BYTES_MAX:
        raise ConfigurationError(
            f"epoch {following.epoch} was to have a committee of more than {CHANGE_BYTES_MAX} bytes, but no block "
            "holds more. Name fewer members, or shorter quorums."
        )
    for member in following.members:
        if member.public_key in used and newest.keys.get(member.node) != member.public_key:
            node, epoch = used[member.public_key]
            raise ConfigurationError(
                f"{member.node} was to be in epoch {following.epoch} with the key that {node} had in epoch "
                f"{epoch}, but a key that was given up never comes back. Make a fresh key for "
                "it, by admitting it under a new name: quorum admit NAME."
            )
    check_committee(following)
