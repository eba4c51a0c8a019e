"""Signed requests that wait at a node: no client takes the places of the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from protocols.pbft.cluster import request_of
from quorum.apps.applied import Applied
from quorum.certificate.requests import decode_request
from quorum.certificate.vote import SigningDomain
from quorum.runtime import messages, signed_requests
from quorum.runtime.messages import Failure, Result
from quorum.runtime.signed_requests import CLIENTS_MAX, SignedRequests


class Hand:
    """A client whose answers are kept."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.answers: list[object] = []

    def answer(self, message: object, attached: Sequence[bytes]) -> None:
        self.answers.append(message)

    def backlog(self) -> int:
        return 0


class NothingKept:
    """A host whose sessions keep no answer."""

    def kept_answer(self, signed: object) -> None:
        """As the host's."""


class Orders:
    """A driver that takes everything, and says nothing."""

    application = NothingKept()

    def submit(self, data: bytes) -> None:
        """As the driver's."""


def submit(requests: SignedRequests, client: Hand, number: int, data: bytes) -> None:
    requests.submit(client, number, data, Orders(), SigningDomain("tests", 0))  # type: ignore[arg-type]


def decided(requests: SignedRequests, data: bytes) -> None:
    requests.decided([(decode_request(data).name, Applied(0, b"done"))])


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_requests, "WAITING_MAX", 64)


@pytest.mark.parametrize("name", ["client.mallory", ""])
def test_a_client_whose_requests_are_never_decided_leaves_places_for_others(name: str) -> None:
    """Nobody has looked at a signature yet when a request begins to wait."""
    requests, mallory, other = SignedRequests(), Hand(name), Hand("client.a")
    for number in range(200):
        submit(requests, mallory, number, request_of("z", number))
    refused = [each for each in mallory.answers if isinstance(each, Failure)]
    assert {each.code for each in refused} == {messages.OVERLOADED} and len(refused) == 200 - 64 // 8
    submit(requests, other, 1, request_of("a", 1))
    decided(requests, request_of("a", 1))
    assert [type(each) for each in other.answers] == [Result]


def test_places_are_free_again_when_requests_are_decided_and_when_connections_end() -> None:
    requests, client = SignedRequests(), Hand("client.a")
    for life in range(3):
        for number in range(64 // 8):
            submit(requests, client, number, request_of("a", 100 * life + number))
        if life == 1:
            requests.lost(client)
        else:
            for number in range(64 // 8):
                decided(requests, request_of("a", 100 * life + number))
    assert not any(isinstance(each, Failure) for each in client.answers)
    assert not requests._shares and not requests._waiting


def test_a_client_that_asks_for_the_request_of_another_on_many_connections_does_not_push_it_out() -> None:
    requests, client, data = SignedRequests(), Hand("client.a"), request_of("a", 1)
    submit(requests, client, 1, data)
    copies = [Hand("client.mallory") for _ in range(2 * CLIENTS_MAX)]
    for number, copy in enumerate(copies):
        submit(requests, copy, number, data)
    decided(requests, data)
    assert [type(each) for each in client.answers] == [Result]
    assert sum(len(copy.answers) for copy in copies) == 1


def test_a_client_that_comes_back_waits_where_it_waited() -> None:
    requests, data = SignedRequests(), request_of("a", 1)
    before, after = Hand("client.a"), Hand("client.a")
    submit(requests, before, 1, data)
    submit(requests, after, 1, data)
    requests.lost(before)
    decided(requests, data)
    assert (len(before.answers), len(after.answers)) == (0, 1)
    assert not requests._shares
