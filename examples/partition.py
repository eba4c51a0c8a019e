"""A minority cannot decide; the majority can; after healing everybody knows. Run: python examples/partition.py"""

from quorum import NoQuorum, Quorum

quorum = Quorum(N=5, T=2)
quorum.partition([1, 2], [3, 4, 5])

quorum.send_message(node_id=1, value="minority")
try:
    quorum.make_decision(node_id=1)
except NoQuorum as error:
    print("nodes 1 and 2:", error)
else:
    raise SystemExit("a minority decided")

quorum.send_message(node_id=4, value="majority")
print("nodes 3, 4 and 5 decide:", quorum.make_decision(node_id=4))

quorum.heal()
print("node 1 learns:", quorum.make_decision(node_id=1))
assert quorum.get_decision() == "majority"
