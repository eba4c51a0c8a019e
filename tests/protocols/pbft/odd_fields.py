"""Every message of PBFT with one thing wrong: each field of it, nested ones too, and each odd value of its type.

Where the liar's own signature covers the field it signs anew, so that what is wrong is the field alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from protocols.pbft.cluster import key_of
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import SignedVote
from quorum.certificate.vote import VoteKind
from quorum.errors import ConfigurationError, RemoteProtocolError
from quorum.model import NodeId
from quorum.protocols.pbft.blocks import read_block
from quorum.protocols.pbft.messages import Commit, NewView, Prepare, PrePrepare, Shown, ViewChange, Votes
from quorum.protocols.pbft.view_change import _digest_of, base_of
from quorum.sim.wire import carry

NUMBERS = (-(2**63), -1, *range(8), 99, 2**31, 2**32, 10**9, 2 * 10**9 - 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64)
HUGE = 1_000
Said = tuple[object, tuple[bytes, ...]]
"""A message, and the blocks attached to it."""


def variants(value: object) -> Iterator[object]:
    """Values of the same type that differ from `value` in one place."""
    match value:
        case msgspec.Struct():
            for name in value.__struct_fields__:
                for other in variants(getattr(value, name)):
                    try:
                        yield replace(value, **{name: other})
                    except (ConfigurationError, ValueError):
                        continue  # nobody can even make such a value, so none can arrive
        case bool():
            yield not value
        case int():
            yield from (number for number in (*NUMBERS, value - 1, value + 1) if number != value)
        case bytes():
            yield from odd_bytes(value)
        case str():
            yield from (name for name in ("", "n1", "n2", "n3", "n9", "x" * 300) if name != value)
        case tuple():
            yield from _of_tuple(value)


def odd_bytes(value: bytes) -> Iterator[bytes]:
    """Shorter, longer, none, of one value, huge, or with one wrong bit."""
    yield from (value[:-1], value + b"\x00", bytes(len(value)), b"\xff" * len(value), bytes(70_000))
    if value:
        yield b""
    for place in sorted({0, len(value) // 2, len(value) - 1}) if value else ():
        yield value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]


def _of_tuple(value: tuple) -> Iterator[tuple]:
    """Empty, cut, with a part twice, turned round, huge; or wrong in its first or its last part."""
    if not value:
        return
    is_list = len({type(part) for part in value}) == 1 and not isinstance(value[0], str | int)
    if is_list:
        yield from ((), value[:-1], (*value, value[-1]), (*value[:-1], value[0]), value[:1] * HUGE)
        if len(value) > 1:
            yield value[::-1]
    for place in sorted({0, len(value) - 1}) if is_list else range(len(value)):
        for other in variants(value[place]):
            yield (*value[:place], other, *value[place + 1 :])


def odd_messages(said: Said, source: NodeId, committee: Committee) -> Iterator[Said]:
    """All that arrives of a message with one thing wrong, from `source`: as it is, and signed by its own key."""
    message, attached = said
    block = read_block(source, attached[0], committee).digest if isinstance(message, PrePrepare) else b""
    for odd in variants(message):
        yield from arriving(source, odd, attached)
        again = signed_again(odd, source, committee, block)
        if again is not None and again != odd:
            yield from arriving(source, again, attached)
    for place in range(min(len(attached), 2)):
        for other in odd_bytes(attached[place]):
            yield from arriving(source, message, (*attached[:place], other, *attached[place + 1 :]))
    if attached:
        yield from arriving(source, message, ())
        yield from arriving(source, message, (*attached, attached[-1]))


def arriving(source: NodeId, message: object, attached: tuple[bytes, ...]) -> Iterator[Said]:
    """What the wire makes of it; nothing where it cannot be written, or the codec refuses to read it."""
    try:
        read, pieces = carry(source, message, attached)
    except (RemoteProtocolError, OverflowError, ValueError):
        return
    yield read, tuple(map(bytes, pieces))


def signed_again(message: object, source: NodeId, committee: Committee, block: bytes = b"") -> object | None:
    """The message with the source's own signature over what it says now; None where it has none, or nobody can
    sign such a thing. `block`: the digest of the one that is attached."""
    if source not in committee.nodes:
        return None
    try:
        return _signed_again(message, source, committee, block)
    except (struct.error, AssertionError, ValueError, OverflowError, TypeError):
        return None


def _signed_again(message: object, source: NodeId, committee: Committee, block: bytes) -> object | None:
    def sign(kind: int, view: int, sequence: int, digest: bytes) -> bytes:
        statement = committee.domain.statement(VoteKind(kind), view, sequence, digest)
        return key_of(source).sign(statement).signature

    match message:
        case PrePrepare(view, sequence):
            return replace(message, signature=sign(VoteKind.PREPARE, view, sequence, block))
        case Prepare(view, sequence, digest):
            return replace(message, signature=sign(VoteKind.PREPARE, view, sequence, digest))
        case Commit(view, sequence, digest):
            return replace(message, signature=sign(VoteKind.COMMIT, view, sequence, digest))
        case Votes(view, votes):
            given = tuple((kind, at, digest, sign(kind, view, at, digest)) for kind, at, digest, _ in votes)
            return replace(message, votes=given)
        case Shown(_, SignedVote(member, kind, view, sequence, digest) as vote) if member == source:
            return replace(message, vote=replace(vote, signature=sign(kind, view, sequence, digest)))
        case ViewChange(view, claim):
            digest = claim.digest_of_claim()
            return replace(message, signature=sign(VoteKind.VIEW_CHANGE, view, claim.sequence, digest))
        case NewView(view, changes):
            at, digest = base_of(changes).claim.sequence, _digest_of(changes)
            return replace(message, signature=sign(VoteKind.NEW_VIEW, view, at, digest))
    return None
