"""Five nodes decide, although two of them have failed. Run: python examples/first_decision.py"""

from quorum import Quorum

quorum = Quorum(N=5, T=1)
quorum.fail(3)
quorum.fail(5)
quorum.send_message(node_id=1)
state = quorum.check_state(node_id=2)
print(f"node 2 sees votes of {state.marked}: {state.votes} of the {state.threshold} needed")
quorum.make_decision(node_id=2)
print("decided:", quorum.get_decision())
assert quorum.get_decision() == 1
