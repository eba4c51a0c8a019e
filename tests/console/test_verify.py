"""`quorum verify`: what holds is believed, every flaw is named, and no file brings more than an answer."""

from __future__ import annotations

import json
from itertools import product

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certificate.committees import committee_of, header_of, key_of, signed_by
from certificate.test_epochs import GENESIS as FOUR
from certificate.test_epochs import chain
from certificate.test_evidence import ONE, OTHER, left_with, vote
from quorum.certificate import DecisionCertificate, digest_of
from quorum.certificate import encode_json as encode_decision
from quorum.certificate.block_forms import encode_binary, encode_json
from quorum.certificate.chain_forms import encode_chain
from quorum.certificate.evidence import Claim, Equivocation, HiddenVote
from quorum.certificate.evidence_forms import encode_evidence
from quorum.certificate.genesis import encode_genesis
from quorum.certificate.inclusion import encode_inclusion, prove
from quorum.certificate.ledger_forms import encode_ledger_proof
from quorum.certificate.requests import sign_request
from quorum.certificate.vote import SigningDomain, VoteKind
from quorum.console.verify import audit_of
from quorum.errors import ConfigurationError
from quorum.header import Batch

SEVEN = committee_of(7)
GOOD = signed_by(SEVEN.nodes[:5], SEVEN, header_of(SEVEN))
DECISION = DecisionCertificate(
    "q1", 1, ("a", "b", "c"), ("a", "c"), 2, 9, 4, "colour", digest_of(b"green"), "crash", ()
)


def signed_request(app: int = 1) -> bytes:
    batch = Batch(app, client=7, first_sequence=3, acked_below=3, count=1, body=b"put x 1")
    key = key_of("client")
    sign = lambda message: key.sign(message).signature  # noqa: E731
    return sign_request(SigningDomain(SEVEN.cluster, 0), batch, bytes(key.verify_key), sign)


REQUESTS = (signed_request(1), signed_request(2), b"a change of epoch, which no client signs")
CERTIFIED = signed_by(SEVEN.nodes, SEVEN, header_of(SEVEN, REQUESTS))


@pytest.fixture
def cert(here):
    (here / "genesis.json").write_bytes(encode_genesis(SEVEN))
    (here / "cert.json").write_bytes(encode_json(GOOD))
    return here / "cert.json"


# --- what holds ----------------------------------------------------------------------------------------


def test_a_block_holds_with_the_genesis_beside_it_and_with_one_that_is_named(cert, run, run_json):
    text = run("verify", cert)
    assert text.exit_code == 0 and text.stdout.startswith("valid: block 5, decided in view 3")
    assert "signed by n1, n2, n3, n4, n5" in text.stdout
    code, said = run_json("verify", cert)
    assert (code, said) == (
        0,
        {
            "kind": "block",
            "valid": True,
            "signed": True,
            "reasons": [],
            "cluster": SEVEN.cluster,
            "epoch": 0,
            "signers": ["n1", "n2", "n3", "n4", "n5"],
            "view": 3,
            "sequence": 5,
        },
    )
    (cert.parent / "genesis.json").rename(cert.parent / "mine.json")
    alone = run("verify", cert)
    assert alone.exit_code == 2 and "Name the committee that you trust: --genesis FILE" in alone.stderr
    assert run("verify", cert, "--genesis", cert.parent / "mine.json").exit_code == 0


def test_a_certificate_of_a_later_epoch_holds_by_the_changes_since_the_genesis(here, run, run_json):
    changes = chain(4)
    last = changes[-1].committee
    certificate = signed_by(last.nodes[1:], last, header_of(last, sequence=99))
    (here / "genesis.json").write_bytes(encode_genesis(FOUR))
    (here / "cert.json").write_bytes(encode_chain(changes, certificate))
    assert run_json("verify", "cert.json")[1] | {"reasons": None} == {
        "kind": "block",
        "valid": True,
        "signed": True,
        "reasons": None,
        "cluster": FOUR.cluster,
        "epoch": 4,
        "signers": list(last.nodes[1:]),
        "view": 3,
        "sequence": 99,
    }
    (here / "cert.json").write_bytes(encode_chain([changes[0], *changes[2:]], certificate))
    broken = run("verify", "cert.json")
    assert broken.exit_code == 1 and "the change from epoch 1 does not hold" in broken.stdout
    (here / "cert.json").write_bytes(encode_json(certificate))
    assert "it is of epoch 4, the committee is of epoch 0" in run("verify", "cert.json").stdout


def test_the_binary_form_is_judged_like_the_other(cert, run, run_json):
    in_json = run_json("verify", cert)
    cert.write_bytes(encode_binary(GOOD, SEVEN))
    assert run_json("verify", cert) == in_json
    few = signed_by(SEVEN.nodes[:4], SEVEN, header_of(SEVEN))
    cert.write_bytes(encode_binary(few, SEVEN))
    assert "hold no quorum" in run("verify", cert).stdout
    cert.write_bytes(encode_binary(GOOD, SEVEN)[:-1])
    refused = run("verify", cert)
    assert refused.exit_code == 2 and "this is none" in refused.stderr and "Give the file" in refused.stderr
    (cert.parent / "genesis.json").unlink()
    assert "--genesis FILE" in run("verify", cert).stderr


@pytest.mark.parametrize("place", range(len(REQUESTS)))
def test_one_request_is_proved_to_be_in_the_block(place, cert, run, run_json):
    cert.write_bytes(encode_json(CERTIFIED))
    (cert.parent / "request.json").write_bytes(encode_inclusion(prove(REQUESTS, place)))
    assert "the request is in the block" in run("verify", cert, "--request", "request.json").stdout
    assert run_json("verify", cert, "--request", "request.json")[1]["request_included"] is True


def test_a_request_that_is_elsewhere_or_not_its_clients_is_refused(cert, run_json):
    cert.write_bytes(encode_json(CERTIFIED))
    elsewhere = prove((*REQUESTS[:2], signed_request(3)), 2)
    misplaced = msgspec.structs.replace(prove(REQUESTS, 0), place=1)
    endless = msgspec.structs.replace(prove(REQUESTS, 0), path=(bytes(32),) * 100)
    for proof in (elsewhere, misplaced, endless):
        (cert.parent / "request.json").write_bytes(encode_inclusion(proof))
        code, said = run_json("verify", cert, "--request", "request.json")
        assert (code, said["valid"], said["request_included"]) == (1, False, False)
        assert said["reasons"] == ["the request is not in the block that was signed."]
    forged = bytearray(REQUESTS[0])
    forged[40] ^= 1
    requests = (bytes(forged), *REQUESTS[1:])
    cert.write_bytes(encode_json(signed_by(SEVEN.nodes, SEVEN, header_of(SEVEN, requests))))
    (cert.parent / "request.json").write_bytes(encode_inclusion(prove(requests, 0)))
    code, said = run_json("verify", cert, "--request", "request.json")
    assert code == 1 and "its client did not sign it" in said["reasons"][0]


def test_a_request_counts_for_nothing_in_a_block_that_does_not_hold(cert, run_json):
    cert.write_bytes(encode_json(signed_by(SEVEN.nodes[:4], SEVEN, header_of(SEVEN, REQUESTS))))
    (cert.parent / "request.json").write_bytes(encode_inclusion(prove(REQUESTS, 0)))
    code, said = run_json("verify", cert, "--request", "request.json")
    assert code == 1 and said["request_included"] is False


EQUIVOCATION = Equivocation(vote(VoteKind.COMMIT, 3, 7, ONE), vote(VoteKind.COMMIT, 3, 7, OTHER))
HIDDEN = HiddenVote(vote(VoteKind.COMMIT, 3, 7, ONE), left_with(Claim(2, 9, ONE), 5), Claim(2, 9, ONE))


@pytest.mark.parametrize("evidence", [EQUIVOCATION, HIDDEN], ids=["equivocation", "hidden vote"])
def test_evidence_names_whom_it_is_against(evidence, here, run, run_json):
    (here / "genesis.json").write_bytes(encode_genesis(FOUR))
    (here / "lie.json").write_bytes(encode_evidence(evidence, FOUR))
    text = run("verify", "lie.json")
    assert text.exit_code == 0 and text.stdout.startswith("valid: evidence against n2 at block 7 of view 3")
    code, said = run_json("verify", "lie.json")
    assert (code, said["kind"], said["accused"], said["signed"]) == (0, "evidence", "n2", True)


def test_evidence_that_proves_nothing_is_refused(here, run):
    (here / "genesis.json").write_bytes(encode_genesis(FOUR))
    same = Equivocation(EQUIVOCATION.first, EQUIVOCATION.first)
    unsigned = Equivocation(EQUIVOCATION.first, msgspec.structs.replace(EQUIVOCATION.second, signature=bytes(64)))
    owned = msgspec.structs.replace(HIDDEN, claim=Claim(3, 9, ONE), view_change=left_with(Claim(3, 9, ONE), 5))
    for evidence, words in ((same, "say the same"), (unsigned, "n2 did not sign"), (owned, "owns up")):
        (here / "lie.json").write_bytes(encode_evidence(evidence, FOUR))
        refused = run("verify", "lie.json")
        assert refused.exit_code == 1 and words in refused.stdout and refused.stdout.startswith("not valid")
    for other in (committee_of(4, epoch=1), msgspec.structs.replace(FOUR, cluster="q-other")):
        (here / "lie.json").write_bytes(encode_evidence(EQUIVOCATION, other))
        assert run("verify", "lie.json").exit_code == 1


def test_a_decision_of_crash_mode_is_a_record_that_nobody_signed(here, run, run_json):
    (here / "d.json").write_bytes(encode_decision(DECISION))
    text = run("verify", "d.json")
    assert text.exit_code == 0 and "nobody signed it" in text.stdout
    code, said = run_json("verify", "d.json", "--value", "green")
    assert (code, said["valid"], said["signed"], said["topic"], said["index"]) == (0, True, False, "colour", 9)
    assert "another value" in run("verify", "d.json", "--value", "red").stdout
    (here / "d.json").write_bytes(encode_decision(msgspec.structs.replace(DECISION, voters=("a",), tally=1)))
    assert "hold no write quorum" in run("verify", "d.json").stdout


def test_the_quorums_of_a_decision_may_be_those_of_its_cluster_file(here, run):
    every = ("--reads", "a*b*c", "--writes", "a*b*c")
    assert run("init", "--folder", "c", "--names", "a,b,c", "--faults", 0, *every).exit_code == 0
    (here / "d.json").write_bytes(encode_decision(DECISION))
    assert run("verify", "d.json", "--config", "c/cluster.toml").exit_code == 1
    (here / "d.json").write_bytes(encode_decision(msgspec.structs.replace(DECISION, epoch=2)))
    assert run("verify", "d.json", "--config", "c/cluster.toml").exit_code == 2


# --- what does not -------------------------------------------------------------------------------------


def damaged(**changes):
    return json.dumps({**json.loads(encode_json(GOOD)), **changes})


def spoilt(signer: str) -> str:
    signatures = {**json.loads(encode_json(GOOD))["signatures"], signer: "A" * 86}
    return damaged(signatures=signatures)


@pytest.mark.parametrize("signer", SEVEN.nodes[:5])
def test_the_member_whose_signature_fails_is_named(signer, cert, run, run_json):
    cert.write_text(spoilt(signer))
    assert f"  the signature of {signer} is wrong." in run("verify", cert).stdout
    code, said = run_json("verify", cert)
    assert (code, said["valid"], said["signed"]) == (1, False, False)
    assert said["reasons"] == [f"the signature of {signer} is wrong."]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cluster": "q-other"}, "it is of cluster 'q-other'"),
        ({"epoch": 1}, "it is of epoch 1"),
        ({"members": "A" * 43}, "another committee"),
        ({"sequence": 6}, "the signature of n1 is wrong"),
        ({"view": 4}, "the signature of n1 is wrong"),
        ({"count": 3}, "the signature of n1 is wrong"),
        ({"state_sequence": 5}, "outside every chain"),
        ({"signatures": {}}, "hold no quorum"),
        ({"signatures": {"x9": "A" * 86}}, "x9 signed without being of epoch 0"),
        ({"signatures": {"n1": "AAAA"}}, "does not have 64 bytes"),
    ],
    ids=str,
)
def test_every_flaw_is_told(changes, words, cert, run):
    cert.write_text(damaged(**changes))
    refused = run("verify", cert)
    assert refused.exit_code == 1 and refused.stdout.startswith("not valid: block")
    assert words in refused.stdout and refused.stderr == ""


def test_names_of_a_hostile_file_move_no_cursor(cert, run):
    cert.write_text(damaged(cluster="\x1b[2J\n\u202e", signatures={"\x1b[31m": "A" * 86}))
    shown = run("verify", cert).stdout
    assert "\x1b" not in shown and "\u202e" not in shown and "\\x1b[31m signed without" in shown


# --- asked wrongly -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"null",
        b'{"format":1}',
        b'{"format":"quorum-block-9"}',
        b'{"format":"quorum-block-1"}',
        b'{"format":"quorum-chain-1","changes":[],"certificate":{}}',
        b'{"format":"quorum-evidence-1","votes":[]}',
        b'{"x":' + b"[" * 500_000,
        b'{"format":"quorum-block-1","x":' + b"[" * 500_000,
        damaged(extra=1).encode(),
        damaged(view=-1).encode(),
        damaged(view=2**64).encode(),
        damaged(parent="AAAA").encode(),
        damaged(signatures=[]).encode(),
        damaged(cluster="\ud800").encode(),
        encode_chain(chain(1), GOOD).replace(b'"faults":1', b'"faults":%d' % 10**30),
        b"\x9b\x01",
        encode_decision(DECISION)[:-1] + b',"extra":1}',
        encode_evidence(EQUIVOCATION, FOUR).replace(b'"COMMIT"', b'"commit"'),
    ],
    ids=lambda content: content[:40].decode("latin-1"),
)
def test_what_is_no_certificate_is_an_error_in_three_parts(content, cert, run, run_json):
    cert.write_bytes(content)
    refused = run("verify", cert)
    assert refused.exit_code == 2 and refused.stdout == ""
    assert refused.stderr.startswith("Error: ") and "but" in refused.stderr and "Give " in refused.stderr
    assert run_json("verify", cert)[1]["error"]["kind"] == "ConfigurationError"


def test_files_that_are_not_there_or_too_large_are_refused(cert, run):
    for path in ("absent.json", cert.parent):
        refused = run("verify", path)
        assert refused.exit_code == 2 and "Name a file that is there" in refused.stderr
    assert run("verify", cert, "--genesis", "absent.json").exit_code == 2
    assert run("verify", cert, "--request", "absent.json").exit_code == 2
    with cert.open("r+b") as file:
        file.truncate(1 << 40)
    refused = run("verify", cert)
    assert refused.exit_code == 2 and "bytes allowed" in refused.stderr
    cert.write_bytes(encode_json(GOOD).ljust(2 * 1024 * 1024))
    assert "more than the" in run("verify", cert).stderr, "each kind has its own bound"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        json.dumps({"format": "quorum-genesis-1", "committee": {}}),
        encode_genesis(SEVEN).decode().replace('"faults":2', '"faults":3'),
        encode_genesis(SEVEN).decode().replace('"n2"', '"n1"'),
        encode_genesis(SEVEN).decode().replace('"faults":2', '"faults":2,"extra":0'),
        encode_genesis(msgspec.structs.replace(SEVEN, quorums="choose(4, n1, n2, n3, n4, n5, n6, n7)")).decode(),
    ],
    ids=lambda text: text[:50],
)
def test_a_genesis_that_is_none_or_not_safe_judges_nothing(text, cert, run):
    (cert.parent / "genesis.json").write_text(text)
    refused = run("verify", cert)
    assert refused.exit_code == 2 and refused.stderr.startswith("Error: ")


def test_options_that_a_kind_has_no_use_for_are_refused(cert, here, run):
    from certificate.test_ledger_proof import WORLD

    (here / "d.json").write_bytes(encode_decision(DECISION))
    (here / "lie.json").write_bytes(encode_evidence(EQUIVOCATION, FOUR))
    (here / "proof.json").write_bytes(encode_ledger_proof(WORLD.value("k7")))
    used = {
        "cert.json": {"--genesis", "--request"},
        "d.json": {"--config", "--value"},
        "lie.json": {"--genesis"},
        "proof.json": {"--genesis", "--root", "--key"},
    }
    options = sorted(set().union(*used.values()))
    for file, option in product(used, options):
        said = run("verify", file, option, "00").output
        assert ("judged without it. Leave it out" in said) == (option not in used[file]), (file, option)


def test_a_value_s_proof_claims_a_question_and_proves_a_key(cert, run, run_json):
    from certificate.test_ledger_proof import COMMITTEE, WORLD

    cert.write_bytes(encode_ledger_proof(WORLD.value("k7")).replace(b'"k7"', b'"k8"'))
    cert.with_name("genesis.json").write_bytes(encode_genesis(COMMITTEE))
    text = run("verify", cert)
    assert text.exit_code == 0 and "claimed, not proven: that this key answers 'k8'" in text.output
    key = b"k7".hex()
    code, audit = run_json("verify", cert)
    assert (code, audit["key"], audit["question_proven"], audit["key_demanded"]) == (0, key, False, False)
    code, audit = run_json("verify", cert, "--key", key)
    assert (code, audit["key_demanded"]) == (0, True)
    other = run("verify", cert, "--key", b"k8".hex())
    assert other.exit_code == 1 and "it is not about that key" in other.output
    for option in ("--key", "--root"):
        wrong = run("verify", cert, option, "xyz")
        assert wrong.exit_code == 2 and f"'xyz' was given with {option}, but it is not hexadecimal" in wrong.output
    short = run("verify", cert, "--root", "abcd")
    assert short.exit_code == 2 and "'abcd' was given, but a ledger's root has 64 digits" in short.output
    cert.write_bytes(encode_ledger_proof(WORLD.transaction()))
    wrong = run("verify", cert, "--key", key)
    assert wrong.exit_code == 2 and "has no key" in wrong.output


def test_the_help_has_an_example(run):
    assert "Example: quorum verify certificate.json --genesis genesis.json" in run("verify", "--help").stdout


# --- hostile files -------------------------------------------------------------------------------------

CHAINED = chain(1)[0].committee
GOOD_FILES = (
    (encode_json(GOOD), SEVEN),
    (encode_chain(chain(1), signed_by(CHAINED.nodes, CHAINED, header_of(CHAINED))), FOUR),
    (encode_evidence(HIDDEN, FOUR), FOUR),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
UNHURRIED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def judged(cert, content: bytes, committee=SEVEN) -> bool:
    """Whether it holds; False where it is refused. Anything but those two answers is raised."""
    cert.write_bytes(content)
    (cert.parent / "genesis.json").write_bytes(encode_genesis(committee))
    try:
        return audit_of(cert).valid
    except ConfigurationError:
        return False


@pytest.mark.parametrize(("content", "committee"), [*GOOD_FILES, (encode_binary(GOOD, SEVEN), SEVEN)])
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(UNHURRIED, max_examples=200)
def test_a_flipped_bit_is_never_believed(content, committee, place, bit, cert):
    assert judged(cert, content, committee)
    changed = bytearray(content)
    changed[place % len(changed)] ^= 1 << bit
    assert not judged(cert, bytes(changed), committee)


@pytest.mark.parametrize(("content", "committee"), GOOD_FILES)
@given(data=st.data())
@settings(UNHURRIED, max_examples=200)
def test_a_field_with_any_other_value_is_never_believed_nor_an_error(content, committee, data, cert):
    document = json.loads(content)
    field = data.draw(st.sampled_from(sorted(document)))
    other = data.draw(JSON)
    if other != document[field] or type(other) is not type(document[field]):
        assert not judged(cert, json.dumps({**document, field: other}).encode(), committee)


@given(text=st.text(max_size=30), number=st.integers(), names=st.lists(st.text(max_size=10), max_size=4))
@settings(UNHURRIED)
def test_any_record_of_a_decision_gets_an_answer(text, number, names, cert):
    document = json.loads(encode_decision(DECISION))
    for changed in ({"cluster": text}, {"members": names, "voters": names}, {"epoch": number}, {"index": number}):
        judged(cert, json.dumps({**document, **changed}).encode())


@given(content=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(UNHURRIED)
def test_any_bytes_get_an_answer(content, cert):
    assert not judged(cert, content)
