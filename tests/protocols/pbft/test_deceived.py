"""A backup that followed the wrong one of a lying primary's chains, and learns it from a certificate."""

from __future__ import annotations

from random import Random

import pytest

from protocols.pbft.cluster import Cluster, Node, key_of, request_of
from protocols.pbft.scene import Sent, receive
from quorum.certificate.evidence import accused
from quorum.certificate.vote import VoteKind
from quorum.protocols import events
from quorum.protocols.pbft.messages import (
    Accusation,
    Blocks,
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    Shown,
    Status,
    ViewChange,
    Votes,
)
from quorum.protocols.pbft.state import STATUS_TIMER
from quorum.sim.adversary import Equivocates

STATUS_US = 100_000


Prepared = dict[tuple[int, int], set[bytes]]
"""What a node prepared at each place of each view, in all of its lives."""


def deceived_backup() -> tuple[Cluster, Node, Prepared]:
    """n1 tells n2 another block 1 and another block 2. n3 and n4 decide block 1, then n4 is cut off."""
    cluster = Cluster().boot()
    cluster.liars.add("n1")
    liar = Equivocates("n1", cluster.committee, lambda data: key_of("n1").sign(data).signature, Random(0))
    prepared: Prepared = {}

    def send(
        source: str, to: str, message: object, attached: tuple[bytes, ...]
    ) -> list[tuple[object, tuple[bytes, ...]]]:
        if source == "n2" and isinstance(message, Prepare):
            prepared.setdefault((message.view, message.sequence), set()).add(message.digest)
        if isinstance(message, Accusation | Shown):
            return []  # nobody is shown or told anything yet, or the primary would be left at once
        return liar.lie(to, message, attached) if source == "n1" else [(message, attached)]

    cluster.filter = send
    cluster.submit(request_of("c", 1))
    while cluster.deliver():
        pass
    assert set(cluster["n3"].decided) == set(cluster["n4"].decided) == {1}
    for other in ("n1", "n2", "n3"):
        cluster.cut |= {("n4", other), (other, "n4")}
    cluster.submit(request_of("c", 2))
    while cluster.deliver():
        pass
    node = cluster["n2"]
    assert not node.decided
    assert (node.state.view, node.state.chain.last) == (0, 2)
    assert (VoteKind.PREPARE, 2) in node.state.here.own_votes
    return cluster, node, prepared


def until_caught_up(cluster: Cluster, node: Node) -> None:
    began_us = cluster.now_us
    while not node.decided:
        cluster.run(STATUS_US // 4)
        assert cluster.now_us < began_us + 10 * STATUS_US


def test_it_votes_for_nothing_more_in_that_view() -> None:
    """PBFT, section 4.3: a backup accepts one pre-prepare for a view and sequence number."""
    cluster, node, prepared = deceived_backup()
    until_caught_up(cluster, node)
    cluster.cut.clear()
    cluster.run(20 * STATUS_US)
    assert prepared and all(len(digests) == 1 for digests in prepared.values())
    assert len(set(cluster.requests_decided())) == 2
    assert all(len(each.decided) >= 2 for each in cluster.honest())
    assert {accused(each) for each in cluster.evidence} <= {"n1"}  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_it_does_not_after_a_crash_in_that_very_moment_either(kept: int) -> None:
    """Whatever part of what it wrote is durable: the votes of its first life are known, or their view is left."""
    cluster, node, prepared = deceived_backup()
    cluster.instant_disks = False
    while not node.staged:
        if not cluster.deliver():
            cluster.now_us += STATUS_US
            assert cluster.now_us < 10 * STATUS_US
            for name in ("n2", "n3"):
                cluster[name].step(events.TimerFired(cluster[name].now_us, STATUS_TIMER))
        cluster["n3"].sync()
    for _, record in list(node.staged)[:kept]:
        node.disk.write(record)
    node.staged.clear()
    node.crash()
    node.boot(first=False)
    cluster.instant_disks = True
    cluster.cut.clear()
    cluster.run(40 * STATUS_US)
    assert prepared and all(len(digests) == 1 for digests in prepared.values())
    assert len(set(cluster.requests_decided())) == 2
    assert {accused(each) for each in cluster.evidence} <= {"n1"}  # type: ignore[arg-type]


def test_a_primary_that_was_left_proposes_nothing_more_where_a_later_view_decided() -> None:
    """It hears of the decision before it hears of the view, and has proposed other blocks at those places."""
    cluster = Cluster().boot()
    for other in ("n2", "n3", "n4"):
        cluster.cut |= {("n1", other), (other, "n1")}
    cluster.submit(request_of("d", 1), to=("n2", "n3", "n4"))
    cluster.run(20 * STATUS_US)
    assert set(cluster["n2"].decided) == {1}
    node = cluster["n1"]
    for number in range(1, 4):
        cluster.submit(request_of("c", number), to=("n1",))
    assert node.state.chain.last == 3
    cluster.cut.clear()
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, NewView | ViewChange) else [(message, attached)]
    )
    until_caught_up(cluster, node)
    assert (node.state.view, node.state.active, node.state.decided_view) == (0, True, 1)
    cluster.submit(request_of("c", 4))
    cluster.filter = None
    cluster.run(20 * STATUS_US)
    assert len(set(cluster.requests_decided())) == 5
    assert not cluster.evidence


def test_what_an_earlier_life_voted_for_in_the_chain_is_known_when_others_take_its_place() -> None:
    """n2 alone knows that block 1 is prepared, votes to commit it, and restarts. The others decide another one, of
    which it hears by a certificate for the block after it, so that its claim stays. Then the liar, as if nothing
    had been decided, asks it for its votes of the first view again."""
    cluster = Cluster().boot()
    cluster.liars.add("n1")
    signed: dict[tuple[int, int, int], set[bytes]] = {}

    def note(message: object) -> None:
        if isinstance(message, Votes):
            for kind, sequence, digest, _ in message.votes:
                signed.setdefault((kind, message.view, sequence), set()).add(digest)
        elif isinstance(message, Prepare | Commit):
            kind = int(VoteKind.PREPARE if isinstance(message, Prepare) else VoteKind.COMMIT)
            signed.setdefault((kind, message.view, message.sequence), set()).add(message.digest)

    def to_n2_alone(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        if source == "n2":
            note(message)
        is_lost = isinstance(message, Prepare | Commit) and to != "n2"
        return [] if is_lost or (isinstance(message, PrePrepare) and to == "n4") else [(message, attached)]

    cluster.filter = to_n2_alone
    cluster.submit(request_of("c", 1))
    while cluster.deliver():
        pass
    node = cluster["n2"]
    assert node.state.claim.claim.sequence == 1 and not any(each.decided for each in cluster.nodes.values())
    for other in ("n1", "n3", "n4"):
        cluster.cut |= {("n2", other), (other, "n2")}

    def nothing_for_n2_but_statuses(
        source: str, to: str, message: object, attached: tuple[bytes, ...]
    ) -> list[Sent]:
        if source == "n2":
            note(message)
        is_of_it = isinstance(message, Prepare | Commit | Votes | PrePrepare) and message.view == 0
        return [] if is_of_it or (to == "n2" and not isinstance(message, Status)) else [(message, attached)]

    cluster.filter = nothing_for_n2_but_statuses
    node.crash()
    for number in (2, 3):
        cluster.submit(request_of("c", number), to=("n1", "n3", "n4"))
        cluster.run(60 * STATUS_US)
    other = cluster["n3"]
    assert set(other.decided) == {1, 2} and other.decided[1] != node.disk.entries[0]

    node.boot(first=False)
    cluster.cut = {("n1", "n2")}
    view, signatures = other.state.certificates[2]
    assert view > 0
    blocks = Blocks(view, 1, other.state.chain.headers(2, 2), signatures)
    receive(cluster, "n2", "n3", blocks, other.decided[1])
    assert set(node.decided) == {1} and node.state.claim.claim.view == 0, "its claim is of the block it lost"
    for _ in range(3):
        receive(cluster, "n2", "n1", Status(0, True, 0, 0, 0))
        cluster.run(STATUS_US)
    assert node.state.view == 0
    assert len(signed[VoteKind.PREPARE, 0, 1]) == len(signed[VoteKind.COMMIT, 0, 1]) == 1
    assert {accused(each) for each in cluster.evidence} <= {"n1"}  # type: ignore[arg-type]
