"""`quorum plan`: what it prints, and how it is asked wrongly."""

from __future__ import annotations

import pytest

ASKED = ("plan", "--node-availability", "0.99")


@pytest.mark.parametrize("target", ["0.99999", "99.999%", "5nines", "99999/100000"])
def test_a_target_is_written_in_the_usual_ways(run_json, target):
    code, found = run_json(*ASKED, "--target", target)
    assert code == 0 and found["chosen"]["nodes"] == 5 and found["chosen"]["nines"] > 5
    assert [each["nodes"] for each in found["cheaper"]] == [4, 3]


def test_people_hear_why_fewer_nodes_do_not_do_and_what_more_would_give(run):
    told = run(*ASKED, "--target", "5nines", "--model", "byzantine")
    assert told.exit_code == 0
    assert told.stdout.startswith("N=8, T=1: any 5 of the nodes decide\n  6.2 nines, down ")
    assert "why not fewer\n  N=7, T=1, cost 7: it fails 3.4 times as often as allowed" in told.stdout
    assert "what more would give\n  N=10, " in told.stdout


def test_a_target_that_nothing_reaches_is_no(run, run_json):
    asked = (*ASKED, "--target", "9nines", "--nodes-max", 5)
    assert run_json(*asked)[1]["chosen"] is None
    told = run(*asked)
    assert told.exit_code == 1 and told.stdout.startswith("no: not even 5 nodes reach it\nwhy not fewer\n")


def test_chances_below_every_float_are_written_out(run):
    told = run(*ASKED, "--target", "2nines", "--nodes-max", 201, "--json")
    assert "e-1" in told.stdout and '"unavailability":0' not in told.stdout.replace('"unavailability":0.', "")


@pytest.mark.parametrize("target", ["1", "0", "2", "-1", "ninety", "0nines", "99nines", "1/0", "101%"])
def test_what_is_no_target_is_asked_wrongly(run, target):
    told = run(*ASKED, f"--target={target}")
    assert told.exit_code == 2 and (
        "0.99999, 99.999% or 5nines" in told.stderr or "lies between 0 and 1" in told.stderr
    )


@pytest.mark.parametrize("option", ["--node-availability", "--zone-availability", "--lying"])
@pytest.mark.parametrize("share", ["1.5", "-1", "x", "1e999999999"])
def test_what_is_no_share_of_the_time_is_named_by_its_option(run, option, share):
    told = run(*ASKED, "--target", "0.9", f"{option}={share}")
    assert told.exit_code == 2 and f"{option} '{share}'" in told.stderr
