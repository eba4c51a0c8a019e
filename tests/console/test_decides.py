"""What decides in the present epoch is shown: votes, threshold, sizes of quorums, losses survived."""

from __future__ import annotations

import pytest

from console.test_inquiry import ELECTION_US, cluster, status
from quorum.console import changing, members
from quorum.console import status as status_command
from quorum.console.decides import decides_by, decides_of
from quorum.console.status import overview_of

FIVE = "n1, n2, n3, n4, n5"
HEAVY = "threshold(4, n1=3, n2=1, n3=1, n4=1, n5=1)"


@pytest.mark.parametrize(
    ("reads", "writes", "line"),
    [
        ("choose(3, n1, n2, n3, n4, n5)",) * 2 + ("epoch 7, N 5, quorum 3, survives the loss of 2",),
        (HEAVY,) * 2 + ("epoch 7, N 5, quorum 4 of 7 votes (2 to 4 nodes), survives the loss of 1",),
        (
            f"choose(4, {FIVE})",
            f"choose(2, {FIVE})",
            "epoch 7, N 5, quorum 2, survives the loss of 1; to elect a leader, quorum 4",
        ),
        ("a*b + c*d",) * 2 + ("epoch 7, N 4, quorums of 2 nodes, survives the loss of 1",),
    ],
)
def test_people_are_told_what_decides(reads: str, writes: str, line: str):
    decides = decides_of(7, reads, writes)
    assert decides is not None and decides.line() == line


@pytest.fixture
def five(monkeypatch, tmp_path, run):
    """Five nodes that say what is in force; gives the options that name them."""

    def answering(model, **changed):
        folder = tmp_path / model
        assert run("init", "--folder", folder, "--nodes", 5, "--model", model).exit_code == 0
        names = tuple(f"n{place}" for place in range(1, 6))
        facts = {"members": names, "voters": names, "model": model, "connected": names, "epoch": 7, **changed}
        answers = {node: status(node, **facts) for node in names}
        orders = "primary" if model == "byzantine" else "leader"
        answers["n1"] = status("n1", role=orders, **facts)

        async def ask_all(place):
            return answers

        monkeypatch.setattr(members, "ask_all", ask_all)
        monkeypatch.setattr(changing, "ask_all", ask_all)
        monkeypatch.setattr(status_command, "ask_all", ask_all)
        return "--config", folder / "cluster.toml"

    return answering


@pytest.mark.parametrize("command", [("status",), ("members",), ("policy", "show")])
def test_weights_threshold_sizes_and_losses_are_shown_at_every_epoch(run, run_json, five, command):
    at = five("crash", reads=HEAVY, writes=HEAVY, weights={"n1": 3})
    decides = run_json(*command, *at)[1]["decides"]
    assert decides["votes"] == {"n1": 3, "n2": 1, "n3": 1, "n4": 1, "n5": 1}
    figures = [decides[key] for key in ("epoch", "total", "threshold", "smallest", "largest", "survives")]
    assert figures == [7, 7, 4, 2, 4, 1]
    said = " ".join(run(*command, *at).stdout.split())
    assert "epoch 7, N 5, quorum 4 of 7 votes (2 to 4 nodes), survives the loss of 1" in said


@pytest.mark.parametrize("command", ["status", "members"])
def test_weights_are_shown_where_members_may_lie(run, run_json, five, command):
    """f=1, d=1: two of five members have 2 votes, 5 of 7 decide, which 3 to 4 members have."""
    heavy = "threshold(5, n1=2, n2=2, n3=1, n4=1, n5=1)"
    at = five("byzantine", reads=heavy, writes=heavy, weights={"n1": 2, "n2": 2}, faults=1, committee="aa")
    decides = run_json(command, *at)[1]["decides"]
    figures = [decides[key] for key in ("total", "threshold", "smallest", "largest", "survives")]
    assert figures == [7, 5, 3, 4, 1]
    assert "epoch 7, N 5, T 1, quorum 5 of 7 votes (3 to 4 nodes)" in " ".join(run(command, *at).stdout.split())


def test_a_change_under_way_is_said():
    joint = decides_by(
        status(
            "n1",
            outgoing=("n1", "n2", "n3"),
            **dict.fromkeys(("reads", "writes"), f"({HEAVY})*majority(n1, n2, n3)"),
        )
    )
    assert joint is not None and joint.is_joint and joint.threshold is None
    assert joint.line().endswith("survives the loss of 1 (a change is under way)")


def test_what_is_no_expression_decides_nothing_and_breaks_nothing():
    liar = status("n1", role="leader", reads="((", writes="((")
    assert decides_by(liar) is None
    overview = overview_of(cluster(n1=liar), ELECTION_US)
    assert overview.decides is None and overview.leader == "n1"
