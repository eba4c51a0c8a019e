"""What a client signs: all that waits together at once, or each command as a request of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import quorum
from quorum.apps import kv
from quorum.apps.catalogue import LEDGER_APP, new_host
from quorum.apps.host import SESSIONS
from quorum.apps.ledger import Receipt
from quorum.apps.ledger_application import LedgerApplication
from quorum.certificate.committee import Committee, Member
from quorum.certificate.keys import is_signed
from quorum.certificate.requests import decode_request, request_statement
from quorum.certificate.vote import SigningDomain
from quorum.errors import ConfigurationError
from quorum.runtime.client import Client
from quorum.runtime.connect import at_config
from quorum.runtime.fan_out import FanOut
from quorum.runtime.messages import SubmitSigned
from quorum.runtime.setup import init_cluster
from quorum.sim.byzantine_world import Key
from runtime.test_client import OneNode

KEY = Key(b"a client", True)


class Register(LedgerApplication):
    def execute(self, block, transaction, state):
        state.put(transaction, b"here")
        return b""


class Signed(OneNode):
    """One member that believes everything; `requests` are the signed requests that a client of it would send."""

    signs = True

    def __init__(self) -> None:
        super().__init__()
        self.host = new_host(ledger=Register)
        self.requests: list[bytes] = []
        alone = Committee("c", 1, (Member("n1", KEY.public),), 0)
        self._fan_out = FanOut(alone, KEY.public, KEY.sign, 1, self._sent, lambda message, body: None)
        self._fan_out.connected("n1")

    def _sent(self, member, message, data) -> None:
        if isinstance(message, SubmitSigned):
            self.requests.append(data)

    def send(self, message: object, body: bytes) -> None:
        super().send(message, body)
        self._fan_out.transmit(message, body)


def asked(act, **options) -> tuple[list, list[bytes]]:
    """What `act(client)` gives, and the batches, other than those of sessions, that the client signed for it."""

    async def main():
        node = Signed()
        async with Client(["n1:1"], node, discover=False, **options) as client, asyncio.timeout(30):  # type: ignore
            return await act(client), node.requests

    given, requests = asyncio.run(main())
    return given, [data for data in requests if decode_request(data).batch.app != SESSIONS]


def check_signed(data: bytes) -> None:
    request = decode_request(data)
    statement = request_statement(SigningDomain("c", 0), request.batch, request.digest)
    assert is_signed(request.public_key, statement, request.signature)


async def submit_five(client: Client, **options) -> list[Receipt]:
    return await asyncio.gather(*(client.ledger.submit(b"t%d" % each, **options) for each in range(5)))


@pytest.mark.parametrize(("options", "of_client"), [({"sign": "each"}, {}), ({}, {"sign_each": True})])
def test_each_transaction_is_a_request_with_its_own_signature(options, of_client) -> None:
    receipts, requests = asked(lambda client: submit_five(client, **options), **of_client)
    batches = [decode_request(data).batch for data in requests]
    assert [batch.count for batch in batches] == [1] * 5 and {batch.app for batch in batches} == {LEDGER_APP}
    assert len({receipt.number for receipt in receipts}) == 5, "each stands in a block of its own"
    for number, data in enumerate(requests):
        assert data.endswith(b"t%d" % number)
        check_signed(data)


def test_what_waits_together_is_signed_once_where_nobody_asks_for_more() -> None:
    receipts, requests = asked(submit_five)
    (data,) = requests
    assert decode_request(data).batch.count == 5
    assert {receipt.number for receipt in receipts} == {1}
    check_signed(data)


def test_a_client_that_signs_each_command_still_reads_many_keys_at_once() -> None:
    async def act(client: Client) -> list[object]:
        await asyncio.gather(*(client.kv.put(b"%d" % each, b"v") for each in range(4)))
        return await asyncio.gather(*(client.kv.get(b"%d" % each) for each in range(4)))

    found, requests = asked(act, sign_each=True)
    assert all(item is not None and item.value == b"v" for item in found)
    bodies = [decode_request(data).batch.body for data in requests]
    assert bodies == [kv.encode_batch([kv.Put(b"%d" % each, b"v")]) for each in range(4)]


def test_where_nobody_signs_or_the_way_is_unknown_that_is_said(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path / "crash", nodes=3)
    for sign, says in (("each", "only where members may lie"), ("twice", "is not known")):
        with pytest.raises(ConfigurationError, match=says):
            quorum.connect(config=layout.cluster, sign=sign)  # type: ignore[arg-type]

    async def act(client: Client) -> None:
        client._dialler.signs = False  # type: ignore[misc]
        await client.ledger.submit(b"t", sign="each")

    with pytest.raises(ConfigurationError, match="only where members may lie"):
        asked(act)


def test_a_connection_to_a_committee_passes_it_on(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path / "lying", nodes=4, model="byzantine")
    assert at_config(layout.cluster).signs
    assert quorum.connect(config=layout.cluster, sign="each")._place.sign_each
    assert not quorum.connect(config=layout.cluster)._place.sign_each
