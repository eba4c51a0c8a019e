"""Locks and elections as programs use them: waiting, holding, losing, giving up."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from quorum.apps.lock import VALUE_BYTES_MAX, CloseSession, encode_batch
from quorum.errors import ApplicationError, ConfigurationError, LocalProtocolError, LockBusy, LockLost
from quorum.runtime import client, kept
from quorum.runtime.clock import steady_us
from quorum.runtime.kept import TRUSTED
from quorum.runtime.messages import Submit
from runtime.lock_node import LockNode

SECOND_US = 1_000_000
SHORT = 0.2
"""A session's time where a test waits until it is over."""


def run(act):
    """What `act(node, one client, another)` gives."""

    async def main():
        node = LockNode()
        async with node.client() as one, node.client() as other, asyncio.timeout(30):
            return await act(node, one, other)

    return asyncio.run(main())


def skip_time(monkeypatch, seconds: float) -> None:
    """From now on the steady clock is so much later, as after a suspension that the event loop did not notice."""
    monkeypatch.setattr(kept, "steady_us", lambda: steady_us() + int(seconds * 1e6))


async def queued(node: LockNode, name: str, count: int) -> None:
    """Wait until so many wait for a lock."""
    while node.look(name).waiting != count:
        await asyncio.sleep(0)


# Holding.


def test_a_lock_is_held_while_the_body_runs_and_given_up_at_the_end():
    async def act(node, one, other):
        async with one.lock("x", value=b"mine") as lock:
            holder = node.look("x").holder
            assert (holder.token, holder.value) == (lock.token, b"mine")
            assert lock.is_held and 8 < lock.remaining <= 9 and not lock.lost.is_set()
            lock.check()
        assert node.look("x").holder is None
        assert not lock.is_held and lock.remaining == 0
        with pytest.raises(LockLost):
            lock.check()

    run(act)


def test_an_error_in_the_body_gives_the_lock_up_and_goes_on():
    async def act(node, one, other):
        with pytest.raises(ZeroDivisionError):
            async with one.lock("x"):
                raise ZeroDivisionError
        assert node.look("x").holder is None

    run(act)


def test_the_next_in_the_queue_holds_it_with_a_larger_token():
    async def act(node, one, other):
        async def follow(client):
            async with client.lock("x") as lock:
                return lock.token

        async with one.lock("x"):
            following = [asyncio.create_task(follow(other))]
            await queued(node, "x", 1)
            following.append(asyncio.create_task(follow(one)))
            await queued(node, "x", 2)
        tokens = await asyncio.gather(*following)
        assert tokens == sorted(tokens) and node.look("x").holder is None
        return tokens

    assert len(set(run(act))) == 2


def test_two_locks_of_one_name_exclude_each_other_in_one_program():
    async def act(node, one, other):
        async with one.lock("x"):
            with pytest.raises(LockBusy):
                await one.lock("x", wait=0).acquire()

    run(act)


def test_a_session_is_kept_alive():
    async def act(node, one, other):
        async with one.lock("x", ttl=SHORT) as lock:
            before = node.commands
            while node.commands < before + 5:
                await asyncio.sleep(0.01)
            lock.check()

    run(act)


def test_a_lock_can_be_used_again_but_not_twice_at_once():
    async def act(node, one, other):
        lock = one.lock("x")
        first = await lock.acquire()
        with pytest.raises(LocalProtocolError, match="in use"):
            await lock.acquire()
        await lock.release()
        await lock.release()
        with pytest.raises(LocalProtocolError, match="not held"):
            _ = lock.token
        assert await lock.acquire() > first
        await lock.release()

    run(act)


# Waiting.


def test_giving_up_a_lock_that_is_waited_for_changes_nothing():
    async def act(node, one, other):
        held, lock = one.lock("x"), other.lock("x")
        await held.acquire()
        waiting = asyncio.create_task(lock.acquire())
        await queued(node, "x", 1)
        assert lock.is_waiting
        await lock.release()
        assert node.look("x").waiting == 1
        with pytest.raises(LocalProtocolError, match="in use"):
            await lock.acquire()
        await held.release()
        assert await waiting == lock.token and not lock.is_waiting

    run(act)


@pytest.mark.parametrize("wait", [0, 0.05])
def test_who_waited_long_enough_leaves_the_queue(wait):
    async def act(node, one, other):
        async with one.lock("x") as lock:
            with pytest.raises(LockBusy, match=str(lock.token)):
                async with other.lock("x", wait=wait):
                    pass
            await queued(node, "x", 0)
        async with other.lock("x", wait=wait):
            pass

    run(act)


def test_who_is_cancelled_leaves_the_queue():
    async def act(node, one, other):
        async with one.lock("x"):
            waiting = asyncio.create_task(other.lock("x").acquire())
            await queued(node, "x", 1)
            waiting.cancel()
            await queued(node, "x", 0)

    run(act)


def test_who_loses_its_place_in_the_queue_waits_again():
    async def act(node, one, other):
        lock = one.lock("x", ttl=100)
        await lock.acquire()
        waiting = asyncio.create_task(other.lock("x", ttl=SHORT).acquire())
        await queued(node, "x", 1)
        node.pass_time(SECOND_US)
        assert node.look("x").waiting == 0
        await queued(node, "x", 1)
        await lock.release()
        return await waiting

    assert run(act) > 0


def test_what_the_cluster_refuses_is_raised_and_nothing_stays_behind():
    async def act(node, one, other):
        with pytest.raises(ApplicationError, match="value"):
            await one.lock("x", value=bytes(VALUE_BYTES_MAX + 1)).acquire()
        with pytest.raises(ApplicationError, match="name"):
            await one.lock("").acquire()

    run(act)


@pytest.mark.parametrize("ttl", [0, -1, 1e12, float("nan"), "ten", None])
def test_a_time_that_no_session_may_have_is_refused(ttl):
    async def act(node, one, other):
        for make in (one.lock, one.election):
            with pytest.raises(ConfigurationError, match="ttl="):
                make("x", ttl=ttl)

    run(act)


@pytest.mark.parametrize(
    ("fields", "what"), [({"wait": -1}, "wait"), ({"wait": "1"}, "wait"), ({"value": "text"}, "value")]
)
def test_wrong_arguments_are_refused_before_anything_is_sent(fields, what):
    async def act(node, one, other):
        with pytest.raises(LocalProtocolError, match=what):
            one.lock("x", **fields)
        with pytest.raises(LocalProtocolError, match="name"):
            one.lock(b"x")

    run(act)


# Losing.


def test_a_body_is_interrupted_when_the_cluster_does_not_answer_in_time():
    async def act(node, one, other):
        lock = one.lock("x", ttl=SHORT)

        async def body():
            async with lock:
                node.is_silent = True
                await asyncio.sleep(60)

        with pytest.raises(LockLost):
            await body()
        assert not lock.is_held and lock.lost.is_set()
        assert asyncio.current_task().cancelling() == 0
        holder = node.look("x").holder
        assert holder is not None, "the holder knows before the cluster gives the lock to another"

    run(act)


def test_a_session_is_lost_when_the_cluster_says_so():
    async def act(node, one, other):
        async def body():
            async with one.lock("x", ttl=10 * SHORT):
                node.pass_time(10 * SECOND_US)
                await asyncio.sleep(60)

        with pytest.raises(LockLost):
            await body()

    run(act)


def test_who_slept_through_its_time_finds_out_by_the_clock(monkeypatch):
    async def act(node, one, other):
        async def body():
            async with one.lock("x") as lock:
                skip_time(monkeypatch, 9)
                assert not lock.is_held and lock.remaining == 0

        with pytest.raises(LockLost):
            await body()
        while node.look("x").holder is not None:  # it is given up all the same
            await asyncio.sleep(0)

    run(act)


def test_a_check_after_the_time_is_over_raises(monkeypatch):
    async def act(node, one, other):
        reached = []
        lock = one.lock("x")

        async def body():
            async with lock:
                lock.check()
                skip_time(monkeypatch, 9)
                reached.append(True)
                lock.check()
                reached.append(False)

        with pytest.raises(LockLost):
            await body()
        assert reached == [True] and lock.lost.is_set()
        await asyncio.sleep(0)  # no cancellation is left behind

    run(act)


def test_an_error_of_the_body_is_not_hidden_by_the_loss(monkeypatch):
    async def act(node, one, other):
        async def body():
            async with one.lock("x"):
                skip_time(monkeypatch, 9)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await body()

    run(act)


def test_a_cancellation_from_elsewhere_stays_one():
    async def act(node, one, other):
        async def hold():
            async with one.lock("x"):
                await asyncio.sleep(60)

        holding = asyncio.create_task(hold())
        while node.look("x").holder is None:
            await asyncio.sleep(0)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert node.look("x").holder is None

    run(act)


def test_a_timeout_around_a_lost_lock_stays_a_timeout_and_a_loss_within_one_a_loss():
    async def act(node, one, other):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), one.lock("x"):
                await asyncio.sleep(60)

        async def body():
            async with asyncio.timeout(20), one.lock("x", ttl=SHORT):
                node.is_silent = True
                await asyncio.sleep(60)

        with pytest.raises(LockLost):
            await body()

    run(act)


def test_without_a_body_the_loss_is_an_event():
    async def act(node, one, other):
        lock = one.lock("x", ttl=SHORT)
        await lock.acquire()
        node.is_silent = True
        await lock.lost.wait()
        assert not lock.is_held
        await lock.release()

    run(act)


def test_the_time_that_a_session_trusts_counts_from_before_it_asked(monkeypatch):
    """The cluster's time begins when it orders what was asked: the holder's is over first."""

    async def act(node, one, other):
        lock = one.lock("x", ttl=10)
        acquiring = asyncio.create_task(lock.acquire())
        while node.commands == 0:
            await asyncio.sleep(0)
        skip_time(monkeypatch, 5)  # the answer is on its way for so long
        await acquiring
        assert 0 < lock.remaining <= 10 * TRUSTED - 5 < 5
        await lock.release()

    run(act)


def test_a_closed_client_loses_its_locks():
    async def act(node, one, other):
        extra = node.client()
        lock = extra.lock("x", ttl=SHORT)
        await lock.acquire()
        await extra.aclose()
        await lock.lost.wait()
        with pytest.raises(LocalProtocolError):
            await lock._client.lock("y").acquire()

    run(act)


def test_closing_a_client_gives_up_its_locks_its_places_and_its_candidacies_at_once():
    """Their time is 10 seconds of log time; none of it passes here."""

    async def act(node, one, other):
        extra = node.client()
        lock, election = extra.lock("x"), extra.election("e")
        await lock.acquire()
        await election.campaign(b"me")
        async with one.lock("y"), other.lock("z"):
            waiting = asyncio.ensure_future(extra.lock("y").acquire())
            candidate = asyncio.ensure_future(extra.lock("z").acquire())
            await queued(node, "y", 1)
            await queued(node, "z", 1)
            await extra.aclose()
            assert [node.look(name).holder for name in ("x", "e")] == [None, None]
            assert [node.look(name).waiting for name in ("y", "z")] == [0, 0]
        assert not lock.is_held and not election.is_leading
        with pytest.raises(LockLost):
            lock.check()
        for task in (waiting, candidate):
            with pytest.raises(LocalProtocolError):
                await task
        assert node.now_us == 0 and not extra.held

    run(act)


def test_closing_a_client_interrupts_the_body_of_a_lock_that_others_may_now_hold():
    async def act(node, one, other):
        extra = node.client()

        async def hold():
            async with extra.lock("x"):
                held.set()
                await asyncio.sleep(60)

        held = asyncio.Event()
        holding = asyncio.ensure_future(hold())
        await held.wait()
        await extra.aclose()
        with pytest.raises(LockLost):
            await holding
        assert node.look("x").holder is None

    run(act)


def test_closing_a_client_does_not_wait_long_for_a_cluster_that_is_silent(monkeypatch):
    async def act(node, one, other):
        monkeypatch.setattr(client, "CLOSE_S", 0.01)
        extra = node.client(timeout=60)
        await extra.lock("x").acquire()
        node.is_silent = True
        await extra.aclose()
        assert node.look("x").holder is not None

    run(act)


def test_an_answer_that_comes_too_late_to_be_trusted_is_no_grant(monkeypatch):
    async def act(node, one, other):
        lock = one.lock("x", ttl=10)
        acquiring = asyncio.create_task(lock.acquire())
        while node.commands == 0:
            await asyncio.sleep(0)
        skip_time(monkeypatch, 9)
        with pytest.raises(LockLost):
            await acquiring
        while node.look("x").holder is not None:
            await asyncio.sleep(0)

    run(act)


# Elections.


def test_one_leads_and_everybody_sees_whom():
    async def act(node, one, other):
        election, rival = one.election("boss"), other.election("boss")
        assert await rival.leader() is None
        token = await election.campaign(b"one")
        campaigning = asyncio.create_task(rival.campaign(b"two"))
        await queued(node, "boss", 1)
        assert (await rival.leader()).value == b"one" and election.token == token
        await election.proclaim(b"more")
        assert (await rival.leader()).value == b"more"
        assert election.is_leading and not rival.is_leading
        await election.resign()
        assert await campaigning > token
        assert rival.is_leading and not election.is_leading
        with pytest.raises(LockLost):
            await election.proclaim(b"late")
        await rival.resign()
        assert await election.leader() is None

    run(act)


def test_an_election_campaigns_once_at_a_time():
    """Or one of the two would lead with nobody to resign."""

    async def act(node, one, other):
        held, election = one.lock("boss"), other.election("boss")
        await held.acquire()
        campaigning = asyncio.create_task(election.campaign(b"one"))
        await queued(node, "boss", 1)
        with pytest.raises(LocalProtocolError, match="twice"):
            await election.campaign(b"two")
        await held.release()
        assert await campaigning == election.token
        await election.resign()
        assert await election.leader() is None

    run(act)


def test_a_leader_does_not_campaign_and_one_that_lost_may_again():
    async def act(node, one, other):
        election = one.election("boss", ttl=SHORT)
        first = await election.campaign(b"one")
        with pytest.raises(LocalProtocolError, match="Resign first"):
            await election.campaign(b"again")
        node.is_silent = True
        await election.lost.wait()
        with pytest.raises(LockLost):
            election.check()
        node.is_silent = False
        assert await election.campaign(b"again") > first
        election.check()
        await election.resign()

    run(act)


def test_a_leader_that_the_cluster_deposed_hears_so_when_it_proclaims():
    async def act(node, one, other):
        election = one.election("boss")
        await election.campaign(b"one")
        node.apply(1, Submit(0, 3, 0, 0, 0, 1), encode_batch([CloseSession(1)]))
        with pytest.raises(LockLost):
            await election.proclaim(b"more")

    run(act)


def test_to_lead_is_a_block():
    async def act(node, one, other):
        election = one.election("boss")
        async with election.lead(b"one") as leading:
            assert election.is_leading and leading.token == election.token
            with pytest.raises(LockBusy):
                await other.election("boss").campaign(b"two", wait=0)
        assert node.look("boss").holder is None

    run(act)


def test_who_waits_asks_for_another_place_however_long_no_node_answers():
    async def act(node, one, other):
        holding = one.lock("job", ttl=60)
        await holding.acquire()
        async with node.client(timeout=0.05) as patient:
            waiting = asyncio.ensure_future(patient.lock("job", ttl=0.2).acquire())
            await queued(node, "job", 1)
            node.is_silent = True
            for _ in range(20):
                await asyncio.sleep(0.03)
            assert not waiting.done()
            node.pass_time(1_000_000)
            node.is_silent = False
            await queued(node, "job", 1)
            await holding.release()
            assert await waiting > 0

    run(act)


def test_an_observer_goes_on_when_its_read_was_not_answered_in_time():
    async def act(node, one, other):
        patient = node.client(timeout=0.05)
        async with patient, aclosing(patient.election("boss").observe()) as changes:
            assert await anext(changes) is None
            node.is_silent = True
            for topic in patient._topics.values():
                topic.put(node.host.applied_index, None)  # a gap, as after another connection
            later = asyncio.ensure_future(anext(changes))
            for _ in range(10):
                await asyncio.sleep(0.03)
            assert not later.done()
            node.is_silent = False
            token = await one.election("boss").campaign(b"one")
            assert (await later).token == token

    run(act)


def test_an_observer_sees_every_leader_and_value_that_stands_for_a_while():
    async def act(node, one, other):
        seen = []

        async def step(value):
            while not seen or (seen[-1] and seen[-1].value) != value:
                await asyncio.sleep(0)

        async def observe():
            async with aclosing(other.election("boss").observe()) as changes:
                async for holder in changes:
                    seen.append(holder)

        observing = asyncio.create_task(observe())
        await step(None)
        election = one.election("boss")
        await election.campaign(b"one")
        await step(b"one")
        await election.proclaim(b"more")
        await step(b"more")
        await election.resign()
        await step(None)
        observing.cancel()
        assert [holder and holder.value for holder in seen] == [None, b"one", b"more", None]

    run(act)
