"""`quorum drill`: a real cluster under fire, judged."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from quorum.checkers.history import History, write_history
from quorum.console.command import AnswerNo, command, print_json, seconds_option
from quorum.console.drill import FAULTS, run_drill
from quorum.console.loop import run_interruptibly
from quorum.console.stage import Stage, summary
from quorum.errors import ConfigurationError


@command("drill", "quorum drill --nodes 5 --seconds 60 --history history.jsonl")
@click.option("--nodes", type=int, default=5, help="Node processes.")
@seconds_option("--seconds", 60.0, "How long it is under fire.")
@click.option("--clients", type=int, default=8, help="Clients with one operation open each.")
@click.option("--faults", default=",".join(FAULTS), help="Kinds of faults, or none.")
@click.option("--seed", type=int, default=0, help="Draws the faults; timing stays real.")
@click.option("--unsafe-reads", is_flag=True, help="For teaching: any node answers reads, however old its state.")
@click.option("--history", type=click.Path(path_type=Path), help="Write what the clients saw, for `quorum judge`.")
def drill(
    nodes: int,
    seconds: float,
    clients: int,
    faults: str,
    seed: int,
    unsafe_reads: bool,
    history: Path | None,
    as_json: bool,
) -> None:
    """Put a real cluster under fire, and judge what its clients saw.

    Node processes on loopback, in a folder that is removed at the end, lose members to kill -9, SIGSTOP and
    partitions, while clients write, swap and read. Exit 1 unless the history is linearizable, no acknowledged
    write is lost and all nodes end in one state.
    """
    kinds = () if faults == "none" else tuple(part.strip() for part in faults.split(","))
    with Stage("drill", seconds, quiet=as_json) as stage:
        running = run_drill(
            nodes, seconds, faults=kinds, clients=clients, seed=seed, stale=unsafe_reads, on_event=stage.show
        )
        findings, recorded = run_interruptibly(running)
    if history is not None:
        save_history(recorded, history)
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        summary(findings)
    if findings.verdict != "good":
        raise AnswerNo


def save_history(recorded: History, path: Path) -> None:
    """Write a history. Raises ConfigurationError when that fails."""

    try:
        write_history(recorded, path)
    except OSError as error:
        raise ConfigurationError(
            f"the history was to be written to {path}, but that failed ({error.strerror}). Name another file."
        ) from None
