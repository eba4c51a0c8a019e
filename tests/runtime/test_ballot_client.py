"""What the client makes of arguments before anything is sent."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import numpy
import pytest

from ballot_log import BallotLog, keyed, unkeyed
from quorum.apps.ballot import BallotView, OpenBallot
from quorum.certificate.audit import judge_ballot
from quorum.certificate.ballot import BallotCertificate
from quorum.certificate.ballot_audit import verify_ballot
from quorum.errors import LocalProtocolError, WrongType
from quorum.runtime.ballot_client import BallotClient
from quorum.voting.ballot.terms import Terms, Voter
from quorum.voting.tally import Rule


class Straight:
    """A cluster in this process: what is asked is applied at once."""

    signs, signer, cluster = False, None, "c"

    def __init__(self, identity: str = "") -> None:
        self.identity = identity
        self.log = BallotLog()

    async def ask(self, queue: str, item: object, expected: type):
        found = self.log.ask(item) if queue == "ballot read" else self.log.do(item, self.identity)
        assert isinstance(found, expected), found
        return found


def opened(electorate: object = ("ann",), identity: str = "", **fields: object) -> BallotView:
    return asyncio.run(BallotClient(Straight(identity)).open("b", "?", electorate, **fields))


@pytest.mark.parametrize(
    "wrong",
    [{"electorate": "ann"}, {"electorate": None}, {"options": "abc"}, {"operators": b"x"}, {"electorate": [1]}],
)
def test_a_text_is_no_list_of_names(wrong):
    with pytest.raises(WrongType, match="name"):
        opened(**wrong)


@pytest.mark.parametrize("call", ["evict", "enlist"])
def test_a_text_is_no_list_of_participants(call):
    async def main() -> None:
        client = BallotClient(Straight())
        await client.open("b", "?", ["ann", "bob"])
        await client.adapt("b", **{call: "ann"})

    with pytest.raises(WrongType, match="list of names"):
        asyncio.run(main())


def test_with_certificates_a_voter_is_named_like_one():
    with pytest.raises(LocalProtocolError, match=r"'client\.ann'"):
        opened(["ann"], identity="client.admin")
    view = opened(["client.ann"], identity="client.admin")
    assert view.opening.terms.electorate == (Voter("client.ann", 1, "client.ann"),)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("share:2/3", Rule("share", 2, 3)),
        ("plurality:3", Rule("plurality", least=3)),
        ("unanimous", Rule("unanimous")),
    ],
)
def test_a_rule_is_written_as_on_the_command_line(text, rule):
    assert opened(("ann", "bob", "cat"), rule=text).opening.terms.rule == rule


@pytest.mark.parametrize("text", ["share", "share:2", "share:a/b", "majority:2", "most", "", None, 3])
def test_what_is_no_rule_is_refused_with_those_there_are(text):
    with pytest.raises(LocalProtocolError, match="share:2/3"):
        opened(rule=text)


@pytest.mark.parametrize(
    ("kind", "said", "counted"),
    [
        ("value", numpy.int64(3), 3.0),
        ("value", Decimal(2), 2.0),
        ("value", numpy.float32(0.5), 0.5),
        ("interval", numpy.array([1.0, 2.0]), (1.0, 2.0)),
        ("interval", [1, numpy.int64(2)], (1.0, 2.0)),
    ],
)
def test_numbers_of_other_libraries_are_numbers(kind, said, counted):
    async def main() -> object:
        client = BallotClient(Straight())
        await client.open("b", "?", ["ann"], kind=kind)
        return (await client.vote("b", said, voter="ann")).standing.opinion

    assert asyncio.run(main()) == counted


@pytest.mark.parametrize("said", ["3", True, None, 10**400, numpy.array([1.0]), object()])
def test_what_is_no_number_is_refused(said):
    async def main() -> None:
        client = BallotClient(Straight())
        await client.open("b", "?", ["ann"], kind="value")
        await client.vote("b", said, voter="ann")

    with pytest.raises(LocalProtocolError, match="number"):
        asyncio.run(main())


def test_who_waits_for_an_outcome_can_bound_it():
    class Silent(BallotClient):
        async def stirrings(self, topic: bytes):
            while True:
                yield
                await asyncio.sleep(0.01)

    async def main() -> None:
        client = Silent(Straight())
        await client.open("b", "?", ["ann"])
        await client.outcome("b", timeout=0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_a_vote_that_is_changed_after_a_lost_one_signs_another_turn():
    async def main() -> tuple[int, int]:
        client = BallotClient(Straight())
        await client.open("b", "?", ["ann"], changeable=True)
        turns = []
        for said in ("approve", "reject"):
            await client.vote("b", said, voter="ann")
            turns.append((await client.look("b")).votes[0].turn)
        return turns[0], turns[1]

    first, second = asyncio.run(main())
    assert 1_000_000 < first < second


def test_a_nonce_by_which_nothing_could_be_revealed_is_refused():
    async def main() -> None:
        client = BallotClient(Straight())
        await client.open("b", "?", ["ann"], secret=True, reveal_time=60)
        await client.vote("b", "approve", voter="ann", nonce=b"short")

    with pytest.raises(LocalProtocolError, match="nonce of 5 bytes"):
        asyncio.run(main())


def test_nobody_signs_in_a_ballot_of_another_cluster():
    straight = Straight()
    straight.log.do(OpenBallot(Terms(name="b", question="?", electorate=unkeyed("ann")), "another"))
    with pytest.raises(LocalProtocolError, match="'another'"):
        asyncio.run(BallotClient(straight).vote("b", "approve", voter="ann"))


def test_the_certificate_of_a_ballot_that_was_opened_for_no_cluster_by_name_holds():
    straight = Straight()
    straight.log.do(OpenBallot(Terms(name="b", question="?", electorate=unkeyed("ann"))))

    async def main() -> BallotCertificate:
        client = BallotClient(straight)
        await client.vote("b", "approve", voter="ann")
        return await client.certificate("b")

    assert verify_ballot(asyncio.run(main())).reasons == ()


def test_an_auditor_demands_the_voters_whom_it_knows():
    log = BallotLog()
    ballot = log.open(Terms(name="b", question="?", electorate=keyed("ann", "bob"), transferable=True))
    for name in ("ann", "bob"):
        ballot.vote(name, "approve")
    certificate = ballot.certificate()
    assert judge_ballot(certificate).signed and judge_ballot(certificate, keyed("ann", "bob")).signed
    for others in (keyed("ann"), keyed("ann", "bob", "cat"), (*keyed("ann"), Voter("bob", key=b"k" * 32))):
        audit = judge_ballot(certificate, others)
        assert not audit.valid and not audit.signed and "otherwise" in audit.reasons[0]
        assert len(set(audit.reasons)) == len(audit.reasons)
