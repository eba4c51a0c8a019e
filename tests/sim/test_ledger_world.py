"""A ledger of tokens in the simulated worlds: whoever lies or crashes, no token comes or goes, and proofs hold."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from quorum.apps.answer import OK
from quorum.apps.catalogue import LEDGER_APP, new_host
from quorum.apps.ledger import GetTransaction, Look, Receipt, decode_results, encode_batch, encode_query
from quorum.apps.transfers import Transfers, account, account_in, signed_transfer
from quorum.certificate.block import verify_block
from quorum.certificate.committee import Committee
from quorum.certificate.genesis import encode_genesis
from quorum.certificate.ledger_audit import judge_ledger, verify_query
from quorum.certificate.ledger_block import DONE, transaction_hash
from quorum.certificate.ledger_forms import decode_ledger_proof
from quorum.certificate.ledger_proof import flaws_of_ledger_proof
from quorum.errors import QuorumError
from quorum.model import Configuration
from quorum.protocols.pbft.settings import Settings
from quorum.runtime.messages import ApproveRequest
from quorum.sim.adversary import BEHAVIOURS
from quorum.sim.byzantine_churn import Operators
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.client import SimClient
from quorum.sim.world import World

SECOND_US = 1_000_000
KEYS = [SigningKey(blake2b(bytes([number]), digest_size=32).digest()) for number in range(3)]
NAMES = [bytes(key.verify_key) for key in KEYS]


class Coins(Transfers):
    genesis = {NAMES[0].hex(): 100, NAMES[1].hex(): 20}
    name = "coins"


class ByzantineLedger(ByzantineWorld):
    def make_host(self):
        return new_host(ledger=Coins)


class CrashLedger(World):
    def make_host(self):
        return new_host(ledger=Coins)


def transfer(sender: int, receiver: int, amount: int, nonce: int) -> bytes:
    def sign(message: bytes) -> bytes:
        return KEYS[sender].sign(message).signature

    return signed_transfer(NAMES[sender], NAMES[receiver], amount, nonce, sign, "coins")


class Wallet:
    """A client that submits one batch after the other."""

    def __init__(self, world) -> None:
        self.world = world
        self.answers: dict[int, object] = {}
        self.client = (
            world.make_client("c1", self._on_answer, None)
            if isinstance(world, ByzantineWorld)
            else SimClient(world, "c1", self._on_answer)
        )
        self.client.start()

    def _on_answer(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        assert error is None and status == OK, (error, status, body)
        self.answers[handle] = decode_results(body)

    def submit(self, *transactions: bytes):
        session = self.client.session
        handle = session.submit(self.world.now_us, LEDGER_APP, len(transactions), encode_batch(transactions))
        assert self.world.run_until(lambda: handle in self.answers, 120 * SECOND_US), "an answer comes"
        return self.answers[handle]


def ledger_of(node):
    return node.host.application(LEDGER_APP)


def check_conserved(world, names) -> None:
    """What has the same block is the same ledger, and the tokens are those of the genesis."""
    by_number: dict[int, set[bytes]] = {}
    for name in names:
        node = world.nodes[name]
        if node.is_up:
            ledger = ledger_of(node)
            by_number.setdefault(ledger.chain.number, set()).add(ledger.digest())
            assert sum(account(ledger.state, key)[0] for key in NAMES) == 120
    assert all(len(digests) == 1 for digests in by_number.values())


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    behaviour=st.sampled_from(sorted(BEHAVIOURS)),
    moves=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 130)).filter(
            lambda move: move[0] != move[1]
        ),
        min_size=4,
        max_size=12,
    ),
)
def test_no_token_comes_or_goes_whoever_of_the_committee_lies(seed, behaviour, moves):
    world = ByzantineLedger(seed, 4, 1, {"n1": behaviour}, Settings(state_blocks=4))
    world.boot()
    wallet, nonces = Wallet(world), [0, 0, 0]
    expected = [100, 20, 0]
    for sender, receiver, amount in moves:
        (receipt,) = wallet.submit(transfer(sender, receiver, amount, nonces[sender]))
        nonces[sender] += 1
        assert isinstance(receipt, Receipt) and receipt.first
        assert (receipt.result.code == DONE) == (expected[sender] >= amount)
        if receipt.result.code == DONE:
            expected[sender] -= amount
            expected[receiver] += amount
        check_conserved(world, world.honest)
    world.run(world.now_us + 5 * SECOND_US)
    check_conserved(world, world.honest)
    newest = max((ledger_of(world.nodes[name]) for name in world.honest), key=lambda ledger: ledger.chain.number)
    assert [account(newest.state, key)[0] for key in NAMES] == expected


def test_an_honest_node_proves_what_it_holds_while_another_lies():
    world = ByzantineLedger(5, 4, 1, {"n1": "equivocate"}, Settings(state_blocks=4), real=True)
    world.boot()
    wallet = Wallet(world)
    for nonce in range(12):
        wallet.submit(transfer(0, 1, 2, nonce))
    node = world.nodes["n3"]
    name = transaction_hash(transfer(0, 1, 2, 3))
    proof = decode_ledger_proof(node.prove(encode_query([GetTransaction(name)])))
    audit = judge_ledger(proof, world.committee)
    assert (audit.valid, audit.signed, audit.number, audit.code) == (True, True, 4, DONE), audit.reasons
    assert proof.anchor is not None and verify_block(proof.anchor.certificate, world.committee).valid
    value = decode_ledger_proof(node.prove(encode_query([Look("balance/" + NAMES[1].hex())])))
    found = verify_query(value, NAMES[1], world.committee)
    assert found is not None
    balance, _ = account_in(found)
    assert balance == 20 + 2 * value.roots.number
    absent = decode_ledger_proof(node.prove(encode_query([Look("balance/" + "00" * 32)])))
    assert verify_query(absent, bytes(32), world.committee) is None


def test_after_a_change_of_the_committee_proofs_hold_by_the_first_committee_still():
    world = ByzantineLedger(5, 5, 1, {}, Settings(state_blocks=4), real=True)
    world.boot()
    wallet, first = Wallet(world), world.committee
    wallet.submit(transfer(0, 1, 2, 0))
    following = Committee(first.cluster, first.epoch + 1, first.members[:4], 1)
    operators = Operators(world, 0, SECOND_US)
    for name in first.nodes:
        world.nodes[name].request(operators, ApproveRequest(1), (encode_genesis(following),))
    assert world.run_until(lambda: world.newest_committee() == following, 60 * SECOND_US)
    for nonce in range(1, 12):
        wallet.submit(transfer(0, 1, 2, nonce))
    name = transaction_hash(transfer(0, 1, 2, 3))
    proof = decode_ledger_proof(world.nodes["n3"].prove(encode_query([GetTransaction(name)])))
    assert proof.anchor is not None and proof.anchor.certificate.epoch == following.epoch
    audit = judge_ledger(proof, first)
    assert (audit.valid, audit.signed, audit.code) == (True, True, DONE), audit.reasons


def test_a_node_that_was_away_gets_the_ledger_with_the_state():
    world = ByzantineLedger(9, 4, 1, {}, Settings(state_blocks=4, log_kept_blocks=4))
    world.boot()
    wallet = Wallet(world)
    wallet.submit(transfer(0, 1, 1, 0))
    world.crash("n4")
    for nonce in range(1, 30):
        wallet.submit(transfer(0, 1, 1, nonce))
    world.restart("n4")
    (receipt,) = wallet.submit(transfer(0, 2, 5, 30))
    assert receipt.result.code == DONE
    assert world.run_until(lambda: ledger_of(world.nodes["n4"]).chain.number == 31, 60 * SECOND_US)
    check_conserved(world, world.nodes)
    assert [account(ledger_of(world.nodes["n4"]).state, key) for key in NAMES] == [(65, 31), (50, 0), (5, 0)]
    value = decode_ledger_proof(world.nodes["n4"].prove(encode_query([Look("balance/" + NAMES[1].hex())])))
    assert value.anchor is not None and flaws_of_ledger_proof(value) == [], "what it took over, it can prove"


def test_a_cluster_whose_nodes_crash_keeps_its_ledger_and_executes_nothing_twice():
    world = CrashLedger(seed=3, configuration=Configuration(epoch=1, voters=("n1", "n2", "n3")))
    world.boot()
    wallet = Wallet(world)
    for nonce in range(8):
        (receipt,) = wallet.submit(transfer(0, 1, 5, nonce))
        assert (receipt.number, receipt.result.code, receipt.first) == (nonce + 1, DONE, True)
        if nonce % 3 == 1:
            leader = world.leader()
            assert leader is not None
            world.crash(leader)
            (again,) = wallet.submit(transfer(0, 1, 5, nonce))
            assert again.number == nonce + 1 and not again.first
            world.restart(leader)
        check_conserved(world, world.nodes)
    world.run(world.now_us + 3 * SECOND_US)
    assert {account(ledger_of(node).state, NAMES[1])[0] for node in world.nodes.values()} == {60}
    proof = decode_ledger_proof(
        world.nodes["n2"].prove(encode_query([GetTransaction(transaction_hash(transfer(0, 1, 5, 0)))]))
    )
    assert proof.anchor is None and judge_ledger(proof, root=ledger_of(world.nodes["n1"]).digest()).valid


def test_a_node_without_a_ledger_proves_nothing():
    world = World(seed=3, configuration=Configuration(epoch=1, voters=("n1", "n2", "n3")))
    world.boot()
    world.run(SECOND_US)
    with pytest.raises(QuorumError, match="runs none"):
        world.nodes["n1"].prove(encode_query([Look("a")]))
