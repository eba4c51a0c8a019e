"""What a ballot proves: who was asked what, who said what, by which rule that decides. And the one verifier.

Everybody who has a key signs the own vote, over an id that fixes the terms and where in the log the ballot was
opened. A certificate shows the rounds and all votes that count, so that whoever reads it can count again.

Where the terms say `transferable`, the signatures alone prove a decision, also to those who trust no node:
whatever the rounds were, two certificates of one ballot that say different things show more than T voters who
signed two votes (voting.ballot.terms, `proof_weight`). Elsewhere nodes may have left out votes, and the
certificate convinces whoever trusts the node that gave it, or as many nodes as cannot all lie.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, TypeAlias

import msgspec

from quorum.voting.ballot.standing import Opinion, Standing
from quorum.voting.ballot.terms import Terms

VOTE_FORMAT: Final = "quorum-ballot-vote-1"
BALLOT_FORMAT: Final = "quorum-ballot-1"
NONCE_BYTES: Final = 32
ID_BYTES: Final = 32
TURN_MAX: Final = 2**63 - 1
Said: TypeAlias = "Opinion | bytes"
"""An opinion, or the commitment to one."""


class Opening(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The terms, the cluster that the opener meant, who opened it, and the entry that did: its index, log time and
    random bits."""

    terms: Terms
    cluster: str
    owner: str
    index: int
    time_us: int
    entropy: int


class Round(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who votes from here on, and the option that alone can win; None: any. `at` counts what happened to the
    ballot before: 0 where it begins."""

    participants: tuple[str, ...]
    at: int
    locked: str | None = None


class CastVote(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A vote that counts, and its place `at` among what happened to the ballot; `turn` grows from vote to vote of
    one voter, from 1 on. In a secret ballot `commitment` was signed, and `opinion` is None until it is revealed
    with `nonce`."""

    voter: str
    turn: int
    opinion: str | float | tuple[float, ...] | None
    at: int
    signature: bytes = b""
    commitment: bytes = b""
    nonce: bytes = b""

    @property
    def said(self) -> Said | None:
        """What the voter signed."""
        return self.commitment or self.opinion


class Lie(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Two different votes of one voter and turn, both signed: it has no vote in this ballot any more from `at` on,
    0 until that is in the log. `lost`: its vote that counted until then, in the rounds that had begun before."""

    first: CastVote
    second: CastVote
    at: int = 0
    lost: CastVote | None = None

    @property
    def voter(self) -> str:
        """Who signed both."""
        return self.first.voter


class Outcome(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The end: how it stood, at which entry of the log and which log time. Who decided it is told by the last
    round."""

    standing: Standing
    index: int
    time_us: int


class BallotCertificate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A ballot of `cluster` that has ended. Votes are sorted by voter."""

    cluster: str
    opening: Opening
    rounds: tuple[Round, ...]
    votes: tuple[CastVote, ...]
    lies: tuple[Lie, ...]
    outcome: Outcome


_ENCODE = msgspec.msgpack.Encoder().encode


def ballot_id(opening: Opening) -> bytes:
    """What voters sign instead of all the terms: 32 bytes, another one for every ballot that was ever opened."""
    return blake2b(_ENCODE((BALLOT_FORMAT, opening)), digest_size=ID_BYTES).digest()


def vote_statement(ballot: bytes, voter: str, turn: int, said: Said) -> bytes:
    """The bytes that a voter signs. They begin with the format's name, as nothing else does that anybody signs."""
    return _ENCODE((VOTE_FORMAT, ballot, voter, turn, said))


def commitment_to(ballot: bytes, voter: str, opinion: Opinion, nonce: bytes) -> bytes:
    """What hides an opinion until it is revealed: 32 bytes. `nonce`: NONCE_BYTES that nobody can guess."""
    return blake2b(_ENCODE((VOTE_FORMAT, ballot, voter, opinion, nonce)), digest_size=ID_BYTES).digest()
