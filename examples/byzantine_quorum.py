"""Five nodes decide, although their first primary lies; two liars get nothing decided that is wrong.

Run: python examples/byzantine_quorum.py
"""

from quorum import NoQuorum, Quorum
from quorum.certificate.block import verify_block
from quorum.certificate.evidence import accused, verify_evidence

# One of five may lie. Node 1 orders first, and tells each half of the others something else.
quorum = Quorum(N=5, T=1, model="byzantine")
quorum.corrupt(1, "equivocate")
quorum.send_message(node_id=2, value="open the valve")
print("decided:", quorum.make_decision(node_id=3))
assert quorum.get_decision() == "open the valve"

# Anybody who knows the members' keys can check the decision, and who lied, without asking a node.
certificate = quorum.certificate()
assert certificate is not None
signers = [member for member, _ in certificate.signatures]
print("signed by", *signers, "valid:", verify_block(certificate, quorum.committee).valid)
for evidence in quorum.evidence()[:1]:
    print(accused(evidence), "lied, proved:", verify_evidence(evidence, quorum.committee).valid)

# Two liars are more than T. Three honest nodes are too few for a decision, so there is none.
quorum = Quorum(N=5, T=1, model="byzantine")
quorum.corrupt(1, "silent")
quorum.corrupt(2, "silent")
quorum.send_message(node_id=3)
try:
    quorum.make_decision(node_id=4)
except NoQuorum as refusal:
    print("refused:", refusal)
assert quorum.get_decision() is None
