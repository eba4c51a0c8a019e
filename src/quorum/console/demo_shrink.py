"""`quorum demo --story shrink`: members are lost one after another, and those who are left go on deciding."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Literal, TypeAlias

import msgspec

from quorum.checkers.history import History
from quorum.console.drill import Arena, Findings, arena
from quorum.console.inquiry import answering
from quorum.console.stage import Stage
from quorum.errors import QuorumError
from quorum.membership.policy import FLOOR
from quorum.runtime.status import NodeStatus

NODES_MIN = 5
SECONDS = 40.0
"""About as long as it takes: the length of the bar."""
CLIENTS = 3
CALM_S = 1.0
HOLD_US, STABLE_US = 1_500_000, 1_000_000
WAIT_S = 30.0
"""Within this a lost member must be put out of the vote, those who are left decide, and a member be back."""
REFUSAL_S = 4.0
"""So long a decision is tried for where a quorum does not run."""
LEADER_EVERY = 3
"""Each third loss, from the first one on, is that of the leader."""


Kind: TypeAlias = Literal["start", "lost", "returned", "end"]


class Step(msgspec.Struct, frozen=True):
    """A loss or a return, and how the cluster stood then. `running` nodes run; `quorum` of the `voters` decide.
    `took_ms`: until whoever is lost was put out of the vote, or who returned answered, or all voted; None where
    that did not happen. `decided`: whether something was decided after it."""

    kind: Kind
    node: str
    at_s: float
    running: int
    epoch: int
    voters: tuple[str, ...]
    quorum: int | None
    commit_index: int
    took_ms: int | None
    decided: bool


class Shrink(msgspec.Struct):
    """What the story claims: all `losses` are survived, one after another, the last of them one of three voters,
    and all `nodes` vote again at the end. A fixed majority survives `fixed_survives`."""

    policy: str
    nodes: int
    losses: int
    fixed_survives: int
    survived: int = 0
    all_vote_ms: int = -1
    steps: list[Step] = []

    def problems(self) -> list[str]:
        """What did not happen as it must."""
        found = []
        if self.survived < self.losses:
            last = [step for step in self.steps if step.kind == "lost"][-1]
            why = f"{last.node} kept its vote for {WAIT_S:g} s"
            if not last.decided:
                why = f"{last.running} nodes ran, and {last.quorum} of {len(last.voters)} voters must decide"
            found.append(f"{self.survived} of {self.losses} losses were survived; after the next one {why}")
        if not self.steps[-1].decided:
            found.append("nothing was decided after the returns")
        if self.all_vote_ms < 0:
            found.append(f"not every node had its vote within {WAIT_S:g} s of the last return")
        return found

    def rows(self) -> tuple[tuple[str, str], ...]:
        """For the table at the end."""
        survived = f"{self.survived} of {self.losses}, one after another; a fixed majority: {self.fixed_survives}"
        quorums = [f"{step.quorum or '-'} of {len(step.voters)}" for step in self.steps]
        changed = [text for text, before in zip(quorums, ["", *quorums], strict=False) if text != before]
        back = f"all {self.nodes}, {self.all_vote_ms} ms after the first restart"
        return (
            ("policy", self.policy),
            ("losses survived", survived),
            ("quorums on the way", ", ".join(changed)),
            ("vote again", back if self.all_vote_ms >= 0 else "NOT ALL"),
        )


async def play(nodes: int, policy: str, stale: bool, stage: Stage) -> tuple[Findings, Shrink, History]:
    """The whole story: from `nodes` down to two that run, and back."""
    story = Shrink(policy, nodes, losses=nodes - FLOOR + 1, fixed_survives=(nodes - 1) // 2)
    async with arena(
        nodes,
        stage.show,
        clients=CLIENTS,
        stale=stale,
        policy=policy,
        hold_us=HOLD_US,
        stable_us=STABLE_US,
    ) as here:
        here.watch.tell(f"the cluster is up, policy {policy}")
        here.load.start()
        async with stage.ticking():
            played = _Played(here, story)
            await played.record("start", "", 0)
            await asyncio.sleep(CALM_S)
            await played.lose()
            await played.return_all()
            here.watch.tell("the clients stop; judging what they saw")
            findings = await here.findings(must_have=("kill",))
        return findings.with_problems(story.problems()), story, here.load.history


class _Played:
    """The story while it goes on. `lost` are down, in the order in which they were lost."""

    def __init__(self, here: Arena, story: Shrink) -> None:
        self.here, self.story = here, story
        self.lost: list[str] = []

    async def lose(self) -> None:
        """One loss after another, each once the one before is out of the vote, until one is not survived."""
        for number in range(1, self.story.losses + 1):
            await self.here.watch.until(lambda: self.here.watch.leader is not None, WAIT_S)
            victim = self._victim(number)
            began_s = time.monotonic()
            await self.here.kill(victim)
            self.lost.append(victim)
            must_leave = self.here.adapts and len(self._running()) >= FLOOR
            is_out = must_leave and await self.here.watch.until(self._fits, WAIT_S)
            step = await self.record("lost", victim, _ms_since(began_s) if is_out else None)
            if step.decided and is_out == must_leave:
                self.story.survived = number
            self.here.watch.tell(_told(step, self.story, number))
            if self.story.survived < number:
                return

    def _running(self) -> list[str]:
        return [node for node in self.here.nodes if node not in self.lost]

    def _victim(self, number: int) -> str:
        """Always one that votes: without a vote it is missed by nobody. The leader is taken in its turn, where the
        others can elect another."""
        leader, votes = self.here.leading(), self.here.watch.votes
        left = [node for node in votes.voters if node not in self.lost]
        if number % LEADER_EVERY == 1 and len(left) > (votes.quorum or len(votes.voters)):
            return leader
        return next(node for node in left if node != leader)

    def _fits(self) -> bool:
        """Whether as many of those who run vote as the policy wants: an odd number, three at least."""
        running, voters = self._running(), self.here.watch.votes.voters
        wanted = max(FLOOR, len(running) - (len(running) % 2 == 0))
        return set(voters) <= set(running) and len(voters) == wanted

    async def return_all(self) -> None:
        """All return, one after another, and are given their votes."""
        watch, began_s = self.here.watch, time.monotonic()
        for node in reversed(tuple(self.lost)):
            restarted_s = time.monotonic()
            self.here.restart(node)
            self.lost.remove(node)
            answers = await watch.until(partial(self._answers, node), WAIT_S)
            await self.record("returned", node, _ms_since(restarted_s) if answers else None)
        if await self.here.all_vote(WAIT_S):
            self.story.all_vote_ms = _ms_since(began_s)
        last = await self.record("end", "", self.story.all_vote_ms if self.story.all_vote_ms >= 0 else None)
        if last.decided and self.story.all_vote_ms >= 0:
            watch.tell(f"all {len(self.here.nodes)} vote again: decided")

    def _answers(self, node: str) -> bool:
        return isinstance(self.here.watch.answers[node], NodeStatus)

    async def record(self, kind: Kind, node: str, took_ms: int | None) -> Step:
        """Let something be decided, and write down how the cluster stands."""
        votes = self.here.watch.votes
        running = [voter for voter in votes.voters if voter not in self.lost]
        has_quorum = votes.quorum is not None and len(running) >= votes.quorum
        step = Step(
            kind=kind,
            node=node,
            at_s=round(self.here.watch.elapsed_s, 2),
            running=len(self._running()),
            epoch=votes.epoch,
            voters=votes.voters,
            quorum=votes.quorum,
            commit_index=max((status.commit_index for status in answering(self.here.watch.answers)), default=0),
            took_ms=took_ms,
            decided=await self._decide(WAIT_S if has_quorum else REFUSAL_S),
        )
        self.story.steps.append(step)
        return step

    async def _decide(self, timeout_s: float) -> bool:
        number = len(self.story.steps)
        try:
            async with self.here.place.client(timeout_s) as client:
                await client.decide(f"decision {number}", b"yes")
        except QuorumError:
            return False
        return True


def _told(step: Step, story: Shrink, number: int) -> str:
    """What a loss did."""
    if not step.decided:
        return f"loss {number}: nothing is decided any more; {step.running} run, and {step.quorum} are needed"
    told = f"loss {number} survived: decided"
    if number > story.fixed_survives:
        told += f"; a fixed majority has stopped: {step.running} run, and it needs {story.nodes // 2 + 1}"
    return told


def _ms_since(began_s: float) -> int:
    return round((time.monotonic() - began_s) * 1000)
