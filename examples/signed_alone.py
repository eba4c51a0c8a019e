"""What a client signs where members may lie: a batch at once, or each transaction alone, to be shown by itself.

Programs say quorum.connect(sign="each"), or client.ledger.submit(transaction, sign="each"); see docs/ledger.md.
This looks into the blocks that come of both.

Run: python examples/signed_alone.py
"""

from __future__ import annotations

from collections.abc import Iterator

from quorum.apps.catalogue import LEDGER_APP, new_host
from quorum.apps.host import Host
from quorum.apps.ledger import encode_batch
from quorum.apps.ledger_application import LedgerApplication
from quorum.certificate.inclusion import Inclusion, flaws_of_inclusion, prove
from quorum.certificate.requests import decode_request, unpack_block
from quorum.entry import decode_entry
from quorum.errors import QuorumError
from quorum.sim.byzantine_world import ByzantineWorld

SECOND_US = 1_000_000
ORDERS = [b"order %d" % number for number in range(3)]


class Orders(LedgerApplication):
    """Keeps what is written."""

    name = "orders"

    def execute(self, block, transaction, state):
        state.put(transaction, b"placed")
        return b""


class OrdersWorld(ByzantineWorld):
    """A simulated committee whose nodes host the ledger."""

    def make_host(self) -> Host:
        return new_host(ledger=Orders)


answers: dict[int, object] = {}


def on_answer(handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
    answers[handle] = error or body


world = OrdersWorld(1, 4, 1, {"n4": "vote-twice"}, real=True)
world.boot()
client = world.make_client("shop", on_answer, None)
client.start()


def send(*batches: list[bytes]) -> None:
    """As the client does: one signature under each batch."""
    handles = [
        client.session.submit(world.now_us, LEDGER_APP, len(batch), encode_batch(batch)) for batch in batches
    ]
    assert world.run_until(lambda: all(handle in answers for handle in handles), 60 * SECOND_US)


def proofs(node: str = "n1") -> Iterator[tuple[int, Inclusion]]:
    """The ledger's requests in a node's log, each with its block and its path to what a quorum signed."""
    log, state = world.nodes[node].log, world.nodes[node].replica.state
    for sequence in range(1, state.commit_sequence + 1):
        (entry,) = log.read(sequence, sequence, 1)
        packed = unpack_block(decode_entry(entry)[1])[1]
        for place, data in enumerate(packed):
            if decode_request(data).batch.app == LEDGER_APP:
                yield sequence, prove(packed, place)


send(ORDERS)  # sign="batch": what waits together is one request
send(*([b"alone, " + order] for order in ORDERS))  # sign="each"
shop = world.client_key("shop").public
chain = world.nodes["n1"].replica.state.chain
for sequence, shown in proofs():
    request = decode_request(shown.request)
    header = chain.link(sequence).header
    assert request.public_key == shop and not flaws_of_inclusion(shown, header, world.committee.cluster)
    print(f"one signature of the shop under {request.batch.count} of its orders, in a decided block")
