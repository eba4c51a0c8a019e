"""What one member may cost another: messages read, checks in vain, blocks given again.

Row 27 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

from random import Random

import pytest

from protocols.pbft.cluster import SETTINGS, Cluster, request_of
from protocols.pbft.scene import (
    block_after,
    check_progress,
    order,
    prepare_of,
    receive,
    requests,
    sign,
    started,
    tell_all,
)
from quorum.certificate.vote import VoteKind
from quorum.model import Configuration
from quorum.protocols import effects, events
from quorum.protocols.events import SnapshotMark
from quorum.protocols.pbft.catch_up import HEADERS_MAX
from quorum.protocols.pbft.messages import Blocks, Commit, Fetch, Forward, Offer, PrePrepare, Status
from quorum.protocols.pbft.pending import MEMBER_SHARE
from quorum.protocols.pbft.quotas import (
    GIVEN_AGAIN,
    MESSAGES,
    MESSAGES_A_BLOCK,
    UNDER_WAY,
    WRONG,
    Quotas,
    weight_of,
)
from quorum.protocols.pbft.settings import Settings

TURN_US = SETTINGS.status_us
PREPARE = VoteKind.PREPARE


def test_so_many_messages_are_read_in_a_turn_and_more_where_blocks_are_decided() -> None:
    quotas = Quotas(SETTINGS)
    assert all(quotas.admits("n4", TURN_US, 5) for _ in range(MESSAGES))
    assert not quotas.admits("n4", TURN_US, 5)
    assert quotas.admits("n3", TURN_US, 5), "each has a quota of its own"
    assert sum(quotas.admits("n4", TURN_US, 7) for _ in range(100)) == 2 * MESSAGES_A_BLOCK - 1
    assert quotas.admits("n4", 2 * TURN_US, 7), "the next turn begins"


def test_whoever_had_too_many_signatures_checked_in_vain_is_not_read_until_the_next_turn() -> None:
    quotas = Quotas(SETTINGS)
    assert quotas.admits("n4", TURN_US, 0)
    for _ in range(WRONG):
        assert quotas.admits("n4", TURN_US, 0)
        quotas.charge("n4")
    assert not quotas.admits("n4", TURN_US, 0)
    assert quotas.admits("n4", 2 * TURN_US, 0)


def test_so_many_signatures_of_one_member_are_verified_at_a_time_or_those_of_one_message() -> None:
    quotas = Quotas(SETTINGS)
    assert quotas.begins("n1", 10 * UNDER_WAY) and not quotas.begins("n1", 1) and quotas.begins("n2", 1)
    quotas.ended("n1", 10 * UNDER_WAY)
    assert all(quotas.begins("n1", 1) for _ in range(UNDER_WAY)) and not quotas.begins("n1", 1)
    quotas.ended("n1", 1)
    assert quotas.begins("n1", 1)


def test_blocks_are_given_once_and_again_only_after_some_turns() -> None:
    quotas = Quotas(SETTINGS)
    assert quotas.may_be_given("n4", 1, 0, 0, False)
    quotas.given("n4", 10, 0, 0, False)
    assert not quotas.may_be_given("n4", 1, GIVEN_AGAIN * TURN_US - 1, 0, False)
    assert quotas.may_be_given("n4", 11, 0, 0, False)
    assert quotas.may_be_given("n4", 1, GIVEN_AGAIN * TURN_US, 0, False)
    assert quotas.may_be_given("n4", 1, 0, 0, True), "the base of a view counts apart"
    quotas.given("n4", 10, 0, 0, True)
    assert not quotas.may_be_given("n4", 1, 0, 0, True)
    assert quotas.may_be_given("n4", 1, 0, 1, True), "and anew in each view"


def checks_of(cluster: Cluster, node: str) -> list[int]:
    """From now on, how many signatures each step of a member wants checked."""
    found: list[int] = []
    before = cluster.verify
    replica = cluster[node].replica
    assert replica is not None
    step = replica.step

    def counted(event: events.Event) -> tuple[effects.Effect, ...]:
        produced = step(event)
        found.append(sum(len(each.items) for each in produced if isinstance(each, effects.Verify)))
        return produced

    replica.step = counted  # type: ignore[method-assign]
    cluster.verify = before  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("way", ["votes", "requests", "wishes"])
def test_row_27_a_thousand_wrong_signatures_cost_a_few_checks(way: str) -> None:
    """Votes for blocks that nobody knows, requests that nobody signed, wishes for one view after the other."""
    from protocols.pbft.scene import view_change_of

    cluster, random = started(), Random(27)
    order(cluster, 2)
    cluster.liars.add("n4")
    checks = checks_of(cluster, "n2")
    request = request_of("z", 1)
    for number in range(1_000):
        junk = random.randbytes(64)
        match way:
            case "votes":
                receive(cluster, "n2", "n4", Commit(0, 3, random.randbytes(32), junk))
            case "requests":
                receive(cluster, "n2", "n4", Forward(0, (request[:40] + junk[:24] + request[64:],)))
            case _:
                receive(cluster, "n2", "n4", view_change_of(cluster, "n4", number + 1))
    assert sum(checks) <= 3 * WRONG
    check_progress(cluster, requests(3, "c"))


@pytest.mark.parametrize("source", ["n1", "n4"])
def test_row_27_other_blocks_for_a_place_that_nobody_signed_cost_a_few_checks(source: str) -> None:
    """Of a lying primary, or passed on as if they were its own."""
    cluster, random = started(), Random(27)
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes}
    cluster.liars |= {"n1", source}
    first = block_after(cluster, None, request_of("a", 1))
    receive(cluster, "n2", "n1", PrePrepare(0, 1, sign(cluster, "n1", PREPARE, 0, 1, first.digest)), first.entry)
    assert cluster["n2"].state.chain.last == 1
    checks = checks_of(cluster, "n2")
    for number in range(300):
        other = block_after(cluster, None, request_of("b", number))
        receive(cluster, "n2", source, PrePrepare(0, 1, random.randbytes(64)), other.entry)
    assert 0 < sum(checks) <= 2 * WRONG
    cluster.cut = set()
    cluster.run(TURN_US)
    check_progress(cluster, requests(3, "c"))


def test_row_27_requests_passed_on_are_verified_a_few_at_a_time() -> None:
    """The results of the first come after all messages that came with them."""
    cluster, random = started(), Random(27)
    cluster.liars.add("n4")
    replica = cluster["n2"].replica
    assert replica is not None
    request, checks = request_of("z", 1), 0
    for _ in range(300):
        wrong = tuple(request[:40] + random.randbytes(24) + request[64:] for _ in range(64))
        produced = replica.step(events.Received(cluster["n2"].now_us, "n4", Forward(0, wrong)))
        checks += sum(len(each.items) for each in produced if isinstance(each, effects.Verify))
    assert checks <= UNDER_WAY


def test_row_27_a_member_that_forwards_requests_of_clients_it_made_up_leaves_room_for_others() -> None:
    """Each is signed, by a key of its own, so that no client has more than its share."""
    settings = Settings(state_blocks=8, log_kept_blocks=4, pending_bytes_max=100_000)
    cluster = Cluster(4, 1, settings=settings).boot()
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes}
    cluster.liars.add("n4")
    for number in range(300):
        receive(cluster, "n2", "n4", Forward(0, (request_of(f"made up {number}", 1),)))
    pending = cluster["n2"].state.pending
    assert 0 < pending._bytes <= 100_000 // MEMBER_SHARE
    cluster.submit(request_of("a", 1), to=("n2",))
    assert request_of("a", 1) in [each.data for each in pending.to_propose()]
    pending.done([each.request.name for each in pending.to_propose()])
    assert not pending._bytes and not pending._bytes_of


def sent_by(cluster: Cluster, node: str, kind: type) -> int:
    return sum(
        type(message) is kind
        for (source, _), link in cluster.links.items()
        if source == node
        for message, _ in link
    )


def test_row_27_questions_for_all_blocks_again_and_again_are_answered_once_in_a_while() -> None:
    cluster = started()
    order(cluster, 5)
    cluster.liars.add("n4")
    for _ in range(300):
        receive(cluster, "n2", "n4", Fetch(0, 1))
    assert sent_by(cluster, "n2", Blocks) == 1
    cluster.run(GIVEN_AGAIN * TURN_US)
    receive(cluster, "n2", "n4", Fetch(0, 1))
    assert sent_by(cluster, "n2", Blocks) == 1
    check_progress(cluster)


def test_row_27_a_member_that_says_all_the_time_that_it_is_far_ahead_is_asked_once_in_a_turn() -> None:
    cluster = started()
    order(cluster, 2)
    cluster.liars.add("n4")
    cluster.run(TURN_US)
    for number in range(300):
        receive(cluster, "n2", "n4", Status(0, True, 10_000, 10_000, 10_000 + number))
    assert sent_by(cluster, "n2", Fetch) <= 1
    check_progress(cluster)


def test_row_27_a_flood_of_one_member_leaves_the_others_what_they_say() -> None:
    """The messages of the rest are read all the same, in the same turn."""
    cluster = started()
    cluster.liars.add("n4")
    junk = [prepare_of(cluster, "n4", 0, 10**6 + number, bytes(32)) for number in range(1_000)]
    for each in junk:
        tell_all(cluster, "n4", each)
    made = requests(5)
    cluster.submit(*made)
    cluster.run(0)
    assert set(made) <= set(cluster.requests_decided())
    check_progress(cluster, made)


def test_row_27_long_chains_of_headers_that_lead_nowhere_are_few_in_a_turn() -> None:
    """All of one is looked at before its end can be compared with anything."""
    quotas = Quotas(SETTINGS)
    offer = Offer(0, SnapshotMark(1, 0, 0, Configuration(1, ("n1",))), (bytes(176),) * HEADERS_MAX, ())
    assert sum(quotas.admits("n4", TURN_US, 0, weight_of(offer, ())) for _ in range(100)) <= 4
    blocks = Blocks(0, 1, (), ())
    entries = (bytes(4 * 1024 * 1024),)
    assert sum(quotas.admits("n3", TURN_US, 0, weight_of(blocks, entries)) for _ in range(100)) <= 8
    assert weight_of(Status(0, True, 0, 0, 0), ()) == weight_of(Blocks(0, 1, (), (), (bytes(1_000),)), ()) == 1
