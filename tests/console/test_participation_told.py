"""Who is out, why and since when: for people, and for programs."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from console.test_inquiry import status as status_of
from quorum.console import explain_committee
from quorum.console.explain_committee import explanation_of, policy_lines, policy_of
from quorum.console.inquiry import Silence
from quorum.console.participation_told import out_told, participation_warnings
from quorum.console.status import _draw, overview_of
from quorum.console.told import moment, status_told
from quorum.console.tolerance import Tolerance
from quorum.runtime.status import Evicted, NodeStatus, encode_status

NAMES = ("n1", "n2", "n4", "n5")
SLOW = Evicted("n3", 2, "slow", 1_700_000_000_000_000, 6_000_000)
UNKNOWN = Evicted("n3", 2, "operators", 1_700_000_000_000_000)


def answers(*evicted: tuple[Evicted, ...], **other: object) -> dict:
    adaptive = {"model": "byzantine", "policy": "adaptive", "epoch": 2, "faults": 1}
    return {
        name: replace(status_of(name), voters=NAMES, evicted=told, **adaptive | other)
        for name, told in zip(NAMES, evicted, strict=False)
    }


def test_the_reason_that_most_members_know_is_told_with_who_says_so():
    (out,) = out_told(answers((SLOW,), (UNKNOWN,), (SLOW,)))
    assert (out.node, out.reason, out.told_by) == ("n3", "slow", ("n1", "n4"))
    assert out.line() == (
        "n3 is out since epoch 2 (2023-11-14 22:13:20 UTC): it was slow or gone; "
        "it is well again, and returns in 6 s"
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("lied", "it is proven to lie; only its operators bring it back"),
        ("operators", "its operators left it out; only its operators bring it back"),
        ("slow", "it was slow or gone; it returns once it runs and shows that it is well"),
    ],
)
def test_every_reason_says_what_brings_the_node_back(reason: str, said: str):
    (out,) = out_told(answers((replace(SLOW, reason=reason, returns_in_us=None),)))
    assert said in out.line()


def test_members_of_an_older_epoch_are_not_asked_who_is_out():
    older = answers((SLOW,))
    newer = {"n2": replace(status_of("n2"), voters=NAMES, model="byzantine", policy="adaptive", epoch=3)}
    assert out_told(older | newer) == ()


def test_warnings_name_who_stays_who_is_complained_of_and_that_nobody_is_left_to_spare():
    found = participation_warnings(answers((), (), refused="n4 was to leave", complaints={"n5": ("n1",)}))
    assert found[:2] == ["n4 was to leave", "n1 complain of n5"]
    stranger = participation_warnings(answers((), (), complaints={"n9": ("n1",), "n2": ("n9",)}))
    assert not any("complain" in text for text in stranger)
    assert "no adaptivity is left" in found[2]
    assert participation_warnings(answers((), policy="fixed")) == []


@pytest.mark.parametrize(
    ("nodes", "faults", "policy", "said"),
    [
        (4, 1, "fixed", "no adaptivity is left"),
        (4, 1, "adaptive", "no adaptivity is left"),
        (5, 1, "adaptive", "who lies or is slow loses its vote, 1 at most (floor 3T+1 = 4)"),
        (6, 1, "fixed", "nobody loses its vote by itself (N is 2 above the floor 3T+1 = 4)"),
    ],
)
def test_up_says_what_the_policy_may_do(nodes: int, faults: int, policy: str, said: str):
    assert said in Tolerance(nodes, faults, 4, True).adaptivity(policy)
    assert Tolerance(nodes, faults, 4, False).adaptivity(policy) == ""


def test_policy_show_says_who_has_more_votes_and_what_was_made_of_the_network():
    quorums = "threshold(4, n1=2, n2=2, n4=1, n5=1)"
    facts = policy_of(answers((), (), writes=quorums, reads=quorums, weighing="no other weights gain."))
    decides = facts["decides"]
    assert (decides.total, decides.threshold) == (6, 4)
    assert facts["weighing"] == {"n1": "no other weights gain.", "n2": "no other weights gain."}
    head, votes, *rest = policy_lines(facts)
    assert "quorum 4 of 6 votes (2 to 3 nodes)" in head
    assert votes == "votes: n1 (2 votes), n2 (2 votes), n4, n5"
    assert rest[0] == "weights follow the network, n1, n2 say: no other weights gain."


def test_explain_says_why_a_member_stays_that_should_leave():
    why = "n4 was to leave the committee, since it is proven to lie, but n1 approved of 6 others"
    found = answers((), (), (), refused=why, writes="choose(3, n1, n2, n4, n5)")
    assert explanation_of(found, "n4")["refused"] == [why]
    assert explanation_of(found, "n5")["refused"] == []


# What one member that lies may tell.

ODD = "[/x]\x1b[2J\n"
FAR = Evicted("n1", 99, ODD, 2**63 - 1, 2**63 - 1)


def with_a_liar(at: str = "n1", **told: object) -> dict:
    """Four members tell that n3 is out since it was slow; the one at `at` tells something else."""
    calm = answers(*((SLOW,) for _ in NAMES), connected=NAMES, leader="n2", writes="choose(3, n1, n2, n4, n5)")
    return calm | {at: replace(calm[at], **told)}


@pytest.mark.parametrize("at", ["n1", "n5"])
@pytest.mark.parametrize(
    "told",
    [
        {"evicted": (FAR, replace(FAR, node="n9"), replace(FAR, node="n3"))},
        {"evicted": (FAR, replace(FAR, node="n9")), "epoch": 99, "voters": ("n1", "n5")},
        {"evicted": (replace(SLOW, since_us=-(2**63), returns_in_us=None),)},
        {"evicted": (replace(SLOW, since_us=2**63 - 1, returns_in_us=2**63 - 1),)},
        {"policy": "fixed", "evicted": ()},
    ],
)
def test_what_one_liar_says_of_who_is_out_is_shown_nowhere(at: str, told: dict):
    found = with_a_liar(at, **told)
    (out,) = out_told(found)
    assert (out.node, out.reason) == ("n3", "slow")
    assert "(2023-11-14 22:13:20 UTC)" in out.line() and "returns in 6 s" in out.line()
    assert explanation_of(found, "n1")["text"] == "n1 votes, and nobody complains of it."
    assert policy_of(found)["policy"] == "adaptive"


def odd_fields() -> list[dict]:
    """Each field of a status with the oddest value of its type."""
    numbers, texts = (2**63 - 1, -(2**63) + 1), (ODD,)
    odd: list[dict] = []
    for field in msgspec.structs.fields(NodeStatus):
        kind = str(field.type)
        if field.type is int:
            odd += [{field.name: number} for number in numbers]
        elif field.type is str and field.name != "node":
            odd.append({field.name: ODD})
        elif kind.startswith("tuple[str"):
            odd.append({field.name: texts})
        elif kind == "dict[str, int]":
            odd.append({field.name: {ODD: numbers[0], "n1": numbers[1]}})
        elif kind == "dict[str, str]":
            odd.append({field.name: {ODD: ODD, "n1": ODD}})
        elif kind == "dict[str, tuple[str, ...]]":
            odd.append({field.name: {ODD: texts, "n1": texts}})
    return odd


@pytest.mark.parametrize("at", ["n1", "n5"])
@pytest.mark.parametrize("told", odd_fields(), ids=lambda told: next(iter(told)))
def test_no_field_of_a_liars_status_moves_a_cursor_or_ends_a_command_with_a_traceback(
    at: str, told: dict, capsys: pytest.CaptureFixture[str]
):
    found = {name: status_told(name, encode_status(each)) for name, each in with_a_liar(at, **told).items()}
    _draw(overview_of(found, 1_000_000))
    print("\n".join(policy_lines(policy_of(found))))
    print(*(explanation_of(found, node)["text"] for node in NAMES))
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err


def test_a_status_of_another_node_or_with_numbers_beyond_all_counting_is_none():
    with pytest.raises(msgspec.DecodeError, match="answers as 'n2'"):
        status_told("n1", encode_status(status_of("n2")))
    with pytest.raises(msgspec.DecodeError, match="a number that nothing counts to"):
        status_told("n1", encode_status(status_of("n1", matched={"n2": 10**400})))
    calm = status_of("n1")
    assert status_told("n1", encode_status(calm)) == calm


@pytest.mark.parametrize(("time_us", "year"), [(10**400, 9999), (-(10**400), 1970), (SLOW.since_us, 2023)])
def test_any_time_that_is_told_has_a_date(time_us: int, year: int):
    assert moment(time_us).year == year


# Nobody who tells.


def test_explaining_a_committee_of_which_nobody_answers_is_no_and_not_a_mistake(run, tmp_path):
    folder = tmp_path / "c"
    assert run("init", "--folder", folder, "--nodes", 5, "--model", "byzantine").exit_code == 0
    for command in (("explain", "n1"), ("policy", "show")):
        result = run(*command, "--config", folder / "cluster.toml")
        assert result.exit_code == 1 and "none answers" in result.stderr


def test_who_may_not_hear_how_members_are_hears_that_the_role_is_the_cause(run, tmp_path, monkeypatch):
    reason = "client.app asked how n1 is, but its role is data. Use an admin certificate."

    async def asked(place):
        return {node: Silence(node, reason, True) for node in NAMES}

    folder = tmp_path / "c"
    assert run("init", "--folder", folder, "--nodes", 5, "--model", "byzantine").exit_code == 0
    monkeypatch.setattr(explain_committee, "ask_all", asked)
    result = run("explain", "n1", "--config", folder / "cluster.toml")
    assert result.exit_code == 1 and reason in result.stderr


def test_what_a_member_says_of_its_weights_moves_no_cursor():
    (line,) = (
        each for each in policy_lines(policy_of(answers((), weighing="\x1b[2Jall is well."))) if "says" in each
    )
    assert line == "weights follow the network, n1 says: \\x1b[2Jall is well."
