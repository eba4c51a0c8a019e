"""Pieces of a certified state: what an honest member gives passes, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.apps import kv
from quorum.apps.answer import OK, Answer
from quorum.apps.catalogue import KV_APP, LOCK_APP, new_host
from quorum.apps.host import OPEN, SESSIONS, Host
from quorum.apps.pieces import PIECE_BYTES, Tree, digests_of, rendered, root_in_slices
from quorum.apps.session import Sessions
from quorum.apps.state_machine import is_chunked
from quorum.apps.stream import LAST, PieceFrames, payload_of, pieces_in, write_stream
from quorum.certificate.state_pieces import (
    GROUP,
    HEAD,
    Entry,
    PieceProof,
    digest_of,
    entries_of,
    proven,
    read_proof,
)
from quorum.entry import COMMAND
from quorum.header import Header

SMALL = [b"head", *(b"piece %d" % number for number in range(3 * GROUP))]


def tree_of(pieces: list[bytes]) -> Tree:
    return Tree(entries_of([(0, LAST if place else HEAD, digest_of(piece)) for place, piece in enumerate(pieces)]))


def accepted(root: bytes, number: int, pieces: list[bytes], proof: PieceProof) -> bool:
    """Whether all of this is taken for the pieces from `number` on."""
    entries = read_proof(root, number, proof)
    return entries is not None and bool(pieces) and proven(entries, pieces) == len(pieces)


@given(count=st.integers(1, 3 * GROUP), data=st.data())
def test_what_an_honest_member_gives_passes(count: int, data: st.DataObject) -> None:
    pieces = SMALL[:count]
    number = data.draw(st.integers(0, count - 1))
    some = data.draw(st.integers(1, GROUP))
    last = min(number + some, count, (number // GROUP + 1) * GROUP)
    tree = tree_of(pieces)
    assert accepted(tree.root, number, pieces[number:last], tree.prove(number))
    assert read_proof(tree.root, count, tree.prove(count - 1)) == []


@given(number=st.integers(0, len(SMALL) - 1), bit=st.integers(0, 1 << 20))
def test_a_piece_with_one_bit_flipped_is_refused(number: int, bit: int) -> None:
    tree, piece = tree_of(SMALL), bytearray(SMALL[number])
    piece[bit // 8 % len(piece)] ^= 1 << bit % 8
    assert not accepted(tree.root, number, [bytes(piece)], tree.prove(number))


@given(number=st.integers(0, len(SMALL) - 1), other=st.integers(0, len(SMALL) - 1))
def test_a_piece_in_the_place_of_another_is_refused(number: int, other: int) -> None:
    """With the proof of either place."""
    tree = tree_of(SMALL)
    for proof in (tree.prove(number), tree.prove(other)):
        assert accepted(tree.root, number, [SMALL[other]], proof) == (number == other)


@given(number=st.integers(0, GROUP - 1), more=st.binary(min_size=1, max_size=9), cut=st.integers(1, 7))
def test_a_piece_cut_short_or_extended_is_refused(number: int, more: bytes, cut: int) -> None:
    tree, piece = tree_of(SMALL), SMALL[number]
    for wrong in (piece + more, more + piece, piece[:-cut] if number else piece[:-1]):
        assert not accepted(tree.root, number, [wrong], tree.prove(number))


@given(count=st.integers(1, 3 * GROUP), extra=st.integers(1, 5))
def test_no_state_is_longer_or_shorter_than_its_root_says(count: int, extra: int) -> None:
    tree = tree_of(SMALL[:count])
    proof = tree.prove(count - 1)
    for wrong in (count + extra, count - extra):
        assert read_proof(tree.root, min(count, max(0, wrong)), replace(proof, count=wrong)) is None
    longer = [*SMALL[count - 1 : count], b"more"]
    entries = read_proof(tree.root, count - 1, proof)
    assert entries is not None and proven(entries, longer) == 1


@given(number=st.integers(0, len(SMALL) - 1), part=st.integers(0, 2), bit=st.integers(0, 1 << 20))
def test_a_proof_with_one_bit_flipped_is_none(number: int, part: int, bit: int) -> None:
    tree = tree_of(SMALL)
    proof = tree.prove(number)
    data = bytearray((proof.tree, proof.group, proof.path[0])[part])
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    wrong = (
        replace(proof, tree=bytes(data)),
        replace(proof, group=bytes(data)),
        replace(proof, path=(bytes(data), *proof.path[1:])),
    )[part]
    assert read_proof(tree.root, number, wrong) is None


@given(
    number=st.integers(-2, 1 << 63),
    proof=st.builds(
        PieceProof,
        count=st.integers(-(1 << 63), 1 << 63),
        tree=st.binary(max_size=40),
        group=st.binary(max_size=80),
        path=st.lists(st.binary(max_size=40), max_size=4).map(tuple),
    ),
)
def test_whatever_comes_as_a_proof_is_refused_without_an_error(number: int, proof: PieceProof) -> None:
    assert read_proof(bytes(32), number, proof) is None


# Streams.


def found_in(frames: list[bytes]) -> list[Entry]:
    return [piece[:3] for piece in pieces_in(enumerate(frames))]


def root_in_file(host: Host) -> bytes:
    """The root that a member computes from a snapshot on its disk."""
    return Tree(entries_of(found_in(list(host.snapshot())))).root


SIZES = (0, 1, 64 * 1024, 64 * 1024 + 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 70_000)


@pytest.mark.parametrize("size", SIZES)
def test_a_large_chunk_is_cut_alike_from_memory_and_from_a_file(size: int) -> None:
    chunks = [b"a", bytes(size), b"z"]
    frames = list(write_stream(b"head", [(7, chunks)]))
    *_, root = root_in_slices(b"head", [(7, rendered(chunks))])
    assert Tree(entries_of(found_in(frames))).root == root


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("torn", [0, 1, 2])
def test_frames_made_of_pieces_are_those_of_the_snapshot(size: int, torn: int) -> None:
    """Also when a crash cut the file within a piece, and what is whole is gone on with."""
    frames = list(write_stream(b"head", [(7, [b"a", bytes(size), b"z"])]))
    pieces = [
        (app, kind, payload_of(frames[first : first + count]))
        for app, kind, _, first, count, _ in pieces_in(enumerate(frames))
    ]
    made: list[bytes] = []
    maker = PieceFrames()
    for piece in pieces:
        made += maker.add(*piece)
    assert [*made, maker.end()] == frames
    again = PieceFrames()
    kept = again.resume(iter(made[: len(made) - torn]))
    made = made[:kept]
    for piece in pieces[again.count :]:
        made += again.add(*piece)
    assert [*made, again.end()] == frames


def test_a_snapshot_that_breaks_off_has_no_root() -> None:
    with pytest.raises(ValueError, match="breaks off"):
        found_in(list(new_host().snapshot())[:-1])


# Hosts.


class Run:
    """Random commands to a host, as blocks would bring them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.index = 0
        self.sessions: list[int] = []

    def headers(self, count: int) -> Iterator[tuple[Header, bytes]]:
        for _ in range(count):
            self.index += 1
            draw = self.random.random()
            client = self.random.choice(self.sessions) if self.sessions and draw > 0.2 else 0
            if draw < 0.05:
                self.sessions.append(self.index)
                yield self._header(SESSIONS, 0), OPEN
            else:
                yield self._header(KV_APP, client), kv.encode_batch(self._commands())

    def _header(self, app: int, client: int) -> Header:
        at = self.index
        return Header(at, 0, COMMAND, app, 0, at * 1000, at, client, at, at - 3 if client else 0, 1, b"")

    def _commands(self) -> list[object]:
        draw, key = self.random.random(), b"%d" % self.random.randrange(400)
        if draw < 0.01:
            return [kv.Compact(self.index // 2)]
        if draw < 0.2:
            return [kv.Delete(key)]
        size = self.random.choice((0, 10, 1000, 70_000))
        return [kv.Put(key, bytes([self.index % 256]) * size) for _ in range(self.random.randrange(1, 4))]


def applied(host: Host, run: Run, count: int, others: tuple[Host, ...] = ()) -> None:
    for header, body in run.headers(count):
        for each in (host, *others):
            each.apply(header, body)
            each._block = header.index  # as where blocks are applied


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 30), counts=st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_the_root_is_that_of_the_snapshot_on_every_member(seed: int, counts: list[int]) -> None:
    """Whether it was asked before, took snapshots, or was restored from one on the way."""
    host, quiet, run = new_host(), new_host(), Run(seed)
    restored: list[Host] = []
    for count in counts:
        applied(host, run, count, (quiet, *restored))
        spare = new_host()
        spare.restore(host.snapshot())
        restored.append(spare)
        roots = {each.digest() for each in (host, *restored)}
        assert roots == {root_in_file(host)} == {next(filter(None, host.digests()))}
    assert {quiet.digest()} == roots


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_the_root_of_a_pinned_state_is_not_changed_by_what_comes_later(seed: int) -> None:
    host, run = new_host(), Run(seed)
    applied(host, run, 50)
    before, slices = host.digest(), host.digests()
    applied(host, run, 50)
    assert next(filter(None, slices)) == before != host.digest()


def test_applications_tell_the_digests_of_the_chunks_that_they_would_give() -> None:
    host, run = new_host(), Run(1)
    applied(host, run, 100)
    for app in (KV_APP, LOCK_APP, 2, 4):
        application = host.application(app)
        if application is not None and is_chunked(application):
            told = [digests for digests in application.chunk_digests() if digests]
            assert told == [digests_of(chunk) for chunk in application.snapshot()]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_sessions_tell_the_digests_of_their_chunks_whoever_was_used_since(data: st.DataObject) -> None:
    """Chunks of idle sessions are remembered; one that is used, closed or evicted changes those from it on."""
    sessions = Sessions(sessions_max=30)
    for at in range(1, data.draw(st.integers(2, 60))):
        match data.draw(st.integers(0, 4)):
            case 0 | 1:
                sessions.open(at, "owner")
            case 2:
                header = Header(at, 0, COMMAND, 1, 0, at, 0, data.draw(st.integers(1, at)), at, at - 1, 1, b"")
                if sessions.begin(header) is None:
                    sessions.finish(header, Answer(OK, bytes(data.draw(st.sampled_from((10, 30_000, 90_000))))))
            case 3:
                sessions.close(data.draw(st.integers(1, at)))
            case _:
                told = [digests for digests in sessions.chunk_digests() if digests]
                assert told == [digests_of(chunk) for chunk in sessions.snapshot()]
    told = [digests for digests in sessions.chunk_digests() if digests]
    assert told == [digests_of(chunk) for chunk in sessions.snapshot()]


def test_where_no_blocks_are_applied_the_digest_is_what_it_was() -> None:
    """Members of a cluster that only crashes compare it, whatever release they run."""
    host = new_host()
    for header, body in Run(3).headers(20):
        host.apply(header, body)
    assert host._block == 0
    assert host.digest() == next(filter(None, host.digests())) != root_in_file(host)


def test_a_message_with_a_proof_is_small() -> None:
    """A proof has at most 64 entries and a path: a hundredth of what a full message brings."""
    pieces = [b"%d" % number for number in range(20_000)]
    assert len(msgspec.msgpack.encode(tree_of(pieces).prove(10_000))) < 3_000
