"""Programs that vote, and webhooks that answer badly."""

from __future__ import annotations

import asyncio

import pytest

from ballot_log import BallotLog, unkeyed
from quorum.apps.ballot import BallotLine, LookBallot
from quorum.errors import ApplicationError, ConfigurationError, QuorumError, WrongType
from quorum.runtime import ballot_voter
from quorum.runtime.ballot_arguments import checked_opinion
from quorum.runtime.ballot_client import BallotClient
from quorum.runtime.ballot_voter import Voted, callable_named, said_by, vote_always
from quorum.runtime.webhook import ANSWER_BYTES_MAX, Webhook
from quorum.voting.ballot.terms import Terms

TERMS = Terms(name="b", question="?", electorate=unkeyed("ann"), kind="value")


class OneBallot:
    """What a voter needs of a client: one ballot is listed, twice."""

    def __init__(self, is_forgotten: bool = False) -> None:
        self.log = BallotLog()
        self.log.open(TERMS)
        self.is_forgotten = is_forgotten
        self.looked = 0

    async def stirrings(self, topic: bytes):
        for _ in range(2):
            yield

    async def list(self, voter: str):
        view = self.log.ask(LookBallot("b"))
        yield BallotLine("b", "?", view.phase, 1, view.standing)

    async def look(self, name: str):
        self.looked += 1
        if self.is_forgotten:
            raise ApplicationError("there is no ballot 'b'. Look at it again.", "ballot")
        return self.log.ask(LookBallot(name))

    async def vote(self, name: str, opinion: object, voter: str) -> None:
        checked_opinion(TERMS, opinion)


def test_a_ballot_that_is_forgotten_before_it_is_looked_at_ends_no_voter():
    ballots = OneBallot(is_forgotten=True)
    asyncio.run(vote_always(ballots, "ann", lambda view: 1.0))
    assert ballots.looked == 2


@pytest.mark.parametrize(
    "said", [10**400, float("nan"), {"a": 1}, [[1]], True, ("x",), b"x"], ids=lambda said: type(said).__name__
)
def test_what_is_no_opinion_is_told_and_ends_no_voter(said):
    told: list[Voted] = []
    asyncio.run(vote_always(OneBallot(), "ann", lambda view: said, told.append))
    assert [each.opinion for each in told] == [None] and "finite number" in told[0].problem


@pytest.mark.parametrize("name", ["", ".:x", "nowhere:x", "os:", "os:sep", "badly_written:opinion", "\udce9:x"])
def test_what_cannot_be_called_is_refused_with_what_to_do(name, tmp_path, monkeypatch):
    (tmp_path / "badly_written.py").write_text("def (:")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"Write MODULE:FUNCTION|Name another"):
        callable_named(name)


@pytest.mark.parametrize(
    "url", ["", "file:///x", "http://", "http://[::1/x", "http://a b/", "http://\udce9/", "http://a/\n"]
)
def test_what_is_no_url_is_asked_nothing(url):
    with pytest.raises(ConfigurationError, match="no URL"):
        Webhook(url)
    for seconds in (float("nan"), -1.0, 0.0, float("inf")):
        with pytest.raises(ConfigurationError, match="no time"):
            Webhook("http://127.0.0.1/", seconds)


@pytest.mark.parametrize("name", [b"b", None, "\udce9"])
def test_what_is_no_name_is_refused_before_anything_is_watched(name):
    async def main() -> None:
        async for _ in BallotClient(None).watch(name):
            pass

    with pytest.raises(WrongType, match="names are text"):
        asyncio.run(main())


async def answered(parts: list[bytes], timeout: float = 5.0, pause: float = 0.0) -> object:
    """What a voter hears from a server that sends these parts, with pauses, and then nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))  # or the end is a reset
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    decide = said_by(Webhook(f"http://127.0.0.1:{port}/", timeout))
    try:
        return await decide(OneBallot().log.ask(LookBallot("b")))
    finally:
        server.close()


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"], "302"),
        ([b"HTTP/1.1 500 No\r\n\r\n"], "500"),
        ([b"nonsense\r\n\r\n"], "nonsense"),
        ([HEAD, b"no json"], "no JSON"),
        ([HEAD, b'{"opinion": NaN}'], "no JSON"),
        ([HEAD, b"\xff\xfe"], "no JSON"),
        ([HEAD, b"[" * 60_000], "no JSON"),
        ([HEAD, b"1" * (ANSWER_BYTES_MAX + 1)], "more than"),
        ([HEAD, b"[1]"], "has none"),
        ([HEAD, b'{"answer": 1}'], "has none"),
    ],
)
def test_a_bad_answer_of_a_webhook_is_told_in_words(parts, why):
    with pytest.raises((QuorumError, ConfigurationError), match=why):
        asyncio.run(answered(parts))


def test_a_webhook_that_goes_on_answering_slowly_is_left():
    """Each byte comes in time, and all of them would take a minute."""
    with pytest.raises(QuorumError, match="took more than"):
        asyncio.run(answered([HEAD, *([b" "] * 600)], timeout=0.3, pause=0.1))


def test_an_empty_answer_is_no_vote():
    assert asyncio.run(answered([b"HTTP/1.1 204 No Content\r\n\r\n"])) is None
    assert asyncio.run(answered([HEAD, b" "])) is None
    assert asyncio.run(answered([HEAD, b'{"opinion": [1, 2]}'])) == (1, 2)


def test_who_failed_to_answer_is_asked_again(monkeypatch):
    """Nothing else happens meanwhile: no notice wakes the voter."""
    monkeypatch.setattr(ballot_voter, "AGAIN_S", 0.02)
    answers = iter([OSError("down"), OSError("down"), 21.5])
    ballots, told, pauses = OneBallot(), [], []

    async def stirrings(topic: bytes):
        yield
        await asyncio.Event().wait()

    async def vote(name: str, opinion: object, voter: str) -> None:
        done.set()

    def decide(view: object) -> float:
        pauses.append(asyncio.get_running_loop().time())
        said = next(answers)
        if isinstance(said, OSError):
            raise said
        return said

    async def main() -> None:
        nonlocal done
        done = asyncio.Event()
        voting = asyncio.create_task(vote_always(ballots, "ann", decide, told.append))
        await asyncio.wait_for(done.wait(), 10)
        await asyncio.sleep(0)
        voting.cancel()

    done = asyncio.Event()
    ballots.stirrings, ballots.vote = stirrings, vote
    asyncio.run(main())
    assert [each.opinion for each in told] == [None, None, 21.5]
    assert pauses[2] - pauses[1] > pauses[1] - pauses[0]


def test_who_has_nothing_to_say_is_not_asked_again_in_this_round():
    asked = []
    ballots = OneBallot()
    asyncio.run(vote_always(ballots, "ann", asked.append))
    assert len(asked) == 1 and ballots.looked == 2
