"""A block's certificate: a quorum's signatures over one statement, judged by one function, in two forms."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificate.committees import committee_of, header_of, key_of, signed_by
from quorum.certificate.block import BlockCertificate, BlockHeader, commit_votes, flaws_of_block, verify_block
from quorum.certificate.block_forms import decode_binary, decode_json, encode_binary, encode_json
from quorum.certificate.committee import Committee, Member, check_committee
from quorum.certificate.evidence import is_signed_vote
from quorum.certificate.vote import SigningDomain, VoteKind
from quorum.errors import ConfigurationError
from quorum.model import quorum_size

SEVEN = committee_of(7)
GOOD = signed_by(SEVEN.nodes[:5], SEVEN, header_of(SEVEN))
MEMBER = st.sampled_from(SEVEN.nodes)
TRUE = st.sets(MEMBER, min_size=4).map(lambda each: [(name, "true") for name in sorted(each)])
SIGNER = st.tuples(MEMBER | st.just("x9"), st.sampled_from(("true", "other", "short")))


def reasons(certificate: BlockCertificate, committee: Committee = SEVEN) -> str:
    verdict = verify_block(certificate, committee)
    assert not verdict.valid
    return " ".join(verdict.reasons)


@pytest.mark.parametrize("size", range(1, 14))
def test_exactly_a_quorum_of_every_size_convinces(size: int) -> None:
    committee = committee_of(size)
    check_committee(committee)
    needed = quorum_size(size, committee.faults, "byzantine")
    header = header_of(committee)
    assert verify_block(signed_by(committee.nodes[:needed], committee, header), committee).valid
    assert "no quorum" in reasons(signed_by(committee.nodes[: needed - 1], committee, header), committee)


def test_a_wrong_signature_is_named_even_beyond_the_quorum() -> None:
    spoilt = bytes(64)
    everyone = signed_by(SEVEN.nodes, SEVEN, header_of(SEVEN))
    for place, (signer, _) in enumerate(everyone.signatures):
        signatures = (*everyone.signatures[:place], (signer, spoilt), *everyone.signatures[place + 1 :])
        verdict = verify_block(msgspec.structs.replace(everyone, signatures=signatures), SEVEN)
        assert verdict.reasons == (f"the signature of {signer} is wrong.",)
        assert not verdict.signed


@given(
    st.lists(SIGNER) | st.dictionaries(MEMBER, st.just("true"), min_size=4).map(lambda each: sorted(each.items()))
)
def test_a_certificate_holds_exactly_where_nothing_but_its_signatures_is_left_to_check_and_they_are_right(
    signers: list[tuple[str, str]],
) -> None:
    header = header_of(SEVEN)
    true = dict(signed_by((*SEVEN.nodes, "x9"), SEVEN, header).signatures)
    made = {"true": true, "other": dict.fromkeys(true, true["x9"]), "short": dict.fromkeys(true, b"short")}
    signatures = tuple((signer, made[way][signer]) for signer, way in signers)
    certificate = msgspec.structs.replace(GOOD, header=header, signatures=signatures)
    votes = commit_votes(certificate)
    assert [(vote.member, vote.signature) for vote in votes] == list(signatures)
    in_parts = not flaws_of_block(certificate, SEVEN) and all(is_signed_vote(vote, SEVEN) for vote in votes)
    assert verify_block(certificate, SEVEN).valid == in_parts


def test_a_signer_counts_once_and_strangers_do_not_count() -> None:
    four = GOOD.signatures[:4]
    assert "named twice" in reasons(msgspec.structs.replace(GOOD, signatures=(*four, four[-1])))
    assert "not sorted" in reasons(msgspec.structs.replace(GOOD, signatures=GOOD.signatures[::-1]))
    stranger = ("x9", key_of("x9").sign(b"").signature)
    assert "x9 signed without being" in reasons(msgspec.structs.replace(GOOD, signatures=(*four, stranger)))


@pytest.mark.parametrize(
    "instead",
    [{"signed_view": 4}, {"kind": VoteKind.PREPARE}, {"kind": VoteKind.CHECKPOINT}, {"digest": bytes(32)}],
    ids=str,
)
def test_votes_of_another_view_type_or_digest_are_worth_nothing_here(instead: dict[str, object]) -> None:
    assert "signature of n1 is wrong" in reasons(signed_by(SEVEN.nodes, SEVEN, header_of(SEVEN), **instead))


def test_votes_of_another_cluster_epoch_or_committee_are_worth_nothing_here() -> None:
    other_cluster = msgspec.structs.replace(SEVEN, cluster="q-other")
    other_epoch = msgspec.structs.replace(SEVEN, epoch=1)
    other_faults = msgspec.structs.replace(SEVEN, faults=1)
    for other in (other_cluster, other_epoch, other_faults):
        theirs = signed_by(SEVEN.nodes, other, header_of(other))
        assert verify_block(theirs, other).valid
        assert reasons(theirs)
        ours = msgspec.structs.replace(theirs, cluster=SEVEN.cluster, epoch=SEVEN.epoch, header=header_of(SEVEN))
        if other is not other_faults:
            assert "signature of n1 is wrong" in reasons(ours), "a name alone does not make it ours"
    assert "another committee" in reasons(signed_by(SEVEN.nodes, SEVEN, header_of(other_faults)))


def test_every_field_of_the_header_is_signed() -> None:
    for field in BlockHeader.__struct_fields__:
        value = getattr(GOOD.header, field)
        other = value + 1 if isinstance(value, int) else bytes(32)
        if other == value:
            other = b"\x01" * 32
        header = msgspec.structs.replace(GOOD.header, **{field: other})
        assert header.digest() != GOOD.header.digest()
        assert reasons(msgspec.structs.replace(GOOD, header=header))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", -1),
        ("sequence", 2**64),
        ("time_us", 2**64),
        ("state_sequence", 5),
        ("parent", b""),
        ("state_root", bytes(33)),
        ("membership_hash", b""),
    ],
)
def test_headers_that_no_chain_holds_are_refused_without_an_error(field: str, value: object) -> None:
    header = msgspec.structs.replace(GOOD.header, **{field: value})
    assert reasons(msgspec.structs.replace(GOOD, header=header))


def test_weights_decide_where_they_differ() -> None:
    weights = {"n1": 3, "n2": 2, "n3": 2, "n4": 2, "n5": 2}
    members = tuple(Member(node, bytes(key_of(node).verify_key), weight) for node, weight in weights.items())
    committee = Committee("q1", 0, members, 1)
    check_committee(committee)
    header = header_of(committee)
    assert verify_block(signed_by(["n1", "n2", "n3", "n4"], committee, header), committee).valid
    assert verify_block(signed_by(["n2", "n3", "n4", "n5"], committee, header), committee).valid
    assert "no quorum" in reasons(signed_by(["n1", "n2", "n3"], committee, header), committee)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"members": SEVEN.members[::-1]}, "not sorted"),
        ({"members": (*SEVEN.members[:6], SEVEN.members[5])}, "named twice"),
        ({"members": (*SEVEN.members[:6], Member("n7", SEVEN.members[0].public_key))}, "vote twice"),
        ({"members": (*SEVEN.members[:6], Member("n7", bytes(32)))}, "Make a new key"),
        ({"members": (*SEVEN.members[:6], Member("n7", b"short"))}, "has 32"),
        ({"members": (*SEVEN.members[:6], Member("n7", SEVEN.members[6].public_key, 0))}, "count from 1"),
        ({"members": (*SEVEN.members[:6], Member("n7/..", SEVEN.members[6].public_key))}, "as a node id"),
        ({"members": ()}, "Give a whole number"),
        ({"faults": 3}, "3T"),
        ({"faults": -1}, "0 or more"),
        ({"quorums": "choose(4, n1, n2, n3, n4, n5, n6, n7)"}, "two values are decided"),
        ({"quorums": "choose(6, n1, n2, n3, n4, n5, n6, n7)"}, "no quorum is left"),
        ({"quorums": "choose(5, n1, n2, n3, n4, n5, n6, n8)"}, "only members"),
        ({"quorums": "choose(5, n1"}, "choose"),
        ({"cluster": ""}, "cluster id"),
        ({"cluster": "q" * 256}, "cluster id"),
        ({"epoch": -1}, "count from 0"),
    ],
)
def test_committees_that_could_not_decide_safely_are_refused(change: dict[str, object], words: str) -> None:
    check_committee(SEVEN)
    with pytest.raises(ConfigurationError, match=words):
        check_committee(msgspec.structs.replace(SEVEN, **change))


def test_the_signed_bytes_of_different_votes_never_agree() -> None:
    seen: dict[bytes, tuple[object, ...]] = {}
    for cluster in ("a", "ab", "b"):
        for epoch in (0, 1, 2**64 - 1):
            domain = SigningDomain(cluster, epoch)
            for kind in VoteKind:
                for view, sequence in ((0, 1), (1, 0), (2**64 - 1, 7)):
                    for digest in (bytes(32), b"\x01" * 32):
                        vote = (cluster, epoch, kind, view, sequence, digest)
                        assert seen.setdefault(domain.statement(kind, view, sequence, digest), vote) == vote


# --- forms ---------------------------------------------------------------------------------------------


def test_seven_members_make_a_certificate_of_half_a_kilobyte_and_one_of_json_below_a_whole() -> None:
    old = msgspec.structs.replace(
        header_of(SEVEN), sequence=2**40, time_us=2**63 - 1, count=65_536, state_sequence=2**40 - 128
    )
    for certificate in (GOOD, signed_by(SEVEN.nodes[:5], SEVEN, old, view=2**20)):
        assert len(encode_binary(certificate, SEVEN)) <= 500
        assert len(encode_json(certificate)) <= 1000


def test_the_binary_form_of_another_committee_is_not_believed() -> None:
    data = encode_binary(GOOD, SEVEN)
    other = msgspec.structs.replace(SEVEN, members=(*SEVEN.members[:6], Member("n8", SEVEN.members[6].public_key)))
    assert "signature of n1 is wrong" in reasons(decode_binary(data, other), other)


@given(st.integers(0, 127), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_both_forms_bring_every_certificate_back(signers: int, view: int, sequence: int) -> None:
    header = msgspec.structs.replace(GOOD.header, sequence=sequence)
    signatures = tuple(
        (node, bytes([place] * 64)) for place, node in enumerate(SEVEN.nodes) if signers >> place & 1
    )
    certificate = BlockCertificate(SEVEN.cluster, SEVEN.epoch, view, header, signatures)
    assert decode_binary(encode_binary(certificate, SEVEN), SEVEN) == certificate
    assert decode_json(encode_json(certificate)) == certificate


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_remedy(data: bytes) -> None:
    for decode in (lambda data: decode_binary(data, SEVEN), decode_json):
        with pytest.raises(ConfigurationError, match="Give the file as it was written"):
            decode(data)


@given(st.integers(0, 10_000), st.integers(0, 7))
@settings(max_examples=300)
def test_a_flipped_bit_of_the_binary_form_is_never_believed(place: int, bit: int) -> None:
    data = bytearray(encode_binary(GOOD, SEVEN))
    data[place % len(data)] ^= 1 << bit
    try:
        certificate = decode_binary(bytes(data), SEVEN)
    except ConfigurationError:
        return
    assert not verify_block(certificate, SEVEN).valid


def test_there_is_one_binary_spelling_only() -> None:
    data = encode_binary(GOOD, SEVEN)
    fields = msgspec.msgpack.decode(data)
    longer = [*fields[:9], fields[9] + b"\x00", fields[10]]
    bits_too_many = [*fields[:9], bytes([fields[9][0] | 0x80]), fields[10]]
    for other in (
        data + b"\x00",
        data[:-1],
        msgspec.msgpack.encode(longer),
        msgspec.msgpack.encode(bits_too_many),
    ):
        with pytest.raises(ConfigurationError):
            decode_binary(other, SEVEN)
    wide_epoch = msgspec.msgpack.encode([*fields[:2], 0x77, *fields[3:]]).replace(b"\x77", b"\xcd\x00\x00", 1)
    with pytest.raises(ConfigurationError, match="one form"):
        decode_binary(wide_epoch, SEVEN)


def test_json_of_another_spelling_of_hashes_size_or_fields_is_refused() -> None:
    document = json.loads(encode_json(GOOD))
    for field, value in (
        ("parent", document["parent"] + "="),
        ("parent", document["parent"][:-1] + "B"),
        ("parent", "AAAA"),
        ("state", "?" * 43),
        ("view", -1),
        ("view", 2**64),
        ("view", 1.5),
        ("format", "quorum-block-2"),
        ("extra", 1),
    ):
        with pytest.raises(ConfigurationError):
            decode_json(json.dumps({**document, field: value}))
    with pytest.raises(ConfigurationError, match="more than"):
        decode_json(" " * 2_000_000)
    assert verify_block(decode_json(json.dumps(document, indent=4)), SEVEN).valid
