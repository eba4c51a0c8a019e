"""The failing window as a person reads it: short, and with what tells most."""

from __future__ import annotations

from typing import Any

from quorum.console.window import OPERATIONS_MAX, VALUE_CHARS_MAX, window_lines


def operations(role: str, count: int, value: object = 1) -> list[dict[str, Any]]:
    return [
        {
            "role": role,
            "process": f"{role}-{number}",
            "f": "write",
            "key": "x",
            "value": value,
            "outcome": "ok",
            "invoke": number,
            "complete": None if number == 0 else number + 1,
        }
        for number in range(count)
    ]


def test_a_short_window_is_shown_whole_in_its_order():
    lines = window_lines([*operations("linearized", 2), *operations("stuck", 1), *operations("open", 2)])
    assert [line.split()[1] for line in lines] == ["linearized-0", "linearized-1", "stuck-0", "open-0", "open-1"]
    assert lines[0].endswith("from 0 to never ns") and lines[1].endswith("from 1 to 2 ns")


def test_of_a_long_window_the_neighbourhood_of_the_stuck_operation_is_shown():
    lines = window_lines([*operations("linearized", 70), *operations("stuck", 1), *operations("open", 40)])
    names = [line.split()[1] for line in lines[:-1]]
    assert len(names) == OPERATIONS_MAX
    assert {"linearized-69", "stuck-0", "open-0"} <= set(names) and "linearized-0" not in names
    assert lines[-1] == f"... and {111 - OPERATIONS_MAX} more operations; --json has all"


def test_one_side_may_take_the_room_that_the_other_leaves():
    names = [line.split()[1] for line in window_lines([*operations("linearized", 3), *operations("open", 40)])]
    assert names[:3] == ["linearized-0", "linearized-1", "linearized-2"] and names[19] == "open-16"


def test_a_conflict_of_many_and_a_long_value_are_cut():
    lines = window_lines(operations("conflict", 30, "v" * 500))
    assert len(lines) == OPERATIONS_MAX + 1
    assert all(len(line) < 80 + VALUE_CHARS_MAX for line in lines) and "vvv..." in lines[0]
