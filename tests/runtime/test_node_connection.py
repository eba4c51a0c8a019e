"""Requests to one node end: with an answer, or with an error that says whether it may yet happen."""

from __future__ import annotations

import asyncio

import pytest

from quorum.errors import Definite, Indefinite, NotLeader, OutcomeUnknown, Overloaded, QuorumError, RequestRefused
from quorum.membership.reconfiguration import Promote
from quorum.runtime import messages, node_connection
from quorum.runtime.messages import ChangeRequest, Failure, Result, StatusReply
from quorum.runtime.node_connection import NodeConnection


class Desk:
    """A dialler whose other end answers as the test says; None: not at all."""

    def __init__(self, answer) -> None:
        self._answer = answer
        self.sent: list[object] = []

    async def open(self, endpoint, on_messages, on_closed, node="") -> None:
        self._hear, self.cut = on_messages, on_closed

    def send(self, message: object, body: bytes) -> None:
        self.sent.append(message)
        reply = self._answer(message)
        if reply is not None:
            asyncio.get_running_loop().call_soon(self._hear, [(reply, b"")])

    def flush(self) -> None: ...

    async def aclose(self) -> None: ...


def asked(act, answer=lambda message: None):
    """What `act(connection, desk)` gives."""

    async def main():
        desk = Desk(answer)
        async with NodeConnection("n1:1", desk) as connection, asyncio.timeout(20):  # type: ignore[arg-type]
            return await act(connection, desk)

    return asyncio.run(main())


async def change(connection, desk):
    await connection.change(Promote("n1"), timeout=0.01)


def test_a_node_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(node_connection.NodeConnection._ask, "__defaults__", (b"", 0.01, False))

    async def act(connection, desk):
        with pytest.raises(Overloaded, match=r"n1:1 was asked, but did not answer within 0\.01 s"):
            await connection.status()
        assert not connection._waiting

    asked(act)


def test_a_change_that_is_not_answered_in_time_may_yet_happen():
    with pytest.raises(OutcomeUnknown, match="may yet be done: look at the members"):
        asked(change)


@pytest.mark.parametrize("ask", ["change", "transfer", "set_link_faults", "status", "backup", "certificate"])
def test_a_connection_that_ends_leaves_the_outcome_of_a_change_unknown_and_only_that(ask):
    arguments = {"change": (Promote("n1"),), "set_link_faults": ((), ()), "certificate": ("t",)}

    async def act(connection, desk):
        waiting = asyncio.ensure_future(getattr(connection, ask)(*arguments.get(ask, ())))
        await asyncio.sleep(0)
        desk.cut()
        with pytest.raises(QuorumError, match="it closed the connection") as told:
            await waiting
        assert isinstance(told.value, Indefinite) == (ask in ("change", "transfer", "set_link_faults"))
        with pytest.raises(QuorumError) as after:
            await connection.change(Promote("n1"))
        assert not isinstance(after.value, Indefinite), "it was not sent any more"
        assert len(desk.sent) == 1

    asked(act)


@pytest.mark.parametrize(
    ("code", "error", "base"),
    [
        (messages.NOT_LEADER, NotLeader, Definite),
        (messages.OVERLOADED, Overloaded, Definite),
        (messages.REFUSED, RequestRefused, Definite),
        (messages.OUTCOME_UNKNOWN, OutcomeUnknown, Indefinite),
    ],
)
def test_each_failure_has_its_error(code, error, base):
    with pytest.raises(error) as told:
        asked(change, lambda message: Failure(message.request, code, "no"))
    assert isinstance(told.value, base) and type(told.value) is error


def test_answers_are_told_apart_by_their_requests():
    async def act(connection, desk):
        status, _ = await asyncio.gather(connection.status(), connection.change(Promote("n1")))
        assert status == b"ok"

    def answer(message):
        if isinstance(message, ChangeRequest):
            return Result(message.request, 0)
        return StatusReply(message.request, b"ok")

    asked(act, answer)


def test_a_node_that_answers_nothing_does_not_make_a_program_hold_ever_more(monkeypatch):
    monkeypatch.setattr(node_connection, "WAITING_MAX", 3)

    async def act(connection, desk):
        waiting = [asyncio.ensure_future(connection.backup_chunk(1, n)) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 requests wait"):
            await connection.status()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not connection._waiting

    asked(act)
