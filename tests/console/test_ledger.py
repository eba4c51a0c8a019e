"""`quorum ledger` with real processes: members that crash, and members that may lie."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorum.certificate.genesis import decode_genesis
from quorum.certificate.ledger_audit import judge_ledger
from quorum.certificate.ledger_block import transaction_hash
from quorum.errors import ConfigurationError
from quorum.runtime.connect import connect
from quorum.runtime.local import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NOTES = """
from quorum.apps.ledger_application import LedgerApplication, Refusal


class Notes(LedgerApplication):
    def check(self, transaction, state):
        if b"=" not in transaction:
            raise Refusal("form", "a note was sent without =, but a note is key=value. Write it so.")

    def execute(self, block, transaction, state):
        key, _, value = transaction.partition(b"=")
        if value == b"wrong":
            raise ValueError("the value is wrong")
        state.put(key, value)
        return b""

    @classmethod
    def transaction_of(cls, row):
        if not row["key"]:
            raise ValueError("key is empty")
        return f"{row['key']}={row['value']}".encode()
"""


def started(run, folder: Path, *options: object) -> Path:
    made = folder / ".quorum"
    assert run("init", "--folder", made, *options).exit_code == 0
    config = made / "cluster.toml"
    config.write_text('ledger = "ledger_notes:Notes"\n' + config.read_text())
    (made / "ledger_notes.py").write_text(NOTES)
    assert run("up", "--folder", made).exit_code == 0
    return made


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Iterator[Path]:
    """The folder of a cluster of three with a ledger."""
    made = started(run, tmp_path_factory.mktemp("crash"), "--nodes", 3)
    yield made
    run("down", "--folder", made)


@pytest.fixture(scope="module")
def committee(run, tmp_path_factory) -> Iterator[Path]:
    """The folder of a committee of four with a ledger."""
    made = started(run, tmp_path_factory.mktemp("lying"), "--nodes", 4, "--model", "byzantine")
    yield made
    run("down", "--folder", made)


@pytest.fixture(params=["folder", "committee"])
def made(request) -> Path:
    return request.getfixturevalue(request.param)


def at(made: Path) -> tuple[str, str]:
    return ("--config", str(made / "cluster.toml"))


def test_a_transaction_goes_in_once_and_is_found_by_its_hash(run, run_json, made):
    code, first = run_json("ledger", "submit", "-", *at(made), stdin=b"once=1")
    assert (code, first["done"], first["first"]) == (0, True, True)
    assert first["hash"] == transaction_hash(b"once=1").hex()
    code, again = run_json("ledger", "submit", "-", *at(made), stdin=b"once=1")
    assert (code, again["first"], again["block"]) == (0, False, first["block"])
    code, got = run_json("ledger", "get", first["hash"], *at(made))
    assert (code, got["transaction"], got["block"]) == (0, "once=1", first["block"])
    assert run("ledger", "get", first["hash"], "--raw", *at(made)).stdout_bytes == b"once=1"
    assert run("ledger", "get", "00" * 32, *at(made)).exit_code == 1
    assert run("ledger", "get", "abc", *at(made)).exit_code == 2


def test_each_row_is_signed_alone_where_members_may_lie(run, run_json, committee, folder, tmp_path):
    (tmp_path / "rows.csv").write_text("key,value\n" + "".join(f"alone{each},1\n" for each in range(5)))
    code, imported = run_json("ledger", "import", tmp_path / "rows.csv", "--sign-each", *at(committee))
    assert (code, imported["new"]) == (0, 5)
    names = [transaction_hash(b"alone%d=1" % each).hex() for each in range(5)]
    found = [run_json("ledger", "get", name, *at(committee))[1]["block"] for name in names]
    assert len(set(found)) == 5, "each stands in a block of its own"
    assert run("ledger", "submit", "-", "--sign-each", *at(committee), stdin=b"alone=1").exit_code == 0
    refused = run("ledger", "submit", "-", "--sign-each", *at(folder), stdin=b"alone=1")
    assert refused.exit_code == 2 and "only where members may lie" in refused.output


def test_what_is_refused_and_what_fails_is_told_apart(run, run_json, made):
    refused = run("ledger", "submit", "-", *at(made), stdin=b"none")
    assert refused.exit_code == 2 and "a note is key=value" in refused.output
    code, failed = run_json("ledger", "submit", "-", *at(made), stdin=b"x=wrong")
    assert (code, failed["done"], failed["data"]) == (1, False, "ValueError: the value is wrong")
    code, checked = run_json("ledger", "submit", "-", "--check", *at(made), stdin=b"none")
    assert (code, checked["admitted"], checked["reason"]) == (1, False, "form")
    assert run("ledger", "submit", "-", "--check", *at(made), stdin=b"good=1").exit_code == 0
    assert run("ledger", "submit", made / "missing", *at(made)).exit_code == 2
    assert run("ledger", "submit", "-", *at(made), stdin=bytes(70_000)).exit_code == 2


def test_a_question_is_answered_and_blocks_are_listed(run, run_json, made):
    _, receipt = run_json("ledger", "submit", "-", *at(made), stdin=b"asked=7")
    assert run("ledger", "query", "asked", *at(made)).stdout == "7\n"
    assert run("ledger", "query", "absent", *at(made)).exit_code == 1
    run("ledger", "submit", "-", *at(made), stdin=b"rude=\x1b[2J")
    assert run("ledger", "query", "rude", *at(made)).stdout == "\\x1b[2J\n"
    assert run("ledger", "query", "rude", "--hex", *at(made)).stdout == b"\x1b[2J".hex() + "\n"
    _, listed = run_json("ledger", "blocks", "--limit", 1, *at(made))
    assert listed["ledger"]["number"] == listed["blocks"][0]["number"] >= receipt["block"]
    assert listed["blocks"][0]["digest"] == listed["ledger"]["head"]
    assert run("ledger", "blocks", "--from", receipt["block"], *at(made)).exit_code == 0
    _, block = run_json("ledger", "block", receipt["block"], *at(made))
    assert block["transactions"] == [{"hash": receipt["hash"], "done": True, "data": "", "encoding": "text"}]
    assert run("ledger", "block", 10_000, *at(made)).exit_code == 1


def test_a_file_is_imported_named_where_it_is_wrong_and_imported_again(run, run_json, made, tmp_path):
    file = tmp_path / "rows.csv"
    rows = "".join(f"{made.parent.name}{number},{number}\n" for number in range(1500))
    file.write_text("key,value\n" + rows + "bad,wrong\n,1\nshort\n")
    code, imported = run_json("ledger", "import", file, *at(made))
    assert (code, imported["new"], imported["failed"], imported["malformed"]) == (1, 1500, 1, 2)
    assert [problem["line"] for problem in imported["problems"]] == [1502, 1503, 1504]
    code, again = run_json("ledger", "import", "-", *at(made), stdin=file.read_bytes())
    assert (code, again["new"], again["known"]) == (1, 0, 1500)
    assert run("ledger", "import", tmp_path / "missing.csv", *at(made)).exit_code == 2


def test_where_nobody_signs_a_proof_holds_by_a_root_that_is_trusted(run, run_json, folder, tmp_path):
    _, receipt = run_json("ledger", "submit", "-", *at(folder), stdin=b"proven=1")
    proof = tmp_path / "proof.json"
    _, told = run_json("ledger", "prove", receipt["hash"], "-o", proof, *at(folder))
    _, listed = run_json("ledger", "blocks", "--limit", 1, *at(folder))
    assert told["signed"] is False and told["root"] == listed["ledger"]["root"]
    assert run("verify", proof).exit_code == 2
    assert run("verify", proof, "--root", told["root"]).exit_code == 0
    assert run("verify", proof, "--root", "00" * 32).exit_code == 1
    assert run("ledger", "prove", receipt["hash"], "--certify", *at(folder)).exit_code == 2
    assert run("ledger", "prove", "00" * 32, *at(folder)).exit_code == 1


def test_a_committee_signs_what_it_executed_and_the_genesis_file_is_enough_to_verify_it(
    run, run_json, committee, tmp_path
):
    _, receipt = run_json("ledger", "submit", "-", *at(committee), stdin=b"signed=1")
    proof, value = tmp_path / "proof.json", tmp_path / "value.json"
    code, told = run_json("ledger", "prove", receipt["hash"], "--certify", "-o", proof, *at(committee))
    assert (code, told["signed"], told["block"], told["done"]) == (0, True, receipt["block"], True)
    genesis = ("--genesis", committee / "genesis.json")
    code, audit = run_json("verify", proof, *genesis)
    assert (code, audit["valid"], audit["signed"], audit["transaction"]) == (0, True, True, receipt["hash"])
    altered = json.loads(proof.read_text())
    altered["transaction"]["code"] = 1
    proof.write_text(json.dumps(altered))
    verdict = run("verify", proof, *genesis)
    assert verdict.exit_code == 1 and "another result" in verdict.output
    assert run("ledger", "query", "signed", "--proof", value, *at(committee)).exit_code == 0
    _, audit = run_json("verify", value, *genesis)
    assert (audit["question"], audit["value"], audit["signed"]) == ("signed", b"1".hex(), True)
    assert run("ledger", "query", "signed", "--certify", *at(committee)).exit_code == 2


def test_everything_is_there_after_all_nodes_were_killed_at_once(run, run_json, made):
    _, receipt = run_json("ledger", "submit", "-", *at(made), stdin=b"kept=1")
    _, before = run_json("ledger", "blocks", "--limit", 1, *at(made))
    cluster = LocalCluster(made / "cluster.toml")
    for node in cluster.nodes:
        cluster.signal(node, signal.SIGKILL)
    assert run("up", "--folder", made).exit_code == 0
    _, after = run_json("ledger", "blocks", "--limit", 1, *at(made))
    assert after["ledger"] == before["ledger"]
    _, again = run_json("ledger", "submit", "-", *at(made), stdin=b"kept=1")
    assert (again["first"], again["block"]) == (False, receipt["block"])


def test_a_committee_signs_again_after_all_of_it_was_killed_at_once(run, run_json, committee):
    _, receipt = run_json("ledger", "submit", "-", *at(committee), stdin=b"killed=1")
    prove = ("ledger", "prove", receipt["hash"], "--certify", "-o", committee / "p.json", *at(committee))
    assert run_json(*prove)[1]["signed"]
    cluster = LocalCluster(committee / "cluster.toml")
    for node in cluster.nodes:
        cluster.signal(node, signal.SIGKILL)
    assert run("up", "--folder", committee).exit_code == 0
    assert run_json(*prove)[1]["signed"]


def test_scripts_use_the_ledger_without_a_loop(committee):
    with connect(config=committee / "cluster.toml").sync as client:
        receipt = client.ledger.submit(b"script=1")
        assert client.ledger.query("script").value == b"1"
        proof = client.ledger.prove(receipt.hash, certify=True)
        assert client.ledger.get(receipt.hash).transaction == b"script=1"
        assert client.within(5).ledger.blocks(0, 1).roots.number >= receipt.number
    genesis = decode_genesis((committee / "genesis.json").read_bytes())
    assert judge_ledger(proof, genesis).signed


def test_a_restored_cluster_has_the_ledger(run, run_json, folder, tmp_path):
    _, receipt = run_json("ledger", "submit", "-", *at(folder), stdin=b"saved=1")
    assert run("backup", tmp_path / "saved", *at(folder)).exit_code == 0
    _, before = run_json("ledger", "blocks", *at(folder))
    made = tmp_path / ".quorum"
    assert run("restore", tmp_path / "saved", made).exit_code == 0
    config = made / "cluster.toml"
    config.write_text('ledger = "ledger_notes:Notes"\n' + config.read_text())
    (made / "ledger_notes.py").write_text(NOTES)
    try:
        assert run("up", "--folder", made).exit_code == 0
        _, after = run_json("ledger", "blocks", *at(made))
        assert after == before
        _, got = run_json("ledger", "get", receipt["hash"], *at(made))
        assert got["transaction"] == "saved=1"
    finally:
        run("down", "--folder", made)


def test_a_cluster_without_a_ledger_says_so(run, tmp_path):
    made = tmp_path / ".quorum"
    assert run("up", "--folder", made, "--nodes", 1).exit_code == 0
    try:
        submitted = run("ledger", "submit", "-", *at(made), stdin=b"a")
        assert submitted.exit_code == 2 and "run none" in submitted.output
        proven = run("ledger", "prove", "00" * 32, *at(made))
        assert 'ledger = "MODULE:CLASS"' in proven.output
        with (
            connect(config=made / "cluster.toml").sync as client,
            pytest.raises(ConfigurationError, match="nodes of this cluster run none"),
        ):
            client.ledger.submit(b"a")
        (tmp_path / "a.csv").write_text("a\n1\n")
        imported = run("ledger", "import", tmp_path / "a.csv", *at(made))
        assert imported.exit_code == 2 and "names no ledger" in imported.output
        config = made / "cluster.toml"
        config.write_text('ledger = "quorum.apps.ledger_application:LedgerApplication"\n' + config.read_text())
        imported = run("ledger", "import", tmp_path / "a.csv", *at(made))  # the nodes run without it
        assert imported.exit_code == 2 and "run none" in imported.output
        assert run("down", "--folder", made).exit_code == 0
        again = run("up", "--folder", made)
        assert again.exit_code != 0 and "its log began with no ledger" in again.output
    finally:
        run("down", "--folder", made)


def test_after_a_change_of_the_committee_proofs_hold_by_the_genesis_file_still(run, run_json, tmp_path):
    made = started(run, tmp_path, "--nodes", 5, "--model", "byzantine")
    try:
        _, receipt = run_json("ledger", "submit", "-", *at(made), stdin=b"moved=1")
        assert run_json("approve", "n1", "n2", "n3", "n4", *at(made))[0] == 0
        prove = ("ledger", "prove", receipt["hash"], "--certify", "-o", made / "p.json", *at(made))
        assert run_json(*prove)[1]["signed"]
        code, judged = run_json("verify", made / "p.json", "--genesis", made / "genesis.json")
        assert (code, judged["signed"]) == (0, True), judged
        anchor = json.loads((made / "p.json").read_text())["anchor"]
        assert anchor["certificate"]["epoch"] == 2 and len(anchor["changes"]) == 1
    finally:
        run("down", "--folder", made)
