"""Ballots as their clients see them: commands, queries, results and their encoding.

A ballot is opened with its terms (voting.ballot.terms), which never change. Its participants vote, each once, or
again until the end where the terms allow it. It is pending, then won or lost, for good: as soon as the votes that
are still out can change nothing, at its deadline, or when it is closed. A secret ballot goes on after that until
opinions are revealed. While it is pending, participants who are silent, or proven to have signed two different
votes, can be replaced by standbys: another round, which carries on the votes of those who stay and the locked
value (voting.ballot.rounds). At the end of a round's time the silent are replaced without anybody asking.

A batch is a msgpack array of commands, its reply the array of their results, one for each, in order. A command
that cannot be done gets `Refused` as its result and changes nothing; the others of its batch stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from quorum.apps.batch import Refused
from quorum.certificate.ballot import CastVote, Lie, Opening, Outcome, Round
from quorum.entry import Buffer
from quorum.voting.ballot.standing import Standing
from quorum.voting.ballot.terms import Terms

BALLOTS_MAX: Final = 10_000
"""Ballots that are kept. One that has ended stays until it is forgotten."""
ELECTORS_MAX: Final = 1_000_000
"""Voters of all of them together."""
SIGNATURE_BYTES_MAX: Final = 64
LIST_MAX: Final = 1_000
"""One `ListBallots` gives at most so many, then says `more`."""
READ_BYTES_MAX: Final = 4 * 1024 * 1024
"""All reads in one batch or query give at most so many bytes together, about."""
ALL: Final = b"\0"
"""The topic that tells of every ballot; the topic of one is its name in UTF-8."""


class _Command(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Base of what a client may send."""


class OpenBallot(_Command, frozen=True, gc=False, array_like=True, tag=1, forbid_unknown_fields=True):
    """Open a ballot of `cluster`, whose id voters sign with it. The same again by the same client changes nothing.
    Result: Opened."""

    terms: Terms
    cluster: str


class Cast(_Command, frozen=True, gc=False, array_like=True, tag=2, forbid_unknown_fields=True):
    """Vote as `voter` in the ballot of this id, by an opinion, or in a secret ballot by the `commitment` to one.
    `turn`: 1, and where votes may be changed more than the last, and another for each vote that was signed.
    `signature`: over `certificate.ballot.vote_statement`, where the voter has a key. The same again changes
    nothing. Result: Counted."""

    name: str
    ballot: bytes
    voter: str
    opinion: str | float | tuple[float, ...] | None
    turn: int = 1
    signature: bytes = b""
    commitment: bytes = b""


class Reveal(_Command, frozen=True, gc=False, array_like=True, tag=3, forbid_unknown_fields=True):
    """Say what `voter` had committed to; whoever knows the nonce may. Result: Counted."""

    name: str
    ballot: bytes
    voter: str
    opinion: str | float | tuple[float, ...]
    nonce: bytes


class Adapt(_Command, frozen=True, gc=False, array_like=True, tag=4, forbid_unknown_fields=True):
    """End round `number` (from 1 on): `evict` participants who are silent, `enlist` standbys. Whoever opened the
    ballot, and its operators, may. Result: Adapted."""

    name: str
    ballot: bytes
    number: int
    evict: tuple[str, ...] = ()
    enlist: tuple[str, ...] = ()


class Accuse(_Command, frozen=True, gc=False, array_like=True, tag=5, forbid_unknown_fields=True):
    """Show that a participant signed two votes: it is evicted, and the first standby takes its place. Anybody may.
    Result: Adapted."""

    name: str
    ballot: bytes
    lie: Lie


class CloseBallot(_Command, frozen=True, gc=False, array_like=True, tag=6, forbid_unknown_fields=True):
    """Let no more votes come. Whoever opened it, and its operators, may. Result: Counted."""

    name: str
    ballot: bytes


class Forget(_Command, frozen=True, gc=False, array_like=True, tag=7, forbid_unknown_fields=True):
    """Let a ballot that has ended be gone, so that its name is free. Whoever opened it, and its operators, may.
    Result: Forgotten."""

    name: str


class LookBallot(_Command, frozen=True, gc=False, array_like=True, tag=8, forbid_unknown_fields=True):
    """Read one ballot. Result: BallotView; Refused if there is none of this name."""

    name: str


class ListBallots(_Command, frozen=True, gc=False, array_like=True, tag=9, forbid_unknown_fields=True):
    """Read the ballots from `start` on, in the order of their names' bytes, at most `limit` of them (0: LIST_MAX);
    with `voter` those alone in which it votes and has not yet. Result: Ballots."""

    start: str = ""
    limit: int = 0
    voter: str = ""


Command: TypeAlias = OpenBallot | Cast | Reveal | Adapt | Accuse | CloseBallot | Forget
Query: TypeAlias = LookBallot | ListBallots


class Opened(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """The ballot is open, since the entry of `opening`; its id is `certificate.ballot.ballot_id` of it."""

    opening: Opening


class Counted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """How it stands now. `phase`: voting, revealing or ended. While a secret ballot is in its first phase nothing
    but `cast` is known."""

    phase: str
    standing: Standing


class Adapted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Round `number` has begun."""

    number: int
    round: Round
    standing: Standing


class Forgotten(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """Whether there was such a ballot."""

    existed: bool


class BallotView(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """A ballot as it is: all that its certificate will hold, and how long it goes on if nothing happens, in
    microseconds of lease time (None: no bound). `outcome` is None until it has ended."""

    opening: Opening
    phase: str
    rounds: tuple[Round, ...]
    votes: tuple[CastVote, ...]
    lies: tuple[Lie, ...]
    standing: Standing
    outcome: Outcome | None
    remaining_us: int | None
    round_remaining_us: int | None


class BallotLine(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A ballot in a list."""

    name: str
    question: str
    phase: str
    round: int
    standing: Standing


class Ballots(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """With `more`, go on behind the last name."""

    ballots: list[BallotLine]
    more: bool


Result: TypeAlias = Opened | Counted | Adapted | Forgotten | BallotView | Ballots | Refused


class BallotChange(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The body of a notice: something happened to this ballot."""

    name: str
    phase: str
    round: int
    state: str


_ENCODE = msgspec.msgpack.Encoder()
_DECODE_RESULTS: msgspec.msgpack.Decoder[list[Result]] = msgspec.msgpack.Decoder(list[Result])
_DECODE_CHANGE = msgspec.msgpack.Decoder(BallotChange)


def encode_batch(commands: Sequence[Command]) -> bytes:
    """The body of a batch of commands."""
    return _ENCODE.encode(commands)


def encode_query(queries: Sequence[Query]) -> bytes:
    """The body of a batch of reads."""
    return _ENCODE.encode(queries)


def decode_results(body: Buffer) -> list[Result]:
    """The results in the reply to a batch or a query, in order. Raises msgspec.DecodeError if it is none."""
    return _DECODE_RESULTS.decode(body)


def encode_change(change: BallotChange) -> bytes:
    """The body of a notice."""
    return _ENCODE.encode(change)


def decode_change(body: Buffer) -> BallotChange:
    """The change in the body of a notice. Raises msgspec.DecodeError if it is none."""
    return _DECODE_CHANGE.decode(body)
