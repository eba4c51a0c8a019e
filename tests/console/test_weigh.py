"""`quorum weigh`: votes given by hand, within the bound."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("text", ["n1", "n1=", "=3", "n1=-1", "n1=three", "n1=1e3", "n1=9999999999"])
def test_what_is_no_member_and_votes_is_refused_before_anything_is_asked(run, tmp_path, text):
    assert run("init", "--folder", tmp_path / "c", "--nodes", 5).exit_code == 0
    said = run("weigh", text, "--config", tmp_path / "c" / "cluster.toml")
    assert said.exit_code == 2 and "Write it like n1=3" in said.stderr and "Traceback" not in said.stderr


def test_no_leader_gives_weights_where_members_may_lie(run, tmp_path):
    assert run("init", "--folder", tmp_path / "c", "--nodes", 5, "--model", "byzantine").exit_code == 0
    said = run("weigh", "n1=2", "--config", tmp_path / "c" / "cluster.toml")
    assert said.exit_code != 0 and "no leader changes who votes" in said.stderr
    assert 'weights = "network"' in said.stderr and "quorum approve" in said.stderr


@pytest.mark.cluster
def test_weights_of_a_running_cluster_change_within_the_bound(run, run_json, tmp_path):
    folder = tmp_path / ".quorum"
    at = ("--config", folder / "cluster.toml")
    assert run("up", "--folder", folder, "--nodes", 5).exit_code == 0
    try:
        tried = run("weigh", "n2=3", "--dry-run", *at)
        assert tried.exit_code == 0 and "quorum 4 of 7 votes (2 to 4 nodes)" in tried.stdout
        assert run_json("status", *at)[1]["decides"]["total"] == 5, "nothing was changed"
        assert "quorum 4 of 7 votes (2 to 4 nodes), survives the loss of 1" in run("weigh", "n2=3", *at).stdout
        _, told = run_json("members", *at)
        assert {row["node"]: row["votes"] for row in told["members"]} == told["decides"]["votes"]
        refused = run("weigh", "n2=4", *at)
        assert refused.exit_code == 1 and "Give each node less than half" in refused.stderr
        assert run("kv", "put", "a", "1", *at).exit_code == 0
        assert run_json("weigh", *at)[1]["decides"]["threshold"] == 3
    finally:
        run("down", "--folder", folder)
