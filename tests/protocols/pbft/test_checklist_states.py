"""States: named in blocks, offered to who is far behind, and equal at every honest member.

Rows 32 and 48 to 50 of the adversarial checklist (tests/README.md), and what of row 33 needs no real snapshots.
The rest of it, and row 34, are in tests/simulation/test_byzantine_states.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from protocols.pbft.cluster import Cluster, request_of
from protocols.pbft.scene import (
    ONE,
    SIZES,
    TIMEOUTS_US,
    block_after,
    check_progress,
    complaints,
    lie,
    newest,
    order,
    propose_as,
    receive,
    requests,
    sent_votes,
    started,
    views,
)
from quorum.protocols import effects, events
from quorum.protocols.pbft.messages import Blocks, Fetch, Offer, PrePrepare, Status


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_32_a_primary_that_names_another_state_is_not_followed(count: int, faults: int) -> None:
    """Departure: there is no vote of its own for checkpoints. A block names the root of a state, and is prepared
    only by members whose own state has that root."""
    cluster = started(count, faults)
    blocks = cluster.settings.state_blocks
    made = order(cluster, blocks)
    lie(cluster, "n1", lambda to, message, attached: [])
    wrong = block_after(cluster, newest(cluster, "n2"), request_of("b", 1), state=(blocks, ONE))
    propose_as(cluster, "n1", 0, wrong)
    cluster.run(0)
    assert {node.state.chain.last for node in cluster.honest()} == {blocks}
    assert len([what for what in complaints(cluster, "n1") if "another state" in what]) == count - 1
    cluster.run(TIMEOUTS_US)
    check_progress(cluster, made)
    assert min(views(cluster)) == 1


def far_behind(cluster: Cluster, node: str) -> list[bytes]:
    """Leave a member so far behind that the blocks it misses are gone everywhere; return all that was decided."""
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if node in (a, b)}
    settings = cluster.settings
    made = order(cluster, 4 * settings.state_blocks + settings.log_kept_blocks)
    cluster.run(500_000)
    cluster.cut = set()
    return made


def watch_sent(cluster: Cluster, heard: Callable[[str, str, object], None]) -> None:
    """From now on `heard(source, to, message)` is told of every message that leaves."""
    before = cluster.filter

    def watched(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list:
        heard(source, to, message)
        return [(message, attached)] if before is None else before(source, to, message, attached)

    cluster.filter = watched


WAYS = {
    "another root": lambda offer: msgspec.structs.replace(
        offer, mark=msgspec.structs.replace(offer.mark, state_root=ONE)
    ),
    "another block": lambda offer: msgspec.structs.replace(
        offer, mark=msgspec.structs.replace(offer.mark, index=offer.mark.index + 1)
    ),
    "too few signatures": lambda offer: msgspec.structs.replace(offer, signatures=offer.signatures[:-1]),
    "a signature twice": lambda offer: msgspec.structs.replace(
        offer, signatures=(*offer.signatures[:-1], offer.signatures[-2])
    ),
    "a header left out": lambda offer: msgspec.structs.replace(offer, headers=offer.headers[1:]),
    "no headers": lambda offer: msgspec.structs.replace(offer, headers=()),
    "another view": lambda offer: msgspec.structs.replace(offer, view=offer.view + 1),
    "a header of another length": lambda offer: msgspec.structs.replace(
        offer, headers=(*offer.headers[:-1], offer.headers[-1] + b"\x00")
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("count", "faults"), [(4, 1), (6, 1), (9, 2)])
def test_row_32_a_state_is_fetched_only_if_a_certificate_names_its_root(count: int, faults: int, way: str) -> None:
    """The liars lie alike; one honest offer is enough."""
    cluster = started(count, faults)
    last = cluster.committee.nodes[-1]
    made = far_behind(cluster, last)
    offered: list[str] = []

    def wrong(to: str, message: object, attached: tuple[bytes, ...]) -> list:
        if isinstance(message, Offer):
            offered.append(to)
            return [(WAYS[way](message), attached)]
        return [(message, attached)]

    for node in cluster.committee.nodes[:faults]:
        lie(cluster, node, wrong)
    fetched: list[str] = []
    fetch = cluster.fetch_snapshot

    def watched(node, source: str, mark: events.SnapshotMark) -> None:
        fetched.append(source)
        fetch(node, source, mark)

    cluster.fetch_snapshot = watched
    check_progress(cluster, made)
    assert offered and fetched and not set(fetched) & cluster.liars
    assert complaints(cluster, "n1")


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_33_a_height_that_is_claimed_and_then_a_lower_one_moves_nobody(count: int, faults: int) -> None:
    """The row is of engines that sync up to a height that a peer told them, and so must ban one that lowers it.
    Counterpart: a status is a hint whom to ask, and costs one request a turn. What is reached is in a certificate,
    so a claim can be neither too high nor go back. Honest members do go back (the next test): nobody is banned."""
    cluster = started(count, faults)
    last = cluster.committee.nodes[-1]
    made = far_behind(cluster, last)
    claims = itertools.cycle((10**6, 2**63, 3, 0))

    def lowers(to: str, message: object, attached: tuple[bytes, ...]) -> list:
        if isinstance(message, Status):
            height = next(claims)
            return [(replace(message, last=height, prepared=height, committed=height), attached)]
        return [] if isinstance(message, Offer | Blocks) else [(message, attached)]

    for node in cluster.committee.nodes[:faults]:
        lie(cluster, node, lowers)
    asked: list[str] = []
    watch_sent(cluster, lambda source, to, message: asked.append(to) if isinstance(message, Fetch) else None)
    cluster.run(TIMEOUTS_US)
    decided = len(cluster.log)
    assert {node.state.commit_sequence for node in cluster.honest()} == {decided}
    turns = TIMEOUTS_US // cluster.settings.status_us
    honest = len(cluster.honest())
    assert 0 < len([to for to in asked if to in cluster.liars]) <= 2 * (turns + 1) * honest * faults
    assert not complaints(cluster, "n1")
    check_progress(cluster, made)


def test_row_33_an_honest_member_goes_back_too_as_what_it_decided_need_not_be_durable() -> None:
    cluster = started()
    told: list[int] = []

    def heard(source: str, to: str, message: object) -> None:
        if source == "n3" and isinstance(message, Status):
            told.append(message.committed)

    watch_sent(cluster, heard)
    made = order(cluster, cluster.settings.state_blocks - 2)
    cluster.run(200_000)
    cluster["n3"].crash()
    cluster["n3"].boot()
    cluster.run(200_000)
    assert any(later < before for before, later in itertools.pairwise(told))
    check_progress(cluster, made)  # and nobody is blamed


def test_row_33_an_older_state_that_is_offered_after_a_newer_one_takes_nobody_back() -> None:
    """Both are certified. The older one is a true one, and of no use once the newer is here."""
    cluster = started()
    blocks = cluster.settings.state_blocks
    made = far_behind(cluster, "n4")
    offered: list[Offer] = []
    cluster.filter = lambda source, to, message, attached: (
        offered.append(message) or [] if isinstance(message, Offer) else [(message, attached)]
    )
    cluster.run(500_000)
    made += order(cluster, 3 * blocks, "b")
    cluster.filter = None
    cluster.run(2_000_000)
    older, reached = offered[0], cluster["n4"].state.commit_sequence
    assert older.mark.index < cluster["n4"].disk.snapshot.index <= reached
    fetched: list[int] = []
    cluster.fetch_snapshot = lambda node, source, mark: fetched.append(mark.index)
    cluster.liars.add("n2")
    for view in (older.view, cluster["n4"].state.view):
        receive(cluster, "n4", "n2", replace(older, view=view))
    assert cluster["n4"].state.commit_sequence == reached and not fetched
    check_progress(cluster, made)


def test_row_48_a_member_whose_state_differs_refuses_every_block_that_names_the_state() -> None:
    """An application that is not deterministic at one member: its root differs, and the others go on without it.
    What it says of the primary is wrong, so a report without evidence convicts nobody."""
    cluster = started()
    odd = cluster["n4"]
    root_at = cluster.root_at
    cluster.root_at = lambda index, node: ONE if node is odd and index in odd.decided else root_at(index, node)
    cluster.liars.add("n4")
    made = order(cluster, 3 * cluster.settings.state_blocks)
    cluster.run(2_000_000)
    assert any("another state" in report.what for report in odd.reports)
    assert all(report.evidence is None for report in odd.reports)
    check_progress(cluster, made)
    assert {node.state.chain.newest.header.state_root for node in cluster.honest()} != {ONE}


def test_row_48_a_primary_whose_state_differs_is_replaced() -> None:
    cluster = started()
    odd = cluster["n1"]
    root_at = cluster.root_at
    cluster.root_at = lambda index, node: ONE if node is odd else root_at(index, node)
    cluster.liars.add("n1")
    made = requests(3 * cluster.settings.state_blocks)
    for each in made:
        cluster.submit(each)
        cluster.run(20_000)
    check_progress(cluster, made)
    assert min(views(cluster)) > 0


def test_row_49_what_is_in_a_request_is_nothing_to_the_order() -> None:
    """The application answers a poisonous request with an error; consensus never looks inside (the answer:
    tests/simulation/test_byzantine_liars.py)."""
    cluster = started()
    poison = request_of("a", 1, b"\xff" * 1000)
    cluster.submit(poison)
    check_progress(cluster, [poison])


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_50_a_member_whose_disk_is_full_stops_voting_and_says_nothing_false(count: int, faults: int) -> None:
    """Nothing that promises durability leaves; the others decide, and it votes again when there is space."""
    cluster = started(count, faults)
    full = cluster[cluster.committee.nodes[-1]]
    order(cluster, 2)
    votes = sent_votes(cluster)
    sync, full.sync = full.sync, lambda: None
    staged = full.staged
    made = []
    for number in range(3, 9):
        made.append(request_of("a", number))
        for node in cluster.nodes.values():
            node.step(events.Submitted(node.now_us, (made[-1],)))
        while cluster.deliver():
            pass
    assert set(made) <= set(cluster.requests_decided())
    assert staged and not [vote for vote in votes if vote.member == full.name and vote.sequence > 2]
    full.sync = sync
    full.sync()
    check_progress(cluster, made)


def test_row_50_nothing_leaves_behind_a_record_that_is_not_durable() -> None:
    """The order of effects is the promise: a vote stands behind the record that it needs."""
    cluster = started()
    cluster.liars.add("n1")
    node = cluster["n2"]
    block = block_after(cluster, None, request_of("a", 1))
    from protocols.pbft.scene import sign
    from quorum.certificate.vote import VoteKind

    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, 1, block.digest)
    received = events.Received(node.now_us, "n1", PrePrepare(0, 1, signature), (block.entry,))
    produced = node.replica.step(received)
    assert [type(effect) for effect in produced] == [effects.Verify]
    produced = node.replica.step(events.Verified(node.now_us, produced[0].token, (True,)))
    kinds = [type(effect) for effect in produced if type(effect) in (effects.Persist, effects.Send)]
    assert kinds == [effects.Persist, effects.Send, effects.Send, effects.Send]
