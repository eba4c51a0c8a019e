"""Is what the clients saw possible for one copy of the data? Run: python examples/judge_history.py"""

from quorum.checkers.history import History
from quorum.checkers.linearizability import check_linearizable


def history(*events: tuple[str, str, str, object, int]) -> History:
    """A history of one key from (process, type, f, value, time in ns)."""
    recorded = History()
    for process, kind, f, value, time in events:
        recorded.record(process, kind, f, "x", value, time)
    return recorded


good = history(
    ("writer", "invoke", "write", 1, 0),
    ("reader", "invoke", "read", None, 5),
    ("reader", "ok", "read", 1, 8),
    ("writer", "ok", "write", 1, 10),
)
bad = history(
    ("writer", "invoke", "write", 1, 0),
    ("writer", "ok", "write", 1, 10),
    ("reader", "invoke", "read", None, 20),
    ("reader", "ok", "read", None, 30),
)

for name, recorded in (("a read beside the write", good), ("a read after the write that misses it", bad)):
    verdict = check_linearizable(recorded)
    print(f"{name}: {verdict.verdict}")
    for operation in verdict.window or ():
        print("  ", operation["role"], operation["process"], operation["f"], operation["value"])

assert check_linearizable(good)
assert not check_linearizable(bad)
