"""The rules of Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery" (2002), one by one.

Sections 4.1 to 4.6, 5.2 and 5.3. Where the engine departs from the paper, the test says how: blocks form a chain,
so that votes and claims are cumulative, and states are certified by the blocks that name them.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.pbft.cluster import SETTINGS, Cluster, request_of
from protocols.pbft.scene import (
    SIZES,
    TIMEOUTS_US,
    block_after,
    check_progress,
    complaints,
    liar,
    lie,
    newest,
    order,
    prepare_of,
    primary,
    propose_as,
    receive,
    requests,
    requests_of,
    sign,
    started,
    tell_all,
    view_change_of,
    views,
)
from quorum.certificate.block import verify_block
from quorum.certificate.vote import VoteKind
from quorum.entry import BLOCK, decode_entry, encode_entry
from quorum.header import Batch
from quorum.protocols import effects, events
from quorum.protocols.pbft.chain import Link
from quorum.protocols.pbft.messages import Commit, NewView, Prepare, PrePrepare, Status, ViewChange, Votes
from quorum.protocols.pbft.state import NO_CLAIM


def silenced(cluster: Cluster, *kinds: type) -> None:
    """Messages of these types are lost from now on."""
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, kinds) else [(message, attached)]
    )


def proposed(cluster: Cluster, to: str = "n2"):
    """The first block of view 0, given to one member by a primary that then says no more."""
    lie(cluster, "n1", lambda other, message, attached: [])
    block = block_after(cluster, None, request_of("a", 1))
    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, 1, block.digest)
    receive(cluster, to, "n1", PrePrepare(0, 1, signature), block.entry)
    return block


# 4.1 and 4.2: views and clients.


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_the_primary_of_a_view_is_the_member_at_its_place_modulo_their_number(count: int, faults: int) -> None:
    """Section 4.1: p = v mod |R|."""
    cluster = started(count, faults)
    state = cluster["n1"].state
    assert [state.primary_of(view) for view in range(2 * count)] == list(cluster.committee.nodes) * 2


def test_a_request_that_reached_backups_alone_is_forwarded_to_the_primary() -> None:
    """Section 4.2: a client that hears nothing sends to all; backups relay to the primary. No view is left."""
    cluster = started()
    cluster.submit(request_of("a", 1), to=("n3",))
    cluster.run(SETTINGS.view_timeout_us // 2)
    assert cluster.requests_decided() == [request_of("a", 1)]
    assert views(cluster) == {0}
    check_progress(cluster)


# 4.3: normal case.


def test_a_backup_takes_a_block_of_its_view_and_votes_to_prepare_it() -> None:
    """Section 4.3: "it enters the prepare phase by multicasting a PREPARE to all other replicas"."""
    cluster = started()
    block = proposed(cluster)
    sent = [message for _, message_list in cluster.links.items() for message, _ in message_list]
    prepares = [message for message in sent if isinstance(message, Prepare)]
    assert {(vote.view, vote.sequence, vote.digest) for vote in prepares} == {(0, 1, block.digest)}
    assert len(prepares) == 3


def test_a_backup_takes_one_block_a_place_in_a_view() -> None:
    """Section 4.3: "it has not accepted a pre-prepare for view v and sequence number n containing a different
    digest"."""
    cluster = started()
    block = proposed(cluster)
    other = block_after(cluster, None, request_of("b", 1))
    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, 1, other.digest)
    receive(cluster, "n2", "n1", PrePrepare(0, 1, signature), other.entry)
    assert cluster["n2"].state.chain.digest(1) == block.digest
    check_progress(cluster)


def test_a_block_of_another_view_is_not_taken() -> None:
    """Section 4.3: "it is in view v"."""
    cluster = started()
    cluster.liars.add("n2")
    block = block_after(cluster, None, request_of("a", 1))
    propose_as(cluster, "n2", 1, block)
    cluster.run(0)
    assert cluster["n3"].state.chain.last == 0
    check_progress(cluster)


def test_a_block_outside_of_the_water_marks_is_not_taken() -> None:
    """Section 4.3: "the sequence number is between a low water mark h and a high water mark H"."""
    cluster = started()
    state = cluster["n2"].state
    assert state.ceiling == state.floor + SETTINGS.window
    receive(cluster, "n2", "n1", PrePrepare(0, state.ceiling + 1, b""), b"whatever")
    assert state.here.early == {}
    for _ in range(3):
        order(cluster, 1, first=state.commit_sequence + 1)
    assert state.ceiling == 3 + SETTINGS.window


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_a_block_is_prepared_by_the_votes_of_a_quorum_and_by_no_fewer(count: int, faults: int) -> None:
    """Section 4.3: predicate prepared. The paper's 2f matching prepares and the pre-prepare are a quorum, which is
    ceil((N+T+1)/2) where N is not 3T+1."""
    cluster = started(count, faults)
    quorum = (count + faults) // 2 + 1
    block = proposed(cluster)
    cluster.lose_all()
    cluster.liars |= set(cluster.nodes)
    for place, name in enumerate(cluster.committee.nodes[2:], 3):
        receive(cluster, "n2", name, prepare_of(cluster, name, 0, 1, block.digest))
        assert (cluster["n2"].state.here.prepared_sequence == 1) == (place >= quorum)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_a_block_is_decided_by_commits_of_a_quorum_and_by_no_fewer(count: int, faults: int) -> None:
    """Section 4.3: predicate committed-local: prepared, and 2f+1 commits, its own included."""
    cluster = started(count, faults)
    quorum = (count + faults) // 2 + 1
    block = proposed(cluster)
    cluster.liars |= set(cluster.nodes)
    others = cluster.committee.nodes[2:]
    for name in others:
        receive(cluster, "n2", name, prepare_of(cluster, name, 0, 1, block.digest))
    for place, name in enumerate(others, 2):
        vote = sign(cluster, name, VoteKind.COMMIT, 0, 1, block.digest)
        receive(cluster, "n2", name, Commit(0, 1, block.digest, vote))
        assert (cluster["n2"].state.commit_sequence == 1) == (place >= quorum)


def test_what_is_decided_has_a_certificate_for_others() -> None:
    """Section 4.3, with signatures: the commits of a quorum convince whoever knows the keys."""
    cluster = started()
    order(cluster, 2)
    state = cluster["n3"].state
    view, votes = state.certificates[2]
    assert verify_block(state.certify(2, view, votes), cluster.committee).valid


def test_blocks_are_executed_in_their_order_only() -> None:
    """Section 4.3: "executes the operation after the state reflects all requests with lower sequence numbers"."""
    cluster = started()
    lie(cluster, "n1", lambda to, message, attached: [])
    first = block_after(cluster, None, request_of("a", 1))
    second = block_after(cluster, first.link(), request_of("a", 2))
    propose_as(cluster, "n1", 0, second)
    cluster.run(0)
    assert all(not cluster[node].decided for node in ("n2", "n3", "n4"))
    propose_as(cluster, "n1", 0, first)
    cluster.run(0)
    for node in ("n2", "n3", "n4"):
        assert list(cluster[node].decided) == [1, 2]
        assert requests_of(cluster[node].decided[2]) == [request_of("a", 2)]
    check_progress(cluster)


def test_votes_that_come_before_their_block_are_kept() -> None:
    """Section 4.3: messages are logged in any order of arrival."""
    cluster = started()
    block = block_after(cluster, None, request_of("a", 1))
    for name in ("n3", "n4"):
        receive(cluster, "n2", name, prepare_of(cluster, name, 0, 1, block.digest))
    proposed(cluster)
    assert cluster["n2"].state.here.prepared_sequence == 1


def test_nothing_that_promises_a_vote_leaves_before_the_disk_has_it() -> None:
    """Section 4.3: the member adds both messages to its log before it multicasts its own."""
    cluster = started()
    node = cluster["n2"]
    block = block_after(cluster, None, request_of("a", 1))
    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, 1, block.digest)
    received = events.Received(node.now_us, "n1", PrePrepare(0, 1, signature), (block.entry,))
    (verify,) = node.replica.step(received)
    produced = node.replica.step(events.Verified(node.now_us, verify.token, (True,)))
    kinds = [type(effect) for effect in produced]
    assert kinds.index(effects.Persist) < kinds.index(effects.Send)


def test_a_vote_for_a_block_covers_the_blocks_before_it() -> None:
    """Departure: the chain makes votes cumulative, so lost votes for block 1 do not matter behind block 2."""
    cluster = started()
    cluster.filter = lambda source, to, message, attached: (
        []
        if isinstance(message, Votes) or (isinstance(message, Prepare | Commit) and message.sequence == 1)
        else [(message, attached)]
    )
    for number in (1, 2):
        cluster.submit(request_of("a", number))
    cluster.run(0)
    assert {node.state.commit_sequence for node in cluster.nodes.values()} == {2}
    check_progress(cluster)


# Section 4.4: garbage collection and view changes.


def test_the_log_is_dropped_behind_a_certified_state() -> None:
    """Section 4.4 (garbage collection): a stable checkpoint's proof makes messages before it needless. Departure:
    a block certifies the state's root, so the proof is that block's certificate."""
    cluster = started()
    order(cluster, 5 * SETTINGS.state_blocks)
    cluster.run(1_000_000)
    for node in cluster.nodes.values():
        assert node.state.chain.base >= 5 * SETTINGS.state_blocks - SETTINGS.log_kept_blocks
        assert min(node.state.certificates) >= node.state.chain.base
        assert node.state.snapshot.index == 5 * SETTINGS.state_blocks
    check_progress(cluster)


def test_a_snapshot_that_no_block_certifies_yet_drops_nothing() -> None:
    """Section 4.4: only a stable checkpoint moves the low water mark."""
    cluster = started()
    order(cluster, SETTINGS.state_blocks)
    state = cluster["n2"].state
    assert state.snapshot.index == SETTINGS.state_blocks and state.chain.base == 0
    assert newest(cluster, "n2").header.state_sequence == 0


def test_a_member_that_left_its_view_takes_part_in_nothing_but_the_next() -> None:
    """Section 4.4: it "stops accepting messages (other than checkpoint, view-change, and new-view)"."""
    cluster = started()
    cluster["n1"].crash()
    cluster.cut = {("n2", other) for other in cluster.nodes}
    cluster.submit(request_of("a", 1), to=("n2",))
    cluster.run(SETTINGS.view_timeout_us + 1)
    state = cluster["n2"].state
    assert (state.view, state.active) == (1, False)
    block = block_after(cluster, None, request_of("b", 1))
    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, 1, block.digest)
    receive(cluster, "n2", "n1", PrePrepare(0, 1, signature), block.entry)
    receive(cluster, "n2", "n3", prepare_of(cluster, "n3", 0, 1, block.digest))
    assert state.chain.last == 0 and state.here.prepares == {}


def test_a_view_change_names_the_newest_block_that_a_quorum_prepared_with_its_proof() -> None:
    """Section 4.4: sets P and Q. Departure: in a chain one certificate stands for every block before it."""
    cluster = started()
    silenced(cluster, Commit, Votes)
    cluster.submit(*requests(2))
    cluster.run(0)
    held = {name: node.state.claim for name, node in cluster.nodes.items()}
    seen: dict[str, ViewChange] = {}
    cluster.filter = lambda source, to, message, attached: (
        seen.update({source: message}) or [] if isinstance(message, ViewChange) else []
    )
    cluster.run(SETTINGS.view_timeout_us + 1)
    assert seen.keys() == held.keys()
    for name, change in seen.items():
        assert (change.claim, change.signatures) == (held[name].claim, held[name].signatures)
        assert change.claim.sequence > 0 and len(change.signatures) == 3


def test_a_claim_is_the_newest_by_view_and_then_by_sequence_number() -> None:
    """Section 4.4: of several prepared in different views, the one of the latest view counts."""
    from quorum.certificate.evidence import Claim
    from quorum.protocols.pbft.view_change import base_of

    cluster = started()
    claims = [Claim(0, 9, b"a" * 32), Claim(2, 3, b"b" * 32), Claim(2, 4, b"c" * 32), Claim(1, 20, b"d" * 32)]
    changes = [(f"n{place}", view_change_of(cluster, "n1", 5, claim)) for place, claim in enumerate(claims)]
    assert base_of(changes).claim == claims[2]


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_a_view_begins_when_its_primary_has_the_messages_of_a_quorum(count: int, faults: int) -> None:
    """Section 4.4: the new primary waits for 2f view changes by others, and a quorum where N is not 3f+1."""
    cluster = started(count, faults)
    quorum = (count + faults) // 2 + 1
    cluster.liars |= set(cluster.nodes)
    cluster.filter = lambda source, to, message, attached: []
    lead = cluster["n2"]
    others = [name for name in cluster.committee.nodes if name != "n2"]
    for place, name in enumerate(others, 1):
        receive(cluster, "n2", name, view_change_of(cluster, name, 1))
        has_left = lead.state.view == 1
        assert lead.state.active == (not has_left or place + 1 >= quorum)


def test_every_member_derives_where_a_view_begins_from_the_messages_themselves() -> None:
    """Section 4.4: a backup verifies O "by performing a computation similar to the one used by the primary".
    Departure: the NEW-VIEW holds no result at all."""
    assert NewView.__struct_fields__ == ("view", "changes", "signature")
    cluster = started()
    silenced(cluster, Commit, Votes)
    cluster.submit(*requests(2))
    cluster.run(0)
    claim = cluster["n3"].state.claim.claim
    cluster["n1"].crash()
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, Commit | Votes) and message.view == 0 else [(message, attached)]
    )
    cluster.run(2 * SETTINGS.view_timeout_us)
    assert {cluster[node].state.base for node in ("n2", "n3", "n4")} == {claim}
    cluster["n1"].boot()
    check_progress(cluster, requests(2))


def test_the_first_vote_of_a_view_is_for_where_it_begins() -> None:
    """Section 4.4: the new view's pre-prepares are for what the old one prepared, and are prepared again."""
    cluster = started()
    silenced(cluster, Commit, Votes)
    cluster.submit(*requests(1))
    cluster.run(0)
    claim = cluster["n3"].state.claim.claim
    seen: list[Prepare] = []
    cluster["n1"].crash()

    def watched(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list:
        if isinstance(message, Prepare):
            seen.append(message)
        is_old = isinstance(message, Commit | Votes) and message.view == 0
        return [] if is_old else [(message, attached)]

    cluster.filter = watched
    cluster.run(2 * SETTINGS.view_timeout_us)
    assert (seen[0].view, seen[0].sequence, seen[0].digest) == (1, claim.sequence, claim.digest)


def test_a_member_that_misses_where_the_view_begins_fetches_it_by_its_digest() -> None:
    """Section 4.4: a replica that misses a request of the new view obtains it from others."""
    cluster = started()
    cluster.cut = {(a, "n4") for a in ("n1", "n2", "n3")}
    silenced(cluster, Commit, Votes)
    cluster.submit(*requests(1))
    cluster.run(0)
    digest = cluster["n2"].state.claim.claim.digest
    cluster["n1"].crash()
    cluster.filter, cluster.cut = None, set()
    cluster.run(3 * SETTINGS.view_timeout_us)
    assert cluster["n4"].state.chain.digest(1) == digest
    cluster["n1"].boot()
    check_progress(cluster)


# Section 4.5: correctness.


def test_what_one_member_decided_is_decided_in_every_later_view() -> None:
    """Section 4.5.1: safety across views: every quorum of view changes has an honest member that prepared it."""
    cluster = started()
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, Commit | Votes) and to != "n1" else [(message, attached)]
    )
    cluster.submit(*requests(1))
    cluster.run(0)
    digest = cluster["n1"].state.chain.digest(1)
    assert {name for name, node in cluster.nodes.items() if node.state.commit_sequence} == {"n1"}
    cluster["n1"].crash()
    cluster.filter = None
    cluster.run(TIMEOUTS_US)
    assert {cluster[node].state.chain.digest(1) for node in ("n2", "n3", "n4")} == {digest}
    assert {cluster[node].state.commit_sequence for node in ("n2", "n3", "n4")} == {1}
    cluster["n1"].boot()
    check_progress(cluster)


def test_patience_doubles_with_every_view_that_decided_nothing() -> None:
    """Section 4.5.2, first means: wait T, then 2T, ..."""
    cluster = started()
    cluster.submit(*requests(1))
    silenced(cluster, PrePrepare, Prepare, Commit, Votes)
    cluster.run(10 * SETTINGS.view_timeout_us)
    assert {node.state.pace.fruitless_views for node in cluster.nodes.values()} == {3}
    cluster.filter = None
    check_progress(cluster, requests(1), within_us=2 * TIMEOUTS_US)
    assert {node.state.pace.fruitless_views for node in cluster.nodes.values()} == {0}


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_a_member_joins_a_view_that_more_want_than_may_lie(count: int, faults: int) -> None:
    """Section 4.5.2, second means: f+1 view changes for greater views move a member, to the smallest of them."""
    cluster = started(count, faults)
    cluster.liars |= set(cluster.nodes)
    cluster.filter = lambda source, to, message, attached: []
    others = cluster.committee.nodes[-(faults + 1) :]
    state = cluster["n1"].state
    for place, name in enumerate(others, 1):
        receive(cluster, "n1", name, view_change_of(cluster, name, 4 + place))
        assert state.view == (5 if place > faults else 0)


def test_a_member_alone_does_not_run_from_view_to_view() -> None:
    """Section 4.5.2, third means: the timer of the next view starts when a quorum wants it."""
    cluster = started()
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes}
    cluster.submit(*requests(1))
    cluster.run(60_000_000)
    assert views(cluster) == {1}
    cluster.cut = set()
    check_progress(cluster, requests(1))


# Section 4.6: non-determinism.


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_what_members_would_choose_differently_is_chosen_by_the_primary_and_the_same_for_all(
    count: int, faults: int
) -> None:
    """Section 4.6: the primary selects the value, and associates it with the request. Here that is the time, and
    what applications take for chance, which follows from the block."""
    cluster = started(count, faults)
    for place, node in enumerate(cluster.nodes.values()):
        node.clock_us = 2_000_000 * place
    made = order(cluster, 3)
    named = []
    for index in (1, 2, 3):
        assert {node.decided[index] for node in cluster.nodes.values()} == {cluster.log[index]}
        header = decode_entry(cluster.log[index])[0]
        assert header.time_us == cluster["n1"].now_us
        named.append(header.entropy)
    assert len(set(named)) == 3
    check_progress(cluster, made)


def test_backups_take_a_time_that_is_near_their_own() -> None:
    """Section 4.6: replicas decide whether what the primary chose is valid. Departure: each does by its own clock,
    so that a time too far ahead is nobody's fault: the block waits, and the view may time out."""
    cluster = started()
    order(cluster, 1)
    before, bound_us = newest(cluster, "n2"), SETTINGS.clock_bound_us
    lie(cluster, "n1", lambda to, message, attached: [])
    for number, ahead_us in enumerate((0, bound_us, bound_us + 1), 2):
        time_us = cluster["n2"].now_us + ahead_us
        block = block_after(cluster, before, request_of("a", number), time_us=time_us)
        signature = sign(cluster, "n1", VoteKind.PREPARE, 0, block.header.sequence, block.digest)
        receive(cluster, "n2", "n1", PrePrepare(0, block.header.sequence, signature), block.entry)
        if ahead_us <= bound_us:
            before = block.link()
        assert newest(cluster, "n2").digest == before.digest
    assert complaints(cluster, "n1") == []
    check_progress(cluster)


def test_time_that_goes_back_and_chance_of_the_primarys_own_are_refused() -> None:
    """Section 4.6: what follows from the block itself all decide alike."""
    cluster = started()
    order(cluster, 1)
    before = newest(cluster, "n2")
    lie(cluster, "n1", lambda to, message, attached: [])
    earlier = Link(replace(before.header, time_us=0), before.digest, 0)
    back = block_after(cluster, earlier, request_of("a", 9), time_us=before.header.time_us - 1)
    good = block_after(cluster, before, request_of("a", 9))
    for block, entry in ((back, back.entry), (good, with_other_entropy(good.entry))):
        signature = sign(cluster, "n1", VoteKind.PREPARE, 0, block.header.sequence, block.digest)
        receive(cluster, "n2", "n1", PrePrepare(0, block.header.sequence, signature), entry)
        assert newest(cluster, "n2").digest == before.digest
    assert len(complaints(cluster, "n1")) == 2
    check_progress(cluster)


def with_other_entropy(entry: bytes) -> bytes:
    """The same block, as if its primary had drawn what applications take for chance."""
    header, body = decode_entry(entry)
    batch = Batch(0, 0, 0, 0, header.count, bytes(body))
    return encode_entry(header.index, header.term, BLOCK, header.epoch, header.time_us, header.entropy ^ 1, batch)


# Section 5.2: messages that were lost.


def test_a_member_that_missed_votes_is_given_them_when_it_says_where_it_is() -> None:
    """Section 5.2: status messages, and what they show to be missing."""
    cluster = started()
    cluster.filter = lambda source, to, message, attached: (
        [] if to == "n3" and isinstance(message, Prepare | Commit) else [(message, attached)]
    )
    cluster.submit(*requests(1))
    cluster.run(4 * SETTINGS.status_us)
    assert cluster["n3"].state.commit_sequence == 1
    check_progress(cluster)


def test_a_member_that_missed_a_block_is_given_it_by_a_backup() -> None:
    """Section 5.2: anybody retransmits a pre-prepare, as the primary's signature is in it."""
    cluster = started()
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, PrePrepare) and source == "n1" and to == "n3" else [(message, attached)]
    )
    silent = {("n4", other) for other in cluster.nodes}
    cluster.cut = silent
    cluster.submit(*requests(1))
    cluster.run(4 * SETTINGS.status_us)
    assert cluster["n3"].state.commit_sequence == 1
    cluster.cut = set()
    check_progress(cluster)


def test_a_member_that_missed_a_view_is_given_the_message_that_began_it() -> None:
    """Section 5.2: NEW-VIEW and VIEW-CHANGE are retransmitted, too."""
    cluster = started()
    cluster["n1"].crash()
    cluster.filter = lambda source, to, message, attached: (
        [] if to == "n4" and isinstance(message, NewView) else [(message, attached)]
    )
    cluster.submit(*requests(1))
    cluster.run(SETTINGS.view_timeout_us + SETTINGS.status_us // 2)
    cluster.filter = lambda source, to, message, attached: (
        [] if source == "n2" and isinstance(message, NewView) else [(message, attached)]
    )
    cluster.run(2 * SETTINGS.view_timeout_us)
    assert cluster["n4"].state.active and cluster["n4"].state.view == 1
    cluster["n1"].boot()
    check_progress(cluster, requests(1))


def test_nothing_is_retransmitted_to_who_is_not_behind() -> None:
    """Section 5.2: messages go out again only where a status shows that they are missing."""
    cluster = started()
    order(cluster, 3)
    cluster.run(1_000_000)
    seen: list[object] = []
    cluster.filter = lambda source, to, message, attached: seen.append(message) or [(message, attached)]
    cluster.run(1_000_000)
    assert {type(message) for message in seen} == {Status}


# Section 5.3: states.


def test_a_member_far_behind_gets_the_newest_certified_state_and_the_blocks_after_it() -> None:
    """Section 5.3.2: state transfer to a replica that missed messages which were garbage-collected."""
    cluster = started()
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if "n4" in (a, b)}
    made = order(cluster, 4 * SETTINGS.state_blocks + 3)
    cluster.run(500_000)
    cluster.cut = set()
    cluster.run(2_000_000)
    node = cluster["n4"]
    assert node.disk.snapshot.index == 4 * SETTINGS.state_blocks
    assert set(node.decided) == set(range(4 * SETTINGS.state_blocks + 1, node.state.commit_sequence + 1))
    check_progress(cluster, made)


def test_a_member_a_little_behind_gets_blocks_with_one_certificate_for_all() -> None:
    """Section 5.3.2. Departure: headers lead from the last block that is given to one that has a certificate."""
    cluster = started()
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if "n4" in (a, b)}
    made = order(cluster, SETTINGS.state_blocks - 2)
    cluster.cut = set()
    cluster.run(1_000_000)
    assert sorted(cluster["n4"].decided)[:6] == list(range(1, SETTINGS.state_blocks - 1))
    assert cluster["n4"].disk.snapshot is None
    check_progress(cluster, made)


def test_without_certificates_no_status_makes_anybody_believe_that_something_is_decided() -> None:
    """Section 5.3.2: the target of a transfer is proved, not told."""
    cluster = started()
    cluster.liars.add("n4")
    for committed in (1, 5, 10**6):
        for _ in range(2):
            tell_all(cluster, "n4", Status(0, True, committed, committed, committed))
        cluster.run(0)
    assert {cluster[node].state.commit_sequence for node in ("n1", "n2", "n3")} == {0}
    assert cluster["n2"].state.claim.claim == NO_CLAIM
    check_progress(cluster)


# Committees whose members have different weights, or quorums of their own, keep the same rules.

Votings = tuple[tuple[int, ...], str]
UNEVEN: dict[str, Votings] = {
    "weights": ((2, 2, 1, 1, 1), ""),
    "expression": ((), "choose(4, n1, n2, n3, n4, n5) + n1*n2*n3"),
}
"""Five members, one of whom may lie. n1, n2 and n3 are a quorum, n1, n3 and n4 none; any four are one."""
uneven = pytest.mark.parametrize("votes", UNEVEN.values(), ids=list(UNEVEN))


def uneven_cluster(votes: Votings) -> Cluster:
    return Cluster(5, 1, weights=votes[0], quorums=votes[1]).boot()


def decided_by(cluster: Cluster) -> dict[str, int]:
    return {name: node.state.commit_sequence for name, node in cluster.nodes.items() if node.replica is not None}


@uneven
def test_a_quorum_by_weights_or_expression_decides_and_as_many_others_do_not(votes: Votings) -> None:
    """Section 4.3: what a quorum certified is decided."""
    cluster = uneven_cluster(votes)
    cluster["n4"].crash()
    cluster["n5"].crash()
    order(cluster, 1)
    assert decided_by(cluster) == {"n1": 1, "n2": 1, "n3": 1}
    cluster["n4"].boot()
    cluster["n2"].crash()
    wanted = requests(1, "b")
    cluster.submit(*wanted)
    cluster.run(TIMEOUTS_US)
    assert decided_by(cluster) == {"n1": 1, "n3": 1, "n4": 1}
    cluster["n2"].boot()
    cluster["n5"].boot()
    check_progress(cluster, wanted)


@uneven
def test_a_view_begins_by_a_quorum_of_weights_or_expression_where_one_member_decided(votes: Votings) -> None:
    """Section 4.4: no view without a quorum's claims; section 4.5.1: what was decided before is kept by it."""
    cluster = uneven_cluster(votes)
    cluster["n4"].crash()
    cluster["n5"].crash()
    cluster.filter = lambda source, to, message, attached: (
        [] if isinstance(message, Commit | Votes) and to != "n1" else [(message, attached)]
    )
    order(cluster, 1)
    assert decided_by(cluster) == {"n1": 1, "n2": 0, "n3": 0}
    digest = cluster["n1"].state.chain.digest(1)
    cluster["n1"].crash()
    cluster["n4"].boot()
    cluster.filter = None
    cluster.run(TIMEOUTS_US)
    assert not any(cluster[name].state.active and cluster[name].state.view for name in ("n2", "n3", "n4"))
    cluster["n5"].boot()
    cluster.run(TIMEOUTS_US)
    assert {cluster[name].state.chain.digest(1) for name in ("n2", "n3", "n4", "n5")} == {digest}
    assert set(decided_by(cluster).values()) == {1}
    cluster["n1"].boot()
    check_progress(cluster)


@uneven
@pytest.mark.parametrize("behaviour", ["equivocate", "vote-twice", "hide", "silent", "forge"])
@pytest.mark.parametrize("name", ["n1", "n3"])
def test_one_liar_of_whatever_weight_changes_nothing(votes: Votings, behaviour: str, name: str) -> None:
    """Section 2: up to f members may be faulty, and here each of them may be the one, as primary or as backup."""
    cluster = uneven_cluster(votes)
    liar(cluster, name, behaviour)
    made = requests(6)
    for request in made:
        cluster.submit(request)
        cluster.run(200_000)
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)


def test_a_member_without_a_vote_leads_its_view_and_follows_the_others() -> None:
    """Section 4.1: who is primary follows from the view, whatever its votes count."""
    cluster = Cluster(5, 1, quorums="choose(3, n1, n2, n3, n4)").boot()
    led = set()
    for number in range(5):
        cluster.run(TIMEOUTS_US)
        (view,) = views(cluster)
        led.add(primary(cluster, view))
        order(cluster, 1, f"v{number}")
        cluster[primary(cluster, view)].crash()
        cluster.submit(*requests(1, f"w{number}"))
        cluster.run(TIMEOUTS_US)
        cluster[primary(cluster, view)].boot()
    assert led == set(cluster.nodes)
    check_progress(cluster, within_us=2 * TIMEOUTS_US)
    assert len(cluster.requests_decided()) == 11
