"""Bytes and fields that no honest member sends: each is refused by everybody alike, and nobody falls over.

Rows 24 to 26 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import pytest

from protocols.pbft.cluster import Cluster, request_of
from protocols.pbft.odd_fields import arriving, odd_bytes, variants
from protocols.pbft.scene import (
    block_after,
    check_progress,
    complaints,
    lie,
    order,
    prepare_of,
    propose_as,
    receive,
    sign,
    started,
    tell,
)
from quorum.certificate.committee import Committee, Member
from quorum.certificate.keys import GROUP_ORDER
from quorum.certificate.vote import VoteKind
from quorum.errors import ConfigurationError, RemoteProtocolError
from quorum.protocols.pbft.messages import PrePrepare
from quorum.protocols.pbft.replica import PbftReplica
from quorum.runtime.codec import FrameParser, MessageCodec
from quorum.runtime.messages import PeerMessage

CODEC: MessageCodec[object] = MessageCodec(PeerMessage)


def disturbed(cluster: Cluster, seed: int, share: float) -> None:
    """n4 lies: a share of its messages leaves three times, each with the next odd thing in it."""
    random, told = Random(seed), Counter[str]()

    def garble(to: str, message: object, attached: tuple[bytes, ...]) -> list:
        if random.random() > share:
            return [(message, attached)]
        kind, found = type(message).__name__, []
        fields = [(other, attached) for other in variants(message)]
        blocks = [(message, (other, *attached[1:])) for other in odd_bytes(attached[0])] if attached else []
        odd = fields + blocks
        for _ in range(3):
            place = 37 * seed + told[kind]
            told[kind] += 1
            found += arriving("n4", *odd[place % len(odd)])
        return found

    lie(cluster, "n4", garble)


@pytest.mark.parametrize("seed", range(12))
def test_row_26_messages_with_one_wrong_field_are_dropped_and_nobody_falls_over(seed: int) -> None:
    """The liar backs, asks, offers and leads with one thing wrong in half of what it says; each seed begins
    elsewhere among the odd values (test_odd_fields.py has all of them, one by one)."""
    cluster = started(seed=seed)
    disturbed(cluster, seed, 0.5)
    number = 0
    for step in range(12):
        for _ in range(3):
            number += 1
            cluster.submit(request_of("a", number))
        if step % 4 == 1:
            cluster["n2"].crash()
        cluster.run(300_000)
        if step % 4 == 3:
            cluster["n2"].boot()
        if step == 5:
            for node in ("n1", "n2", "n3"):
                if cluster[node].replica is not None:
                    cluster[node].state.pace.hurry(0)
    if cluster["n2"].replica is None:
        cluster["n2"].boot()
    check_progress(cluster)


def test_row_26_a_stream_that_comes_byte_by_byte_is_read_and_one_that_claims_gigabytes_ends() -> None:
    from quorum.runtime.codec import encode_frame

    cluster = started()
    message = prepare_of(cluster, "n2", 0, 1, bytes(32))
    data = b"".join(encode_frame(7, 0, CODEC.encode(message)))
    parser = FrameParser(tag=7, sender="n2")
    frames = [frame for place in range(len(data)) for frame in parser.feed(data[place : place + 1])]
    assert [CODEC.decode(head, "n2") for _, head, _ in frames] == [message]
    with pytest.raises(RemoteProtocolError):
        parser.feed((2**31).to_bytes(4, "little") + bytes(64))


def test_row_26_deep_nesting_and_cut_messages_are_refused() -> None:
    cluster = started()
    whole = CODEC.encode(prepare_of(cluster, "n2", 0, 1, bytes(32)))
    for data in (b"\x91" * 100_000 + b"\x00", *(whole[:place] for place in range(len(whole)))):
        with pytest.raises(RemoteProtocolError):
            CODEC.decode(data, "n2")


def spelled_otherwise(cluster: Cluster) -> list[bytes]:
    """The bytes of one block, in ways that its primary does not write them."""
    entry = block_after(cluster, None, request_of("a", 1)).entry
    place = 16  # the kind and the format of the entry come here
    return [
        entry + b"\x00",
        entry[:-1],
        entry[:place] + b"\x01" + entry[place + 1 :],
        entry[: place + 1] + b"\x02" + entry[place + 2 :],
        entry[:8] + b"\x01" + entry[9:],
        b"\x09" + entry[1:],
        b"",
    ]


@pytest.mark.parametrize("way", range(7))
def test_row_25_a_block_in_another_spelling_is_no_block(way: int) -> None:
    """One block has one form of bytes: whoever agrees on its digest stores the same."""
    cluster = started()
    cluster.liars.add("n1")
    block = block_after(cluster, None, request_of("a", 1))
    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, 1, block.digest)
    for to in ("n2", "n3", "n4"):
        tell(cluster, "n1", to, PrePrepare(0, 1, signature), spelled_otherwise(cluster)[way])
    cluster.run(0)
    assert all(cluster[node].state.chain.last == 0 for node in ("n2", "n3", "n4"))
    assert complaints(cluster, "n1")
    check_progress(cluster)


@pytest.mark.parametrize("time_us", [2**63, 2**64 - 1])
def test_row_25_a_time_beyond_every_clock_is_refused_without_an_error(time_us: int) -> None:
    cluster = started()
    cluster.liars.add("n1")
    good = block_after(cluster, None, request_of("a", 1))
    header = msgspec.structs.replace(good.header, time_us=time_us)
    at = good.entry.index(good.header.packed())
    entry = good.entry[:at] + header.packed() + good.entry[at + len(header.packed()) :]
    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, 1, header.digest())
    tell(cluster, "n1", "n2", PrePrepare(0, 1, signature), entry)
    cluster.run(0)
    assert cluster["n2"].state.chain.last == 0
    check_progress(cluster)


@pytest.mark.parametrize("bytes_count", [0, 5, 31, 33, 64])
def test_row_25_a_digest_of_another_length_is_refused(bytes_count: int) -> None:
    """Beside a good vote it would look like a second one."""
    cluster = started()
    order(cluster, 1)
    cluster.liars.add("n4")
    digest = bytes(32)
    receive(cluster, "n2", "n4", prepare_of(cluster, "n4", 0, 2, digest))
    wrong = msgspec.structs.replace(prepare_of(cluster, "n4", 0, 2, digest), digest=bytes(bytes_count))
    receive(cluster, "n2", "n4", wrong)
    check_progress(cluster)


def malleated(signature: bytes) -> bytes:
    """The same signature with its second half beyond the order of the group."""
    second = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    return signature[:32] + second.to_bytes(32, "little")


def test_row_24_a_malleable_signature_counts_at_no_member() -> None:
    """Every node has one verifier, which takes one spelling of each signature."""
    cluster = started()
    cluster.liars |= {"n1"}
    block = block_after(cluster, None, request_of("a", 1))
    cluster.filter = lambda source, to, message, attached: []
    propose_as(cluster, "n1", 0, block)
    cluster.run(0)
    cluster.liars |= {"n4"}
    wrong = malleated(sign(cluster, "n4", VoteKind.PREPARE, 0, 1, block.digest))
    for node in ("n2", "n3"):
        state = cluster[node].state
        state.here.prepares.clear()
        good = prepare_of(cluster, "n4", 0, 1, block.digest)
        receive(cluster, node, "n4", msgspec.structs.replace(good, signature=wrong))
        receive(cluster, node, "n1", prepare_of(cluster, "n1", 0, 1, block.digest))
        other = "n3" if node == "n2" else "n2"
        receive(cluster, node, other, prepare_of(cluster, other, 0, 1, block.digest))
        assert state.here.prepares[1].certificate(block.digest) is None
        assert [report.node for report in cluster[node].reports] == ["n4"]


@pytest.mark.parametrize(
    "public",
    [
        bytes([1]) + bytes(31),
        bytes(32),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xee" + b"\xff" * 30 + b"\x7f",
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ],
)
def test_row_24_a_key_of_small_order_or_odd_form_never_becomes_a_member(public: bytes) -> None:
    """The keys of the published vectors: Chalkias, Garillot and Nikolaenko (2020), table 5."""
    cluster = started()
    members = (*cluster.committee.members[:3], Member("n4", public))
    with pytest.raises(ConfigurationError):
        PbftReplica("n1", Committee("tests", 1, members, 1), lambda data: b"")
