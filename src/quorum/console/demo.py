"""`quorum demo`: decisions, a crash and a partition on five real node processes, live, and a verdict."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click
import msgspec

from quorum.apps.decide import Decision
from quorum.checkers.history import History
from quorum.console.command import AnswerNo, command, print_json, seconds_option
from quorum.console.drill import Arena, Findings, arena
from quorum.console.drill_command import save_history
from quorum.console.loop import run_interruptibly
from quorum.console.stage import Stage, summary
from quorum.errors import ConfigurationError, QuorumError

SECONDS_MIN = 12.0
START_S = 6.0
"""Processes starting and the judge's work: part of the bar, not of `--seconds`."""
WAIT_S = 20.0
MINORITY_TIMEOUT_S = 2.0
STEPS = 6
TOPIC, DISPUTED = "the first decision", "a decision during the partition"


class Story(msgspec.Struct):
    """What the demo itself claims, beside the findings."""

    decision: str = ""
    decision_agreed: bool = False
    minority_refused: bool = False
    majority_decided: bool = False
    caught_up_ms: int = -1

    def problems(self) -> list[str]:
        """What did not happen as it must."""
        claims = (
            (self.decision_agreed, "clients that proposed different values were told different decisions"),
            (self.caught_up_ms >= 0, "the killed node did not catch up"),
            (self.minority_refused, "a minority decided"),
            (self.majority_decided, "the majority did not decide during the partition"),
        )
        return [text for holds, text in claims if not holds]


@command("demo", "quorum demo --seconds 20")
@click.option("--nodes", type=int, help="Node processes.  [default: 5, byzantine 4]")
@click.option("--model", type=click.Choice(("crash", "byzantine")), default="crash", help="What a node may do.")
@seconds_option("--seconds", 25.0, "How long clients work.")
@click.option("--unsafe-reads", is_flag=True, help="For teaching: any node answers reads, however old its state.")
@click.option("--history", type=click.Path(path_type=Path), help="Write what the clients saw, for `quorum judge`.")
def demo(
    nodes: int | None, model: str, seconds: float, unsafe_reads: bool, history: Path | None, as_json: bool
) -> None:
    """Five nodes, decisions, a crash and a partition, live, in under a minute.

    Real processes on loopback, with mutual TLS and durable logs, in a folder that is removed at the end. The
    leader is killed and restarted, its successor is cut off with a minority, and everything heals; clients write
    and read all the time, and what they saw is judged. Exit 0 only if the verdict is good. With --unsafe-reads
    it is not: old states are read, and the judge says so.

    With --model byzantine there are four nodes, and the first that orders lies on the wire: it is caught, named
    with evidence that anybody can check, and replaced.
    """
    if model == "byzantine":
        _among_liars(4 if nodes is None else nodes, seconds, unsafe_reads, history, as_json)
        return
    nodes = 5 if nodes is None else nodes
    if nodes < 3 or seconds < SECONDS_MIN:
        raise ConfigurationError(
            f"a demo of {nodes} nodes and {seconds:g} s was asked for, but a crash and a partition need 3 nodes "
            f"and {SECONDS_MIN:g} s. Ask for more."
        )
    with Stage("demo", seconds + START_S, quiet=as_json) as stage:
        stage.say(f"starting {nodes} node processes on loopback: mutual TLS, durable logs, faults allowed")
        findings, story, recorded = run_interruptibly(_play(nodes, seconds, unsafe_reads, stage))
    if history is not None:
        save_history(recorded, history)
    if as_json:
        print_json(msgspec.to_builtins(findings) | {"story": story})
    else:
        summary(
            findings,
            (
                (
                    "decision",
                    f"{story.decision!r}, the same for every client" if story.decision_agreed else "SPLIT",
                ),
                ("caught up", f"{story.caught_up_ms} ms after its restart"),
                ("minority", "could not decide" if story.minority_refused else "DECIDED"),
                ("majority", "decided meanwhile" if story.majority_decided else "DID NOT DECIDE"),
            ),
        )
    if findings.verdict != "good":
        raise AnswerNo


def _among_liars(nodes: int, seconds: float, stale: bool, history: Path | None, as_json: bool) -> None:
    from quorum.console.demo_byzantine import NODES_MIN, play

    if nodes < NODES_MIN or seconds < SECONDS_MIN or stale:
        raise ConfigurationError(
            f"a demo of {nodes} nodes of which one lies was asked for, for {seconds:g} s"
            f"{', with reads by any node' if stale else ''}, but it needs {NODES_MIN} nodes and {SECONDS_MIN:g} "
            "s, and T+1 members answer each read. Ask for more, without --unsafe-reads."
        )
    with Stage("demo", seconds + START_S, quiet=as_json) as stage:
        stage.say(f"starting {nodes} node processes on loopback: mutual TLS, durable logs, one of them a liar")
        findings, trial, recorded = run_interruptibly(play(nodes, seconds, stage))
    if history is not None:
        save_history(recorded, history)
    if as_json:
        print_json(msgspec.to_builtins(findings) | {"trial": trial})
    else:
        agreed = f"{trial.decision!r}, the same for every client" if trial.decision_agreed else "SPLIT"
        proof = "convinces whoever has the genesis file" if trial.evidence_valid else "NOT VALID"
        caught = f"after {trial.caught_ms} ms: {trial.lie}" if trial.caught_ms >= 0 else "NOT CAUGHT"
        certificate = "verified offline" if trial.certificate_valid else "NOT VALID"
        summary(
            findings,
            (
                ("decision", agreed),
                (f"{trial.liar} caught", caught),
                ("evidence", proof),
                ("replaced", "by the next primary" if trial.replaced else "NOT REPLACED"),
                ("certificate", f"{trial.certificate_bytes} bytes, {certificate}"),
            ),
        )
    if findings.verdict != "good":
        raise AnswerNo


async def _play(nodes: int, seconds: float, stale: bool, stage: Stage) -> tuple[Findings, Story, History]:
    """The whole story. Its steps are spread over `seconds`; each takes the time it takes."""
    story = Story()
    async with arena(nodes, stage.show, stale=stale) as here:
        here.watch.tell("the cluster is up")
        began_s = time.monotonic()
        here.load.start()
        ticking = asyncio.ensure_future(_tick(stage))
        try:
            for number, step in enumerate((_decide, _crash, _cut_off)):
                await _until(began_s + seconds * (1 + 2 * number) / STEPS)
                await step(here, story)
            await _until(began_s + seconds)
            here.watch.tell("the clients stop; judging what they saw")
            findings = await here.findings(must_have=("kill", "split"))
        finally:
            ticking.cancel()
        problems = (*findings.problems, *story.problems())
        verdict = "bad" if problems else "good"
        return msgspec.structs.replace(findings, problems=problems, verdict=verdict), story, here.load.history


async def _decide(here: Arena, story: Story) -> None:
    """Three clients propose at once; the first committed wins, and all hear the same."""

    async def propose(value: str) -> Decision:
        async with here.place.client(WAIT_S) as client:
            return await client.decide(TOPIC, value.encode())

    here.watch.tell(f"three clients propose red, green and blue for {TOPIC!r}")
    told = await asyncio.gather(*(propose(value) for value in ("red", "green", "blue")))
    story.decision = told[0].value.decode()
    story.decision_agreed = len({(decision.value, decision.index) for decision in told}) == 1
    here.watch.tell(f"decided: {story.decision}, at index {told[0].index}; all three were told so")


async def _crash(here: Arena, story: Story) -> None:
    """The leader dies and returns."""
    victim = here.leading()
    await here.kill(victim)
    await asyncio.sleep(1.0)
    began_s = time.monotonic()
    behind = max(event.commit_index for event in here.watch.events)
    here.restart(victim)

    def has_caught_up() -> bool:
        answer, leader = here.watch.answers[victim], here.watch.leader
        applied = getattr(answer, "applied_index", -1)
        return leader is not None and leader.node != victim and applied >= max(behind, leader.commit_index - 50)

    if await here.watch.until(has_caught_up, WAIT_S):
        story.caught_up_ms = round((time.monotonic() - began_s) * 1000)
        here.watch.tell(f"{victim} has caught up, {story.caught_up_ms} ms after its restart")


async def _cut_off(here: Arena, story: Story) -> None:
    """The new leader is cut off with a minority; the others go on without it, and it rejoins them."""
    leader = here.leading()
    others = [node for node in here.nodes if node != leader]
    minority = sorted([leader, *others[: here.minority - 1]])
    await here.split(minority)
    majority = [node for node in here.nodes if node not in minority]
    trying = asyncio.ensure_future(_try_minority(here, story, minority))
    try:
        async with here.place.client(WAIT_S, only=majority) as client:
            decision = await client.decide(DISPUTED, b"by the majority")
        story.majority_decided = decision.value == b"by the majority"
        here.watch.tell(f"the majority {' '.join(majority)} decided without {leader}")
    except QuorumError as error:
        here.watch.tell(f"the majority did not decide: {error}")
    await trying
    await here.heal()
    if await here.reunited(WAIT_S):
        here.watch.tell(f"{' '.join(minority)} follow the new leader")


async def _try_minority(here: Arena, story: Story, minority: list[str]) -> None:
    """A client that reaches only the minority must not get a decision."""
    try:
        async with here.place.client(MINORITY_TIMEOUT_S, only=minority) as client:
            decision = await client.decide(DISPUTED, b"by the minority")
        here.watch.tell(f"the minority decided {decision.value.decode()!r}")
    except QuorumError:
        story.minority_refused = True
        here.watch.tell(f"the minority {' '.join(minority)} could not decide, as it must be")


async def _tick(stage: Stage) -> None:
    while True:
        stage.tick()
        await asyncio.sleep(0.2)


async def _until(moment_s: float) -> None:
    await asyncio.sleep(max(0.0, moment_s - time.monotonic()))
