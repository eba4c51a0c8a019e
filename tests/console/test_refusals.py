"""What is refused where members may lie says the cause and the remedy that fits it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from certificate.committees import committee_of
from console.test_approval_checks import FIVE, FOUR, PLACE, answers, present
from quorum import ConfigurationError, NoQuorum, Quorum
from quorum.console import approval_checks, approve
from quorum.console.approval_checks import check_named, check_newcomers
from quorum.console.genesis_read import genesis_in
from quorum.console.inquiry import Silence
from quorum.console.local import _by_reason
from quorum.runtime.folder import DataFolder


def test_a_member_that_nobody_admitted_is_to_be_admitted():
    with pytest.raises(ConfigurationError, match=r"n9 was to be in the next committee.* quorum admit n9\."):
        check_named(("n1", "n2", "n3", "n9"), (), FIVE)


@pytest.mark.parametrize(
    ("told", "remedy", "not_said"),
    [
        (answers(FOUR), "Restart the members, one after another", "Start it"),
        (answers(applied=0), "Wait until it has caught up", "Start it"),
        (answers() | {"n5": Silence("n5", "connection refused")}, "Start it, and restart the members", "Wait"),
    ],
)
def test_the_remedy_for_a_newcomer_fits_what_it_lacks(told, remedy, not_said, monkeypatch):
    async def asked(place):
        return told

    monkeypatch.setattr(approval_checks, "ask_all", asked)
    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(check_newcomers(PLACE, present(), committee_of(5, epoch=2), 0.01))
    assert remedy in str(refused.value) and not_said not in str(refused.value)
    assert "by --force" in str(refused.value)


def test_who_may_not_approve_hears_that_the_role_is_the_cause(run, tmp_path, monkeypatch):
    reason = "client.app asked to operate n1, but its role is data. Use an admin certificate."

    async def asked(place):
        return {node: Silence(node, reason, True) for node in FOUR}

    folder = tmp_path / "c"
    assert run("init", "--folder", folder, "--nodes", 4, "--model", "byzantine").exit_code == 0
    monkeypatch.setattr(approve, "ask_all", asked)
    refused = run("approve", *FOUR, "--config", folder / "cluster.toml")
    assert refused.exit_code == 1 and reason in refused.stderr


@pytest.mark.parametrize("data", [b"no json", b'{"format":"quorum-block-1"}'])
def test_a_genesis_file_that_is_none_is_named(data):
    with pytest.raises(
        ConfigurationError, match=r"/a/g\.json was to say which committee to trust, .* Name the gen"
    ):
        genesis_in(Path("/a/g.json"), data)


def test_a_changed_cluster_id_is_to_be_restored_and_another_node_to_get_its_own_folder(tmp_path):
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()
    with pytest.raises(ConfigurationError, match=r'write its id back into cluster.toml, cluster_id = "c1"'):
        DataFolder.open(tmp_path / "n1", "c2", "n1")
    with pytest.raises(ConfigurationError, match="Give each node its own folder"):
        DataFolder.open(tmp_path / "n1", "c1", "n2")


def test_nobody_is_asked_to_recover_a_liar():
    q = Quorum(4, 1, model="byzantine", seed=1)
    q.corrupt(1, "silent")
    q.fail(2)
    q.send_message(3, "x")
    with pytest.raises(NoQuorum, match=r"missing: 1, 2, of which 1 lie\. Recover or reconnect 1 of 2, then"):
        q.make_decision(3)


def test_a_reason_for_which_several_nodes_stopped_is_said_once():
    assert _by_reason({"n1": "no module", "n2": "no key", "n3": "no module"}) == {
        "no module": ["n1", "n3"],
        "no key": ["n2"],
    }
