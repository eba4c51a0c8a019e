"""`quorum fuse`: one value out of many, by a voter or a fusion rule, or a refusal."""

from __future__ import annotations

from typing import Any

import click

from quorum.console.command import AnswerNo, command, print_json
from quorum.console.documents import read_bounded

INPUT_BYTES_MAX = 16 * 2**20


@command("fuse", "quorum fuse --algorithm median --json < input.json")
@click.option("--algorithm", metavar="NAME", help="The rule to use; --list shows all.")
@click.option("--list", "is_list", is_flag=True, help="List all rules, what they read and what they answer.")
def fuse(algorithm: str | None, is_list: bool, as_json: bool) -> None:
    """Make one value out of many, of which some may be wrong, or refuse to.

    Reads one JSON object from standard input, as in {"values": [20.1, 20.2, 85.0]}, and prints the answer. Where
    the rule's bound is not met it prints null and exits with 1. Channels are counted from 0.
    """
    from quorum.console.fuse_table import ALGORITHMS, algorithm_of

    if is_list:
        _show_all({name: (each.reads, each.gives) for name, each in ALGORITHMS.items()}, as_json)
        return
    chosen = algorithm_of(algorithm)
    data = read_bounded(None, INPUT_BYTES_MAX, "the input of a voter", "Give fewer values.")
    answer = chosen.answer(data)
    if isinstance(answer, str):
        click.echo(f"refused: {answer}.", err=True)
        print_json(None)
        raise AnswerNo
    if as_json:
        print_json(answer)
        return
    for key, value in answer.items():
        click.echo(f"{key}: {_text(value)}")


def _text(value: Any) -> str:
    """A value for people: numbers with 10 digits."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if value is None:
        return "refused"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show_all(rules: dict[str, tuple[str, str]], as_json: bool) -> None:
    if as_json:
        print_json({name: {"reads": reads, "gives": gives} for name, (reads, gives) in rules.items()})
        return
    for name, (reads, gives) in rules.items():
        click.echo(f"{name}\n    {reads} -> {gives}")
