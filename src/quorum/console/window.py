"""The failing window of a history, as a person reads it; `--json` has all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OPERATIONS_MAX = 20
VALUE_CHARS_MAX = 40
_ROLES = ("conflict", "linearized", "stuck", "open")


def window_lines(window: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each operation of `Verdict.window`, OPERATIONS_MAX of them at most, the telling ones first of
    all: those that conflict, the one that is stuck, the last before it, and the first that were open."""
    groups = {role: [operation for operation in window if operation["role"] == role] for role in _ROLES}
    room = max(0, OPERATIONS_MAX - len(groups["conflict"]) - len(groups["stuck"]))
    before, after = groups["linearized"], groups["open"]
    kept_after = min(len(after), max(room // 2, room - len(before)))
    kept_before = min(len(before), room - kept_after)
    shown = [
        *groups["conflict"][:OPERATIONS_MAX],
        *before[len(before) - kept_before :],
        *groups["stuck"][:OPERATIONS_MAX],
        *after[:kept_after],
    ][:OPERATIONS_MAX]
    lines = [_line(operation) for operation in shown]
    if len(shown) < len(window):
        lines.append(f"... and {len(window) - len(shown)} more operations; --json has all")
    return lines


def _line(operation: dict[str, Any]) -> str:
    asked = f"{operation['f']} {operation['value']!r}"
    if len(asked) > VALUE_CHARS_MAX:
        asked = asked[: VALUE_CHARS_MAX - 3] + "..."
    ended = operation["complete"] if operation["complete"] is not None else "never"
    return (
        f"{operation['role']:<11}{operation['process']!s:<11} {asked:<{VALUE_CHARS_MAX}} {operation['outcome']:<5}"
        f"from {operation['invoke']} to {ended} ns"
    )
