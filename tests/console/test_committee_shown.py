"""`quorum status` and `quorum members` where members may lie: view, primary, N, T, quorum, who follows."""

from __future__ import annotations

import pytest

from console.test_inquiry import ELECTION_US, cluster
from console.test_need import FOUR, REFUSED, member
from quorum.console import changing, members, status
from quorum.console.committee_told import CommitteeTold, committee_told, unlinked_warnings
from quorum.console.inquiry import Silence
from quorum.console.status import overview_of

LINKS = {node: tuple(other for other in FOUR if other != node) for node in FOUR}
NAME = "aa"


def committee(**changed):
    """What four members say of which n1 orders in view 7."""
    calm = {
        node: member(node, *LINKS[node], term=7, committee=NAME, role="primary" if node == "n1" else "backup")
        for node in FOUR
    }
    return calm | changed


@pytest.fixture
def asked(monkeypatch, tmp_path, run):
    """Has the nodes of a cluster of four, and a learner n5, answer so; gives the options that name it."""
    folder = tmp_path / "c"
    assert run("init", "--folder", folder, "--nodes", 4, "--model", "byzantine").exit_code == 0
    config = folder / "cluster.toml"
    assert run("admit", "n5", "--config", config, "--no-start").exit_code == 0

    def answer(answers):
        async def ask_all(place):
            return answers

        monkeypatch.setattr(members, "ask_all", ask_all)
        monkeypatch.setattr(changing, "ask_all", ask_all)
        monkeypatch.setattr(status, "ask_all", ask_all)
        return "--config", config

    return answer


def test_status_says_view_primary_epoch_n_t_and_quorum(run, run_json, asked):
    at = asked(committee())
    said = run("status", *at)
    assert said.exit_code == 0
    assert "epoch 1, N 4, T 1, quorum 3; primary n1 in view 7, committed 10" in said.stdout
    assert "term" not in said.stdout and "leader" not in said.stdout
    _, told = run_json("status", *at)
    assert (told["leader"], told["term"]) == ("n1", 7), "the keys that there were stay"
    new = ("primary", "view", "epoch", "n", "faults", "quorum")
    assert [told[key] for key in new] == ["n1", 7, 1, 4, 1, 3]
    assert (told["nodes"]["n2"]["primary"], told["nodes"]["n2"]["view"]) == ("n1", 7)


def test_status_of_members_that_crash_speaks_of_leader_and_term():
    told = overview_of(cluster(), ELECTION_US)
    assert (told.leader, told.term, told.primary, told.view, told.faults) == ("n1", 3, None, None, None)
    assert (told.n, told.quorum) == (3, 2)


def test_a_view_far_ahead_that_one_liar_tells_is_not_shown():
    told = overview_of(committee(n4=member("n4", *LINKS["n4"], term=10**12)), ELECTION_US)
    assert (told.view, told.primary) == (7, "n1")


def test_without_a_quorum_status_says_how_many_are_needed(run, asked):
    lost = {node: Silence(node, REFUSED) for node in ("n3", "n4")}
    answers = committee(n1=member("n1", "n2", role="primary"), n2=member("n2", "n1"), **lost)
    said = run("status", *asked(answers))
    assert said.exit_code == 1
    assert "no primary answers: nothing can be decided" in said.stderr and "(3 are needed, 2 of 4" in said.stderr


def test_a_learner_that_was_admitted_is_shown_with_the_members(run, run_json, asked):
    linked = {node: member(node, *LINKS[node], "n5", committee=NAME) for node in FOUR[1:]}
    linked["n1"] = member("n1", *LINKS["n1"], "n5", committee=NAME, role="primary", term=7)
    learner = member("n5", *FOUR, role="silent", applied_index=4)
    at = asked(linked | {"n5": learner})
    code, told = run_json("members", *at)
    rows = {row["node"]: row for row in told["members"]}
    assert code == 0 and list(rows) == ["n1", "n2", "n3", "n4", "n5"]
    assert (rows["n5"]["role"], rows["n5"]["votes"], rows["n5"]["behind"]) == ("learner", 0, 6)
    assert {rows[node]["role"] for node in FOUR} == {"voter"} and rows["n1"]["leads"]
    assert {rows[node]["behind"] for node in FOUR} == {0}
    assert [told[key] for key in ("leader", "term", "primary", "view", "n", "faults", "quorum")] == [
        "n1",
        7,
        "n1",
        7,
        4,
        1,
        3,
    ]
    said = run("members", *at).stdout
    assert "N 4, T 1, quorum 3, primary n1 in view 7" in said and "n5" in said and "quorum approve" in said
    assert "learner" in run("status", *at).stdout


@pytest.mark.parametrize(
    ("n5", "state"),
    [
        (Silence("n5", REFUSED), "unreachable"),
        (member("n5", role="silent"), "not linked"),
    ],
)
def test_a_learner_that_nobody_reaches_is_said_to_be_so(n5, state, run_json, asked):
    _, told = run_json("members", *asked(committee(n5=n5)))
    assert told["members"][-1]["state"] == state


def test_a_member_that_lied_or_left_is_shown_as_such(run_json, asked):
    three = ("n1", "n2", "n3", "n5")
    voting = {"voters": three, "members": three, "epoch": 2, "committee": "bb", "reads": "", "writes": ""}
    voting |= dict.fromkeys(("reads", "writes"), "choose(3, n1, n2, n3, n5)")
    others = ("n1", "n2", "n3", "n4", "n5")
    answers = {node: member(node, *set(others) - {node}, **voting) for node in others}
    answers["n1"] = member("n1", *others[1:], role="primary", accused={"n3": 1}, **voting)
    _, told = run_json("members", *asked(answers))
    rows = {row["node"]: row for row in told["members"]}
    assert (rows["n4"]["role"], rows["n4"]["votes"]) == ("departed", 0)
    assert rows["n5"]["role"] == "voter" and rows["n3"]["state"] == "LIED"


def test_the_committee_that_most_tell_is_shown_and_of_two_the_newer():
    liar = member("n4", voters=("n4",), epoch=99)
    assert committee_told(committee(n4=liar)) == CommitteeTold(1, FOUR, 1, "choose(3, n1, n2, n3, n4)")
    assert committee_told({"n1": member("n1"), "n2": member("n2", epoch=2)}).epoch == 2
    assert committee_told({"n1": Silence("n1", REFUSED)}) is None
    weighted = CommitteeTold(1, FOUR, 1, "n1 * (n2 + n3)")
    assert weighted.quorum is None and weighted.line().endswith("quorum n1 * (n2 + n3)")
    assert CommitteeTold(1, FOUR, 1, "(").quorum is None


def test_a_liar_is_named_with_the_file_of_the_proof_and_the_command_that_verifies_it(run, run_json, asked):
    at = asked(
        committee(
            n2=member("n2", *LINKS["n2"], accused={"n1": 1}, evidence={"n1": "/data n2/evidence/n1-1.json"}),
            n3=member("n3", *LINKS["n3"], accused={"n1": 2}),
            n4=member("n4", *LINKS["n4"], accused={"n\x1b[1": 1}),
        )
    )
    _, told = run_json("status", *at)
    other, first = (text for text in told["warnings"] if "lied" in text)
    genesis = at[1].parent / "genesis.json"
    assert first == (
        "n1 lied: n2, n3 can prove it. On n2 the proof is /data n2/evidence/n1-1.json; "
        f"verify it: quorum verify '/data n2/evidence/n1-1.json' --genesis {genesis}"
    )
    assert other.startswith("n\\x1b[1 lied: the proof is in the data folder of n4"), "a liar moves no cursor"


def test_a_member_that_others_have_no_link_to_is_warned_of():
    def without_n4(node):
        return member(
            node, *(set(LINKS[node]) - {"n4"}), committee=NAME, role="primary" if node == "n1" else "backup"
        )

    one = committee(n2=without_n4("n2"))
    assert unlinked_warnings(one) == [], "one may lie"
    two = overview_of(one | {"n3": without_n4("n3")}, ELECTION_US)
    assert [text for text in two.warnings if text.startswith("n4 votes, but n2, n3 have no link to it")]
    silent = one | {"n3": without_n4("n3"), "n4": Silence("n4", REFUSED)}
    assert unlinked_warnings(silent) == [], "that it is unreachable is said"
