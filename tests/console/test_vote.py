"""`quorum vote`: tallies from JSON, CSV and streams; who counts, what is refused, and what the exit code says."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.console.rules import rule_in
from quorum.console.vote_follow import follow
from quorum.console.vote_input import Ask, Votes, read_csv
from quorum.console.vote_shown import tallied
from quorum.errors import ConfigurationError
from quorum.voting.rule_text import rule_text
from quorum.voting.tally import Rule, tally

SITES = "voter,option\noslo,release\nporto,release\nquito,hold\nriga,release\nsofia,\n"
DAYS = "day,oslo,porto,quito,riga\nmon,go,go,go,\ntue,go,stay,go,stay\nwed,go,,,\n"
FIVE = "oslo,porto,quito,riga,sofia"


@pytest.fixture
def sites(here: Path) -> Path:
    (here / "sites.csv").write_text(SITES)
    return here / "sites.csv"


@pytest.fixture
def days(here: Path) -> Path:
    (here / "days.csv").write_text(DAYS)
    return here / "days.csv"


# --- one round --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "state", "needed"),
    [
        ((), 0, "won", 3),
        (("--rule", "share:3/5"), 0, "won", 3),
        (("--rule", "share:3/4"), 1, "pending", 4),
        (("--rule", "byzantine", "--faults", 1), 1, "pending", 4),
        (("--rule", "byzantine", "--faults", 1, "--closed"), 1, "lost", 4),
        (("--rule", "unanimous"), 1, "lost", 5),
        (("--rule", "plurality"), 0, "won", None),
        (("--rule", "plurality:4", "--closed"), 1, "lost", None),
    ],
)
def test_a_round_is_won_lost_or_pending_by_its_rule_and_only_won_is_a_yes(
    sites, run_json, arguments, code, state, needed
):
    found_code, found = run_json("vote", "--input", sites, *arguments)
    assert (found_code, found["state"], found["needed"]) == (code, state, needed)
    assert found["weights"] == {"hold": 1, "release": 3}
    assert (found["cast"], found["total"], found["missing"]) == (4, 5, ["sofia"])
    assert found["option"] == ("release" if state == "won" else None)


def test_people_see_the_outcome_who_voted_for_what_and_who_did_not(sites, run):
    assert run("vote", "--input", sites).stdout.splitlines() == [
        "won: release (majority)",
        "  release  3  oslo, porto, riga",
        "  hold     1  quito",
        "4 of 5 cast, 3 needed; one liar could have changed it",
        "not yet: sofia",
    ]
    text = run("vote", "--input", sites, "--closed", "--electorate", f"{FIVE.replace('oslo', 'oslo=9')}").stdout
    assert "12 of 13 cast, 7 needed; one liar" in text and "not yet" not in text
    many = json.dumps({"votes": {f"v{number}": "yes" for number in range(20)}}).encode()
    text = run("vote", stdin=many).stdout
    assert "the same if 9 voters lied" in text and "and 8 more" in text


def test_weights_are_in_a_column_or_in_the_electorate_and_not_in_both(here, run, run_json):
    (here / "votes.csv").write_text("voter,weight,option\na,3,yes\nb,,no\nc,1,no\n")
    assert run_json("vote", "--input", "votes.csv")[1]["weights"] == {"no": 2, "yes": 3}
    refused = run("vote", "--input", "votes.csv", "--electorate", "a,b,c")
    assert refused.exit_code == 2 and "votes with weights" in refused.stderr
    (here / "votes.csv").write_text("voter,option\na,yes\nb,no\nc,no\n")
    assert run_json("vote", "--input", "votes.csv")[1]["option"] == "no"
    assert run_json("vote", "--input", "votes.csv", "--electorate", "a=3,b,c")[1]["option"] == "yes"


def test_strangers_and_votes_for_no_option_are_told_and_count_for_nothing(sites, run, run_json):
    arguments = ("vote", "--input", sites, "--electorate", "oslo,quito,riga,tokyo", "--options", "hold,stop")
    code, found = run_json(*arguments)
    assert (code, found["weights"], found["total"]) == (1, {"hold": 1, "stop": 0}, 4)
    assert found["strangers"] == ["porto"]
    assert found["no_options"] == {"oslo": "release", "riga": "release"}
    assert found["missing"] == ["tokyo"]
    text = run(*arguments).stdout
    assert "not in the electorate: porto" in text and "for no option: oslo, riga" in text


def test_json_has_votes_by_voter_or_as_a_list_and_may_say_what_options_say(run_json):
    by_voter = {"votes": {"a": "yes", "b": None, "c": " yes "}, "options": ["yes", "no"]}
    as_list = {"votes": [{"voter": "a", "option": "yes", "weight": 2}, {"voter": "b", "option": "no"}]}
    with_all = {"votes": {"a": "yes"}, "electorate": {"a": 1, "b": 2}, "options": ["yes"], "closed": True}
    assert run_json("vote", stdin=json.dumps(by_voter).encode())[1]["weights"] == {"yes": 2, "no": 0}
    code, found = run_json("vote", stdin=json.dumps(as_list).encode())
    assert (code, found["option"], found["needed"]) == (0, "yes", 2)
    code, found = run_json("vote", stdin=json.dumps(with_all).encode())
    assert (code, found["state"], found["missing"]) == (1, "lost", ["b"])


def test_who_says_the_same_twice_counts_once_and_who_says_two_things_is_refused(here, run, run_json):
    (here / "votes.csv").write_text("voter,option\na,yes\na,yes\nb,no\nc,yes\nc,\n")
    assert run_json("vote", "--input", "votes.csv")[1]["weights"] == {"no": 1, "yes": 2}
    (here / "votes.csv").write_text("voter,option\na,yes\nb,no\na,no\n")
    refused = run("vote", "--input", "votes.csv")
    assert refused.exit_code == 2
    assert "'a' votes for 'yes' (line 2) and for 'no' (line 4)" in refused.stderr
    refused = run("vote", stdin=b'{"votes": {"a": "yes", "b": "no", "a": "no"}}')
    assert refused.exit_code == 2 and "'a' votes for 'yes' (vote 1) and for 'no' (vote 3)" in refused.stderr
    (here / "votes.csv").write_text("voter,option,weight\na,yes,1\na,yes,5\n")
    refused = run("vote", "--input", "votes.csv")
    assert refused.exit_code == 2 and "'a' weighs 1 (line 2) and 5 (line 3)" in refused.stderr


def test_options_are_texts_as_they_stand_in_the_file(here, run_json):
    (here / "votes.csv").write_text(
        '\ufeffvoter,option\r\na,1\r\nb,1.0\r\nc,true\r\n"d, e","no, thanks"\r\n', "utf-8"
    )
    found = run_json("vote", "--input", "votes.csv", "--rule", "plurality")[1]
    assert found["weights"] == {"1": 1, "1.0": 1, "no, thanks": 1, "true": 1}


# --- many rounds ------------------------------------------------------------------------------------------


def test_a_row_is_a_round_and_a_column_a_voter(days, run, run_json):
    code, found = run_json("vote", "--input", days, "--time", "day")
    assert (code, found["rounds"], found["won"], found["lost"], found["pending"]) == (1, 3, 1, 1, 1)
    assert [(each["round"], each["state"]) for each in found["tallies"]] == [
        ("mon", "won"),
        ("tue", "lost"),
        ("wed", "pending"),
    ]
    lines = run("vote", "--input", days, "--time", "day").stdout.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["day", "state", "option", "cast", "weights"],
        ["mon", "won", "go", "3", "of", "4", "go", "3"],
    ]
    assert lines[-1] == "voters: oslo, porto, quito, riga"


def test_only_if_all_rounds_are_won_the_answer_is_yes(days, run):
    days.write_text("".join(DAYS.splitlines(keepends=True)[:2]))
    assert run("vote", "--input", days, "--time", "day").exit_code == 0
    assert run("vote", "--input", days, "--time", "day", "--rule", "unanimous").exit_code == 1


def test_the_tallies_are_written_with_a_row_for_each_round(days, run, run_json):
    code, found = run_json(
        "vote", "--input", days, "--channels", "oslo,porto,quito", "--closed", "--output", "o.csv"
    )
    assert (code, found["won"], found["tallies"], found["output"]) == (1, 2, [], "o.csv")
    with open("o.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["won", "won", "lost"]
    assert rows[1] == {
        "round": "1",
        "state": "won",
        "option": "go",
        "cast": "3",
        "total": "3",
        "needed": "2",
        "withstands": "0",
        "weight of go": "2",
        "weight of stay": "1",
    }
    refused = run("vote", "--input", days, "--time", "day", "--output", "no/o.csv")
    assert refused.exit_code == 2 and "the tallies" in refused.stderr


@given(
    st.lists(
        st.lists(st.sampled_from(["", "x", "y", "z"]), min_size=4, max_size=4), min_size=1, max_size=6
    ).filter(lambda rows: any(any(row) for row in rows)),
    st.sampled_from([Rule(), Rule("byzantine", faults=1), Rule("plurality"), Rule("unanimous"), Rule("share")]),
    st.booleans(),
)
def test_each_round_of_a_table_is_what_the_tally_of_its_votes_alone_is(rows, rule, closed):
    voters = ("a", "b", "c", "d")
    said = [{voter: option for voter, option in zip(voters, row, strict=True) if option} for row in rows]
    ballots = Votes(tuple((str(number), each) for number, each in enumerate(said)), dict.fromkeys(voters, 1))
    found = tallied(ballots, Ask(rule, closed=closed))
    options = sorted({option for row in rows for option in row if option})
    for number, (each, votes) in enumerate(zip(found, said, strict=True)):
        alone = tally(votes, ballots.voters, options, rule, closed)
        assert each.round == str(number)
        assert (each.state, each.option, each.weights, each.withstands) == (
            alone.state,
            alone.option,
            alone.weights,
            alone.withstands,
        )


# --- streams ----------------------------------------------------------------------------------------------


def heard(text: str, electorate: str = FIVE, **asked):
    ask = Ask(asked.pop("rule", Rule()), **asked)
    return list(follow(text.splitlines(keepends=True), dict.fromkeys(electorate.split(","), 1), ask))


def test_a_stream_ends_with_the_vote_that_decides(run):
    found = heard("oslo,go\nquito,go\n\nriga,go\nsofia,stay\n")
    assert [(each.line, each.counted) for each in found] == [(1, True), (2, True), (4, True)]
    assert [each.tally.state for each in found] == ["pending", "pending", "won"]
    lost = heard("voter,option\noslo,go\nquito,stay\n", rule=Rule("unanimous"))
    assert (lost[-1].line, lost[-1].tally.state) == (3, "lost")
    result = run("vote", "--follow", "--electorate", FIVE, stdin=b"oslo,go\nquito,go\nriga,go\nsofia,stay\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[2:4] == ["riga: go (go 3)", "won: go"]
    assert "sofia" not in result.output, "it is not read any more"


def test_of_two_votes_of_a_voter_the_first_counts_and_what_is_no_vote_is_told(run):
    text = "oslo,go\noslo,stay\noslo,go\ntokyo,go\nquito\nquito,\nquito,perhaps\n"
    found = heard(text, options=("go", "stay"))
    assert [each.counted for each in found] == [True, *[False] * 7]
    assert [each.why for each in found[1:]] == [
        "it said 'go' before, and the first counts",
        "it said so before",
        "it is not in the electorate",
        "it is not a voter, a comma and an option",
        "it is not a voter, a comma and an option",
        "that is no option",
        "the stream ended",
    ]
    assert all(each.tally.weights == {"go": 1, "stay": 0} for each in found)
    result = run("vote", "--follow", "--electorate", FIVE, stdin=text.encode())
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "not counted: oslo stay: it said 'go' before, and the first counts"


def test_a_stream_that_ends_is_pending_unless_the_vote_is_closed_with_it(run):
    text = "oslo,go\nquito,go\nriga,stay\n"
    assert heard(text)[-1].tally.state == "pending"
    assert heard(text, closed=True)[-1].tally.state == "lost"
    assert heard(text, closed=True, rule=Rule("plurality"))[-1].tally.option == "go"
    assert [each.tally.state for each in heard(text, closed=True)[:-1]] == ["pending"] * 3, "not before its end"
    result = run("vote", "--follow", "--electorate", FIVE, stdin=b"")
    assert (result.exit_code, result.stdout) == (1, "pending: nobody voted\n")


def test_programs_hear_an_object_for_each_line(run):
    result = run("vote", "--follow", "--electorate", "a,b", "--json", stdin=b"a,yes\nx,yes\nb,yes\n")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["line"], each["counted"]) for each in lines] == [(1, True), (2, False), (3, True)]
    assert lines[-1]["tally"]["state"] == "won" and not result.stderr


def test_lines_that_are_too_long_or_no_text_are_told_and_passed_over(run):
    stdin = b"a," + b"x" * 100_000 + b'\n"a\na,\xff\na,yes\nb,yes\n'
    result = run("vote", "--follow", "--electorate", "a,b", "--options", "yes,no", stdin=stdin)
    assert result.exit_code == 0
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == [
        "line 1",
        "line 2",
        "a \N{REPLACEMENT CHARACTER}",
    ]


def test_a_stream_is_answered_while_it_goes_on():
    """The writer stays: the outcome must not wait for its end."""
    command = [sys.executable, "-m", "quorum", "vote", "--follow", "--electorate", "a,b,c"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None and running.stdout is not None
        for voter in "ab":
            running.stdin.write(f"{voter},yes\n")
            running.stdin.flush()
            assert running.stdout.readline().startswith(f"{voter}: yes")
        assert running.stdout.readline() == "won: yes\n"
        assert running.wait(timeout=60) == 0


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rule", "most"), "no rule"),
        (("--rule", "share"), "no rule"),
        (("--rule", "share:2"), "no rule"),
        (("--rule", "share:two/3"), "no rule"),
        (("--rule", "majority:2"), "no rule"),
        (("--rule", "share:1/2"), "not more than half"),
        (("--rule", "share:5/0"), "not more than half"),
        (("--rule", "plurality:0"), "1 or more"),
        (("--rule", "byzantine"), "--faults"),
        (("--rule", "byzantine", "--faults", 2), "3T+1 = 7"),
        (("--faults", 1), "only byzantine"),
        (("--electorate", "a,a"), "each once"),
        (("--electorate", "a=0"), "1 or more"),
        (("--electorate", "a,,b"), "each once"),
        (("--electorate", "tokyo"), "nobody who may voted"),
        (("--options", "a,a"), "stands there once"),
        (("--time", "day"), "no column 'day'"),
        (("--channels", "voter,x"), "no column 'x'"),
        (("--follow",), "--input was given"),
    ],
)
def test_what_cannot_be_tallied_is_refused_with_a_remedy(sites, run, arguments, said):
    result = run("vote", "--input", sites, *arguments)
    assert result.exit_code == 2 and said in result.stderr, result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not name its columns"),
        ("voter,voter\na,b\n", "each once"),
        ("voter,option\n", "nobody who may voted"),
        ("voter,option\na,\n", "nobody who may voted"),
        ("voter,option\n,yes\n", "line 2 names no voter"),
        ("voter,option\na,yes,1\n", "line 2 has 3 fields for 2 columns"),
        ("voter,option,weight\na,yes,0\n", "weight '0'"),
        ("voter,option,weight\na,yes,1.5\n", "weight '1.5'"),
        ("voter,option,why\na,yes,because\n", "'why', which counts for nothing"),
        ('voter,option\n"a,yes\n', "no CSV"),
        ("a,b\n", "no rows"),
        ("a,b\n,\n", "nobody who may voted"),
    ],
)
def test_a_file_that_is_no_file_of_votes_is_refused_with_a_remedy(here, run, text, said):
    (here / "votes.csv").write_text(text)
    result = run("vote", "--input", "votes.csv")
    assert result.exit_code == 2 and said in result.stderr, result.output


LATER = "2026-01-01,go,go,stay\n2026-01-02,go,go,go\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("voter;option\na;go\nb;go\n", "Is it separated by ';'?"),
        ("voter\toption\na\tgo\n", "Is it separated by tabs?"),
        ("a;b\ngo,stay\n", "Is it separated by ';'?"),
        ("votes\ngo\nstay\n", "one column, 'votes'"),
        ("voter,choice\na,go\nb,go\n", "a column 'voter', as a list of votes has, and none named option"),
        ("Who,Option\na,go\nb,go\n", "a column 'Option', as a list of votes has, and none named voter"),
        ("voter,Voter,option\na,b,go\n", "two columns named 'voter'"),
        ("who,what\nann,go\nbob,go\ncy,stay\n", "the column 'who' says something else in every row"),
        ("ann,go\nbob,go\ncy,stay\n", "the column 'ann' says something else in every row"),
        ("date,a,b,c\n" + LATER, "the column 'date' is named as one that says when"),
        ("Day,a,b,c\nmon,go,go,go\n", "the column 'Day' is named"),
        ("on,a,b,c\n" + LATER, "the column 'on' holds numbers or times"),
        ("on,a,b,c\n2026-01-01,go,go,go\n", "the column 'on' holds numbers or times"),
        ("at,a,b\n09:30,go,go\n", "the column 'at' holds numbers or times"),
        ("no,a,b,c\n17,go,go,go\n", "the column 'no' holds numbers or times"),
        ("no,a,b,c\n17,5,5,5\n18,5,6,5\n", "the column 'no' says something else in every row"),
        ("no,a,b,c\n1,1,2,1\n2,2,2,3\n3,1,1,1\n", "the column 'no' counts upwards"),
        ("on,a,b,c\nmon,go,go,stay\ntue,go,go,go\n", "the column 'on' says something else in every row"),
        ("a,b,c\n20.1,20.2,20.1\n20.3,20.4,20.6\n", "quorum fuse"),
        ("2026-01-01,1,2,3\n2026-01-02,1,1,1\n", "numbers or times in place of names"),
    ],
)
def test_a_table_in_which_something_else_would_count_as_a_voter_is_refused(here, run, text, said):
    (here / "votes.csv").write_text(text)
    result = run("vote", "--input", "votes.csv")
    assert result.exit_code == 2 and said in result.stderr, result.output
    assert not result.stdout


@pytest.mark.parametrize("heading", ["Voter,Option", "VOTER,OPTION", " voter , Option "])
def test_a_list_of_votes_is_known_by_its_columns_in_letters_of_any_case(here, run_json, heading):
    (here / "votes.csv").write_text(f"{heading},Weight\na,go,2\nb,stay,1\n")
    code, found = run_json("vote", "--input", "votes.csv")
    assert (code, found["option"], found["weights"]) == (0, "go", {"go": 2, "stay": 1})


def test_a_column_that_looks_like_no_voter_s_counts_if_it_is_named(here, run, run_json):
    (here / "votes.csv").write_text("date,a,b,c\n" + LATER)
    assert run_json("vote", "--input", "votes.csv", "--time", "date")[1]["won"] == 2
    found = run_json("vote", "--input", "votes.csv", "--channels", "date,a,b,c")[1]
    assert found["voters"] == ["date", "a", "b", "c"]
    (here / "votes.csv").write_text("date,voter,option\n2026-01-01,a,go\n")
    refused = run("vote", "--input", "votes.csv", "--time", "date")
    assert refused.exit_code == 2 and "one round" in refused.stderr


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n2026-05-01,2026-05-02,2026-05-01\n",
        "a,b,c\n1,2,1\n2,2,1\n",
        "a,b,c\ngo,stay,go\nstay,stay,go\n",
        "a,b,c\ngo,,go\n",
        "a,b,c\ngo,alone,go\n",
    ],
)
def test_tables_of_voters_are_tallied_although_options_are_dates_or_numbers_or_one_s_alone(here, run_json, text):
    (here / "votes.csv").write_text(text)
    found = run_json("vote", "--input", "votes.csv")[1]
    assert found["voters"] == ["a", "b", "c"] and found["won"] == found["rounds"]


def test_too_many_options_and_too_small_a_share_are_told_apart(here, run):
    rows = "".join(f"{number},{number},{number}\n" for number in [*range(1_001), 0])
    (here / "votes.csv").write_text("a,b,c\n" + rows)
    refused = run("vote", "--input", "votes.csv")
    assert refused.exit_code == 2 and "1,001 options" in refused.stderr and "quorum fuse" in refused.stderr
    (here / "votes.csv").write_text("a,b,c\ngo,go,go\n")
    refused = run("vote", "--input", "votes.csv", "--rule", "share:1/3")
    assert "1 of 3 is not more than half, so two options could win" in refused.stderr
    refused = run("vote", "--input", "votes.csv", "--rule", "share:4/3")
    assert "4 of 3 is more than all" in refused.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "'votes' is missing"),
        (b'{"votes": {"a": "x"}, "votes": {"a": "y"}}', "twice"),
        (b'{"votes": {"a": "x"}, "rule": "majority"}', "knows no 'rule'"),
        (b'{"votes": "a"}', "'votes' is no object"),
        (b'{"votes": {"a": 1}}', "neither a text nor null"),
        (b'{"votes": ["a"]}', "vote 1 is no object"),
        (b'{"votes": [{"voter": "a"}]}', "vote 1 is no object"),
        (b'{"votes": [{"voter": 1, "option": "x"}]}', "no text"),
        (b'{"votes": [{"voter": "a", "option": "x", "weight": true}]}', "no whole number"),
        (b'{"votes": {"a": "x"}, "electorate": ["a", "a"]}', "'electorate'"),
        (b'{"votes": {"a": "x"}, "electorate": {"a": 0}}', "'electorate'"),
        (b'{"votes": {"a": "x"}, "electorate": []}', "'electorate'"),
        (b'{"votes": {"a": "x"}, "options": "x"}', "'options'"),
        (b'{"votes": {"a": "x"}, "options": ["x", "x"]}', "'x' is there twice"),
        (b'{"votes": {"a": "x"}, "closed": 1}', "'closed'"),
        (b'{"votes": {" ": "x"}}', "vote 1 names no voter"),
    ],
)
def test_an_input_that_is_no_object_of_votes_is_refused_with_a_remedy(run, text, said):
    result = run("vote", stdin=text)
    assert result.exit_code == 2 and said in result.stderr, result.output


def test_what_is_said_by_an_option_and_in_the_input_is_refused(run):
    text = b'{"votes": {"a": "x"}, "electorate": ["a"]}'
    result = run("vote", "--electorate", "a", stdin=text)
    assert result.exit_code == 2 and "Leave the other out" in result.stderr


def test_options_of_files_without_one_and_a_stream_without_an_electorate_are_refused(here, run):
    result = run("vote", "--time", "day", stdin=b"{}")
    assert result.exit_code == 2 and "--input" in result.stderr
    result = run("vote", "--follow", stdin=b"")
    assert result.exit_code == 2 and "--electorate" in result.stderr
    result = run("vote", "--input", here / "none.csv")
    assert result.exit_code == 2 and "failed" in result.stderr


@pytest.mark.parametrize("text", ["majority", "share:2/3", "unanimous", "plurality", "plurality:3"])
def test_a_rule_is_told_as_it_is_written(text):
    assert rule_text(rule_in(text, None)) == text


def test_a_liar_s_name_moves_no_cursor(here, run):
    (here / "votes.csv").write_text("voter,option\n\x1b[2Ja,\x1b[2Jyes\n")
    result = run("vote", "--input", "votes.csv")
    assert result.exit_code == 0 and "\x1b" not in result.output


def test_reading_a_file_keeps_a_blank_voter_in_the_electorate(sites):
    ballots = read_csv(sites, None, None)
    assert list(ballots.voters) == FIVE.split(",")
    assert "sofia" not in ballots.rounds[0][1]
    with pytest.raises(ConfigurationError, match="no column"):
        read_csv(sites, "sofia", None)
