"""The newest certificate that holds, from nodes that are believed nothing."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from certificate.committees import committee_of, header_of, signed_by
from certificate.test_epochs import GENESIS, chain
from quorum.certificate.block_forms import encode_json
from quorum.certificate.chain_forms import encode_chain
from quorum.errors import ConfigurationError, NotLeader, QuorumError
from quorum.runtime.newest_certificate import newest_certificate

COMMITTEE = committee_of(4)


def block(sequence: int, *signers: str) -> bytes:
    header = replace(header_of(COMMITTEE), sequence=sequence)
    return encode_json(signed_by(list(signers or ("n1", "n2", "n3")), COMMITTEE, header))


class Connection:
    def __init__(self, answer: bytes | Exception) -> None:
        self._answer = answer

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def certificate(self, topic: str) -> bytes:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Nodes:
    """A place whose nodes answer what they are told to."""

    def __init__(self, *answers: bytes | Exception, committee=COMMITTEE) -> None:
        self.endpoints = {f"n{number}": "" for number in range(1, len(answers) + 1)}
        self._answers = dict(zip(self.endpoints, answers, strict=True))
        self._committee = committee

    def committee(self):
        return self._committee

    def node(self, name: str) -> Connection:
        return Connection(self._answers[name])


def newest(*answers: bytes | Exception, committee=COMMITTEE):
    return asyncio.run(newest_certificate(Nodes(*answers, committee=committee)))


def test_of_those_that_hold_the_newest_is_taken_and_no_liar_s():
    found = newest(block(7), block(9, "n1"), OSError("no route"), block(8))
    assert (found.sequence, found.document) == (8, block(8))
    assert found.audit.valid and found.audit.signers == ("n1", "n2", "n3")


def test_who_has_no_vote_does_not_count_among_those_that_must_be_heard():
    """Three learners that lie, and one member, are not N-T members."""

    class Late(Connection):
        async def certificate(self, topic: str) -> bytes:
            await asyncio.sleep(0.05)
            return await super().certificate(topic)

    class Learners(Nodes):
        def node(self, name: str) -> Connection:
            answer = self._answers[name]
            return Connection(answer) if name in ("n1", "n5", "n6", "n7") else Late(answer)

    place = Learners(block(7), block(9), block(9), block(9), block(7), block(7), block(7))
    assert asyncio.run(newest_certificate(place)).sequence == 9  # type: ignore[arg-type]


def test_one_of_a_later_epoch_holds_by_the_changes_before_it():
    changes = chain(2)
    last = changes[-1].committee
    document = encode_chain(changes, signed_by(list(last.nodes), last, header_of(last, sequence=20)))
    assert newest(document, committee=GENESIS).document == document


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (block(9, "n1"), "that of n1 does not hold: the 1 who signed hold no quorum"),
        (b"{}", "was to be read, but this is none"),
        (NotLeader(None), "n1 has decided nothing since it started. Send any request"),
        (OSError("no route"), r"does not answer \(no route\)\. Look whether it runs"),
        (TimeoutError(), r"does not answer \(in time\)"),
        (QuorumError("its role is data. Use an admin certificate."), "Use an admin certificate"),
    ],
)
def test_where_none_holds_it_is_said_why(answer, words):
    with pytest.raises(QuorumError, match=words):
        newest(answer)


def test_where_no_node_is_known_it_is_said_so():
    with pytest.raises(QuorumError, match="no node is known"):
        newest()


def test_where_nobody_signs_there_is_none():
    with pytest.raises(ConfigurationError, match="members that only crash sign nothing"):
        newest(b"", committee=None)
