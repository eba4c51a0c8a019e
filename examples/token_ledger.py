"""A ledger of tokens among four nodes, one of which lies: the balances stay right, and a proof needs no node.

Run: python examples/token_ledger.py
"""

from __future__ import annotations

from hashlib import blake2b

from nacl.signing import SigningKey

from quorum.apps.catalogue import LEDGER_APP, new_host
from quorum.apps.host import Host
from quorum.apps.ledger import GetTransaction, Look, Receipt, decode_results, encode_batch, encode_query
from quorum.apps.transfers import Transfers, account_in, signed_transfer
from quorum.certificate.ledger_audit import judge_ledger, verify_query
from quorum.certificate.ledger_block import DONE, transaction_hash
from quorum.certificate.ledger_forms import decode_ledger_proof
from quorum.errors import QuorumError
from quorum.protocols.pbft.settings import Settings
from quorum.sim.byzantine_world import ByzantineWorld

SECOND_US = 1_000_000
KEYS = {name: SigningKey(blake2b(name.encode(), digest_size=32).digest()) for name in ("ada", "ben", "cy")}
ACCOUNTS = {name: bytes(key.verify_key) for name, key in KEYS.items()}


class Bank(Transfers):
    """Ada begins with everything. The rules are those of apps/transfers.py."""

    name = "bank"
    genesis = {ACCOUNTS["ada"].hex(): 1_000}


class BankWorld(ByzantineWorld):
    """A simulated committee whose nodes host the ledger."""

    def make_host(self) -> Host:
        return new_host(ledger=Bank)


def transfer(sender: str, receiver: str, amount: int, nonce: int, signed_by: str = "") -> bytes:
    def sign(message: bytes) -> bytes:
        return KEYS[signed_by or sender].sign(message).signature

    return signed_transfer(ACCOUNTS[sender], ACCOUNTS[receiver], amount, nonce, sign, Bank.name)


answers: dict[int, object] = {}


def on_answer(handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
    answers[handle] = error or decode_results(body)[0]


# Four real PBFT replicas on a simulated network. n1 orders first, and tells some of them one thing, some another.
world = BankWorld(1, 4, 1, {"n1": "equivocate"}, Settings(state_blocks=4), real=True)
world.boot()
client = world.make_client("c1", on_answer, None)
client.start()


def submit(transaction: bytes) -> object:
    handle = client.session.submit(world.now_us, LEDGER_APP, 1, encode_batch([transaction]))
    assert world.run_until(lambda: handle in answers, 120 * SECOND_US)
    return answers[handle]


# Tokens move as their holders sign, and only so.
first = transfer("ada", "ben", 300, nonce=0)
receipt = submit(first)
assert isinstance(receipt, Receipt) and receipt.first and receipt.result.code == DONE
print("block", receipt.number, "place", receipt.place)
again = submit(first)
assert isinstance(again, Receipt) and not again.first  # the same transfer is not executed twice
print("stolen:", getattr(submit(transfer("ben", "cy", 300, nonce=0, signed_by="cy")), "reason", "yes"))
overdrawn = submit(transfer("cy", "ada", 1, nonce=0))
assert isinstance(overdrawn, Receipt)
print("overdrawn:", overdrawn.result.data.decode())
for nonce in range(8):
    submit(transfer("ben", "cy", 10, nonce))

# An honest node proves what is in the ledger. Whoever knows the keys of the committee verifies it, with no node.
node = world.nodes["n3"]
proof = decode_ledger_proof(node.prove(encode_query([GetTransaction(transaction_hash(first))])))
audit = judge_ledger(proof, world.committee)
print("proven:", audit.valid, "signed by", *audit.signers)
total = 0
for name, key in ACCOUNTS.items():
    value = decode_ledger_proof(node.prove(encode_query([Look(f"balance/{key.hex()}")])))
    stored = verify_query(value, key, world.committee)
    balance = 0 if stored is None else account_in(stored)[0]
    print(name, "has", balance)
    total += balance
assert total == 1_000  # no token came or went
