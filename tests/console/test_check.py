"""`quorum check`: federated quorums and the participation rule, for people and programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from quorum.systems.federated.reading import read_network
from quorum.systems.federated.witness import verify_disjoint

KEYS = [
    "intersection",
    "witness",
    "top_tier",
    "minimal_blocking_size",
    "minimal_splitting_size",
    "minimal_quorum_size",
    "scope",
]


def written(path: Path, threshold: int, **more: object) -> Path:
    """A node file of four nodes, each of which wants so many of the four."""
    quorum_set = {"threshold": threshold, "validators": list("abcd")}
    path.write_text(json.dumps([{"publicKey": name, "quorumSet": quorum_set, **more} for name in "abcd"]))
    return path


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return written(tmp_path / "safe.json", 3)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return written(tmp_path / "split.json", 2, name="N\x1b[1m")


def test_a_federation_whose_quorums_meet_is_told_in_figures(run_json, safe):
    code, found = run_json("check", "--fbas", safe)
    assert code == 0
    assert list(found) == KEYS
    assert list(found.values()) == [True, None, ["a", "b", "c", "d"], 2, 2, 3, "core"]


def test_two_quorums_that_share_no_node_are_shown_and_the_answer_is_no(run_json, split):
    code, found = run_json("check", "--fbas", split, "--scope", "all")
    assert code == 1
    assert list(found["witness"]) == ["first", "second", "first_committee", "second_committee", "faulty"]
    first, second = set(found["witness"]["first"]), set(found["witness"]["second"])
    assert verify_disjoint(read_network(split.read_bytes()).federation.quorum_sets, first, second)
    assert (found["intersection"], found["minimal_splitting_size"], found["scope"]) == (False, 0, "all")


def test_people_read_who_can_stop_and_split_it(run, safe):
    told = run("check", "--fbas", safe).stdout
    assert "intersection      yes: every two quorums share a node\n" in told
    assert "smallest quorum   3 nodes: " in told
    assert "can split it      2 nodes: " in told


def test_people_read_the_witness_and_no_escape_of_a_name(run, split):
    result = run("check", "--fbas", split)
    assert result.exit_code == 1
    assert "no: these two quorums share no node" in result.stdout
    assert "  first           N\\x1b[1m (" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_federation_without_a_quorum_says_so(run, run_json, tmp_path):
    path = tmp_path / "none.json"
    path.write_text('[{"publicKey": "a"}]')
    assert "no quorum: " in run("check", "--fbas", path).stdout
    code, found = run_json("check", "--fbas", path)
    assert (code, list(found.values())) == (0, [True, None, [], 0, None, None, "core"])


def test_figures_are_counted_by_organisation(run, run_json, safe, tmp_path):
    owners = tmp_path / "owners.json"
    owners.write_text('[{"id": "1", "name": "X", "validators": ["a", "b"]}]')
    code, found = run_json("check", "--fbas", safe, "--organizations", owners, "--group-by", "organization")
    assert code == 0
    assert list(found.values()) == [True, None, ["X", "c", "d"], 1, 1, 2, "core"]
    told = run("check", "--fbas", safe, "--organizations", owners, "--group-by", "organization").stdout
    assert "top tier          3 organizations: X, c, d\n" in told
    assert "can stop it       1 organization: X\n" in told
    assert "X (a)" in run("check", "--fbas", safe, "--organizations", owners).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fbas", "there-is-none.json"), "a node file was to be read from there-is-none.json, but that failed"),
        (("--fbas", "."), "but that failed: is a directory"),
        ((), "nothing was named to be checked"),
        (("some.toml",), "a system was to be read from some.toml, but that failed"),
        (("--fbas", "x", "--rule", "participation"), "two things were named"),
        (("x", "--fbas", "x"), "two things were named"),
        (("x", "--nodes", 3), "--nodes was given together with SYSTEM"),
        (("x", "--group-by", "country"), "--group-by was given together with SYSTEM"),
        (("--fbas", "x", "--nodes", 3), "--nodes was given together with --fbas"),
        (("--rule", "participation", "--scope", "core"), "--scope was given together with --rule"),
        (("--rule", "participation"), "without --nodes it has no numbers"),
        (("--rule", "participation", "--nodes", 3), "without --faults it has no numbers"),
        (("--rule", "participation", "--nodes", 3, "--faults", 3), "T from 0 to N-1"),
        (("--rule", "participation", "--nodes", 3, "--faults", 1, "--model", "opaque"), "Name crash or byzantine"),
        (("--rule", "other"), "is not"),
        (("--fbas", "x", "--scope", "none"), "is not"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(run, run_json, arguments, said):
    result = run("check", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    code, found = run_json("check", *arguments)
    assert (code, list(found)) == (2, ["error"])


@pytest.mark.parametrize("content", [b"", b"[]", b"[1]", b"\x00\xff", b'[{"publicKey": "a", "quorumSet": 1}]'])
def test_a_malformed_file_ends_with_2(run, run_json, safe, tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    assert run_json("check", "--fbas", path)[0] == 2
    result = run("check", "--fbas", path)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: a node file was ")
    if content != b"[]":
        assert run("check", "--fbas", safe, "--organizations", path).exit_code == 2


def test_the_participation_rule_is_judged(run_json):
    asked = ("check", "--rule", "participation", "--nodes", 6, "--faults", 2)
    code, found = run_json(*asked)
    assert code == 0
    assert found == {
        "safe": True,
        "live": True,
        "feasible": True,
        "threshold": 3,
        "participants": 5,
        "witness": None,
    }
    code, found = run_json(*asked, "--committee", "local")
    assert code == 1
    assert found["witness"] == {
        "first": [1, 2, 3],
        "second": [4, 5, 6],
        "first_committee": [1, 2, 3, 4, 5],
        "second_committee": [2, 3, 4, 5, 6],
        "faulty": [],
    }


def test_people_read_who_lies_where_the_rule_fails(run):
    result = run("check", "--rule", "participation", "--nodes", 5, "--faults", 1, "--model", "byzantine")
    assert result.exit_code == 1
    assert "  second          {3, 4, 5} of committee {1, 2, 3, 4, 5}\n" in result.stdout
    assert "  who lies        {3}\n" in result.stdout
    assert "live              yes\n" in result.stdout


def test_the_participation_rule_without_faults_can_never_decide(run, run_json):
    asked = ("check", "--rule", "participation", "--nodes", 4, "--faults", 0)
    code, found = run_json(*asked)
    assert (code, found["feasible"], found["live"], found["participants"]) == (0, False, False, 5)
    assert "nothing is ever decided" in run(*asked).stdout
    halves = ("--nodes", 4, "--faults", 1, "--arithmetic", "integer")
    assert run("check", "--rule", "participation", *halves).exit_code == 1


def test_the_published_network_is_checked_from_the_command_line(run_json):
    folder = os.environ.get("QUORUM_TEST_DATA")
    if not folder:
        pytest.skip("QUORUM_TEST_DATA is not set: the files of the Stellar network are not here")
    nodes = Path(folder) / "stellar_nodes_2019-09-17.json"
    owners = Path(folder) / "stellar_organizations_2019-09-17.json"
    code, found = run_json("check", "--fbas", nodes, "--organizations", owners, "--group-by", "organization")
    assert (code, found["intersection"], len(found["top_tier"])) == (0, True, 5)
    assert [found[key] for key in KEYS[3:6]] == [2, 3, 4]


SYSTEM_KEYS = ["safe", "live", "threshold", "participants", "witness", "smallest_intersection", "crash_resilience"]


def test_a_system_is_judged_by_its_file(run, run_json, tmp_path):
    path = tmp_path / "system.toml"
    path.write_text('reads = "majority(a, b, c, d, e)"')
    code, found = run_json("check", path, "--faults", 2)
    assert code == 0
    assert list(found) == [*SYSTEM_KEYS, "max_faults"]
    assert [found[key] for key in SYSTEM_KEYS] == [True, True, 3, 5, None, 1, 2]
    assert found["max_faults"] == {"crash": 2, "dissemination": 0, "masking": 0, "opaque": None}
    told = run("check", path).stdout
    assert "shared            1 node at least, by two read quorums\n" in told
    assert "  -               lie, where readers do not know how many may (opaque)\n" in told


def test_reads_and_writes_that_do_not_meet_are_shown_and_the_answer_is_no(run, run_json):
    text = b'{"reads": "a + b", "writes": "a*c"}'
    code, found = run_json("check", "-", stdin=text)
    assert (code, found["safe"], found["threshold"]) == (1, False, 2)
    assert found["witness"] == {
        "first": ["b"],
        "second": ["a", "c"],
        "first_committee": None,
        "second_committee": None,
        "faulty": [],
    }
    assert found["max_faults"] == dict.fromkeys(["crash", "dissemination", "masking", "opaque"])
    assert "  write           {a, c}\n" in run("check", "-", stdin=text).stdout


def test_who_lies_is_named_where_a_system_stands_too_few(run, run_json):
    text = b'writes = "choose(3, a, b, c, d)"\nreads = "choose(3, a, b, c, d)"'
    assert run_json("check", "-", "--model", "byzantine", "--faults", 1, stdin=text)[0] == 0
    code, found = run_json("check", "-", "--model", "masking", "--faults", 1, stdin=text)
    assert (code, len(found["witness"]["faulty"])) == (1, 1)
    assert "  who lies        {" in run("check", "-", "--model", "masking", "--faults", 1, stdin=text).stdout


@pytest.mark.parametrize("content", ["", "reads = 7", 'reads = "a +"', "{", 'typo = "a"'])
def test_a_malformed_system_ends_with_2(run, run_json, tmp_path, content):
    path = tmp_path / "system.toml"
    path.write_text(content)
    assert run("check", path).exit_code == 2
    assert list(run_json("check", path)[1]) == ["error"]
