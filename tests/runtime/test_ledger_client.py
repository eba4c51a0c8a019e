"""The ledger's client: what it believes of nodes, and what it refuses to send."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from apps_log import Log
from certificate.committees import committee_of, header_of, signed_by
from certificate.light_chains import change_to
from quorum.apps.catalogue import LEDGER_APP, new_host
from quorum.apps.ledger import Blocks, GetTransaction, Look, Value, encode_batch, encode_query
from quorum.apps.ledger_application import LedgerApplication
from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange
from quorum.certificate.ledger_block import transaction_hash
from quorum.certificate.ledger_forms import decode_ledger_proof, encode_ledger_proof
from quorum.errors import ConfigurationError, LocalProtocolError, QuorumError, WrongType
from quorum.runtime import ledger_face
from quorum.runtime.ledger_class import load_ledger
from quorum.runtime.ledger_client import LedgerClient
from quorum.runtime.ledger_face import prove_here

COMMITTEE = committee_of(4)
NAME = transaction_hash(b"a")


class Register(LedgerApplication):
    def execute(self, block, transaction, state):
        state.put(transaction, b"here")
        return b""


class Node:
    """A node with a ledger whose state a quorum signs when it is told to."""

    def __init__(self) -> None:
        self.log = Log(new_host(ledger=Register))
        self.certificate: object = None
        self.changes: tuple[EpochChange, ...] = ()

    def add(self, transaction: bytes) -> None:
        self.log.append(encode_batch([transaction]), app=LEDGER_APP)

    def certify(self, committee: Committee = COMMITTEE) -> None:
        self.log.host._block += 1  # as where blocks are applied
        (*_, root) = self.log.host.digests()
        header = replace(header_of(committee), state_root=root)
        self.certificate = signed_by(committee.nodes[:3], committee, header)

    def prove(self, wanted) -> bytes:
        return prove_here(self.log.host, self.certificate, encode_query([wanted]), self.changes)


class Source:
    """Nodes n1, n2 and so on, which answer what they are told to; `strangers` have no vote, and answer first."""

    def __init__(self, *nodes, committee=COMMITTEE, strangers=()) -> None:
        self.nodes = [(f"s{number}", node) for number, node in enumerate(strangers, 1)]
        self.nodes += [(f"n{number}", node) for number, node in enumerate(nodes, 1)]
        self._committee = committee

    def committee(self):
        return self._committee

    async def proofs(self, wanted, timeout_s):
        for name, node in self.nodes:
            try:
                yield name, node(wanted)
            except QuorumError as error:
                yield name, error


class Carrier:
    """Answers reads of blocks, and counts them."""

    def __init__(self, node: Node, blocks_until_certified: int = 0) -> None:
        self.node, self.left, self.asked = node, blocks_until_certified, []

    @property
    def loop(self):
        return asyncio.get_running_loop()

    def ask(self, queue, item, expected):
        self.asked.append((queue, item))
        self.left -= 1
        if self.left == 0:
            self.node.certify()
        future = self.loop.create_future()
        ledger = self.node.log.host.application(LEDGER_APP)
        if isinstance(item, Look):
            future.set_result(Value(item.path.encode(), None, ledger.roots))
        else:
            future.set_result(Blocks([], 1, ledger.roots))
        return future


def prove(source, node=None, certify=False, name=NAME, until=0):
    async def act():
        return await LedgerClient(Carrier(node, until), source).prove(name, certify)

    return asyncio.run(act())


def signed_node() -> Node:
    node = Node()
    node.add(b"a")
    node.certify()
    return node


def test_a_proof_is_taken_from_a_node_whose_proof_holds():
    node = signed_node()

    def lies(wanted):
        proof = decode_ledger_proof(node.prove(wanted))
        return encode_ledger_proof(replace(proof, subject=replace(proof.subject, transaction=b"b")))

    def another(wanted):
        node.add(b"b")
        node.certify()
        return node.prove(GetTransaction(transaction_hash(b"b")))

    def garbage(wanted):
        return b"{"

    def refuses(wanted):
        raise QuorumError("no")

    proof = prove(Source(lies, garbage, refuses, another, node.prove))
    assert proof.subject.transaction == b"a" and proof.anchor is not None
    for bad in (lies, garbage, refuses, another):
        with pytest.raises(QuorumError):
            prove(Source(bad))
    with pytest.raises(QuorumError, match="no node is known"):
        prove(Source())


def test_a_signed_proof_is_taken_before_an_unsigned_one():
    unsigned, node = Node(), signed_node()
    unsigned.add(b"a")
    assert prove(Source(unsigned.prove, node.prove)).anchor is not None
    assert prove(Source(unsigned.prove)).anchor is None


def changed_node() -> Node:
    """One whose committee changed twice; what it has is signed by the second one."""
    later, last = committee_of(4, epoch=1, first=3), committee_of(4, epoch=2, first=3)
    node = Node()
    node.add(b"a")
    node.certify(later)
    node.changes = (change_to(COMMITTEE, later), change_to(later, last))
    return node


def test_a_proof_that_a_later_committee_signed_brings_the_changes_that_lead_to_it():
    node = changed_node()
    proof = prove(Source(node.prove), node, certify=True)
    assert proof.anchor is not None and proof.anchor.changes == node.changes[:1]
    node.changes = ()
    with pytest.raises(QuorumError, match="does not hold"):
        prove(Source(node.prove))


def test_a_proof_that_changes_of_epoch_make_too_long_has_no_signatures(monkeypatch):
    node = changed_node()
    monkeypatch.setattr(ledger_face, "LEDGER_PROOF_BYTES_MAX", len(node.prove(GetTransaction(NAME))) - 1)
    assert prove(Source(node.prove)).anchor is None
    node.changes = ()
    assert decode_ledger_proof(node.prove(GetTransaction(NAME))).anchor is not None


def test_with_certify_blocks_are_ordered_until_the_state_is_signed():
    node = Node()
    node.add(b"a")
    assert prove(Source(node.prove), node, certify=True, until=40).anchor is not None


def test_where_nobody_signs_no_signature_is_waited_for():
    node = Node()
    node.add(b"a")
    assert prove(Source(node.prove, committee=None)).anchor is None
    with pytest.raises(ConfigurationError, match="sign nothing"):
        prove(Source(node.prove, committee=None), certify=True)


def test_an_answer_to_a_question_is_proven_as_of_the_signed_state():
    node = signed_node()
    node.add(b"b")

    async def act():
        client = LedgerClient(Carrier(node), Source(node.prove))
        return await client.prove_query("a"), await client.prove_query("b")

    here, absent = asyncio.run(act())
    assert (here.subject.value, absent.subject.value) == (b"here", None)
    assert here.roots.number == 1


def ask(source, node, path="a", certify=False):
    async def act():
        return await LedgerClient(Carrier(node), source).prove_query(path, certify)

    return asyncio.run(act())


def test_which_key_answers_a_question_is_not_one_node_s_word():
    node = signed_node()

    def lies(wanted):
        """The question that was asked, with a true proof of another key."""
        proof = decode_ledger_proof(node.prove(Look("z")))
        return encode_ledger_proof(replace(proof, subject=replace(proof.subject, question=wanted.path)))

    assert ask(Source(lies, node.prove), node).subject.value == b"here"
    with pytest.raises(QuorumError, match="something else"):
        ask(Source(lies), node)


def overtaken():
    """A node, and one that lies: it answers with a signed state from before "b" was added."""
    node = signed_node()
    old = node.prove(Look("b"))
    node.add(b"b")
    node.certify()
    return node, lambda wanted: old


def test_an_old_signed_state_does_not_pass_for_the_newest():
    node, lies = overtaken()
    for nodes in ((lies, node.prove, node.prove, node.prove), (node.prove, node.prove, lies)):
        assert ask(Source(*nodes), node, "b").subject.value == b"here"
        assert ask(Source(*nodes), node, "b", certify=True).subject.value == b"here"


def test_an_old_signed_state_does_not_pass_where_others_fail_or_have_no_vote():
    node, lies = overtaken()

    def fails(wanted):
        raise QuorumError("does not answer")

    for strangers in ((fails, fails), (lies, lies), (fails, lies)):
        assert ask(Source(lies, node.prove, node.prove, strangers=strangers), node, "b").subject.value == b"here"
    assert ask(Source(lies, fails, fails, node.prove), node, "b").subject.value == b"here"


def test_where_nobody_signs_a_node_that_is_behind_is_waited_for():
    node, behind = Node(), Node()
    node.add(b"a")

    def catches_up(wanted):
        proof = behind.prove(wanted)
        behind.add(b"a")
        return proof

    assert ask(Source(catches_up, committee=None), node).subject.value == b"here"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.submit("text"), WrongType),
        (lambda client: client.check(5), WrongType),
        (lambda client: client.get(b"short"), LocalProtocolError),
        (lambda client: client.query(b"bytes"), WrongType),
        (lambda client: client.blocks(-1), LocalProtocolError),
        (lambda client: client.block(True), WrongType),
        (lambda client: client.prove(NAME), LocalProtocolError),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent(call, error):
    async def act():
        await call(LedgerClient(Carrier(Node())))

    with pytest.raises(error):
        asyncio.run(act())


def test_a_node_asked_for_more_than_one_proof_or_for_nothing_refuses():
    node = signed_node()
    for body in (b"", b"x", encode_query([Look("a"), Look("b")]), encode_query([])):
        with pytest.raises(QuorumError):
            prove_here(node.log.host, node.certificate, body)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "has no Ledger"),
        ("class Ledger: pass\n", "is no class made from"),
        ("raise ValueError('no')\n", "importing"),
        (
            "from quorum.apps.transfers import Transfers\nclass Ledger(Transfers):\n    genesis = {'a': 1}\n",
            "cannot begin",
        ),
    ],
)
def test_a_ledger_s_class_that_cannot_run_is_refused(text, says, tmp_path):
    name = f"ledger_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        load_ledger(f"{name}:Ledger", tmp_path)


def test_a_ledger_s_class_is_found_beside_the_configuration(tmp_path):
    assert load_ledger("", tmp_path) is None
    assert load_ledger("quorum.apps.transfers:Transfers", tmp_path) is not None
    with pytest.raises(ConfigurationError, match="no module"):
        load_ledger("not_there_at_all:Ledger", tmp_path)
