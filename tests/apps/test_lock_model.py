"""Locks against a plain model: mutual exclusion, first come first served, tokens that grow, sessions that end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lock_log import SECOND_US, LockLog
from quorum.apps.batch import Refused
from quorum.apps.lock import (
    Acquire,
    Busy,
    CloseSession,
    Granted,
    KeepAlive,
    Look,
    Proclaim,
    Queued,
    Release,
    TryAcquire,
)

NAMES = st.sampled_from(["a", "a", "b", "c"])
SESSIONS = st.integers(1, 6)
VALUES = st.sampled_from([b"", b"1", b"22"])


class AgainstAModel(RuleBasedStateMachine):
    """`queues` maps a name to (session, value) of its holder and of those behind it; `ends` a session to its ttl
    and when its time is over."""

    @initialize()
    def begin(self) -> None:
        self.log = LockLog()
        self.queues: dict[str, list[list]] = {}
        self.tokens: dict[str, int] = {}
        self.granted: list[int] = []
        self.ends: dict[int, tuple[int, int]] = {}
        self.newest = 0
        for ttl_s in (3, 60, 60, 60):
            self.open(ttl_s * SECOND_US)

    # The model.

    def grant(self, name: str) -> None:
        """Whoever stands first in the queue of `name` was granted it at the newest entry."""
        self.tokens[name] = max(self.log.index, max(self.granted, default=0) + 1)
        self.granted.append(self.tokens[name])

    def leave(self, name: str, session: int) -> None:
        queue = self.queues[name]
        place = [waiting for waiting, _ in queue].index(session)
        del queue[place]
        if not queue:
            del self.queues[name]
        elif place == 0:
            self.grant(name)

    def end(self, session: int) -> None:
        del self.ends[session]
        for name in sorted(self.queues):
            if session in self.sessions_of(name):
                self.leave(name, session)

    def expire(self) -> None:
        due = sorted((end_us, session) for session, (_, end_us) in self.ends.items() if end_us <= self.log.now_us)
        for _, session in due:
            self.end(session)

    def sessions_of(self, name: str) -> list[int]:
        return [session for session, _ in self.queues.get(name, [])]

    # What clients do.

    @rule(ttl_us=st.integers(1, 5).map(lambda count: count * SECOND_US))
    def open(self, ttl_us):
        self.newest += 1
        assert self.log.open(ttl_us) == self.newest
        self.ends[self.newest] = (ttl_us, self.log.now_us + ttl_us)

    @rule(name=NAMES, session=SESSIONS, value=VALUES, waits=st.booleans())
    def acquire(self, name, session, value, waits):
        result = self.log.do(Acquire(name, session, value) if waits else TryAcquire(name, session, value))
        sessions = self.sessions_of(name)
        if session not in self.ends:
            assert isinstance(result, Refused) and result.reason == "ended"
            return
        if not sessions:
            self.queues[name] = [[session, value]]
            self.grant(name)
        elif session not in sessions and waits:
            self.queues[name].append([session, value])
        sessions = self.sessions_of(name)
        if sessions[0] == session:
            assert result == Granted(self.tokens[name])
        elif waits:
            assert result == Queued(sessions.index(session), sessions[0], self.tokens[name])
        else:
            assert result == Busy(sessions[0], self.tokens[name])

    @rule(name=NAMES, order=st.permutations([1, 2, 3, 4]))
    def all_queue_up(self, name, order):
        for session in order:
            self.acquire(name, session, b"%d" % session, waits=True)

    @rule(name=NAMES, session=SESSIONS, by_token=st.sampled_from(["none", "right", "wrong"]))
    def release(self, name, session, by_token):
        token = {"none": 0, "right": self.tokens.get(name, 0), "wrong": 10**9}[by_token]
        result = self.log.do(Release(name, session, token))
        sessions = self.sessions_of(name)
        held = sessions[:1] == [session] and token in (0, self.tokens.get(name))
        queued = session in sessions[1:] and token == 0
        assert (result.held, result.queued) == (held, queued)
        if held or queued:
            self.leave(name, session)

    @rule(name=NAMES, session=SESSIONS, value=VALUES)
    def proclaim(self, name, session, value):
        result = self.log.do(Proclaim(name, session, value))
        holds = self.sessions_of(name)[:1] == [session]
        assert isinstance(result, Refused) != holds
        if holds:
            self.queues[name][0][1] = value

    @rule(session=SESSIONS)
    def keep_alive(self, session):
        assert isinstance(self.log.do(KeepAlive(session)), Refused) == (session not in self.ends)
        if session in self.ends:
            ttl_us = self.ends[session][0]
            self.ends[session] = (ttl_us, self.log.now_us + ttl_us)

    @rule(session=SESSIONS)
    def close(self, session):
        assert self.log.do(CloseSession(session)).existed == (session in self.ends)
        if session in self.ends:
            self.end(session)

    @rule(us=st.integers(1, SECOND_US))
    def time_passes(self, us):
        self.log.wait(us)
        self.expire()

    @precondition(lambda self: len(self.log.entries) > 1)
    @rule()
    def go_on_from_a_snapshot(self):
        before = self.log.host.digest()
        self.log.host = self.log.restored()
        assert self.log.host.digest() == before == self.log.replayed().digest()

    # What must hold.

    @invariant()
    def every_lock_has_the_holder_and_the_queue_of_the_model(self):
        for name in ("a", "b", "c"):
            queue = self.queues.get(name, [])
            view = self.log.ask(Look(name))
            assert view.waiting == max(0, len(queue) - 1)
            assert (view.holder is None) == (not queue)
            if queue:
                assert [view.holder.session, view.holder.value] == queue[0]
                assert view.holder.token == self.tokens[name]
            for place, (session, _) in enumerate(queue):
                assert self.log.ask(Look(name, session)).place == place

    @invariant()
    def tokens_strictly_grow(self):
        assert all(earlier < later for earlier, later in zip(self.granted, self.granted[1:]))

    @invariant()
    def notices_tell_every_change(self):
        told = dict(self.log.changes)
        for name in ("a", "b", "c"):
            holder = told.get(name)
            assert holder == self.log.ask(Look(name)).holder


AgainstAModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_locks_agree_with_a_model = AgainstAModel.TestCase
