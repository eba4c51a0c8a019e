"""`quorum follow`: believes what it should, remembers it, and says who lied where a witness disagrees."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from certificate.light_chains import NOW_US, Chain, certificate_in, committee_with
from certificate.test_light_client import FOUR, LATER_US
from quorum.certificate.block_forms import encode_binary, encode_json
from quorum.certificate.chain_forms import ChainedCertificate, encode_chain
from quorum.certificate.genesis import encode_genesis
from quorum.certificate.light_forms import decode_light
from quorum.certificate.trust import DAY_US, Trusted
from quorum.console import follow

CHAIN = Chain([FOUR, FOUR, ("n2", "n3", "n4", "n5"), ("n3", "n4", "n5", "n6"), ("n5", "n6", "n7", "n8")])
LAST = CHAIN.committees[4]
WHOLE = ChainedCertificate(tuple(CHAIN.changes()), certificate_in(LAST))


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time that the command sees, in microseconds since 1970; the test may change it."""
    now = [LATER_US]
    monkeypatch.setattr(follow.time, "time_ns", lambda: now[0] * 1_000)
    return now


@pytest.fixture
def cert(here):
    (here / "genesis.json").write_bytes(encode_genesis(CHAIN.committees[0]))
    (here / "cert.json").write_bytes(encode_chain(WHOLE.changes, WHOLE.certificate))
    return here / "cert.json"


def believed(cert):
    return decode_light((cert.parent / "light.json").read_bytes())


# --- what is believed ----------------------------------------------------------------------------------


def test_the_first_run_begins_at_the_genesis_and_the_next_where_that_one_ended(cert, run, run_json):
    text = run("follow", cert)
    assert text.exit_code == 0, text.output
    assert text.stdout.startswith("followed: block 451, decided in view 3, of cluster q0123456789abcdef, epoch 4")
    assert "kept in" in text.stdout
    assert believed(cert).committee == LAST and believed(cert).certificate == WHOLE.certificate
    (cert.parent / "genesis.json").unlink()
    newer = certificate_in(LAST, 70)
    cert.write_bytes(encode_json(newer))
    code, said = run_json("follow", cert)
    assert code == 0
    assert said == {
        "followed": True,
        "cluster": LAST.cluster,
        "epoch": 4,
        "sequence": 471,
        "view": 3,
        "digest": newer.header.digest().hex(),
        "epochs": [4],
        "reasons": [],
        "missing": None,
        "witnesses": [],
    }
    assert believed(cert).certificate == newer


def test_changes_may_be_left_out_where_members_stay_and_are_named_where_not(cert, run, run_json):
    by_epoch = {change.committee.epoch: change for change in WHOLE.changes}
    some = [by_epoch[epoch] for epoch in (2, 3, 4)]
    cert.write_bytes(encode_chain(some, WHOLE.certificate))
    code, said = run_json("follow", cert)
    assert code == 0 and 0 not in said["epochs"] and said["epoch"] == 4
    (cert.parent / "light.json").unlink()
    cert.write_bytes(encode_chain([by_epoch[4]], WHOLE.certificate))
    code, said = run_json("follow", cert)
    assert (code, said["followed"], said["missing"], said["epoch"]) == (1, False, [1, 4], 0)
    refused = run("follow", cert)
    assert refused.exit_code == 1 and "give the changes to epochs 1 to 4" in refused.stdout
    assert not (cert.parent / "light.json").exists()
    cert.write_bytes(encode_json(WHOLE.certificate))
    assert "nobody says who is of it" in run("follow", cert).stdout


def test_the_binary_form_is_read_by_the_committee_that_is_believed(cert, run, run_json):
    zero = CHAIN.committees[0]
    cert.write_bytes(encode_binary(certificate_in(zero), zero))
    assert run_json("follow", cert)[0] == 0
    assert run("verify", cert).stdout.startswith("valid: block 51")
    cert.write_bytes(encode_binary(certificate_in(CHAIN.committees[1]), CHAIN.committees[1]))
    assert run("follow", cert).exit_code == 1


def test_memory_and_genesis_may_lie_anywhere(cert, run):
    (cert.parent / "genesis.json").rename(cert.parent / "mine.json")
    assert "Name the committee that you trust" in run("follow", cert).stderr
    options = ("--genesis", "mine.json", "--light", "kept.json")
    assert run("follow", cert, *options).exit_code == 0
    assert run("follow", cert, *options).exit_code == 0
    assert sorted(path.name for path in cert.parent.iterdir()) == ["cert.json", "kept.json", "mine.json"]
    other = replace(CHAIN.committees[0], cluster="another")
    (cert.parent / "mine.json").write_bytes(encode_genesis(other))
    refused = run("follow", cert, *options)
    assert refused.exit_code == 2 and "Keep a light file for each cluster" in refused.stderr


# --- what is not ---------------------------------------------------------------------------------------


def test_it_never_goes_back(cert, run):
    assert run("follow", cert).exit_code == 0
    before = (cert.parent / "light.json").read_bytes()
    for certificate, words in (
        (certificate_in(LAST, 20), "before block 451"),
        (certificate_in(LAST, requests=(b"fork",)), "another block 451"),
        (certificate_in(CHAIN.committees[3], 20), "before epoch 4"),
        (certificate_in(LAST, 80, LAST.nodes[:2]), "hold no quorum"),
    ):
        cert.write_bytes(encode_json(certificate))
        refused = run("follow", cert)
        assert refused.exit_code == 1 and words in refused.stdout, refused.stdout
        assert "block 451 of epoch 4 is believed as before" in refused.stdout
        assert (cert.parent / "light.json").read_bytes() == before


def test_what_was_believed_long_ago_is_believed_no_more(cert, run, clock):
    assert run("follow", cert).exit_code == 0
    clock[0] += 20 * DAY_US
    refused = run("follow", cert)
    assert refused.exit_code == 1 and "days old, more than the 14 allowed: begin again" in refused.stdout
    assert run("follow", cert, "--period", "100").exit_code == 0
    clock[0] = NOW_US
    assert "ahead of the clock here" in run("follow", cert, "--period", "100").stdout


def test_a_witness_that_agrees_or_knows_nothing_changes_nothing(cert, here, run, run_json):
    (here / "same.json").write_bytes(cert.read_bytes())
    (here / "poor.json").write_bytes(encode_json(WHOLE.certificate))
    (here / "older.json").write_bytes(encode_chain(WHOLE.changes[:2], certificate_in(CHAIN.committees[2])))
    names = ("same.json", "poor.json", "older.json")
    options = [each for name in names for each in ("--witness", name)]
    text = run("follow", cert, *options).stdout
    assert "witness same.json agrees" in text and "witness poor.json says nothing; it is of epoch 4" in text
    assert "witness older.json says nothing; it is about block 251" in text
    (here / "light.json").unlink()
    code, said = run_json("follow", cert, *options)
    assert code == 0 and [each["agrees"] for each in said["witnesses"]] == [True, False, False]


def test_a_witness_that_was_told_something_else_names_who_signed_both(cert, here, run, run_json):
    fork = certificate_in(LAST, requests=(b"fork",), signers=LAST.nodes[1:])
    (here / "fork.json").write_bytes(encode_chain(WHOLE.changes, fork))
    code, said = run_json("follow", cert, "--witness", "fork.json", "--evidence", "lies")
    assert code == 1 and not said["followed"] and said["epoch"] == 0
    assert said["witnesses"][0] | {"reasons": 0} == {
        "file": "fork.json",
        "agrees": False,
        "parted": True,
        "accused": ["n6", "n7"],
        "reasons": 0,
    }
    assert not (here / "light.json").exists()
    text = run("follow", cert, "--witness", "fork.json")
    assert text.exit_code == 1 and "has another block, and these signed both: n6, n7" in text.stdout
    (here / "last.json").write_bytes(encode_genesis(LAST))
    written = sorted((here / "lies").iterdir())
    assert [path.name for path in written] == ["epoch-4-n6.json", "epoch-4-n7.json"]
    for path, name in zip(written, ("n6", "n7"), strict=True):
        judged = run("verify", path, "--genesis", "last.json")
        assert judged.stdout.startswith(f"valid: evidence against {name} at block 451")


# --- asked wrongly, and hostile files ------------------------------------------------------------------


def test_what_cannot_be_followed_is_an_error_in_three_parts(cert, here, run, run_json):
    from certificate.test_evidence import ONE, OTHER, vote
    from quorum.certificate.evidence import Equivocation
    from quorum.certificate.evidence_forms import encode_evidence
    from quorum.certificate.vote import VoteKind

    proof = Equivocation(vote(VoteKind.COMMIT, 3, 7, ONE), vote(VoteKind.COMMIT, 3, 7, OTHER))
    (here / "lie.json").write_bytes(encode_evidence(proof, committee_with(FOUR, 0)))
    (here / "bad.json").write_bytes(b"{}")
    for arguments in (
        ("lie.json",),
        ("absent.json",),
        (cert, "--genesis", "absent.json"),
        (cert, "--light", "bad.json"),
        (cert, "--witness", "lie.json"),
        (cert, "--period", "0"),
        (cert, "--period", "nan"),
    ):
        refused = run("follow", *arguments)
        assert refused.exit_code == 2 and refused.stderr.startswith("Error: "), refused.output
        assert run_json("follow", *arguments)[1]["error"]["kind"] == "ConfigurationError"
    nowhere = run("follow", cert, "--light", "nowhere/light.json")
    assert nowhere.exit_code == 2 and "was to be written to nowhere/light.json" in nowhere.stderr
    assert "Example: quorum follow cert.json" in run("follow", "--help").stdout


def test_names_of_a_hostile_file_move_no_cursor(cert, run):
    document = json.loads(cert.read_bytes())
    document["certificate"]["cluster"] = "\x1b[2J\n\u202e"
    cert.write_text(json.dumps(document))
    shown = run("follow", cert).stdout
    assert shown.startswith("not followed") and "\x1b" not in shown and "\u202e" not in shown


UNHURRIED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
LEAVES = st.none() | st.integers() | st.just(10**30) | st.text(max_size=50) | st.lists(st.integers(), max_size=3)


def answered(cert, run) -> Trusted | None:
    """What is believed now; anything but an answer or a refusal is raised."""
    result = run("follow", cert)
    assert result.exit_code in (0, 1, 2)
    if result.exit_code:
        return None
    found = believed(cert)
    (cert.parent / "light.json").unlink()
    return found


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(UNHURRIED)
def test_a_flipped_bit_is_never_believed(place, bit, cert, run):
    content = encode_chain((), certificate_in(CHAIN.committees[0]))
    changed = bytearray(content)
    changed[place % len(changed)] ^= 1 << bit
    cert.write_bytes(bytes(changed))
    assert answered(cert, run) is None


@given(data=st.data())
@settings(UNHURRIED)
def test_any_field_with_any_value_gets_an_answer(data, cert, run):
    document = json.loads(encode_chain(WHOLE.changes, WHOLE.certificate))
    at = document
    while isinstance(at, dict | list) and at:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            at[key] = data.draw(LEAVES)
            break
        at = at[key]
    cert.write_text(json.dumps(document))
    assert answered(cert, run) in (None, Trusted(LAST, WHOLE.certificate)), "what is not needed may be anything"
