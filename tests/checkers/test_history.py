"""The history file: what is read back is what was written, and nothing hostile gets further than its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.checkers.history import History, Operation, read_history, write_history
from quorum.checkers.linearizability import check_linearizable
from quorum.errors import ConfigurationError

INVOKE = '{"process":0,"type":"invoke","f":"write","key":"x","value":1,"time":1}'
OK = '{"process":0,"type":"ok","f":"write","key":"x","value":1,"time":2}'


def line(**changed: object) -> str:
    event = {"process": 0, "type": "invoke", "f": "write", "key": "x", "value": 1, "time": 1}
    return json.dumps({**event, **changed})


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    history = History()
    history.record("c1", "invoke", "put", "ключ", {"a": [1, None, 2.5]}, 5)
    history.record(2, "invoke", "cas", None, (None, "é"), 6)
    history.record("c1", "ok", "put", "ключ", None, 7)
    history.record(2, "info", "cas", None, None, 9)
    write_history(history, tmp_path / "h.jsonl")
    again = read_history(tmp_path / "h.jsonl")
    write_history(again, str(tmp_path / "again.jsonl"))
    assert (tmp_path / "h.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    assert len(again) == 4
    assert again.operations() == [
        Operation("c1", "put", "ключ", {"a": [1, None, 2.5]}, "ok", 0, 2, 5, 7),
        Operation(2, "cas", None, [None, "é"], "info", 1, None, 6, None),
    ]


def test_lines_may_be_text_or_bytes_with_blank_ones_between() -> None:
    operations = read_history([INVOKE + "\n", b"\n", OK.encode()]).operations()
    assert operations == [Operation(0, "write", "x", 1, "ok", 0, 1, 1, 2)]


def test_a_completion_may_leave_out_the_key_and_the_value() -> None:
    done = '{"process":0,"type":"ok","f":"put","time":2,"index":7}'
    assert read_history([INVOKE, done]).operations()[0].outcome == "ok"


def test_the_value_of_a_read_is_what_its_completion_says() -> None:
    history = read_history(
        [line(f="read", value=3), line(type="ok", f="get", value=4), line(f="read"), line(f="read", type="fail")]
    )
    assert [op.value for op in history.operations()] == [4, None]


def test_an_operation_that_never_ends_is_of_unknown_outcome() -> None:
    (operation,) = read_history([INVOKE]).operations()
    assert (operation.outcome, operation.completed, operation.completed_ns) == ("info", None, None)


@pytest.mark.parametrize(
    ("lines", "place", "why"),
    [
        ([], "the history", "no event"),
        (["", "  \n"], "the history", "no event"),
        (["not json"], "line 1", "no event in JSON"),
        ([INVOKE, "{"], "line 2", "no event in JSON"),
        (["[1]"], "line 1", "no event in JSON"),
        (["5"], "line 1", "no event in JSON"),
        ([b"\xef\xbb\xbf" + INVOKE.encode()], "line 1", "no event in JSON"),
        ([b'{"process":"\xff"}'], "line 1", "UTF-8"),
        (['{"process":"\ud800"}'], "line 1", "UTF-8"),
        ([INVOKE.replace("1}", "1,}")], "line 1", "no event in JSON"),
        (["{}"], "line 1", 'no "process"'),
        (['{"process":0,"type":"invoke","f":"read","key":"x"}'], "line 1", 'no "time"'),
        ([INVOKE[:-1] + ',"value":' + "[" * 100_000], "line 1", "too deep"),
        ([line(value=json.loads("[" * 40 + "]" * 40))], "line 1", "nests deeper"),
        (['{"process":0,"type":"invoke","f":"write","key":"x","value":NaN,"time":1}'], "line 1", "no event"),
        (['{"process":0,"type":"invoke","f":"write","key":"x","value":1e400,"time":1}'], "line 1", "no event"),
        (['{"process":0,"type":"invoke","f":"write","key":"x","value":"\\ud800","time":1}'], "line 1", ""),
        (['{"process":0,"type":"invoke","f":"write","key":"x","value":"\\udc00a","time":1}'], "line 1", ""),
        ([line(value=10**30)], "line 1", "64 bits"),
        ([line(value=10**3_000)], "line 1", ""),
        ([line(time=2**63)], "line 1", "its time is"),
        ([line(time=10**30)], "line 1", "more than 64 bits"),
        ([line(time=1.5)], "line 1", "its time is 1.5"),
        ([line(time="1")], "line 1", "its time is '1'"),
        ([line(time=True)], "line 1", "its time is True"),
        ([line(time=None)], "line 1", "its time is null"),
        ([line(process=None)], "line 1", "its process is null"),
        ([line(process=True)], "line 1", "its process is True"),
        ([line(process=[1])], "line 1", "its process is a JSON array of 1"),
        ([line(process={})], "line 1", "its process is a JSON object of 0"),
        ([line(process=1.5)], "line 1", "its process is 1.5"),
        ([line(key=1.5)], "line 1", "its key is 1.5"),
        ([line(key=["x"])], "line 1", "its key is"),
        ([line(type="begin")], "line 1", "its type is 'begin'"),
        ([line(type=["ok"])], "line 1", "its type is"),
        ([line(f="increment")], "line 1", "its f is 'increment'"),
        ([line(f={})], "line 1", "its f is"),
        ([line(f="cas", value=1)], "line 1", "cas the value [old, new]"),
        ([line(f="cas", value=[1])], "line 1", "cas the value [old, new]"),
        ([line(f="cas", value="ab")], "line 1", "cas the value [old, new]"),
        ([line(f="append", value=1)], "line 1", "it appends 1"),
        ([line(f="append", value=None)], "line 1", "it appends null"),
        ([line(f="delete", value=1)], "line 1", "it deletes with the value 1"),
        ([OK], "line 1", "closes nothing"),
        ([INVOKE, OK, OK], "line 3", "closes nothing"),
        ([line(type="info")], "line 1", "closes nothing"),
        ([INVOKE, INVOKE], "line 2", "invokes again while its write is open"),
        ([INVOKE, line(type="info"), INVOKE], "line 3", "after an info"),
        ([INVOKE, line(type="ok", time=0)], "line 2", "goes back in time, from 1 to 0"),
        ([INVOKE, line(type="ok", f="read")], "line 2", "it closes read of key 'x'"),
        ([INVOKE, line(type="ok", key="y")], "line 2", "it closes write of key 'y'"),
        ([INVOKE, line(type="ok", value=2)], "line 2", "its value 2 is not the invoked 1"),
        ([INVOKE, line(type="ok", value=True)], "line 2", "its value True is not the invoked 1"),
        ([INVOKE, line(process=1, f="append", value="a")], "line 2", "appended to"),
        ([line(f="append", value="a"), line(process=1, f="cas", value=["a", 5])], "line 2", "appended to"),
        (["x" * (16 * 1024 * 1024 + 1)], "line 1", "longer than"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else None,
)
def test_what_is_no_history_is_refused_with_its_line(lines: list, place: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_history(lines)
    message = str(refused.value)
    assert message.startswith(place) and why in message
    assert message.isascii() and "\n" not in message and len(message) < 400
    assert message.endswith((".", "}."))


def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "bad").write_text(INVOKE + "\n" + INVOKE)
    for path, why in (
        (tmp_path / "absent", "No such file"),
        (tmp_path, "Is a directory"),
        ("a\0b", "null byte"),
        (tmp_path / "empty", "no event"),
        (tmp_path / "bad", "line 2 of history"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            read_history(path)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", b"x", {1: 2}, {"\ud800": 1}, object(), 2**64]
)
def test_a_value_that_no_file_can_hold_is_not_recorded(value: object) -> None:
    history = History()
    with pytest.raises(ConfigurationError, match="event 1 of the history"):
        history.record(0, "invoke", "write", "x", value, 0)
    assert len(history) == 0
    history.record(0, "invoke", "write", "x", 1, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.fixed_dictionaries(
    {
        "process": st.sampled_from([0, 1, "a"]) | JSON,
        "type": st.sampled_from(["invoke", "ok", "info", "fail"]) | JSON,
        "f": st.sampled_from(["read", "write", "cas", "append", "delete"]) | JSON,
        "key": st.sampled_from(["x", 1]) | JSON,
        "value": st.sampled_from([1, "a", [1, 2]]) | JSON,
        "time": st.just(1) | JSON,
    }
)


def judge_or_refuse(lines: list) -> None:
    try:
        history = read_history(lines)
    except ConfigurationError:
        return
    assert check_linearizable(history, steps_max=1_000).operations >= 1


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_bytes_without_sense_are_refused_or_judged(lines: list[bytes]) -> None:
    judge_or_refuse(lines)


@given(st.lists(FIELDS, max_size=6))
def test_lines_of_wrong_types_are_refused_or_judged(events: list[dict]) -> None:
    judge_or_refuse([json.dumps(event) for event in events])
