"""The committees of one cluster: from the first, which is trusted, to the newest, each proved by the one before.

Views are numbered through all epochs, so that views, and with them claims and terms, only ever grow, and whatever
names a view says by which committee it was signed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from quorum.certificate.approval import Change, pack_change
from quorum.certificate.block import BlockCertificate
from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange
from quorum.certificate.evidence import Claim
from quorum.certificate.merkle import leaf_of, path_of
from quorum.certificate.vote import DIGEST_BYTES
from quorum.model import Configuration, NodeId
from quorum.protocols.pbft.leaders import first_order, order_of

VIEWS_PER_EPOCH: Final = 10**9
"""View 3 of the second epoch of a cluster is view 1,000,000,003."""
NOTE: Final = "epoch"
"""The change to epoch 2 is durable as the note "epoch 2"."""
NO_CLAIM: Final = Claim(0, 0, bytes(DIGEST_BYTES))

_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(EpochChange)


class Epochs:
    """Grows by one verified change at a time.

    I1  epochs count up by one, from that of the first committee on.
    I2  the block where an epoch begins lies behind the one where the epoch before began.
    """

    __slots__ = ("by_hash", "changes", "committees", "leaders", "start", "used")

    def __init__(self, first: Committee) -> None:
        self.committees = [first]
        self.changes: list[EpochChange] = []
        self.leaders = [first_order(first)]
        """In which order the members of each epoch are its primaries."""
        self.by_hash = {first.membership_hash: first}
        self.used: dict[bytes, tuple[NodeId, int]] = {}
        """Every key that a member had, and by whom and in which epoch last."""
        self._use(first)
        self.start = NO_CLAIM
        """Where the newest epoch begins, a claim that needs no proof there: the last block of the one before."""

    @property
    def newest(self) -> Committee:
        """The committee of the newest epoch."""
        return self.committees[-1]

    def first_view(self, epoch: int) -> int:
        """The first view of an epoch."""
        return (epoch - self.committees[0].epoch) * VIEWS_PER_EPOCH

    def epoch_of(self, view: int) -> int:
        """The epoch to which a view belongs, known or not."""
        return self.committees[0].epoch + view // VIEWS_PER_EPOCH

    def committee_of(self, view: int) -> Committee | None:
        """Who signs in a view; None where that is not known."""
        place = view // VIEWS_PER_EPOCH
        return self.committees[place] if 0 <= place < len(self.committees) else None

    def primary_of(self, view: int) -> NodeId:
        """Who orders in a view of an epoch that is known; of a later one nobody can tell."""
        place = min(view // VIEWS_PER_EPOCH, len(self.leaders) - 1)
        order = self.leaders[place]
        return order[view % VIEWS_PER_EPOCH % len(order)]

    def may_sign(self, view: int, sequence: int) -> bool:
        """Whether the committee of a view had a block of this number to decide: none after its epoch's last."""
        place = view // VIEWS_PER_EPOCH
        ends = self.changes[place].certificate.header.sequence if place < len(self.changes) else sequence
        return self.committee_of(view) is not None and sequence <= ends

    def append(self, change: EpochChange) -> None:
        """The next epoch, whose change was verified."""
        committee, header = change.committee, change.certificate.header
        assert committee.epoch == self.newest.epoch + 1, "I1: an epoch was left out"
        assert header.sequence > self.start.sequence, "I2: an epoch began before the one before it"
        self.committees.append(committee)
        self.changes.append(change)
        self.leaders.append(order_of(change))
        self.by_hash[committee.membership_hash] = committee
        self._use(committee)
        self.start = Claim(self.first_view(committee.epoch) - 1, header.sequence, header.digest())

    def _use(self, committee: Committee) -> None:
        self.used.update((key, (node, committee.epoch)) for node, key in committee.keys.items())

    def after(self, epoch: int, most: int) -> tuple[EpochChange, ...]:
        """The changes that lead on from an epoch, as many as `most`."""
        first = max(0, epoch - self.committees[0].epoch)
        return tuple(self.changes[first : first + most])

    def former(self) -> tuple[str, ...]:
        """The members of the epoch before the newest: they have the block where it begins."""
        return self.committees[-2].nodes if self.changes else ()


def configuration_of(committee: Committee) -> Configuration:
    """A committee as snapshots name it."""
    quorums = str(committee.system.writes)
    return Configuration(committee.epoch, committee.nodes, reads=quorums, writes=quorums)


def ended_by(change: Change, certificate: BlockCertificate) -> EpochChange:
    """What proves a change of epoch: the certificate of the block that makes it."""
    path = path_of([leaf_of(piece) for piece in pack_change(change)], 0)
    return EpochChange(change.committee, certificate, 0, path, change.approvals)


def note_of(change: EpochChange) -> tuple[str, bytes]:
    """Name and data of the note that keeps a change."""
    return f"{NOTE} {change.committee.epoch}", _ENCODE.encode(change)


def restored(first: Committee, notes: dict[str, bytes]) -> Epochs:
    """What the notes of an earlier life say."""
    epochs = Epochs(first)
    while (data := notes.get(f"{NOTE} {epochs.newest.epoch + 1}")) is not None:
        epochs.append(_DECODE.decode(data))
    return epochs
