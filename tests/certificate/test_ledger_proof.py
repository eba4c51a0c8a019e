"""What a ledger proves offline, and that nothing else passes for it."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from apps_log import Log
from certificate.committees import committee_of, header_of, signed_by
from certificate.light_chains import change_to
from quorum.apps.catalogue import LEDGER_APP, carrying_host, new_host
from quorum.apps.ledger import encode_batch
from quorum.apps.ledger_application import LedgerApplication
from quorum.apps.ledger_machine import LedgerMachine
from quorum.apps.ledger_prover import present, prove_transaction, prove_value
from quorum.apps.pieces import Tree
from quorum.apps.state_book import STATES_KEPT
from quorum.apps.stream import PieceFrames, pieces_in, write_stream
from quorum.certificate.ledger_audit import judge_ledger, verify_query
from quorum.certificate.ledger_block import TransactionResult, transaction_hash
from quorum.certificate.ledger_forms import decode_ledger_proof, encode_ledger_proof
from quorum.certificate.ledger_proof import Anchor
from quorum.certificate.merkle import leaf_of
from quorum.certificate.state_head import ProvenHead, encode_head, read_head
from quorum.certificate.state_pieces import GROUP, HEAD, PieceProof, digest_of, entries_of
from quorum.console.ledger_shown import lines_of
from quorum.entry import TICK
from quorum.errors import ConfigurationError, QuorumError


class Register(LedgerApplication):
    def execute(self, block, transaction, state):
        key, _, value = transaction.partition(b"=")
        state.put(key, value)
        return value


COMMITTEE = committee_of(4)


class World:
    """A host with a ledger, and a committee that signs its state."""

    def __init__(self) -> None:
        self.log = Log(new_host(ledger=Register))
        for number in range(150):
            self.log.append(encode_batch([b"k%d=%d" % (number, each) for each in range(3)]), app=LEDGER_APP)
        self.log.host._block = 1  # as where blocks are applied
        (*_, self.root) = self.log.host.digests()
        self.ledger = self.log.host.application(LEDGER_APP)
        assert isinstance(self.ledger, LedgerMachine)
        block = replace(header_of(COMMITTEE), state_root=self.root)
        head = self.log.host.head_of(self.root)
        certificate = signed_by(["n1", "n2", "n3"], COMMITTEE, block)
        self.entries = [piece[:3] for piece in pieces_in(enumerate(self.log.host.snapshot()))]
        self.tree = Tree(entries_of(self.entries))
        self.anchor = Anchor(LEDGER_APP, head, certificate)
        self.version = self.ledger.version(head.root_of(LEDGER_APP))

    def transaction(self, transaction=b"k7=1"):
        proof = prove_transaction(self.ledger, transaction_hash(transaction), self.version)
        return replace(proof, anchor=self.anchor)

    def value(self, key="k7"):
        return replace(prove_value(self.ledger, key, self.version), anchor=self.anchor)


WORLD = World()


def test_a_transaction_its_result_and_its_block_are_proven_by_the_committee_s_keys_alone():
    audit = judge_ledger(WORLD.transaction(), COMMITTEE)
    assert (audit.valid, audit.signed, audit.reasons) == (True, True, ())
    assert (audit.number, audit.place, audit.code, audit.data) == (8, 1, 0, b"1".hex())
    assert audit.transaction == transaction_hash(b"k7=1").hex()
    assert audit.signers == ("n1", "n2", "n3")


def test_a_value_and_its_absence_are_proven():
    assert verify_query(WORLD.value(), b"k7", COMMITTEE) == b"2"
    assert verify_query(WORLD.value("absent"), b"absent", COMMITTEE) is None
    with pytest.raises(ValueError, match="not about that key"):
        verify_query(WORLD.value(), b"k8", COMMITTEE)
    with pytest.raises(ValueError, match="not about that key"):
        verify_query(WORLD.transaction(), b"k8", COMMITTEE)


def test_the_state_may_go_on_meanwhile():
    world = World()
    world.log.append(encode_batch([b"k7=9", b"late=1"]), app=LEDGER_APP)
    assert verify_query(world.value(), b"k7", COMMITTEE) == b"2"
    assert judge_ledger(world.transaction(), COMMITTEE).valid
    assert prove_transaction(world.ledger, transaction_hash(b"late=1"), world.version) is None
    assert prove_transaction(world.ledger, transaction_hash(b"late=1"), present(world.ledger)) is not None
    with pytest.raises(QuorumError, match="does not hold it"):
        prove_transaction(world.ledger, bytes(32), world.version)


def altered(proof, **fields):
    return replace(proof, subject=replace(proof.subject, **fields))


def forged_heads():
    """What might pass for the head of the state that was signed."""
    state, proof = WORLD.anchor.state, WORLD.anchor.state.proof
    head, tree = read_head(state.head), WORLD.tree
    assert tree.count > 2 * GROUP
    other = encode_head(replace(head, index=head.index + 1))
    yield "another head", replace(state, head=other)
    yield "a longer head", replace(state, head=state.head + bytes(34))
    yield "no head", replace(state, head=b"")
    yield "another head with its entry", replace(state, head=other, proof=tree_with(other).prove(0))
    yield "another head in the group", ProvenHead(other, replace(proof, group=tree_with(other).prove(0).group))
    yield "another group", replace(state, proof=tree.prove(GROUP))
    yield (
        "a group with other entries",
        replace(state, proof=replace(proof, group=proof.group[35:] + proof.group[:35])),
    )
    yield "a group cut short", replace(state, proof=replace(proof, group=proof.group[:35]))
    yield "no group", replace(state, proof=replace(proof, group=b""))
    yield "another path", replace(state, proof=replace(proof, path=tree.prove(GROUP).path))
    yield "a longer path", replace(state, proof=replace(proof, path=(*proof.path, bytes(32))))
    yield "a longer path before", replace(state, proof=replace(proof, path=(leaf_of(proof.group), *proof.path)))
    yield "a shorter path", replace(state, proof=replace(proof, path=proof.path[:-1]))
    yield "another count", replace(state, proof=replace(proof, count=proof.count + 1))
    yield "a count below 0", replace(state, proof=replace(proof, count=-1))
    yield "another tree", replace(state, proof=replace(proof, tree=bytes(32)))
    yield "no proof", replace(state, proof=PieceProof(0, b"", b"", ()))


def tree_with(head):
    """The tree of the signed state with another head."""
    entries = WORLD.entries
    return Tree(entries_of([(*entries[0][:2], digest_of(head)), *entries[1:]]))


def forgeries():
    transaction, value = WORLD.transaction(), WORLD.value()
    subject = transaction.subject
    other = WORLD.transaction(b"k3=0").subject
    yield "another transaction", altered(transaction, transaction=b"k7=5")
    yield "another place", altered(transaction, place=0)
    yield "another result", altered(transaction, result=TransactionResult(1, b"1"))
    yield "more of a result", altered(transaction, result=TransactionResult(0, b"10"))
    yield "a code out of range", altered(transaction, result=TransactionResult(256, b"1"))
    yield "another block", altered(transaction, header=other.header)
    yield "another time", altered(transaction, header=replace(subject.header, time_us=1))
    yield "a number out of range", altered(transaction, header=replace(subject.header, number=-1))
    for number in (-1, 2**64):
        yield f"ledger {number}", replace(transaction, roots=replace(transaction.roots, number=number))
    yield "another ledger", replace(transaction, roots=replace(transaction.roots, number=151))
    yield "no signature", replace(transaction, anchor=None)
    yield "another application", replace(transaction, anchor=replace(WORLD.anchor, app=1))
    for what, state in forged_heads():
        yield what, replace(transaction, anchor=replace(WORLD.anchor, state=state))
    few = signed_by(["n1", "n2"], COMMITTEE, WORLD.anchor.certificate.header)
    yield "too few signatures", replace(transaction, anchor=replace(WORLD.anchor, certificate=few))
    yield "another value", altered(value, value=b"3")
    yield "no value", altered(value, value=None)
    yield "another key", altered(value, key=b"k8")


@pytest.mark.parametrize(("what", "proof"), list(forgeries()), ids=[what for what, _ in forgeries()])
def test_a_forgery_is_told_apart(what, proof):
    audit = judge_ledger(proof, COMMITTEE)
    assert not audit.valid and not audit.signed and audit.reasons, what


def test_an_altered_question_is_labelled_as_a_claim_and_a_demanded_key_as_met():
    """Nothing signed says which key answers a question, so another one is no flaw, and not said to be proven."""
    value = WORLD.value("k7")
    asked = replace(value, subject=replace(value.subject, question="k8"))
    audit = judge_ledger(asked, COMMITTEE)
    assert (audit.valid, audit.question, audit.question_proven, audit.key_demanded) == (True, "k8", False, False)
    said = lines_of(audit)
    assert said[0].startswith(f"valid: key {b'k7'.hex()} holds 2, in the ledger with ")
    assert said[1] == "claimed, not proven: that this key answers 'k8'"
    demanded = judge_ledger(asked, COMMITTEE, key=b"k7")
    assert demanded.valid and demanded.key_demanded and lines_of(demanded)[1] == "this is the key demanded"
    for proof in (asked, WORLD.transaction()):
        other = judge_ledger(proof, COMMITTEE, key=b"k8")
        assert not other.valid and other.reasons == ("it is not about that key.",)


def signed_state(head, pieces=(b"sessions",)):
    """An anchor about a state that a quorum did sign."""
    entries = [piece[:3] for piece in pieces_in(enumerate(write_stream(head, [(0, pieces)])))]
    tree = Tree(entries_of(entries))
    block = replace(header_of(COMMITTEE), state_root=tree.root)
    return tree, signed_by(["n1", "n2", "n3"], COMMITTEE, block)


def test_an_application_of_another_id_is_no_ledger_also_where_its_root_is_right():
    proof = WORLD.transaction()
    head = encode_head(replace(read_head(WORLD.anchor.state.head), roots=((1, proof.roots.digest()),)))
    tree, certificate = signed_state(head)
    anchor = Anchor(1, ProvenHead(head, tree.prove(0)), certificate)
    (reason,) = judge_ledger(replace(proof, anchor=anchor), COMMITTEE).reasons
    assert "no ledger" in reason


def test_no_other_piece_of_a_signed_state_passes_for_its_head():
    """A client may have written whatever it likes into one, also the bytes of a head with a ledger of its own."""
    proof, head = WORLD.transaction(), WORLD.anchor.state.head
    tree, certificate = signed_state(b"head", (head, *(b"%d" % number for number in range(2 * GROUP)), head))
    for number in (0, 1, GROUP, tree.count - 1):
        anchor = Anchor(LEDGER_APP, ProvenHead(head, tree.prove(number)), certificate)
        reasons = judge_ledger(replace(proof, anchor=anchor), COMMITTEE).reasons
        assert reasons == ("the state is not the one that the signed header names.",)


def test_a_proof_of_a_later_epoch_is_judged_by_the_first_committee_and_the_changes_that_it_brings():
    later = committee_of(4, epoch=1, first=3)
    header = replace(header_of(later), state_root=WORLD.root, sequence=150)
    certificate = signed_by(["n3", "n4", "n5"], later, header)

    def judged(*changes):
        anchor = replace(WORLD.anchor, certificate=certificate, changes=changes)
        document = encode_ledger_proof(replace(WORLD.transaction(), anchor=anchor))
        assert decode_ledger_proof(document).anchor == anchor
        return judge_ledger(decode_ledger_proof(document), COMMITTEE)

    audit = judged(change_to(COMMITTEE, later))
    assert (audit.valid, audit.signed, audit.signers) == (True, True, ("n3", "n4", "n5")), audit.reasons
    for changes in (
        (),
        (change_to(COMMITTEE, later, ["n1", "n2"]),),
        (change_to(COMMITTEE, committee_of(4, epoch=1)),),
        (change_to(COMMITTEE, later), change_to(later, committee_of(4, epoch=2, first=3))),
    ):
        assert not judged(*changes).signed and judged(*changes).reasons


def test_where_nobody_signs_the_ledger_s_root_is_what_is_trusted():
    proof = replace(WORLD.transaction(), anchor=None)
    root = WORLD.version.roots.digest()
    audit = judge_ledger(proof, root=root)
    assert (audit.valid, audit.signed, audit.root) == (True, False, root.hex())
    assert not judge_ledger(proof, root=bytes(32)).valid
    assert not judge_ledger(proof).valid


@pytest.mark.parametrize("proof", [WORLD.transaction(), WORLD.value(), WORLD.value("absent")])
def test_the_document_says_the_same(proof):
    text = encode_ledger_proof(proof)
    assert decode_ledger_proof(text) == proof
    assert encode_ledger_proof(decode_ledger_proof(text)) == text


def test_what_is_no_document_is_refused():
    document = msgspec.json.decode(encode_ledger_proof(WORLD.transaction()))
    value = msgspec.json.decode(encode_ledger_proof(WORLD.value()))["value"]
    for wrong in (
        {**document, "more": 1},
        {**document, "value": value},
        {**document, "transaction": None},
        {**document, "format": "quorum-ledger-2"},
        {**document, "ledger": {**document["ledger"], "head": "a="}},
        [],
    ):
        with pytest.raises(ConfigurationError, match="this is none"):
            decode_ledger_proof(msgspec.json.encode(wrong))
    with pytest.raises(ConfigurationError):
        decode_ledger_proof(b"x")
    with pytest.raises(ConfigurationError, match="allowed"):
        decode_ledger_proof(b" " * (5 * 1024 * 1024))


@given(data=st.data())
def test_a_document_with_one_character_altered_never_proves_anything_else(data):
    text = bytearray(encode_ledger_proof(WORLD.transaction()))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(32, 126))
    try:
        read = decode_ledger_proof(bytes(text))
    except ConfigurationError:
        return
    audit = judge_ledger(read, COMMITTEE)
    if audit.valid:
        assert read == WORLD.transaction()


def test_every_member_has_the_same_head_for_a_state_also_one_that_was_restored():
    host = WORLD.log.host
    assert host.digest() == WORLD.root == WORLD.tree.root
    other = new_host(ledger=Register)
    other.restore(host.snapshot())
    (*_, root) = other.digests()
    assert root == WORLD.root and other.head_of(root) == WORLD.anchor.state
    assert other.application(LEDGER_APP).version(WORLD.version.roots.digest()) is not None
    third = new_host(ledger=Register)
    third.adopt(other)
    assert third.head_of(root) == WORLD.anchor.state, "whoever takes over a state can prove from it"


def test_a_proof_s_way_through_the_state_has_a_few_kilobytes():
    large = Tree(entries_of([(4, 1, bytes(32))] * 100_000)).prove(0)
    state = replace(WORLD.anchor.state, proof=large)
    assert len(msgspec.msgpack.encode(large)) < 3_000
    proof = replace(WORLD.transaction(), anchor=replace(WORLD.anchor, state=state))
    assert len(encode_ledger_proof(proof)) < 12_000


def test_of_the_newest_states_alone_the_heads_are_kept():
    world = World()
    for _ in range(STATES_KEPT):
        assert world.log.host.head_of(world.root) is not None
        world.log.append(b"", kind=TICK)
        world.log.host.digest()
    assert world.log.host.head_of(world.root) is None


def test_where_no_blocks_are_applied_no_head_is_kept_and_its_format_is_that_of_every_release():
    host = new_host(ledger=Register)
    WORLD.log.replay(host)
    (*_, digest) = host.digests()
    assert host.head_of(digest) is None
    (_, head), *_ = [(frame[:3], frame[3:]) for frame in host.snapshot()]
    assert len(head) == 40 and read_head(head).roots == ()


@pytest.mark.parametrize(
    "roots",
    [
        (),
        ((LEDGER_APP, bytes(32)),),
        ((1, bytes(32)), *read_head(WORLD.anchor.state.head).roots),
        ((5, bytes(32)),),
    ],
)
def test_a_snapshot_whose_head_names_another_ledger_than_it_holds_is_refused(roots):
    frames = list(WORLD.log.host.snapshot())
    head = encode_head(replace(read_head(frames[0][3:]), roots=roots))
    with pytest.raises(ValueError, match="roots of applications"):
        new_host(ledger=Register).restore(sealed(head, frames))
    with pytest.raises(ValueError, match="roots of applications"):
        carrying_host().restore(sealed(head, frames))
    new_host(ledger=Register).restore(sealed(frames[0][3:], frames))


def sealed(head, frames):
    """The snapshot with another head, and sealed anew: every frame but the head and the seal is as it was."""
    maker = PieceFrames()
    made = maker.add(0, HEAD, head)
    for frame in frames[1:-1]:
        made += maker.add(*struct.unpack_from("<HB", frame), frame[3:])
    return [*made, maker.end()]


def test_what_is_no_head_is_none():
    head = WORLD.anchor.state.head
    read = read_head(head)
    assert encode_head(read) == head
    root = bytes(32)
    for wrong in (
        b"",
        head[:-1],
        head[:39],
        b"QHS4" + head[4:],
        encode_head(replace(read, roots=((2, root), (1, root)))),
        encode_head(replace(read, roots=((2, root), (2, root)))),
        encode_head(replace(read, roots=((0, root),))),
        encode_head(replace(read, block=0)),
    ):
        assert read_head(wrong) is None


def test_a_state_that_is_only_carried_has_the_same_root():
    host = carrying_host()
    host.restore(WORLD.log.host.snapshot())
    assert list(host.snapshot()) == list(WORLD.log.host.snapshot())
    none = new_host()
    none._block = 1
    host = carrying_host()
    host.restore(none.snapshot())
    assert list(host.snapshot()) == list(none.snapshot())
