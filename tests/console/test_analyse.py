"""`quorum analyse --markov`: the published figures, where adapting gains nothing, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quorum.systems.participation import Participation, unavailability

PAGE = Path(__file__).parents[2] / "docs" / "participation.md"

ASKED = ("analyse", "--markov", "--repair-ratio", 20, "--reconfiguration-ratio", 100)


@pytest.mark.parametrize(("nodes", "adaptive", "fixed"), [(5, 6.44e-5, 1.0e-3), (7, 5.45e-7, 1.6e-4)])
def test_the_bars_of_adaptive_participation_are_met_exactly(run_json, nodes, adaptive, fixed):
    code, found = run_json(*ASKED, "--nodes", nodes, "--policy", "adaptive")
    assert code == 0
    assert found["unavailability"] == pytest.approx(adaptive, rel=1e-3)
    assert found["fixed_unavailability"] == pytest.approx(fixed, rel=5e-3)
    assert found["gain"] == pytest.approx(fixed / adaptive, rel=5e-3)


def test_one_policy_is_one_flat_object(run_json):
    _, found = run_json(*ASKED, "--nodes", 5, "--policy", "majority")
    assert list(found) == [
        "nodes",
        "policy",
        "model",
        "faults",
        "repair_ratio",
        "reconfiguration_ratio",
        "unavailability",
        "availability",
        "minutes_a_year",
        "time_to_loss",
        "time_to_return",
        "states",
        "fixed_unavailability",
        "gain",
        "notes",
    ]
    assert (found["nodes"], found["policy"], found["faults"], found["gain"]) == (5, "majority", 2, 1)
    assert found["availability"] == pytest.approx(1 - found["unavailability"])
    assert found["minutes_a_year"] == pytest.approx(528.1, rel=1e-3)
    up, down = found["time_to_loss"], found["time_to_return"]
    assert down / (up + down) == pytest.approx(found["unavailability"])


def test_without_a_policy_all_are_beside_each_other(run, run_json):
    _, found = run_json("analyse", "--markov", "--repair-ratio", 10, "--nodes", 5)
    assert [row["policy"] for row in found["policies"]] == ["majority", "dynamic", "dynamic-linear", "adaptive"]
    assert {row["reconfiguration_ratio"] for row in found["policies"]} == {None}
    text = run("analyse", "--markov", "--repair-ratio", 10, "--nodes", 5).stdout
    assert "changes at once" in text and "10.5x" in text


def test_where_members_may_lie_only_two_policies_are_offered(run_json):
    _, found = run_json("analyse", "--markov", "--repair-ratio", 100, "--nodes", 7, "--model", "byzantine")
    assert [row["policy"] for row in found["policies"]] == ["majority", "adaptive"]
    _, found = run_json(
        "analyse", "--markov", "--repair-ratio", 100, "--nodes", 7, "--model", "byzantine", "--faults", 1
    )
    assert found["policies"][1]["gain"] == pytest.approx(6700, rel=2e-2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--nodes", 3), "a committee keeps 3 members at least, so of 3 there is none to leave out"),
        (("--nodes", 4, "--model", "byzantine"), "4 members at least (3T+1 with T=1)"),
        (("--nodes", 7, "--model", "byzantine", "--faults", 2), "gains nothing here"),
        (("--nodes", 5, "--reconfiguration-ratio", 1), "worse than a fixed committee here"),
        (("--nodes", 5, "--reconfiguration-ratio", 1), "pays from a reconfiguration ratio of 1.11 on"),
        (("--nodes", 5, "--reconfiguration-ratio", 1.13), "gains next to nothing"),
        (("--nodes", 5), "loses a majority at one stroke gains nothing"),
    ],
)
def test_where_adapting_gains_nothing_it_is_said(run, options, said):
    assert said in run("analyse", "--markov", "--repair-ratio", 20, *options).stdout


def test_where_adapting_gains_nothing_is_not_said_where_it_gains(run):
    assert "gains nothing here" not in run(*ASKED, "--nodes", 5).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("analyse",), "an analysis was asked for, but of nothing. Name a file"),
        (("analyse", "system.toml", "--nodes", 5), "goes with --markov only"),
        ((*ASKED, "--nodes", 5, "--f", 1), "goes with a SYSTEM only"),
        (("analyse", "--markov", "--repair-ratio", 20), "without --nodes"),
        (("analyse", "--markov", "--nodes", 5), "without --repair-ratio"),
        (("analyse", "--markov", "--nodes", 5, "--repair-ratio", 0), "Give a number from 1e-06 to 1e+09"),
        (("analyse", "--markov", "--nodes", 26, "--repair-ratio", 1), "Ask for fewer"),
        (("analyse", "--markov", "--nodes", 0, "--repair-ratio", 1), "N=0"),
        ((*ASKED, "--nodes", 4, "--faults", 2), "2T+1 = 5 are needed"),
        ((*ASKED, "--nodes", 4, "--model", "byzantine", "--policy", "dynamic"), "Name majority or adaptive"),
        ((*ASKED, "--nodes", 5, "--plot", "there.txt"), "tells no kind of picture"),
    ],
)
def test_what_cannot_be_analysed_is_refused_with_a_remedy(run, here, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2 and said in result.stderr and not result.stdout


def test_without_matplotlib_a_picture_is_refused_with_the_way_to_get_it(run, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(*ASKED, "--nodes", 5, "--plot", "there.svg")
    assert result.exit_code == 2 and "pip install 'quorum-engine[plot]'" in result.stderr
    assert not (here / "there.svg").exists()


def test_a_picture_is_the_same_each_time_and_names_every_policy(run, here):
    pytest.importorskip("matplotlib")
    for name in ("one.svg", "two.svg"):
        assert run(*ASKED, "--nodes", 5, "--plot", name).exit_code == 0
    drawn = (here / "one.svg").read_text()
    assert drawn == (here / "two.svg").read_text()
    for policy in ("majority", "dynamic", "dynamic-linear", "adaptive"):
        assert f"<!-- {policy} -->" in drawn


def test_the_json_names_the_picture_that_was_drawn_and_nothing_where_none_was(run_json, here):
    pytest.importorskip("matplotlib")
    code, every = run_json(*ASKED, "--nodes", 5, "--plot", "there.svg")
    assert (code, every["plot"]) == (0, "there.svg") and (here / "there.svg").exists()
    one = (*ASKED, "--nodes", 5, "--policy", "adaptive")
    assert run_json(*one, "--plot", here / "one.svg")[1]["plot"] == str(here / "one.svg")
    assert "plot" not in run_json(*one)[1]


def rows_of_the_page(heading: str) -> list[list[float]]:
    """The numbers in the first table below a heading."""
    table = PAGE.read_text().partition(heading)[2].partition("\n\n")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[1:]]
    return [[float(each.replace(",", "")) for each in line] for line in lines]


def test_the_tables_of_the_page_are_what_the_chain_says():
    of_crashes = rows_of_the_page("| repair ratio | nodes | fixed majority | adaptive | gain |\n")
    assert len(of_crashes) == 6
    for ratio, nodes, fixed, adaptive, gain in of_crashes:
        one = unavailability(Participation(int(nodes), ratio, "majority")).unavailability
        other = unavailability(Participation(int(nodes), ratio, "adaptive", 100)).unavailability
        assert (fixed, adaptive, gain) == pytest.approx((one, other, one / other), rel=5e-3)


def test_the_table_of_liars_is_what_the_chain_says():
    of_liars = rows_of_the_page("| N | T | fixed | adaptive | gain |\n")
    assert len(of_liars) == 6
    for nodes, faults, fixed, adaptive, gain in of_liars:
        of = {"model": "byzantine", "faults": int(faults)}
        one = unavailability(Participation(int(nodes), 100, "majority", **of)).unavailability
        other = unavailability(Participation(int(nodes), 100, "adaptive", **of)).unavailability
        assert (fixed, adaptive, gain) == pytest.approx((one, other, one / other), rel=5e-3)
