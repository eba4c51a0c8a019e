"""Negative controls: the simulator, or a scene, breaks the right claim for each planted bug, else none."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from protocols.pbft.cluster import Cluster, request_of
from protocols.pbft.scene import (
    block_after,
    check_progress,
    lie,
    order,
    receive,
    requests,
    sign,
    started,
    tell,
    view_change_of,
)
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft import catch_up, view_change
from quorum.protocols.pbft.messages import Blocks, Commit, NewView, Prepare, Votes
from simulation.planted_byzantine import (
    BUGS,
    Bug,
    planted,
    primary_is_believed,
    run_with,
    run_without,
    signers_are_counted,
)
from simulation.planted_hunt import search


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_simulator_with_liars_catches(bug: Bug):
    hits = search(run_with, bug, range(bug.plan.seed, bug.plan.seed + bug.tries))
    assert hits, f"not caught; look for another: python -m tests.simulation.planted_byzantine '{bug.name}'"
    seed, outcome = hits[0]
    assert outcome.failure.startswith(bug.claims), outcome.failure
    assert run_without(bug, seed).failure == ""


def test_a_planted_bug_leaves_the_code_with_liars_as_it_was():
    bug = BUGS[0]
    before = [getattr(owner, name) for owner, name, _ in bug.patches]
    with planted(bug):
        assert [getattr(owner, name) for owner, name, _ in bug.patches] != before
    assert [getattr(owner, name) for owner, name, _ in bug.patches] == before


@pytest.mark.slow
def test_a_bug_is_caught_in_the_same_way_each_time_with_liars():
    bug = BUGS[-1]
    assert run_with(bug, bug.plan.seed) == run_with(bug, bug.plan.seed)


def forge_certificate(cluster: Cluster) -> None:
    """A liar alone gives a member that is behind a block of its own, signed by itself as often as a quorum has
    members."""
    cluster.cut = {(a, "n4") for a in ("n1", "n2", "n3")} | {("n4", a) for a in ("n1", "n2", "n3")}
    order(cluster, 1)
    cluster.liars.add("n3")
    fake = block_after(cluster, None, request_of("z", 1))
    vote = sign(cluster, "n3", VoteKind.COMMIT, 0, 1, fake.digest)
    receive(cluster, "n4", "n3", Blocks(0, 1, (), (("n3", vote),) * 3), fake.entry)
    cluster.cut = set()
    check_progress(cluster)


def test_a_certificate_with_one_signer_thrice_forks_who_counts_signatures():
    forge_certificate(started())
    with patch.object(catch_up, "_certificate_checks", signers_are_counted), pytest.raises(AssertionError):
        forge_certificate(started())


def forget_a_decision(cluster: Cluster) -> None:
    """One member alone knows that a block is decided; the next primary begins its view as if nobody did."""
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, Commit | Votes) and to not in ("n1",) else [(message, attached)]
    )
    cluster.submit(request_of("a", 1))
    cluster.run(0)
    assert cluster["n1"].state.commit_sequence == 1
    cluster.filter = None
    changes = tuple((name, view_change_of(cluster, name, 1)) for name in ("n2", "n2", "n2"))
    digest = view_change._digest_of(changes)
    new_view = NewView(1, changes, sign(cluster, "n2", VoteKind.NEW_VIEW, 1, 0, digest))
    cluster.cut = {(a, "n1") for a in ("n2", "n3", "n4")} | {("n1", a) for a in ("n2", "n3", "n4")}
    lie(cluster, "n2", lambda to, message, attached: [] if message.view == 0 else [(message, attached)])
    cluster["n2"].crash()
    for to in ("n3", "n4"):
        tell(cluster, "n2", to, new_view)
    other = block_after(cluster, None, request_of("z", 1))
    signature = sign(cluster, "n2", VoteKind.PREPARE, 1, 1, other.digest)
    commit = sign(cluster, "n2", VoteKind.COMMIT, 1, 1, other.digest)
    cluster.run(0)
    for to in ("n3", "n4"):
        tell(cluster, "n2", to, catch_up.PrePrepare(1, 1, signature), other.entry)
    cluster.run(0)
    for to in ("n3", "n4"):
        tell(cluster, "n2", to, Prepare(1, 1, other.digest, signature))
        tell(cluster, "n2", to, Commit(1, 1, other.digest, commit))
    cluster.run(0)
    cluster.cut = set()
    cluster["n2"].boot()
    check_progress(cluster, requests(2), within_us=10_000_000)


def test_a_primary_whose_word_is_taken_for_where_its_view_begins_loses_a_decision():
    forget_a_decision(started())
    believed = patch.object(view_change, "on_new_view", primary_is_believed)
    with believed, pytest.raises(AssertionError, match="differs"):
        forget_a_decision(started())
