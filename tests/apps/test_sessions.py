"""Exactly once: sessions, retries, acknowledgements and bounds (Ongaro 2014, section 6.3)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps_log import KV, Log
from quorum.apps import session
from quorum.apps.answer import (
    DUPLICATE_DROPPED,
    EXPIRED,
    FAILED,
    FORGOTTEN,
    OK,
    Answer,
    decode_answer,
    decode_failure,
    encode_answer,
    failure,
    reply_of,
)
from quorum.apps.host import CLOSE, OPEN, SESSIONS, TOUCH, Host, decode_session, opening
from quorum.apps.state_machine import Outputs, Reply
from quorum.errors import ApplicationError, LocalProtocolError, OutcomeUnknown, SessionExpired


class Tape:
    """An application that remembers every body applied, so that one applied twice shows."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def apply(self, header, body):
        self.bodies.append(bytes(body))
        if body[:4] == b"boom":
            raise ValueError("boom")
        if body[:6] == b"answer":
            _, client, sequence = bytes(body).split()
            return Outputs(b"", replies=(Reply(int(client), int(sequence), b"late"),))
        if body[:3] == b"big":
            return Outputs(b"x" * int(body[3:]))
        return Outputs(b"%d" % len(self.bodies))

    def query(self, body):
        return b"%d" % len(self.bodies)

    def digest(self):
        return session.blake2b(repr(self.bodies).encode(), digest_size=32).digest()

    def snapshot(self):
        return iter([msgspec.msgpack.encode(self.bodies)])

    def restore(self, chunks):
        (chunk,) = chunks
        self.bodies = msgspec.msgpack.decode(chunk, type=list[bytes])


def new_log(sessions_max: int = 10) -> tuple[Log, Tape]:
    tape = Tape()
    return Log(Host({KV: tape}, sessions_max=sessions_max)), tape


def restored(host: Host, sessions_max: int = 10) -> Host:
    twin = Host({KV: Tape()}, sessions_max=sessions_max)
    twin.restore(list(host.snapshot()))
    return twin


def test_a_session_is_named_by_the_index_of_the_entry_that_opened_it():
    log, _ = new_log()
    log.append(b"first")
    assert decode_session(log.append(OPEN, app=SESSIONS).body) == 2
    assert decode_session(log.append(OPEN, app=SESSIONS).body) == 3


def test_a_session_belongs_to_the_client_it_was_opened_for():
    log, _ = new_log()
    first, second = decode_session(log.append(opening("client.a"), app=SESSIONS).body), log.open()
    assert (log.host.session_owner(first), log.host.session_owner(second)) == ("client.a", "")
    log.append(b"x", client=first, first_sequence=1)
    twin = restored(log.host)
    assert twin.session_owner(first) == "client.a" and twin.digest() == log.host.digest()
    log.append(CLOSE, app=SESSIONS, client=first)
    assert log.host.session_owner(first) is None


def test_an_opening_that_no_node_writes_opens_nothing_or_is_read_the_same_everywhere():
    log, _ = new_log()
    assert log.append(OPEN + b" " + b"x" * 300, app=SESSIONS).status == FAILED
    assert log.append(OPEN + b"ed", app=SESSIONS).status == FAILED
    odd = decode_session(log.append(OPEN + b" \xff", app=SESSIONS).body)
    assert log.host.session_owner(odd) == "\ufffd"


def test_a_retry_is_answered_and_not_applied():
    log, tape = new_log()
    client = log.open()
    first = log.append(b"a", client=client, first_sequence=1)
    log.append(b"b", client=client, first_sequence=2)
    again = log.append(b"a", client=client, first_sequence=1)
    assert (again.status, again.body) == (first.status, first.body) == (OK, b"1")
    assert tape.bodies == [b"a", b"b"]


def test_without_a_session_every_try_is_applied():
    log, tape = new_log()
    log.append(b"a")
    log.append(b"a")
    assert tape.bodies == [b"a", b"a"]


def test_clients_with_equal_sequences_do_not_meet():
    log, tape = new_log()
    one, two = log.open(), log.open()
    log.append(b"a", client=one, first_sequence=1)
    log.append(b"b", client=two, first_sequence=1)
    assert tape.bodies == [b"a", b"b"]


def test_batches_of_one_session_may_be_applied_out_of_order():
    log, tape = new_log()
    client = log.open()
    log.append(b"late", client=client, first_sequence=9)
    log.append(b"early", client=client, first_sequence=3)
    assert tape.bodies == [b"late", b"early"]
    assert log.append(b"late", client=client, first_sequence=9).body == b"1"


def test_a_batch_below_the_acknowledged_mark_is_dropped():
    log, tape = new_log()
    client = log.open()
    log.append(b"a", client=client, first_sequence=1)
    log.append(b"b", client=client, first_sequence=2, acked_below=2)
    again = log.append(b"a", client=client, first_sequence=1)
    assert (again.status, again.body) == (DUPLICATE_DROPPED, b"")
    assert tape.bodies == [b"a", b"b"]


def test_an_old_mark_in_a_retry_does_not_take_the_mark_back():
    log, _ = new_log()
    client = log.open()
    log.append(b"a", client=client, first_sequence=1)
    log.append(b"b", client=client, first_sequence=2, acked_below=2)
    log.append(b"b", client=client, first_sequence=2, acked_below=0)
    assert log.append(b"a", client=client, first_sequence=1).status == DUPLICATE_DROPPED


def test_an_unknown_session_is_told_so_and_nothing_is_applied():
    log, tape = new_log()
    answer = log.append(b"a", client=77, first_sequence=1)
    assert (answer.status, answer.body) == (EXPIRED, b"")
    assert tape.bodies == []


def test_the_least_recently_used_session_makes_room_for_a_new_one():
    log, _ = new_log(sessions_max=3)
    one, two, three = log.open(), log.open(), log.open()
    log.append(b"a", client=one, first_sequence=1)
    log.append(TOUCH, app=SESSIONS, client=two)
    log.open()
    assert log.append(b"b", client=three, first_sequence=1).status == EXPIRED
    log.open()
    assert log.append(b"b", client=one, first_sequence=2).status == EXPIRED
    assert log.append(b"b", client=two, first_sequence=1).status == OK
    assert log.host.session_count == 3


def test_a_closed_session_is_unknown():
    log, _ = new_log()
    client = log.open()
    assert log.append(CLOSE, app=SESSIONS, client=client).status == OK
    assert log.append(TOUCH, app=SESSIONS, client=client).status == EXPIRED
    assert log.append(b"a", client=client, first_sequence=1).status == EXPIRED


def test_an_unknown_session_command_fails_alone():
    log, _ = new_log()
    answer = log.append(b"dance", app=SESSIONS)
    assert answer.status == FAILED
    assert decode_failure(answer.body).kind == "UnknownCommand"


def test_a_failure_is_kept_and_not_tried_again():
    log, tape = new_log()
    client = log.open()
    first = log.append(b"boom", client=client, first_sequence=1)
    again = log.append(b"boom", client=client, first_sequence=1)
    assert (again.status, again.body) == (first.status, first.body)
    assert tape.bodies == [b"boom"]


def test_a_later_answer_replaces_the_one_that_a_retry_hears():
    log, _ = new_log()
    client = log.open()
    log.append(b"queue me", client=client, first_sequence=5)
    applied = log.append(b"answer %d 5" % client)
    assert applied.replies == (Reply(client, 5, b"late"),)
    assert log.append(b"queue me", client=client, first_sequence=5).body == b"late"


def test_a_later_answer_for_nobody_is_ignored():
    log, _ = new_log()
    client = log.open()
    log.append(b"queue me", client=client, first_sequence=5)
    log.append(b"x", client=client, first_sequence=6, acked_below=6)
    log.append(b"answer %d 5" % client)
    log.append(b"answer 99 5")
    assert log.append(b"queue me", client=client, first_sequence=5).status == DUPLICATE_DROPPED


def test_an_answer_too_many_is_forgotten_but_its_batch_is_not_applied_again(monkeypatch):
    monkeypatch.setattr(session, "SESSION_BYTES_MAX", 10_000)
    log, tape = new_log()
    client = log.open()
    for sequence in range(1, 6):
        log.append(b"big3000", client=client, first_sequence=sequence)
    statuses = [log.append(b"big3000", client=client, first_sequence=n).status for n in range(1, 6)]
    assert statuses == [FORGOTTEN, FORGOTTEN, FORGOTTEN, OK, OK]
    assert len(tape.bodies) == 5
    assert log.host._sessions.answer_bytes <= 10_000
    assert restored(log.host).digest() == log.host.digest()


def test_a_client_that_never_acknowledges_loses_its_session(monkeypatch):
    monkeypatch.setattr(session, "SESSION_ANSWERS_MAX", 5)
    log, _ = new_log()
    client, other = log.open(), log.open()
    statuses = [log.append(b"a", client=client, first_sequence=n).status for n in range(1, 8)]
    assert statuses == [OK] * 6 + [EXPIRED]
    assert log.append(b"a", client=other, first_sequence=1).status == OK


def test_all_answers_together_are_bounded_by_closing_idle_sessions(monkeypatch):
    monkeypatch.setattr(session, "ANSWER_BYTES_MAX", 5_000)
    log, _ = new_log()
    clients = [log.open() for _ in range(3)]
    for client in clients:
        log.append(b"big2000", client=client, first_sequence=1)
    statuses = [log.append(b"big2000", client=client, first_sequence=1).status for client in clients]
    assert statuses == [EXPIRED, OK, OK]
    assert log.host._sessions.answer_bytes <= 5_000


@given(data=st.data())
def test_each_batch_is_applied_once_however_often_and_in_whatever_order_it_comes(data):
    """Retries interleave with other clients, acknowledgements, snapshots and restores."""
    log, _ = new_log()
    clients = [log.open(), log.open()]
    answers: dict[tuple[int, int], bytes] = {}
    acked = dict.fromkeys(clients, 0)
    applied = 0
    for _ in range(data.draw(st.integers(1, 25))):
        client, sequence = data.draw(st.sampled_from(clients)), data.draw(st.integers(0, 6))
        acked[client] = max(acked[client], data.draw(st.integers(0, 4) | st.just(0)))
        answer = log.append(
            b"%d-%d" % (client, sequence), client=client, first_sequence=sequence, acked_below=acked[client]
        )
        if sequence < acked[client]:
            assert answer.status == DUPLICATE_DROPPED
        elif (client, sequence) in answers:
            assert answer.body == answers[client, sequence]
        else:
            applied += 1
            assert answer.body == b"%d" % applied
            answers[client, sequence] = answer.body
        if data.draw(st.integers(0, 4)) == 0:
            log.host = restored(log.host)
    fresh, tape = new_log()
    assert log.replay(fresh.host).digest() == log.host.digest() == restored(log.host).digest()
    assert len(tape.bodies) == len(set(tape.bodies)) == applied


def test_a_retry_after_a_restore_is_answered_from_the_snapshot():
    log, _ = new_log()
    client = log.open()
    first = log.append(b"a", client=client, first_sequence=1)
    log.host = restored(log.host)
    again = log.append(b"a", client=client, first_sequence=1)
    assert (again.status, again.body) == (first.status, first.body)
    assert log.host.query(KV, b"").body == b"1"


def test_the_order_of_use_survives_a_restore():
    log, _ = new_log(sessions_max=2)
    one, two = log.open(), log.open()
    log.append(TOUCH, app=SESSIONS, client=one)
    log.host = restored(log.host, sessions_max=2)
    log.open()
    assert log.append(b"a", client=two, first_sequence=1).status == EXPIRED
    assert log.append(b"a", client=one, first_sequence=1).status == OK


def test_sessions_in_a_snapshot_do_not_see_later_use():
    log, _ = new_log()
    client = log.open()
    log.append(b"a", client=client, first_sequence=1)
    before, frames = log.host.digest(), log.host.snapshot()
    log.append(b"b", client=client, first_sequence=2, acked_below=2)
    log.append(CLOSE, app=SESSIONS, client=client)
    twin = Host({KV: Tape()}, sessions_max=10)
    twin.restore(frames)
    assert twin.digest() == before != log.host.digest()


def test_thousands_of_sessions_make_a_snapshot_of_few_chunks():
    log, _ = new_log(sessions_max=5000)
    for _ in range(5001):
        log.open()
    assert log.host.session_count == 5000
    assert len(list(log.host.snapshot())) < 10
    assert restored(log.host, sessions_max=5000).digest() == log.host.digest()


def test_every_answer_reads_back_and_says_what_to_raise():
    assert reply_of(decode_answer(encode_answer(OK, b"reply"))) == b"reply"
    failed = failure("KeyError", "x")
    for answer, error in [
        (failed, ApplicationError),
        (Answer(EXPIRED, b""), SessionExpired),
        (Answer(FORGOTTEN, b""), OutcomeUnknown),
        (Answer(DUPLICATE_DROPPED, b""), LocalProtocolError),
    ]:
        assert decode_answer(encode_answer(answer.status, answer.body)) == answer
        with pytest.raises(error):
            reply_of(answer)


@pytest.mark.parametrize("data", [b"", b"\x09rest", b"\xff"])
def test_bytes_that_are_no_answer_are_refused(data):
    with pytest.raises(ValueError, match="no known status"):
        decode_answer(data)
