"""`quorum judge`: is a recorded history linearizable?"""

from __future__ import annotations

import sys

import click

from quorum.checkers.history import read_history
from quorum.checkers.linearizability import STEPS_MAX, check_linearizable
from quorum.console.command import AnswerNo, command, print_json
from quorum.console.window import window_lines


@command("judge", "quorum judge history.jsonl")
@click.argument("history", metavar="HISTORY.jsonl")
@click.option("--steps", type=int, default=STEPS_MAX, help="Search budget, in configurations.")
def judge(history: str, steps: int, as_json: bool) -> None:
    """Say whether a recorded history is linearizable.

    HISTORY.jsonl holds one event a line ("-": standard input), with the keys process, type (invoke, ok, fail,
    info), f (read, write, cas, append, delete), key, value and time in ns. Exit 0 only for "linearizable".
    """
    source = sys.stdin.buffer if history == "-" else history
    verdict = check_linearizable(read_history(source), steps)
    if as_json:
        print_json(verdict)
    else:
        click.echo(f"{verdict.verdict}: {verdict.operations} operations")
        if verdict.verdict != "linearizable":
            click.echo(f"key {verdict.failing_key!r}")
        for line in window_lines(verdict.window or ()):
            click.echo(f"  {line}")
    if not verdict:
        raise AnswerNo
