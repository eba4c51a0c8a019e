"""`quorum keys`, and what the clients it makes may do with the commands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import quorum
from quorum.errors import ConfigurationError, QuorumError
from quorum.runtime.connect import at_config


@pytest.fixture
def made(run, tmp_path) -> Path:
    """The keys folder of a cluster that does not run."""
    assert run("init", "--folder", tmp_path / "c", "--nodes", 3).exit_code == 0
    return tmp_path / "c" / "keys"


def test_a_certificate_is_issued_listed_renewed_and_revoked(run, run_json, made):
    assert run_json("keys", "issue", "app", "--folder", made) == (
        0,
        {"identity": "client.app", "role": "data", "folder": str(made)},
    )
    assert run("keys", "issue", "boss", "--role", "admin", "--days", 3, "--folder", made).exit_code == 0
    before = {entry["identity"]: entry for entry in run_json("keys", "list", "--folder", made)[1]["keys"]}
    assert {name: entry["role"] for name, entry in before.items()} == {
        "n1": "node",
        "n2": "node",
        "n3": "node",
        "client.admin": "admin",
        "client.app": "data",
        "client.boss": "admin",
    }
    assert run("keys", "renew", "client.boss", "--days", 300, "--folder", made).exit_code == 0
    assert "ca.crl" in run("keys", "revoke", "client.app", "--folder", made).stdout
    after = {entry["identity"]: entry for entry in run_json("keys", "list", "--folder", made)[1]["keys"]}
    assert after["client.boss"]["expires"] > before["client.boss"]["expires"]
    assert [name for name, entry in after.items() if entry["revoked"]] == ["client.app"]
    assert "revoked" in run("keys", "list", "--folder", made).stdout


def test_a_key_that_is_handed_out_leaves_the_keys_folder_and_is_private(run, run_json, made, tmp_path):
    out = tmp_path / "app"
    assert run("keys", "issue", "app", "--out", out, "--folder", made).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "ca.crt",
        "client.app.crt",
        "client.app.key",
        "client.app.sign",
    ]
    assert out.stat().st_mode & 0o777 == 0o700
    for secret in ("client.app.key", "client.app.sign"):
        assert (out / secret).stat().st_mode & 0o777 == 0o600
        assert not (made / secret).exists()
    assert (made / "client.app.crt").exists()
    assert run("keys", "revoke", "client.app", "--folder", made).exit_code == 0, "that needs no private key"
    again = run("keys", "issue", "app", "--out", out, "--folder", made)
    assert again.exit_code == 2 and "never overwritten" in again.stderr


def test_a_client_that_was_handed_out_can_sign_for_members_that_may_lie(run, tmp_path):
    folder, out = tmp_path / "c", tmp_path / "app"
    assert run("init", "--folder", folder, "--nodes", 4, "--model", "byzantine").exit_code == 0
    assert run("keys", "issue", "app", "--out", out, "--folder", folder / "keys").exit_code == 0
    assert at_config(folder / "cluster.toml", out).may_lie
    (out / "client.app.sign").unlink()
    with pytest.raises(ConfigurationError, match=r"signed as client\.app, .* is not there\. Copy it"):
        at_config(folder / "cluster.toml", out)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("issue", "Not-A-Name"), "file and certificate names"),
        (("issue", "../up"), "file and certificate names"),
        (("issue", "admin"), "never overwritten"),
        (("issue", "app", "--role", "node"), "'node' is not one of"),
        (("issue", "app", "--days", "0"), "0 is not in the range"),
        (("renew", "client.nobody"), "has none of that name. Name one of: "),
        (("revoke", "admin"), "has none of that name. Write client.admin."),
        (("revoke", "client.../x"), "file and certificate names"),
        (("list", "--folder", "/nowhere"), "is no folder"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_file(run, made, arguments, says):
    before = sorted(path.name for path in made.iterdir())
    options = () if "--folder" in arguments else ("--folder", made)
    result = run("keys", *arguments, *options)
    assert result.exit_code == 2 and says in result.stderr and "Traceback" not in result.stderr
    assert sorted(path.name for path in made.iterdir()) == before


def test_without_the_key_of_the_authority_nothing_is_issued(run, made):
    (made / "ca.key").unlink()
    result = run("keys", "issue", "app", "--folder", made)
    assert result.exit_code == 2 and "ca.key is needed" in result.stderr


@pytest.fixture
def folder(run, tmp_path) -> Iterator[Path]:
    made = tmp_path / ".quorum"
    result = run("up", "--folder", made, "--nodes", 3)
    assert result.exit_code == 0, result.output
    yield made
    run("down", "--folder", made)


@pytest.mark.cluster
def test_a_client_that_only_uses_data_cannot_operate_by_any_command(run, run_json, folder, tmp_path):
    """It has the cluster.toml, its own keys and every command; the nodes say no."""
    desk = tmp_path / "desk"
    desk.mkdir()
    shutil.copy(folder / "cluster.toml", desk)
    assert run("keys", "issue", "app", "--out", desk / "keys", "--folder", folder / "keys").exit_code == 0
    at = ("--config", desk / "cluster.toml")
    before = run_json("members", "--config", folder / "cluster.toml")[1]
    assert run("kv", "put", "a", "1", *at).exit_code == 0 and run("kv", "get", "a", *at).stdout == "1\n"
    assert run("lock", "l", *at, "--", "true").exit_code == 0
    for arguments in (
        ("members",),
        ("status",),
        ("evict", "n1"),
        ("promote", "n1"),
        ("demote", "n1"),
        ("prefer", "n1", "5"),
        ("quorums", "--writes", "n1"),
        ("transfer", "n1"),
        ("backup", tmp_path / "stolen"),
        ("decide", "colour", "red", "--certificate", tmp_path / "proof"),
    ):
        timeout = () if arguments[0] == "status" else ("--timeout", 0.5)
        result = run(*arguments, *at, *timeout)
        assert result.exit_code != 0, arguments
        assert "its role is data" in result.output + result.stderr, result.output
        assert "Traceback" not in result.output
    assert not (tmp_path / "stolen").exists()
    assert run("decide", "colour", *at).exit_code == 1, "what cannot be certified was not decided either"
    after = run_json("members", "--config", folder / "cluster.toml")[1]
    assert (after["epoch"], after["leader"], after["term"]) == (before["epoch"], before["leader"], before["term"])
    with quorum.connect(config=desk / "cluster.toml", timeout=5).sync as client:
        assert client.kv.get(b"a").value == b"1"
    with pytest.raises(QuorumError, match="no certificate of a client"):
        quorum.connect(config=desk / "cluster.toml", tls=desk)
