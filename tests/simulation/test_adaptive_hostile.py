"""Whatever a member or a follower says of a committee that adapts, in any form that the wire lets through: no
node falls over it, nobody loses a vote by it, and what is kept of it is bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.certificate.complaint import Complaint, complaint_statement
from quorum.certificate.evidence import Claim, Equivocation, HiddenVote, SignedVote
from quorum.certificate.latency_report import LatencyReport, latency_statement
from quorum.certificate.readmission import (
    Readmission,
    ShownState,
    is_in_form,
    readmission_statement,
    shown_statement,
)
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.settings import Settings
from quorum.runtime.messages import (
    AskReadmission,
    Complaints,
    GiveEvidence,
    ProposeWeights,
    ReportLatency,
    ShowState,
)
from quorum.sim.byzantine_weighing import WeighedCommitteeWorld
from quorum.sim.byzantine_world import Key

from .adaptive_scene import Scene

pytestmark = pytest.mark.slow

NAMES = st.sampled_from(("n1", "n2", "n3", "n4", "n5", "n9", "", "\x1b[2J", "n" * 1000))
NUMBERS = st.one_of(
    st.integers(-3, 40), st.sampled_from((-(2**63), 2**63 - 1, 2**64 - 1, 10**9, 10**9 - 1, 1_700_000_000_000_000))
)
BYTES = st.one_of(st.sampled_from((b"", bytes(31), bytes(32), bytes(64), b"\xff" * 32, bytes(5000))), st.binary())
VOTES = st.builds(SignedVote, NAMES, st.sampled_from(VoteKind), NUMBERS, NUMBERS, BYTES, BYTES)
CLAIMS = st.builds(Claim, NUMBERS, NUMBERS, BYTES)
WORDS = st.builds(Complaint, NAMES, NAMES, NUMBERS, NUMBERS, NUMBERS, st.booleans(), BYTES)
MESSAGES = st.one_of(
    st.builds(Complaints, st.lists(WORDS, max_size=4).map(tuple)),
    st.builds(Complaints, st.builds(lambda word: (word,) * 200, WORDS)),
    st.builds(AskReadmission, st.builds(Readmission, NAMES, BYTES, NUMBERS, BYTES, BYTES)),
    st.builds(ShowState, st.builds(ShownState, NAMES, NUMBERS, NUMBERS, BYTES, NUMBERS, BYTES, BYTES)),
    st.builds(GiveEvidence, st.builds(Equivocation, VOTES, VOTES)),
    st.builds(GiveEvidence, st.builds(HiddenVote, VOTES, VOTES, CLAIMS)),
)
BOUND = 30 + 6
"""Each of six members says one thing of each of the others; of n3, which is out, each member keeps a few."""
SENDERS = st.sampled_from(("n2", "n3", "n9"))


def kept(scene: Scene) -> int:
    """How much n1 holds of what others said."""
    keeper = scene.keepers["n1"]
    again = keeper._readmissions
    words = sum(map(len, keeper.book._words.values()))
    return words + sum(
        len(each)
        for each in (
            keeper._lies,
            keeper.evictions.all(),
            again._requests,
            again._newest,
            again._testified_us,
            again._returns._known,
        )
    )


class Deaf(Scene):
    """Accusations are what is looked for. `old` and `fresh` are keys of n3."""

    old: Key
    fresh: Key

    def misbehaved(self, by: str, node: str, what: str) -> None:
        """Whoever it is."""


def signed(scene: Deaf, message: Any) -> Any:
    """With the right signatures of n2, or of n3 under its old key and a fresh one, where it can be signed."""
    committee = scene.state().committee
    match message:
        case Complaints(words):
            return Complaints(
                tuple(
                    replace(word, signature=scene._keys["n2"].sign(complaint_statement(word, committee)))
                    if min(word.number, word.height) >= 0
                    else word
                    for word in words
                )
            )
        case AskReadmission(request) if request.since >= 0:
            request = replace(request, public_key=scene.fresh.public)
            statement = readmission_statement(request, "simulated")
            proofs = scene.fresh.sign(statement), scene.old.sign(statement)
            return AskReadmission(replace(request, possession=proofs[0], attestation=proofs[1]))
        case ShowState(shown) if is_in_form(shown):
            statement = shown_statement(shown, "simulated", 2)
            return ShowState(replace(shown, signature=scene.fresh.sign(statement)))
    return message


@pytest.fixture(scope="module")
def scene() -> Deaf:
    """n2 lies, and n3 is out: either may say anything of itself, too."""
    made = Deaf(nodes=6, behaviours={"n2": "silent-to-some"})
    made.old, made.fresh = made._keys["n3"], made.new_key("n3")
    made.crash("n3")
    assert made.evicted("n3")
    return made


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(said=st.lists(st.tuples(SENDERS, MESSAGES, st.booleans()), min_size=1, max_size=6))
def test_odd_words_fell_nobody_evict_nobody_and_fill_no_memory(scene: Deaf, said: list[tuple[str, Any, bool]]):
    members = scene.members
    for sender, message, is_signed in said:
        message = signed(scene, message) if is_signed else message
        for name in ("n1", "n4"):
            scene.nodes[name].receive(sender, message, ())
    scene.go_on(0.05)
    assert scene.members == members
    assert kept(scene) <= BOUND
    assert not scene.keepers["n1"].liars


# Weights that follow the network.

ROWS = st.lists(st.tuples(NAMES, NUMBERS), max_size=5).map(tuple)
SORTED_ROWS = ROWS.map(lambda row: tuple(sorted(dict(row).items())))
REPORTS = st.builds(LatencyReport, NAMES, st.sampled_from((0, 1, 2)), NUMBERS, st.one_of(ROWS, SORTED_ROWS), BYTES)
OF_WEIGHTS = st.one_of(
    st.builds(ReportLatency, REPORTS),
    st.builds(ProposeWeights, NUMBERS, st.lists(REPORTS, max_size=4).map(tuple)),
    st.builds(ProposeWeights, st.just(1), st.lists(REPORTS, max_size=4).map(tuple)),
    st.builds(lambda report: ProposeWeights(1, (report,) * 2000), REPORTS),
)


class DeafToReports(WeighedCommitteeWorld):
    def misbehaved(self, by: str, node: str, what: str) -> None:
        """Whoever it is."""


def signed_report(world: WeighedCommitteeWorld, report: LatencyReport) -> LatencyReport:
    committee = world.newest_committee()
    assert committee is not None
    if report.by not in committee.keys or not 0 <= report.number < 2**64:
        return report
    return replace(report, signature=world._keys["n1"].sign(latency_statement(report, committee)))


@pytest.fixture(scope="module")
def weighed() -> WeighedCommitteeWorld:
    """n1, which orders, lies."""
    made = DeafToReports(1, 5, 1, {"n1": "silent-to-some"}, Settings(view_timeout_us=20_000_000))
    made.boot()
    made.run(5_000_000)
    return made


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(said=st.lists(st.tuples(OF_WEIGHTS, st.booleans()), min_size=1, max_size=6))
def test_odd_reports_of_round_trips_fell_nobody_and_change_no_weights(
    weighed: WeighedCommitteeWorld, said: list[tuple[Any, bool]]
):
    for message, is_signed in said:
        if is_signed and isinstance(message, ReportLatency):
            message = ReportLatency(signed_report(weighed, message.report))
        elif is_signed:
            reports = tuple(signed_report(weighed, report) for report in message.reports)
            message = ProposeWeights(message.epoch, reports)
        for name in ("n2", "n3"):
            for sender in ("n1", "n9"):
                weighed.nodes[name].receive(sender, message, ())
    weighed.run(weighed.now_us + 600_000)
    committee = weighed.newest_committee()
    assert committee is not None and {member.weight for member in committee.members} == {1}
    assert len(weighed.weighers["n2"].proposals._held) <= 5
