"""`quorum drill`: a real cluster under fire, judged."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from quorum.checkers.history import History, write_history
from quorum.console.command import AnswerNo, command, print_json, seconds_option
from quorum.console.drill import FAULTS, Findings, run_drill
from quorum.console.loop import run_interruptibly
from quorum.console.stage import Stage, summary
from quorum.console.tolerance import NODES
from quorum.errors import ConfigurationError
from quorum.model import nodes_needed


@command("drill", "quorum drill --nodes 5 --seconds 60 --history history.jsonl")
@click.option("--nodes", type=int, help="Node processes.  [default: 5; byzantine 4, with a liar 7]")
@click.option("--model", type=click.Choice(("crash", "byzantine")), default="crash", help="What a node may do.")
@click.option("--lie", default="", help="With --model byzantine: n1 lies so, such as equivocate.")
@seconds_option("--seconds", 60.0, "How long it is under fire.")
@click.option("--clients", type=int, default=8, help="Clients with one operation open each.")
@click.option("--faults", default=",".join(FAULTS), help="Kinds of faults, or none.")
@click.option("--seed", type=int, default=0, help="Draws the faults; timing stays real.")
@click.option("--unsafe-reads", is_flag=True, help="For teaching: any node answers reads, however old its state.")
@click.option("--history", type=click.Path(path_type=Path), help="Write what the clients saw, for `quorum judge`.")
def drill(
    nodes: int | None,
    model: str,
    lie: str,
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

    With --model byzantine the members may lie, and with --lie one of them does all the time, while as many others
    as T leaves are killed, stopped and cut off; exit 1 also if an honest one is accused.
    """
    kinds = () if faults == "none" else tuple(part.strip() for part in faults.split(","))
    usual = NODES[model] if not lie else nodes_needed(2, "byzantine")
    with Stage("drill", seconds, quiet=as_json) as stage:
        running = run_drill(
            usual if nodes is None else nodes,
            seconds,
            model=model,
            lie=lie,
            faults=kinds,
            clients=clients,
            seed=seed,
            stale=unsafe_reads,
            on_event=stage.show,
        )
        findings, recorded = run_interruptibly(running)
    if history is not None:
        save_history(recorded, history)
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        summary(findings, _of_liars(findings))
    if findings.verdict != "good":
        raise AnswerNo


def _of_liars(findings: Findings) -> tuple[tuple[str, str], ...]:
    if findings.model != "byzantine":
        return ()
    lies = ", ".join(f"{node} by {how}" for node, how in findings.lies.items()) or "nobody"
    return (("lied", lies), ("proven to have lied", ", ".join(findings.accused) or "nobody"))


def save_history(recorded: History, path: Path) -> None:
    """Write a history. Raises ConfigurationError when that fails."""

    try:
        write_history(recorded, path)
    except OSError as error:
        raise ConfigurationError(
            f"the history was to be written to {path}, but that failed ({error.strerror}). Name another file."
        ) from None
