"""`quorum approve` asks all members at once, within one time, and says who did not answer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from certificate.committees import committee_of
from console.test_inquiry import status
from quorum.console import approval_asked
from quorum.console.approval_asked import tell_all
from quorum.console.approve import Approval, _show
from quorum.errors import OutcomeUnknown, RequestRefused

FOUR = ("n1", "n2", "n3", "n4")
COMMITTEE = committee_of(4, epoch=2)


class Members:
    """Members that answer an operator's word only when all of them were asked; of `outcomes`, "silent" never
    answers, and an error is raised."""

    def __init__(self, monkeypatch, acts: bool = False, **outcomes) -> None:
        self.endpoints = {node: f"127.0.0.1:{number}" for number, node in enumerate(FOUR, 7001)}
        self._outcomes = outcomes
        self._asked, self._all = 0, asyncio.Event()
        epoch = 2 if acts else 1

        async def ask_all(place):
            return {node: replace(status(node), epoch=epoch, voters=FOUR) for node in FOUR}

        monkeypatch.setattr(approval_asked, "ask_all", ask_all)
        monkeypatch.setattr(approval_asked, "LOOK_S", 0.05)

    @asynccontextmanager
    async def node(self, name):
        outcome = self._outcomes.get(name)
        self._asked += 1
        if self._asked == len(FOUR):
            self._all.set()
        await self._all.wait()
        if outcome == "silent":
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome
        yield self

    async def approve(self, document):
        pass


def ask(members, timeout=5.0):
    return asyncio.run(tell_all(members, FOUR, COMMITTEE, None, timeout))


def test_members_are_asked_at_once_and_none_waits_for_another(monkeypatch):
    word = ask(Members(monkeypatch))
    assert (word.approved, word.refused, word.silent) == (FOUR, {}, ())


def test_who_is_silent_is_named_once_the_one_time_is_over(monkeypatch):
    word = ask(Members(monkeypatch, n2="silent", n4="silent"), timeout=0.3)
    assert word.approved == ("n1", "n3") and word.silent == ("n2", "n4")
    assert word.refused["n4"].startswith("n4 does not answer at 127.0.0.1:7004 (in time). Start it, or leave it")


def test_nobody_waits_for_the_silent_once_the_committee_acts(monkeypatch):
    word = ask(Members(monkeypatch, acts=True, n2="silent"), timeout=3600.0)
    assert (word.approved, word.silent) == (("n1", "n3", "n4"), ("n2",))


@pytest.mark.parametrize(
    ("error", "is_silent"),
    [
        (ConnectionRefusedError(111, "Connection refused"), True),
        (OutcomeUnknown("n3 was asked, but gave no answer. Ask again."), True),
        (RequestRefused("n3 was asked to approve, but has another epoch. Ask again."), False),
    ],
)
def test_who_refuses_is_told_apart_from_who_does_not_answer(error, is_silent, monkeypatch):
    word = ask(Members(monkeypatch, n3=error))
    assert list(word.refused) == ["n3"] and (word.silent == ("n3",)) is is_silent
    assert word.but_for({}).silent == () and word.but_for(word.refused) == word


def test_people_are_told_who_did_not_answer(capsys):
    said = {"n4": "n4 does not answer at 127.0.0.1:7004 (in time). Start it."}
    _show(Approval(2, FOUR, 1, ("n1", "n2", "n3"), said, True, silent=("n4",)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "approved at n1, n2, n3; no answer from n4"
    assert lines[2].strip() == said["n4"] and lines[3] == "the committee acts"
