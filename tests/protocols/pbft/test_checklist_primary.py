"""A primary that lies, delays, is silent, or is no primary at all.

Rows 7 to 15, 21 and 38 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

import itertools

import msgspec
import pytest

from protocols.pbft.cluster import SETTINGS, Cluster, request_of
from protocols.pbft.scene import (
    SIZES,
    TIMEOUTS_US,
    accusations,
    block_after,
    check_progress,
    complaints,
    liar,
    lie,
    newest,
    order,
    propose_as,
    requests,
    requests_of,
    sign,
    started,
    tell,
    tell_all,
    views,
)
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.messages import PrePrepare
from quorum.protocols.pbft.settings import Settings


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_07_a_silent_primary_is_replaced_and_what_waited_is_decided(count: int, faults: int) -> None:
    cluster = started(count, faults)
    made = order(cluster, 3)
    liar(cluster, "n1", "silent")
    waiting = requests(3, "b")
    cluster.submit(*waiting)
    cluster.run(TIMEOUTS_US)
    assert set(waiting) <= set(cluster.requests_decided())
    assert views(cluster) == {1}
    check_progress(cluster, made + waiting)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_08_a_primary_silent_to_a_few_keeps_the_others_and_the_few_catch_up(count: int, faults: int) -> None:
    """No storm of views: what the victims miss comes from the others."""
    cluster = started(count, faults)
    liar(cluster, "n1", "silent-to-some")
    made = []
    for number in range(1, 41):
        made.append(request_of("a", number))
        cluster.submit(made[-1])
        cluster.run(50_000)
    check_progress(cluster, made)
    assert max(views(cluster)) <= 1 + faults


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_09_a_primary_just_below_the_timeout_is_too_slow(count: int, faults: int) -> None:
    """Clement et al. (2009), section 4.3: each block comes before the timeout, and the rate is what counts."""
    cluster = started(count, faults)
    held: list[tuple[str, object, tuple[bytes, ...]]] = []

    def slowly(to: str, message: object, attached: tuple[bytes, ...]) -> list:
        if isinstance(message, PrePrepare) and message.view == 0:
            held.append((to, message, attached))
            return []
        return [(message, attached)]

    lie(cluster, "n1", slowly)
    for number in range(1, 11):
        cluster.submit(request_of("a", number))
        cluster.run(9 * SETTINGS.view_timeout_us // 10)
        for to, message, attached in held:
            tell(cluster, "n1", to, message, *attached)
        held.clear()
        cluster.run(0)
        if min(views(cluster)) > 0:
            break
    assert min(views(cluster)) > 0
    check_progress(cluster, requests(10))


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_10_a_primary_that_leaves_out_one_client_is_replaced(count: int, faults: int) -> None:
    """The others' requests go on, so no timeout helps: a request that is overtaken is what shows it."""
    cluster = started(count, faults)
    cluster.liars.add("n1")
    pending = cluster["n1"].state.pending
    add, censored = pending.add, bytes(request_of("a", 1)[:32])
    pending.add = lambda request, *given: request.public_key != censored and add(request, *given)
    cluster.submit(request_of("a", 1))
    for number in range(1, 60):
        cluster.submit(request_of("b", number))
        cluster.run(50_000)
    assert request_of("a", 1) in cluster.requests_decided()
    assert min(views(cluster)) > 0
    check_progress(cluster)


def unreachable(cluster: Cluster) -> list[int]:
    settings = cluster.settings
    return [2, 3, settings.window, settings.window + 1, 1_000, 2**63, 2**64 - 1]


def test_row_11_blocks_with_gaps_or_beyond_the_window_take_no_place() -> None:
    cluster = started()
    lie(cluster, "n1", lambda to, message, attached: [])
    before = block_after(cluster, None, request_of("a", 1))
    for sequence in unreachable(cluster):
        header = msgspec.structs.replace(newest(cluster, "n2").header, sequence=sequence - 1)
        link = type(newest(cluster, "n2"))(header, before.digest, 0)
        propose_as(cluster, "n1", 0, block_after(cluster, link, request_of("a", sequence)))
    cluster.run(0)
    for node in ("n2", "n3", "n4"):
        assert cluster[node].state.chain.last == 0
        assert len(cluster[node].state.here.early) <= cluster.settings.window
    check_progress(cluster, requests(2))


def test_row_11_places_that_were_taken_up_by_lies_are_free_in_the_next_view() -> None:
    cluster = started()
    lie(cluster, "n1", lambda to, message, attached: [])
    before = None
    for number in range(1, cluster.settings.window + 5):
        block = block_after(cluster, before, request_of("a", number))
        before = block.link()
        propose_as(cluster, "n1", 0, block, "n2")
    cluster.run(0)
    assert cluster["n2"].state.chain.last <= cluster.settings.window
    check_progress(cluster, requests(3, "b"))


def forged_request() -> bytes:
    good = request_of("a", 1)
    return good[:32] + bytes(64) + good[96:]


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_12_a_block_with_a_request_that_its_client_did_not_sign_is_not_prepared(
    count: int, faults: int
) -> None:
    cluster = started(count, faults)
    lie(cluster, "n1", lambda to, message, attached: [])
    propose_as(cluster, "n1", 0, block_after(cluster, None, request_of("b", 1), forged_request()))
    cluster.run(0)
    assert {node.state.chain.last for node in cluster.honest()} == {0}
    assert len([what for what in complaints(cluster, "n1") if "did not sign" in what]) == count - 1
    cluster.run(TIMEOUTS_US)
    assert min(views(cluster)) == 1
    check_progress(cluster, requests(2))


@pytest.mark.parametrize(("count", "faults"), [(4, 1), (9, 2)])
def test_row_13_an_old_request_in_a_new_block_stops_nothing(count: int, faults: int) -> None:
    """A primary may propose a decided request again; sessions see to it that it is executed once (see
    tests/simulation/test_byzantine_liars.py)."""
    cluster = started(count, faults)
    made = order(cluster, 2)
    cluster.liars.add("n1")
    again = block_after(cluster, newest(cluster, "n2"), *reversed(made))
    propose_as(cluster, "n1", 0, again)
    cluster.run(TIMEOUTS_US)
    check_progress(cluster, made)


def test_row_14_an_oversize_block_is_dropped() -> None:
    cluster = started()
    lie(cluster, "n1", lambda to, message, attached: [])
    body = bytes(cluster.settings.block_bytes_max)
    packed = [request_of("a", number, body) for number in (1, 2, 3)]
    propose_as(cluster, "n1", 0, block_after(cluster, None, *packed))
    cluster.run(0)
    assert {cluster[node].state.chain.last for node in ("n2", "n3", "n4")} == {0}
    assert all(not cluster[node].state.here.early for node in ("n2", "n3", "n4"))
    assert len(complaints(cluster, "n1")) == 3
    cluster.run(TIMEOUTS_US)
    assert min(views(cluster)) >= 1, "nobody waits for it"
    check_progress(cluster, requests(1))


@pytest.mark.parametrize(("count", "is_taken"), [(6, True), (8, True), (9, False), (3_000, False)])
def test_row_14_a_block_with_twice_the_requests_is_taken_and_one_with_more_costs_the_view(
    count: int, is_taken: bool
) -> None:
    """Members of another version may have other settings, but not any."""
    settings = Settings(state_blocks=8, log_kept_blocks=4, block_requests_max=4)
    cluster = Cluster(4, 1, settings=settings).boot()
    lie(cluster, "n1", lambda to, message, attached: [])
    propose_as(cluster, "n1", 0, block_after(cluster, None, *requests(count)))
    cluster.run(0)
    backups = [cluster[node].state for node in ("n2", "n3", "n4")]
    assert {state.chain.last for state in backups} == {int(is_taken)}
    assert len(complaints(cluster, "n1")) == (0 if is_taken else 3)
    cluster.run(TIMEOUTS_US)
    assert is_taken or min(views(cluster)) >= 1
    check_progress(cluster, requests(10, "b"))
    assert all(len(requests_of(entry)) <= 8 for entry in cluster.log.values())


def test_row_14_a_block_of_another_view_is_ignored() -> None:
    cluster = started()
    cluster.liars.add("n1")
    block = block_after(cluster, None, request_of("a", 1))
    for view in (1, 4, 2**64 - 1):
        propose_as(cluster, "n1", view, block)
    cluster.run(0)
    assert {node.state.chain.last for node in cluster.nodes.values()} == {0}
    check_progress(cluster, requests(1))


@pytest.mark.parametrize("field", ["parent", "requests_root", "membership_hash", "count", "sequence"])
def test_row_14_a_block_whose_header_says_something_else_is_refused(field: str) -> None:
    """Every redundant field is compared: with the requests, the committee, and the block before."""
    cluster = started()
    lie(cluster, "n1", lambda to, message, attached: [])
    good = block_after(cluster, None, request_of("a", 1))
    value = bytes(31) + b"\x01" if isinstance(getattr(good.header, field), bytes) else 3
    header = msgspec.structs.replace(good.header, **{field: value})
    at = good.entry.index(good.header.packed())
    entry = good.entry[:at] + header.packed() + good.entry[at + len(header.packed()) :]
    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, 1, header.digest())
    tell_all(cluster, "n1", PrePrepare(0, 1, signature), entry)
    cluster.run(0)
    assert {cluster[node].state.chain.last for node in ("n2", "n3", "n4")} == {0}
    assert len(complaints(cluster, "n1")) == 3
    check_progress(cluster, requests(1))


def test_row_14_a_block_far_ahead_of_every_clock_waits_and_nobody_is_blamed_for_a_clock() -> None:
    cluster = started()
    lie(cluster, "n1", lambda to, message, attached: [])
    late = cluster["n2"].now_us + cluster.settings.clock_bound_us + 60_000_000
    propose_as(cluster, "n1", 0, block_after(cluster, None, request_of("a", 1), time_us=late))
    cluster.run(0)
    assert {cluster[node].state.chain.last for node in ("n2", "n3", "n4")} == {0}
    assert complaints(cluster, "n1") == []
    check_progress(cluster, requests(1))


def test_row_15_a_block_of_somebody_who_is_not_primary_is_ignored() -> None:
    cluster = started()
    cluster.liars.add("n3")
    block = block_after(cluster, None, request_of("a", 1))
    for view in (0, 1, 2):
        propose_as(cluster, "n3", view, block)
    cluster.run(0)
    assert {cluster[node].state.chain.last for node in ("n1", "n2", "n4")} == {0}
    assert accusations(cluster, "n3") == []
    check_progress(cluster, requests(1))
    assert views(cluster) == {0}


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_21_one_faulty_primary_after_the_other_costs_one_view_each_and_patience_returns(
    count: int, faults: int
) -> None:
    cluster = started(count, faults)
    for node in cluster.committee.nodes[:faults]:
        liar(cluster, node, "silent")
    made = requests(2)
    cluster.submit(*made)
    cluster.run(TIMEOUTS_US)
    assert views(cluster) == {faults}
    assert set(made) <= set(cluster.requests_decided())
    assert {node.state.pace.fruitless_views for node in cluster.honest()} == {0}
    check_progress(cluster, made)


def test_row_21_patience_doubles_and_is_bounded() -> None:
    """PBFT, section 4.5.2: each view without progress waits twice as long for the next."""
    cluster = started()
    pace = cluster["n1"].state.pace
    known = []
    for _ in range(30):
        known.append(pace.timeout_us)
        pace.left(False)
    assert all(later in (before, 2 * before) for before, later in itertools.pairwise(known))
    assert known[-1] == SETTINGS.view_timeout_us << SETTINGS.backoff_max
    pace.decided(0, None, False)
    assert pace.timeout_us == SETTINGS.view_timeout_us


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_38_one_request_and_then_silence_is_decided(count: int, faults: int) -> None:
    """The counterpart of empty blocks on a chained engine: three phases decide a block by themselves."""
    cluster = started(count, faults)
    cluster.submit(request_of("a", 1))
    cluster.run(0)
    assert {node.state.commit_sequence for node in cluster.honest()} == {1}
    cluster.run(TIMEOUTS_US)
    assert views(cluster) == {0}
    check_progress(cluster)


def test_row_38_the_state_after_the_last_request_is_certified_without_another_one() -> None:
    cluster = started()
    order(cluster, cluster.settings.state_blocks)
    cluster.run(1_000_000)
    header = newest(cluster, "n2").header
    assert header.state_sequence == cluster.settings.state_blocks and header.count == 0
    check_progress(cluster)
