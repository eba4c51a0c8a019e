"""Who may ask to come back, with which key, and what it has to show: what each member checks by itself."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from quorum.certificate.readmission import (
    Readmission,
    ShownState,
    readmission_statement,
    shown_statement,
)
from quorum.membership.evictions import OPERATORS, SLOW
from quorum.runtime.messages import AskReadmission, Complaints, ShowState
from quorum.runtime.readmissions import Readmissions
from quorum.sim.byzantine_world import Key

from .adaptive_scene import Scene

pytestmark = pytest.mark.slow

Blamed = list[tuple[str, str, str]]


def scene_without_n3() -> Scene:
    """n3 stopped, and was evicted for it."""
    scene = Scene()
    scene.crash("n3")
    assert scene.evicted("n3")
    return scene


def request_of(
    scene: Scene, node: str = "n3", attested_by: Key | None = None, **other: Any
) -> tuple[Readmission, Key]:
    fresh = scene.new_key(node)
    out = scene.keepers["n1"].evictions.of(node)
    since = 2 if out is None else out.epoch
    request = replace(Readmission(node, fresh.public, since, b"", b""), **other)
    statement = readmission_statement(request, "simulated")
    old = attested_by or scene._keys[node]
    return replace(request, possession=fresh.sign(statement), attestation=old.sign(statement)), fresh


def give(scene: Scene, message: object, sender: str = "n3", to: str = "n1") -> Blamed:
    """What `to` says of the sender, of whom this message comes."""
    blamed: Blamed = []
    with patch.object(Scene, "misbehaved", lambda self, by, node, what: blamed.append((by, node, what))):
        scene.nodes[to].receive(sender, message, ())
    return blamed


def asked(scene: Scene, at: str = "n1") -> dict[str, Readmission]:
    return scene.keepers[at]._readmissions._requests


def test_a_request_that_the_old_key_attests_counts():
    scene = scene_without_n3()
    request, _ = request_of(scene)
    assert give(scene, AskReadmission(request)) == []
    assert asked(scene) == {"n3": request}


@pytest.mark.parametrize("by", ["n4", "possession"])
def test_a_request_that_another_key_attests_or_whose_key_somebody_else_holds_is_refused_and_its_sender_named(
    by: str,
):
    scene = scene_without_n3()
    request, _ = request_of(scene, attested_by=scene._keys["n4"] if by == "n4" else None)
    if by == "possession":
        request = replace(request, possession=bytes(64))
    assert give(scene, AskReadmission(request)) == [
        ("n1", "n3", "asked to come back with a signature that is wrong")
    ]
    assert asked(scene) == {}


def test_a_request_is_taken_from_nobody_but_its_node_and_of_nobody_who_has_a_vote():
    scene = scene_without_n3()
    request, _ = request_of(scene)
    assert give(scene, AskReadmission(request), sender="n2") == []
    member, _ = request_of(scene, "n4")
    assert give(scene, AskReadmission(member), sender="n4") == []
    assert asked(scene) == {}


def test_a_request_of_another_epoch_or_with_a_key_that_was_used_does_not_count():
    scene = scene_without_n3()
    other, _ = request_of(scene, since=7)
    used, _ = request_of(scene, public_key=scene.public_key("n4"))
    assert give(scene, AskReadmission(other)) == give(scene, AskReadmission(used)) == []
    assert asked(scene) == {}


def test_a_key_that_is_no_point_of_the_curve_is_refused_and_its_sender_named():
    scene = scene_without_n3()
    odd, _ = request_of(scene, public_key=bytes(32))
    assert give(scene, AskReadmission(odd)) == [("n1", "n3", "asked to come back with a key that is none")]


def test_of_two_keys_that_one_node_attests_the_first_counts():
    scene = scene_without_n3()
    first, _ = request_of(scene)
    second, _ = request_of(scene)
    give(scene, AskReadmission(first))
    give(scene, AskReadmission(second))
    assert asked(scene) == {"n3": first}


def test_of_two_that_ask_with_one_key_the_second_is_wanted_no_more_once_the_first_is_in():
    """It could never be: by name it would be wanted before others, and in vain."""
    scene = Scene(nodes=6)
    for name in ("n2", "n3"):
        scene.crash(name)
        assert scene.evicted(name)
    shared = scene.new_key("n3")
    with patch.object(Scene, "new_key", lambda self, name: shared):
        scene.restart("n3")
        assert scene.until(lambda: "n3" in asked(scene))
        same, _ = request_of(scene, "n2")
    for name in ("n1", "n4", "n5", "n6"):
        give(scene, AskReadmission(same), sender="n2", to=name)
    assert sorted(asked(scene)) == ["n2", "n3"]
    assert scene.readmitted("n3")
    scene.go_on(1)
    assert asked(scene) == {}


# What it shows.


def shown_by(scene: Scene, request: Readmission, key: Key, **other: Any) -> ShownState:
    state = scene.state("n1")
    height, (state_height, root) = state.commit_sequence, state.newest_root
    digest = state.chain.digest(height)
    shown = replace(ShownState("n3", scene.now_us, height, digest, state_height, root, b""), **other)
    return replace(shown, signature=key.sign(shown_statement(shown, "simulated", request.since)))


def good_since(scene: Scene) -> int | None:
    return scene.keepers["n1"]._readmissions._returns._known["n3"].good_since_us


@pytest.mark.parametrize(
    ("other", "is_right"),
    [
        ({}, True),
        ({"digest": bytes([1]) * 32}, False),
        ({"state_root": bytes([1]) * 32}, False),
        ({"state_height": 1}, False),
        ({"height": 1}, False),
    ],
    ids=str,
)
def test_what_is_shown_must_be_the_block_and_the_state_of_the_others(other: dict[str, Any], is_right: bool):
    scene = scene_without_n3()
    scene.go_on(8)
    request, key = request_of(scene)
    give(scene, AskReadmission(request))
    assert give(scene, ShowState(shown_by(scene, request, key))) == []
    assert good_since(scene) is not None
    scene.go_on(0.2)
    give(scene, ShowState(shown_by(scene, request, key, **other)))
    assert (good_since(scene) is not None) == is_right


def test_what_is_ahead_of_this_member_is_neither_right_nor_wrong():
    scene = scene_without_n3()
    request, key = request_of(scene)
    give(scene, AskReadmission(request))
    give(scene, ShowState(shown_by(scene, request, key, height=1 << 40)))
    assert good_since(scene) is None


def test_what_was_shown_before_counts_once_and_what_another_key_signed_is_refused():
    scene = scene_without_n3()
    request, key = request_of(scene)
    give(scene, AskReadmission(request))
    shown = shown_by(scene, request, key)
    give(scene, ShowState(shown))
    scene.go_on(6)
    give(scene, ShowState(shown))
    assert (
        scene.keepers["n1"]._readmissions._returns._known["n3"].shown_us
        < scene.nodes["n1"].clock.now_us() - 5_000_000
    )
    forged = shown_by(scene, request, scene._keys["n4"])
    assert give(scene, ShowState(forged)) == [("n1", "n3", "showed a state with a signature that is wrong")]


YEAR_US = 365 * 24 * 3600 * 1_000_000


def clock_set_back(scene: Scene) -> bool:
    """n3 asks to come back by a clock that is a year ahead, and again once it is right. Whether it comes back."""
    clock = scene.nodes["n3"].clock
    clock.jump(YEAR_US)
    scene.restart("n3")
    shown = [scene.keepers[name]._readmissions._newest for name in OTHERS]
    assert scene.until(lambda: all("n3" in each for each in shown))
    asked_then = asked(scene)["n3"]
    scene.crash("n3")
    clock.jump(-YEAR_US)
    scene.restart("n3")
    returned = scene.readmitted("n3")
    assert asked_then.public_key == scene.public_key("n3"), "its request outlived both lives"
    return returned


def test_a_node_whose_clock_was_a_year_ahead_comes_back_once_it_is_set_right():
    """Its life with the wrong clock numbered what it showed by it; nobody waits until that time has come."""
    assert clock_set_back(scene_without_n3())


def test_with_numbers_alone_nobody_hears_a_node_whose_clock_was_set_back():
    def by_number(self: Readmissions, shown: ShownState) -> bool:
        return shown.number > self._newest.get(shown.node, (0, 0))[1]

    with patch.object(Readmissions, "_is_newer", by_number):
        assert not clock_set_back(scene_without_n3())


# Why somebody left.


def test_a_member_that_missed_why_somebody_left_learns_it_from_the_complaints_that_others_show():
    scene = scene_without_n3()
    keeper = scene.keepers["n1"]
    known = keeper.evictions.of("n3")
    assert known is not None and known.reason == SLOW
    keeper.evictions.note(replace(known, reason=OPERATORS, complaints=()))
    give(scene, Complaints(known.complaints[:1]), sender="n2")
    assert keeper.evictions.of("n3").reason == OPERATORS, "one complaint may be a lie"
    forged = tuple(replace(word, signature=bytes(64)) for word in known.complaints)
    assert give(scene, Complaints(forged), sender="n2") == [
        ("n1", "n2", "sent a complaint with a signature that is wrong")
    ]
    assert keeper.evictions.of("n3").reason == OPERATORS
    scene.go_on(1)
    assert give(scene, Complaints(known.complaints), sender="n4") == []
    assert keeper.evictions.of("n3").reason == SLOW


def test_of_many_complaints_so_many_are_shown_that_they_prove_it_and_no_more():
    """All of a large committee would be more than anybody reads of one message, and name an honest sender."""
    scene = scene_without_n3()
    scene.go_on(3)
    known = scene.keepers["n1"].evictions.of("n3")
    assert known is not None and len(known.complaints) == 4
    request, _ = request_of(scene)
    given: list[Complaints] = []
    with patch.object(type(scene.keepers["n1"]), "broadcast", lambda self, message: given.append(message)):
        give(scene, AskReadmission(request))
    assert [len(each.complaints) for each in given] == [2]


def test_reasons_outlive_a_restart_of_everybody():
    scene = scene_without_n3()
    for name in ("n1", "n2", "n4", "n5"):
        scene.crash(name, seen=False)
    for name in ("n1", "n2", "n4", "n5"):
        scene.restart(name)
    scene.go_on(1)
    assert scene.reasons() == {"n3": SLOW}
    scene.restart("n3")
    assert scene.readmitted("n3", 30_000_000)


def test_a_flood_of_messages_about_the_committee_is_read_up_to_its_share_of_a_turn():
    scene = Scene(behaviours={"n5": "silent-to-some"})
    scene.go_on(1)
    asked_before = scene.verifier.asked
    for number in range(200):
        word = scene.keepers["n5"]._complain("n2", True, (1 << 60) + number)
        give(scene, Complaints((word,)), sender="n5")
    assert scene.verifier.asked - asked_before <= 2 * 8


OTHERS = ("n1", "n2", "n4", "n5")


@pytest.mark.parametrize("moment", ["approved", "decided"])
def test_a_power_cut_in_the_middle_of_an_eviction_loses_no_reason(moment: str):
    scene = Scene()
    scene.crash("n3")
    if moment == "approved":
        reached = scene.until(lambda: all(scene.keepers[name]._acted_on for name in OTHERS))
    else:
        reached = scene.until(lambda: all(scene.state(name).committee.epoch == 2 for name in OTHERS))
    assert reached
    for name in OTHERS:
        scene.crash(name, seen=False)
    for name in OTHERS:
        scene.restart(name)
    assert scene.evicted("n3", 20_000_000)
    assert [scene.keepers[name].evictions.of("n3").reason for name in OTHERS] == [SLOW] * 4
    scene.restart("n3")
    assert scene.readmitted("n3", 30_000_000)
