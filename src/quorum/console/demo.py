"""`quorum demo`: a story told by real node processes, live, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
import msgspec

from quorum.checkers.history import History
from quorum.console.command import AnswerNo, command, print_json, seconds_option
from quorum.console.drill import Findings
from quorum.console.drill_command import save_history
from quorum.console.loop import run_interruptibly
from quorum.console.stage import Stage, summary
from quorum.errors import ConfigurationError

SECONDS_MIN = 12.0
START_S = 6.0
"""Processes starting and the judge's work: part of the bar, not of `--seconds`."""


class Story(Protocol):
    """What a story claims, beside the findings."""

    def rows(self) -> tuple[tuple[str, str], ...]:
        """For the table at the end."""


S = TypeVar("S", bound=Story)
Told = tuple[Findings, S, History]


@command("demo", "quorum demo --story shrink")
@click.option("--nodes", type=int, help="Node processes.  [default: 5; byzantine 4, shrink 9]")
@click.option("--model", type=click.Choice(("crash", "byzantine")), default="crash", help="What a node may do.")
@click.option("--story", type=click.Choice(("faults", "shrink")), default="faults", help="What happens to them.")
@click.option("--policy", type=click.Choice(("adaptive", "fixed")), help="Of the shrink story: who votes.")
@seconds_option("--seconds", 25.0, "How long clients work; in the shrink story as long as it takes.")
@click.option("--unsafe-reads", is_flag=True, help="For teaching: any node answers reads, however old its state.")
@click.option("--history", type=click.Path(path_type=Path), help="Write what the clients saw, for `quorum judge`.")
def demo(
    nodes: int | None,
    model: str,
    story: str,
    policy: str | None,
    seconds: float,
    unsafe_reads: bool,
    history: Path | None,
    as_json: bool,
) -> None:
    """Five nodes, decisions, a crash and a partition, live, in under a minute.

    Real processes on loopback, with mutual TLS and durable logs, in a folder that is removed at the end. The
    leader is killed, put out of the vote, restarted, and given its vote back; its successor is cut off with a
    minority, and everything heals. Clients write and read all the time, and what they saw is judged. Exit 0 only
    if the verdict is good. With --unsafe-reads it is not: old states are read, and the judge says so.

    With --story shrink nine nodes are lost one after another until two run. They go on deciding, because those who
    are lost are put out of the vote one by one; then all return. With --policy fixed the same losses stop the
    cluster at the fifth: exit 1.

    With --model byzantine there are four nodes, and the first that orders lies on the wire: it is caught, named
    with evidence that anybody can check, and replaced.
    """
    _check(model, story, policy)
    if model == "byzantine":
        _among_liars(4 if nodes is None else nodes, seconds, unsafe_reads, history, as_json)
    elif story == "shrink":
        _shrinking(9 if nodes is None else nodes, policy or "adaptive", unsafe_reads, history, as_json)
    else:
        _under_faults(5 if nodes is None else nodes, seconds, unsafe_reads, history, as_json)


def _check(model: str, story: str, policy: str | None) -> None:
    if model == "byzantine" and story != "faults":
        raise ConfigurationError(
            f"the story {story} was asked for where members may lie, but it is told of members that only crash. "
            "Leave --story or --model out."
        )
    if policy is not None and story != "shrink":
        raise ConfigurationError(
            f"the policy {policy} was asked for, but it is the shrink story that compares policies. Add --story "
            "shrink, or leave --policy out."
        )


def _under_faults(nodes: int, seconds: float, stale: bool, history: Path | None, as_json: bool) -> None:
    from quorum.console.demo_faults import play

    if nodes < 3 or seconds < SECONDS_MIN:
        raise ConfigurationError(
            f"a demo of {nodes} nodes and {seconds:g} s was asked for, but a crash and a partition need 3 nodes "
            f"and {SECONDS_MIN:g} s. Ask for more."
        )
    opening = f"starting {nodes} node processes on loopback: mutual TLS, durable logs, faults allowed"
    _run(lambda stage: play(nodes, seconds, stale, stage), "story", opening, seconds, history, as_json)


def _shrinking(nodes: int, policy: str, stale: bool, history: Path | None, as_json: bool) -> None:
    from quorum.console.demo_shrink import NODES_MIN, SECONDS, play

    if nodes < NODES_MIN or nodes % 2 == 0:
        raise ConfigurationError(
            f"a story of {nodes} nodes that are lost one after another was asked for, but 3 vote at least, and "
            f"an odd number. Ask for {NODES_MIN}, 7 or 9."
        )
    opening = f"starting {nodes} node processes on loopback: mutual TLS, durable logs, policy {policy}"
    _run(lambda stage: play(nodes, policy, stale, stage), "story", opening, SECONDS, history, as_json)


def _among_liars(nodes: int, seconds: float, stale: bool, history: Path | None, as_json: bool) -> None:
    from quorum.console.demo_byzantine import NODES_MIN, play

    if nodes < NODES_MIN or seconds < SECONDS_MIN or stale:
        raise ConfigurationError(
            f"a demo of {nodes} nodes of which one lies was asked for, for {seconds:g} s"
            f"{', with reads by any node' if stale else ''}, but it needs {NODES_MIN} nodes and {SECONDS_MIN:g} "
            "s, and T+1 members answer each read. Ask for more, without --unsafe-reads."
        )
    opening = f"starting {nodes} node processes on loopback: mutual TLS, durable logs, one of them a liar"
    _run(lambda stage: play(nodes, seconds, stage), "trial", opening, seconds, history, as_json)


def _run(
    play: Callable[[Stage], Coroutine[Any, Any, Told[S]]],
    key: str,
    opening: str,
    seconds: float,
    history: Path | None,
    as_json: bool,
) -> None:
    """Let a story be played, and tell how it ended; in JSON the story stands under `key`."""
    with Stage("demo", seconds + START_S, quiet=as_json) as stage:
        stage.say(f"{opening} (n1? votes, but is not heard)")
        findings, story, recorded = run_interruptibly(play(stage))
    if history is not None:
        save_history(recorded, history)
    if as_json:
        print_json(msgspec.to_builtins(findings) | {key: story})
    else:
        summary(findings, story.rows())
    if findings.verdict != "good":
        raise AnswerNo
