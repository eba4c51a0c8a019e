"""What a member keeps durably beside its log: what it claims, its view, what it voted for, and what it lost."""

from __future__ import annotations

from typing import Final

import msgspec

from quorum.certificate.evidence import Claim
from quorum.protocols.pbft.messages import NewView, Signatures

CLAIM_NOTE: Final = "claim"
VIEW_NOTE: Final = "view"
ASIDE_NOTE: Final = "aside"
VOTED_NOTE: Final = "voted"
LOST_NOTE: Final = "lost"


class HeldClaim(msgspec.Struct, frozen=True, array_like=True):
    """A claim with its proof: the votes, of the kind `vote`, of a quorum. Where the epoch begins needs none."""

    claim: Claim
    vote: int
    signatures: Signatures

    @property
    def order(self) -> tuple[int, int]:
        """The newer claim has the greater one."""
        return self.claim.view, self.claim.sequence


class ViewMark(msgspec.Struct, frozen=True, array_like=True):
    """What is durable of a view that began here: where it began, and the NEW-VIEW that says so (None: view 0)."""

    view: int
    base_sequence: int
    base_digest: bytes
    new_view: NewView | None


class VotedMark(msgspec.Struct, frozen=True, array_like=True):
    """What this node prepared in `view` and its disk does not show any more, as (sequence, digest)."""

    view: int
    places: tuple[tuple[int, bytes], ...]


class LostMark(msgspec.Struct, frozen=True, array_like=True):
    """This disk lost what its node had signed with `public_key`. Up to view `silent_through` nothing is signed by
    it since; -1: that is not known yet."""

    public_key: bytes
    silent_through: int
