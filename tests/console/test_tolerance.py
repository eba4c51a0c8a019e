"""A new cluster says how many members it has, how many of them may fail, and refuses liars that it cannot bear."""

from __future__ import annotations

import pytest

from quorum.console.tolerance import Tolerance, tolerance_of
from quorum.runtime.config import load_cluster
from quorum.runtime.setup import init_cluster


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--model", "byzantine"), "4 members (N), of which 1 may lie (T = 1); quorum 3"),
        (("--model", "byzantine", "--nodes", 5), "5 members (N), of which 1 may lie (T = 1); quorum 4"),
        (("--model", "byzantine", "--nodes", 7), "7 members (N), of which 2 may lie (T = 2); quorum 5"),
        ((), "5 members (N), of which 2 may crash (T = 2); quorum 3"),
        (("--nodes", 1), "1 member (N), of which none may crash (T = 0); quorum 1"),
        (("--nodes", 5, "--faults", 1), "5 members (N), of which 1 may crash (T = 1); quorum 3"),
    ],
)
def test_init_says_n_and_t_and_what_they_mean(options, says, run, here):
    made = run("init", "--folder", "c", *options)
    assert made.exit_code == 0 and made.stdout.splitlines()[1] == says and made.stderr == ""


def test_init_tells_programs_the_same(run_json, here):
    _, made = run_json("init", "--folder", "c", "--model", "byzantine")
    assert [made[key] for key in ("model", "n", "faults", "quorum")] == ["byzantine", 4, 1, 3]


@pytest.mark.parametrize("command", ["init", "up"])
@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_so_few_members_that_none_may_lie_are_refused(command, nodes, run, here):
    """Pease, Shostak and Lamport: N >= 3T+1."""
    refused = run(command, "--folder", "c", "--model", "byzantine", "--nodes", nodes)
    assert refused.exit_code == 2 and not (here / "c").exists()
    assert f"N={nodes} members that may lie" in refused.stderr and "one liar needs 4" in refused.stderr


def test_who_asks_for_no_liar_by_name_is_warned(run, here):
    made = run("init", "--folder", "c", "--model", "byzantine", "--nodes", 3, "--faults", 0)
    assert made.exit_code == 0 and made.stderr.startswith("warning: T = 0")
    assert "of which none may lie (T = 0)" in made.stdout
    assert run("init", "--folder", "d", "--nodes", 3, "--faults", 0).stderr == "", "crashes warn of nothing"


def test_what_quorums_by_text_tolerate_is_found(tmp_path):
    text = "a * (b + c + d) + b * c * d"  # a has two of five votes, written out
    layout = init_cluster(tmp_path / "c", names=("a", "b", "c", "d"), reads=text, writes=text)
    assert tolerance_of(layout.config) == Tolerance(4, 1, None, lies=False)
    assert "quorums by cluster.toml" in tolerance_of(layout.config).line()


def test_a_learner_counts_neither_to_n_nor_to_t(run, here):
    assert run("init", "--folder", "c", "--model", "byzantine").exit_code == 0
    for node in ("n5", "n6", "n7"):
        assert run("admit", node, "--config", "c/cluster.toml", "--no-start").exit_code == 0
    assert tolerance_of(load_cluster(here / "c" / "cluster.toml")) == Tolerance(4, 1, 3, lies=True)
