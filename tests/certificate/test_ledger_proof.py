"""What a ledger proves offline, and that nothing else passes for it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from apps_log import Log, header
from certificate.committees import committee_of, header_of, signed_by
from quorum.apps.catalogue import LEDGER_APP, new_host
from quorum.apps.ledger import encode_batch
from quorum.apps.ledger_application import LedgerApplication
from quorum.apps.ledger_machine import LedgerMachine
from quorum.apps.ledger_prover import present, prove_transaction, prove_value
from quorum.certificate.ledger_audit import judge_ledger, verify_query
from quorum.certificate.ledger_block import TransactionResult, transaction_hash
from quorum.certificate.ledger_forms import decode_ledger_proof, encode_ledger_proof
from quorum.certificate.ledger_proof import Anchor
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
        for number in range(20):
            self.log.append(encode_batch([b"k%d=%d" % (number, each) for each in range(3)]), app=LEDGER_APP)
        (*_, self.root) = self.log.host.digests()
        self.ledger = self.log.host.application(LEDGER_APP)
        assert isinstance(self.ledger, LedgerMachine)
        block = replace(header_of(COMMITTEE), state_root=self.root)
        parts = self.log.host.parts_of(self.root)
        certificate = signed_by(["n1", "n2", "n3"], COMMITTEE, block)
        self.anchor = Anchor(LEDGER_APP, parts, certificate)
        self.version = self.ledger.version(parts.digest_of(LEDGER_APP))

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
    yield "another ledger", replace(transaction, roots=replace(transaction.roots, number=21))
    yield "no signature", replace(transaction, anchor=None)
    yield "another application", replace(transaction, anchor=replace(WORLD.anchor, app=1))
    parts = WORLD.anchor.parts
    swapped = tuple((app, transaction.roots.digest()) for app, _ in parts.applications)
    yield (
        "other parts",
        replace(transaction, anchor=replace(WORLD.anchor, parts=replace(parts, applications=swapped))),
    )
    ids = ((4, transaction.roots.digest()), *parts.applications)
    yield (
        "parts out of order",
        replace(transaction, anchor=replace(WORLD.anchor, parts=replace(parts, applications=ids))),
    )
    few = signed_by(["n1", "n2"], COMMITTEE, WORLD.anchor.certificate.header)
    yield "too few signatures", replace(transaction, anchor=replace(WORLD.anchor, certificate=few))
    yield "another value", altered(value, value=b"3")
    yield "no value", altered(value, value=None)
    yield "another key", altered(value, key=b"k8")


@pytest.mark.parametrize(("what", "proof"), list(forgeries()), ids=[what for what, _ in forgeries()])
def test_a_forgery_is_told_apart(what, proof):
    audit = judge_ledger(proof, COMMITTEE)
    assert not audit.valid and not audit.signed and audit.reasons, what


def test_an_application_of_another_id_is_no_ledger_also_where_its_digest_is_right():
    parts = replace(WORLD.anchor.parts, applications=((1, WORLD.transaction().roots.digest()),))
    assert "no ledger" in " ".join(
        judge_ledger(
            replace(WORLD.transaction(), anchor=Anchor(1, parts, WORLD.anchor.certificate)), COMMITTEE
        ).reasons
    )


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


def test_the_parts_of_a_state_lead_to_its_digest():
    host = WORLD.log.host
    assert host.digest() == WORLD.root
    other = new_host(ledger=Register)
    WORLD.log.replay(other)
    (*_, root) = other.digests()
    assert root == WORLD.root and other.parts_of(root) == WORLD.anchor.parts
    assert header(1).index == 1
