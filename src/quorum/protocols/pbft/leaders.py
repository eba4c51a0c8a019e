"""In which order the members of an epoch are its primaries: by the certificate that ended the epoch before.

Whoever signed it was there and answered; the others, and newcomers, come behind. The approvals of the quorum stand
in the last block of an epoch, so every member derives the same order, and no primary is skipped for ever. A
committee may name who is first, as one does that was chosen by the round trips between members
(membership.weighing). Source: Cohen et al., "Be Aware of Your Leaders" (2022), which draws leaders from the
signers of a committed certificate. Theirs takes effect in the next round, and leaves out who led last: blocks here
do not say who proposed them or whose votes decided them, so this takes effect where an epoch begins, and not
before.
"""

from __future__ import annotations

from quorum.certificate.approval import Change, pack_change
from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange
from quorum.certificate.merkle import leaf_of
from quorum.model import NodeId


def order_of(change: EpochChange) -> tuple[NodeId, ...]:
    """Who is primary in the first view of an epoch, in the next one, and so on, over and over."""
    signed = {node for node, _ in change.approvals}
    first = change.committee.primary
    return tuple(sorted(change.committee.nodes, key=lambda node: (node != first, node not in signed, node)))


def first_order(committee: Committee) -> tuple[NodeId, ...]:
    """The same in the first epoch, which nothing came before: by name."""
    return tuple(sorted(committee.nodes, key=lambda node: (node != committee.primary, node)))


def has_approvals(change: EpochChange) -> bool:
    """Whether a change whose certificate and place hold carries the very approvals that stand in its block."""
    _, piece = pack_change(Change(change.committee, change.approvals))
    return change.place == 0 and change.certificate.header.count == 2 and change.path == (leaf_of(piece),)
