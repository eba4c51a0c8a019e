"""Members that may lie, as four real processes: the same commands, a primary that dies, and one that lies."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from documented import ROOT, run_command
from quorum.certificate.audit import judge_block, judge_evidence
from quorum.certificate.block_forms import decode_json
from quorum.certificate.evidence_forms import decode_evidence
from quorum.certificate.genesis import decode_genesis
from quorum.runtime.connect import at_config, connect
from quorum.runtime.local import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
PATIENCE_S = 40.0


def primary_of(committee: Path, run_json) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        _, seen = run_json("status", "--config", committee / "cluster.toml")
        if seen["leader"] is not None:
            return seen["leader"]
        time.sleep(0.1)
    raise AssertionError("nobody orders")


def test_a_committee_decides_loses_its_primary_and_goes_on(run, run_json, committee):
    config = ("--config", committee / "cluster.toml")
    assert run("kv", "put", *config, "a", "1").exit_code == 0
    first = primary_of(committee, run_json)
    cluster = LocalCluster(committee / "cluster.toml")
    assert cluster.signal(first, signal.SIGKILL)
    assert run("kv", "put", *config, "b", "2").exit_code == 0
    assert run("kv", "get", *config, "a").output.strip() == "1"
    assert run("kv", "get", *config, "b").output.strip() == "2"
    assert primary_of(committee, run_json) != first
    assert run("up", "--folder", committee).exit_code == 0
    assert run("kv", "cas", *config, "b", "2", "3").exit_code == 0
    code, seen = run_json("status", *config)
    assert (code, seen["healthy"]) == (0, True)
    assert {node["accused"] == {} for node in seen["nodes"].values()} == {True}


def test_everything_is_there_after_all_of_them_were_killed_at_once(run, committee):
    config = ("--config", committee / "cluster.toml")
    for number in range(5):
        assert run("kv", "put", *config, f"key{number}", number).exit_code == 0
    cluster = LocalCluster(committee / "cluster.toml")
    for node in cluster.nodes:
        cluster.signal(node, signal.SIGKILL)
    started = run("up", "--folder", committee)
    assert started.exit_code == 0, started.output
    for number in range(5):
        assert run("kv", "get", *config, f"key{number}").output.strip() == str(number)


def test_the_newest_certificate_verifies_with_the_genesis_file_alone(run, committee):
    config = committee / "cluster.toml"
    assert run("kv", "put", "--config", config, "a", "1").exit_code == 0

    async def certificate() -> bytes:
        place = at_config(config)
        for node in place.endpoints:
            async with place.node(node) as connection:
                return await connection.certificate("any")
        raise AssertionError("no node")

    document = asyncio.run(certificate())
    genesis = decode_genesis((committee / "genesis.json").read_bytes())
    assert judge_block(decode_json(document), genesis).valid
    file = committee / "newest.json"
    file.write_bytes(document)
    assert run("verify", file, "--genesis", committee / "genesis.json").exit_code == 0
    altered = json.loads(document)
    altered["view"] = altered["view"] + 1
    file.write_text(json.dumps(altered))
    assert run("verify", file, "--genesis", committee / "genesis.json").exit_code == 1


def test_commands_write_certificates_that_verify_and_follow_take(run, run_json, committee, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = ("--config", committee / "cluster.toml")
    decided, newest = committee / "colour.json", committee / "cert.json"
    code, told = run_json("decide", "colour", "green", "--certificate", decided, *config)
    assert (code, told["value"]) == (0, "green") and told["certified_block"] >= told["index"]
    text = run("decide", "colour", "--certificate", decided, *config)
    assert text.exit_code == 0 and "by signatures of a quorum; not which value that block holds" in text.output
    assert run_json("verify", decided)[1]["sequence"] >= told["index"]
    code, told = run_json("certificate", "-o", newest, *config)
    assert code == 0 and len(told["signers"]) >= 3
    assert "signed by" in run("certificate", "-o", newest, *config).output
    for command in ("verify", "follow"):
        assert run(command, newest).exit_code == 0, command
    assert json.loads(run("certificate", *config).stdout)["format"] == "quorum-block-1"
    assert run("certificate", "-o", committee, *config).exit_code == 2
    code, said = run_command(f"python {ROOT}/examples/decision_certificate.py {committee}/cluster.toml")
    assert code == 1 and "Run `quorum certificate -o cert.json`" in said and "Traceback" not in said


def test_a_primary_that_lies_on_the_wire_is_caught_named_and_replaced(run, run_json, tmp_path):
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 4, "--model", "byzantine", "--allow-faults").exit_code == 0
    cluster = LocalCluster(made / "cluster.toml")
    try:
        cluster.start_all(lies={"n1": "equivocate"})

        async def work() -> None:
            async with connect(config=made / "cluster.toml", timeout=PATIENCE_S) as client:
                for number in range(10):
                    await client.kv.put(b"key", b"%d" % number)
                    item = await client.kv.get(b"key")
                    assert item is not None and item.value == b"%d" % number

        asyncio.run(work())
        genesis = decode_genesis((made / "genesis.json").read_bytes())
        deadline = time.monotonic() + PATIENCE_S
        files: list[Path] = []
        while not files and time.monotonic() < deadline:
            files = sorted(made.glob("n[234]/data/evidence/*.json"))
            time.sleep(0.05)
        assert files and {file.name.split("-")[0] for file in files} == {"n1"}
        for file in files:
            assert judge_evidence(decode_evidence(file.read_bytes()), genesis).valid
        assert primary_of(made, run_json) != "n1"
        _, seen = run_json("status", "--config", made / "cluster.toml")
        (warning,) = (text for text in seen["warnings"] if text.startswith("n1 lied"))
        verify = warning.partition("verify it: quorum ")[2].split()
        assert run(*verify).exit_code == 0, "the command that is named verifies the proof"
    finally:
        cluster.stop_all()


def test_a_node_lies_only_where_faults_are_allowed(run, tmp_path):
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 4, "--model", "byzantine").exit_code == 0
    result = run("node", "--config", made / "n1" / "node.toml", "--bootstrap", "--lie", "equivocate")
    assert result.exit_code == 2 and "--allow-faults" in result.output


def test_the_demo_catches_its_liar(run_json):
    code, found = run_json("demo", "--model", "byzantine", "--seconds", 14)
    assert (code, found["verdict"]) == (0, "good"), found["problems"]
    assert found["trial"]["evidence_valid"] and found["trial"]["certificate_valid"]


def test_what_one_member_alone_would_vouch_for_is_refused_with_what_to_do_instead(run, committee, tmp_path):
    config = ("--config", committee / "cluster.toml")
    result = run("backup", tmp_path / "all.backup", *config)
    assert result.exit_code == 2 and "may lie" in result.output and "quorum kv range" in result.output
    assert not (tmp_path / "all.backup").exists()
    result = run("kv", "watch", *config, "a")
    assert result.exit_code == 2 and "Read it again" in result.output


def test_locks_exclude_each_other_and_are_passed_on_by_commands(run, committee):
    config = ("--config", committee / "cluster.toml")
    assert run("lock", "--help").exit_code == 0
    result = run("lock", *config, "door", "--", "true")
    assert result.exit_code == 0, result.output
    assert run("lock", *config, "door", "--", "true").exit_code == 0
