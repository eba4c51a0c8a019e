"""Known verdicts, a brute-force judge for small histories, and generated histories that are linearizable."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.checkers.history import KIND, History, Operation
from quorum.checkers.linearizability import Verdict, check_linearizable
from quorum.checkers.register import Register
from quorum.checkers.search import Search
from quorum.checkers.zones import find_conflict
from quorum.errors import ConfigurationError


def history_of(*events: tuple) -> History:
    """(process, type, f, value) or (process, type, f, value, key); times are the places in the list."""
    history = History()
    for time, (process, kind, f, value, *key) in enumerate(events):
        history.record(process, kind, f, key[0] if key else "x", value, time)
    return history


def one_by_one(*operations: tuple) -> History:
    """(f, value) operations that do not overlap, all ok."""
    events = []
    for f, value in operations:
        events += [(0, "invoke", f, None if f in ("read", "get") else value), (0, "ok", f, value)]
    return history_of(*events)


def verdict_of(history: History) -> str:
    return check_linearizable(history).verdict


YES, NO = "linearizable", "not linearizable"


@pytest.mark.parametrize(
    ("verdict", "operations"),
    [
        (YES, [("read", None)]),
        (NO, [("read", 1)]),
        (YES, [("write", 1), ("read", 1), ("delete", None), ("read", None)]),
        (NO, [("write", 1), ("delete", None), ("read", 1)]),
        (YES, [("put", "a"), ("get", "a"), ("write", None), ("get", None)]),
        (YES, [("write", 1), ("cas", [1, 2]), ("read", 2)]),
        (NO, [("write", 1), ("cas", [2, 3])]),
        (NO, [("write", 1), ("cas", [1, 2]), ("cas", [1, 2])]),
        (YES, [("cas", [None, 1]), ("read", 1)]),
        (YES, [("write", 1), ("cas", [1, 1]), ("read", 1)]),
        (NO, [("write", 1), ("write", 2), ("read", 1)]),
        (NO, [("write", 1), ("read", True)]),
        (YES, [("write", 1), ("read", 1.0)]),
        (YES, [("write", {"b": [1], "a": 2}), ("read", {"a": 2.0, "b": [1]})]),
        (NO, [("write", "1"), ("read", 1)]),
        (NO, [("write", ""), ("read", None)]),
        (YES, [("get", ""), ("append", "a"), ("append", "b"), ("get", "ab")]),
        (YES, [("get", None), ("append", "a"), ("delete", None), ("get", ""), ("append", "b"), ("get", "b")]),
        (NO, [("append", "a"), ("append", "b"), ("get", "ba")]),
        (NO, [("append", "a"), ("append", "a"), ("get", "a")]),
        (YES, [("put", "p"), ("append", "q"), ("cas", ["pq", "z"]), ("append", "y"), ("get", "zy")]),
        (NO, [("put", "p"), ("append", "q"), ("get", "p")]),
        (NO, [("append", "a"), ("get", 5)]),
    ],
)
def test_one_after_the_other_is_judged_as_a_sequential_run(verdict: str, operations: list) -> None:
    assert verdict_of(one_by_one(*operations)) == verdict


def test_a_stale_read_is_named_with_its_surroundings() -> None:
    verdict = check_linearizable(one_by_one(("write", 1), ("write", 2), ("read", 2), ("read", 1)))
    assert (verdict.verdict, verdict.operations, verdict.failing_key) == (NO, 4, "x")
    assert [(op["role"], op["f"], op["value"]) for op in verdict.window] == [
        ("linearized", "write", 1),
        ("linearized", "write", 2),
        ("linearized", "read", 2),
        ("stuck", "read", 1),
    ]
    assert verdict.window[-1]["invoke"] == 6 and verdict.window[-1]["complete"] == 7
    assert not verdict and msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict).window is not None


def test_a_read_beside_a_write_may_see_either_value() -> None:
    for seen in (None, 1):
        events = [("w", "invoke", "write", 1), ("r", "invoke", "read", None), ("r", "ok", "read", seen)]
        assert verdict_of(history_of(*events, ("w", "ok", "write", 1))) == YES


def test_two_reads_beside_a_write_do_not_go_back() -> None:
    def history(first: int | None, second: int | None) -> History:
        return history_of(
            ("w", "invoke", "write", 1),
            ("r", "invoke", "read", None),
            ("r", "ok", "read", first),
            ("r", "invoke", "read", None),
            ("r", "ok", "read", second),
            ("w", "ok", "write", 1),
        )

    assert verdict_of(history(None, 1)) == YES
    assert verdict_of(history(1, None)) == NO


def test_a_lost_update_is_found() -> None:
    """Two clients read 0 and both swap it: one of the swaps did not see the other."""
    history = history_of(
        (0, "invoke", "write", 0),
        (0, "ok", "write", 0),
        (1, "invoke", "cas", [0, 1]),
        (2, "invoke", "cas", [0, 2]),
        (1, "ok", "cas", [0, 1]),
        (2, "ok", "cas", [0, 2]),
    )
    assert verdict_of(history) == NO


def test_a_failed_operation_did_not_happen() -> None:
    write = [(0, "invoke", "write", 1), (0, "fail", "write", 1)]
    read = [(1, "invoke", "read", None), (1, "ok", "read", None)]
    assert verdict_of(history_of(*write, *read)) == YES
    assert verdict_of(history_of(*write, read[0], (1, "ok", "read", 1))) == NO


@pytest.mark.parametrize("closing", [[], [(0, "info", "write", 1)]])
def test_an_unknown_write_may_be_seen_much_later_or_never(closing: list) -> None:
    begin = [(0, "invoke", "write", 1), *closing, (1, "invoke", "write", 2), (1, "ok", "write", 2)]

    def reads(*values: int) -> list:
        return [event for v in values for event in ((1, "invoke", "read", None), (1, "ok", "read", v))]

    assert verdict_of(history_of(*begin, *reads(2, 2, 1, 1))) == YES
    assert verdict_of(history_of(*begin, *reads(2, 2))) == YES
    assert verdict_of(history_of(*begin, *reads(1, 1))) == YES
    assert verdict_of(history_of(*begin, *reads(1, 2))) == NO
    assert verdict_of(history_of(*begin, *reads(2, 1, 2))) == NO


def test_an_unknown_write_is_not_seen_before_it_was_asked_for() -> None:
    read = [(1, "invoke", "read", None), (1, "ok", "read", 1)]
    assert verdict_of(history_of(*read, (0, "invoke", "write", 1), (0, "info", "write", 1))) == NO


def test_an_unknown_swap_explains_what_follows_it() -> None:
    begin = [
        (0, "invoke", "write", 1),
        (0, "ok", "write", 1),
        (9, "invoke", "cas", [1, 2]),
        (9, "info", "cas", None),
    ]
    assert verdict_of(history_of(*begin, (1, "invoke", "cas", [2, 3]), (1, "ok", "cas", None))) == YES
    assert verdict_of(history_of(*begin, (1, "invoke", "cas", [3, 4]), (1, "ok", "cas", None))) == NO


def test_overlapping_appends_join_in_either_order() -> None:
    appends = [
        (0, "invoke", "append", "a"),
        (1, "invoke", "append", "b"),
        (0, "ok", "append", "a"),
        (1, "ok", "append", "b"),
    ]
    for text, verdict in (("ab", YES), ("ba", YES), ("a", NO), ("aab", NO), ("", NO)):
        assert verdict_of(history_of(*appends, (2, "invoke", "get", None), (2, "ok", "get", text))) == verdict


def test_keys_are_judged_apart_and_the_failing_one_is_named() -> None:
    good = [(0, "invoke", "write", 1, "good"), (0, "ok", "write", 1, "good")]
    bad = [(0, "invoke", "read", None, 7), (0, "ok", "read", 1, 7)]
    verdict = check_linearizable(history_of(*good, *bad))
    assert (verdict.verdict, verdict.operations, verdict.failing_key) == (NO, 2, 7)


def test_times_decide_the_order_and_places_decide_between_equal_times() -> None:
    def history(read_time: int) -> History:
        history = History()
        history.record("w", "invoke", "write", "x", 1, 0)
        history.record("w", "ok", "write", "x", 1, 10)
        history.record("r", "invoke", "read", "x", None, read_time)
        history.record("r", "ok", "read", "x", None, 20)
        return history

    assert verdict_of(history(5)) == YES
    assert verdict_of(history(10)) == NO


# A judge that tries every operation next, wherever that is in time, to compare with.


def applied(op: Operation, state: object, initial: object) -> tuple[bool, object]:
    """Whether `op` may happen in `state`, and the state after it."""
    kind = KIND[op.f]
    if kind == "read":
        return state == op.value, state
    if kind == "cas":
        return state == op.value[0], op.value[1]
    if kind == "append":
        return True, (state or "") + op.value
    return True, op.value if kind == "write" else initial


def tried_by_force(history: History) -> bool:
    initial = "" if history.uses_append else None

    def finish(state: object, left: list[Operation]) -> bool:
        if all(op.outcome == "info" for op in left):
            return True
        for op in left:
            if any(other.completed is not None and other.completed < op.invoked for other in left):
                continue
            possible, after = applied(op, state, initial)
            if possible and finish(after, [other for other in left if other is not op]):
                return True
        return False

    kept = [
        op for op in history.operations() if op.outcome == "ok" or (op.outcome == "info" and KIND[op.f] != "read")
    ]
    return finish(initial, kept)


REGISTER = st.one_of(
    st.tuples(st.just("read"), st.sampled_from([None, 1, 2, 3])),
    st.tuples(st.just("write"), st.sampled_from([1, 2, 3])),
    st.tuples(st.just("cas"), st.tuples(st.sampled_from([None, 1, 2]), st.sampled_from([1, 2, 3]))),
    st.tuples(st.just("delete"), st.none()),
)
TEXT = st.one_of(
    st.tuples(st.just("get"), st.sampled_from(["", "a", "b", "ab", "aa", "ba"])),
    st.tuples(st.just("append"), st.sampled_from(["", "a", "b", "ab"])),
)
MIXED = st.one_of(TEXT, st.tuples(st.just("put"), st.sampled_from(["", "a"])))


def interleaved(draw: st.DrawFn, operations: list[tuple]) -> History:
    """The operations with random overlap and random ends."""
    pending = [(i, f, value) for i, (f, value) in enumerate(operations)]
    opened: list[tuple] = []
    history = History()
    while pending or opened:
        time = len(history)
        if pending and (not opened or draw(st.booleans())):
            process, f, value = pending.pop(0)
            history.record(process, "invoke", f, "x", None if f in ("read", "get") else value, time)
            opened.append((process, f, value))
        else:
            process, f, value = opened.pop(draw(st.integers(0, len(opened) - 1)))
            end = draw(st.sampled_from(["ok", "ok", "ok", "info", "fail"]))
            history.record(process, end, f, "x", value, time)
    return history


@st.composite
def small_histories(draw: st.DrawFn) -> History:
    kind = draw(st.sampled_from([REGISTER, REGISTER, TEXT, MIXED]))
    return interleaved(draw, draw(st.lists(kind, min_size=1, max_size=6)))


@given(small_histories())
def test_the_search_agrees_with_trying_every_order(history: History) -> None:
    assert verdict_of(history) == (YES if tried_by_force(history) else NO)


@given(small_histories())
def test_the_quick_refutation_is_never_wrong(history: History) -> None:
    register = Register(history.operations(), history.uses_append)
    if not register.appends and find_conflict(register):
        assert not tried_by_force(history)


def overlapping(
    random_: random.Random, count: int, clients: int, unknown: float = 0.0, values: int = 0
) -> History:
    """A real register, used by `clients` at once: each operation takes effect somewhere between its two events.

    `values`: writes draw from so many values; 0: every value is new.
    """
    history = History()
    state: object = None
    busy: dict[int, tuple] = {}
    name = dict.fromkeys(range(clients), 0)
    issued = 0
    while issued < count or busy:
        client = random_.randrange(clients)
        process, time = f"{client}.{name[client]}", len(history)
        if client not in busy:
            if issued < count:
                issued += 1
                f = random_.choice(["read", "read", "write", "write", "cas"])
                new = random_.randrange(values) if values else issued
                value = {"read": None, "write": new, "cas": [state, new]}[f]
                history.record(process, "invoke", f, "x", value, time)
                busy[client] = (f, value, "called", None)
            continue
        f, value, stage, seen = busy[client]
        if stage == "called":
            happens = f != "cas" or state == value[0]
            seen = state
            if happens and f != "read":
                state = value if f == "write" else value[1]
            busy[client] = (f, value, "happened" if happens else "refused", seen)
        else:
            end = "ok" if stage == "happened" else "fail"
            if random_.random() < unknown:
                end = "info"
                name[client] += 1
            history.record(process, end, f, "x", seen if f == "read" else value, time)
            del busy[client]
    return history


@given(
    st.randoms(use_true_random=False),
    st.integers(1, 60),
    st.integers(1, 8),
    st.sampled_from([0, 0.1]),
    st.integers(0, 3),
)
def test_what_a_real_register_did_is_linearizable(
    random_: random.Random, count: int, clients: int, unknown: float, values: int
) -> None:
    assert verdict_of(overlapping(random_, count, clients, unknown, values)) == YES


@given(st.randoms(use_true_random=False), st.integers(2, 6), st.integers(1, 4), st.sampled_from([0, 2]))
def test_a_changed_read_is_judged_as_by_force(
    random_: random.Random, count: int, clients: int, values: int
) -> None:
    original = overlapping(random_, count, clients, 0.1, values)
    changed = History()
    for event in original.events():
        if event["f"] == "read" and event["type"] == "ok" and random_.random() < 0.5:
            event["value"] = random_.choice([None, 0, 1, 2])
        changed.record(**event)
    assert verdict_of(changed) == (YES if tried_by_force(changed) else NO)


def steps_for(history: History) -> int:
    search = Search(Register(history.operations(), history.uses_append))
    assert search.run(10**6)
    return search.steps


def test_the_search_hardly_turns_back_on_new_values() -> None:
    """With every value written once, and no cas, the order of zones is that of a linearization."""
    history = overlapping(random.Random(1), 5_000, 10)
    kept = sum(op.outcome == "ok" for op in history.operations())
    assert steps_for(history) <= 1.3 * kept


def test_unknown_writes_do_not_multiply_the_work() -> None:
    history = overlapping(random.Random(2), 3_000, 10, unknown=0.05)
    assert steps_for(history) <= 2 * 3_000
    history = overlapping(random.Random(3), 1_000, 5, unknown=0.03, values=5)
    assert steps_for(history) <= 50 * 1_000


def test_thousands_of_appends_are_judged() -> None:
    history = History()
    text = ""
    for round_ in range(400):
        for process in range(5):
            history.record(process, "invoke", "append", "x", f"{round_}.{process} ", len(history))
        for process in sorted(range(5), key=lambda p: p * 7 % 5):
            text += f"{round_}.{process} "
            history.record(process, "ok", "append", "x", None, len(history))
        if round_ % 20 == 0:
            history.record("r", "invoke", "get", "x", None, len(history))
            history.record("r", "ok", "get", "x", text, len(history))
    assert steps_for(history) <= 3_000


def crowd(reads: list) -> History:
    """Twelve writes at once, then the reads one after the other: too many orders to try them all."""
    events = [(f"w{i}", "invoke", "write", i) for i in range(12)]
    events += [(f"w{i}", "ok", "write", i) for i in range(12)]
    events += [event for v in reads for event in (("r", "invoke", "read", None), ("r", "ok", "read", v))]
    return history_of(*events)


def test_zones_refute_where_the_search_would_be_long() -> None:
    verdict = check_linearizable(crowd([3, 4]), steps_max=1_000)
    assert verdict.verdict == NO
    assert {op["role"] for op in verdict.window} == {"conflict"}
    assert {op["value"] for op in verdict.window} == {3, 4}
    verdict = check_linearizable(crowd([99]), steps_max=1_000)
    assert [(op["f"], op["value"]) for op in verdict.window] == [("read", 99)]


def test_a_budget_too_small_leaves_the_question_open() -> None:
    events = [(f"w{i}", "invoke", "write", i % 6) for i in range(18)]
    events += [(f"w{i}", "ok", "write", i % 6) for i in range(18)]
    reads = [event for v in (3, 4) for event in (("r", "invoke", "read", None), ("r", "ok", "read", v))]
    verdict = check_linearizable(history_of(*events, *reads), steps_max=100)
    assert verdict == Verdict("undecided", 20, "x")
    assert not verdict


def test_a_violation_on_one_key_is_found_beside_a_hard_key() -> None:
    events = [(f"w{i}", "invoke", "write", i % 6, "hard") for i in range(18)]
    events += [(f"w{i}", "ok", "write", i % 6, "hard") for i in range(18)]
    for value in (3, 4):
        events += [("r", "invoke", "read", None, "hard"), ("r", "ok", "read", value, "hard")]
    events += [("r", "invoke", "read", None, "easy"), ("r", "ok", "read", 1, "easy")]
    assert check_linearizable(history_of(*events), steps_max=20_000).failing_key == "easy"


@pytest.mark.parametrize("steps", [0, -1, True, 1.5])
def test_a_budget_below_one_step_is_refused(steps: object) -> None:
    with pytest.raises(ConfigurationError, match="counts configurations"):
        check_linearizable(one_by_one(("read", None)), steps_max=steps)  # type: ignore[arg-type]
