"""The usual story of `quorum demo`: a decision, a crash, an eviction and a return, and a partition."""

from __future__ import annotations

import asyncio
import time

import msgspec

from quorum.apps.decide import Decision
from quorum.checkers.history import History
from quorum.console.drill import Arena, Findings, arena
from quorum.console.stage import Stage
from quorum.errors import QuorumError
from quorum.membership.policy import usual

WAIT_S = 20.0
HOLD_US, STABLE_US = 3_000_000, 2_000_000
"""Longer than the minority is tried for: a partition of that length puts nobody out of the vote."""
VOTES_WAIT_S = 30.0
"""Within this a lost member must be put out of the vote, and one that is back be given its vote."""
DOWN_S = 1.0
MINORITY_TIMEOUT_S = 2.0
BEGIN_AT = (0.08, 0.16, 0.72)
"""When the steps begin, as shares of the time that the clients work."""
TOPIC, WITHOUT, DISPUTED = "the first decision", "a decision by those left", "a decision during the partition"


class Story(msgspec.Struct):
    """What the demo itself claims, beside the findings. `adapts`: a policy puts `lost`, the node that is killed,
    out of the vote, where `left` voters remain of whom `quorum` decide, and takes it back."""

    decision: str = ""
    decision_agreed: bool = False
    adapts: bool = False
    lost: str = ""
    put_out_ms: int = -1
    reason: str = ""
    left: int = 0
    quorum: int | None = None
    decided_without: bool = False
    caught_up_ms: int = -1
    votes_again_ms: int = -1
    minority_refused: bool = False
    majority_decided: bool = False

    def problems(self) -> list[str]:
        """What did not happen as it must."""
        fixed = not self.adapts
        claims = (
            (self.decision_agreed, "clients that proposed different values were told different decisions"),
            (fixed or self.put_out_ms >= 0, f"the killed node was not put out of the vote in {VOTES_WAIT_S:g} s"),
            (fixed or self.decided_without, "those left by the killed node did not decide"),
            (self.caught_up_ms >= 0, "the killed node did not catch up"),
            (fixed or self.votes_again_ms >= 0, f"the node did not get its vote back in {VOTES_WAIT_S:g} s"),
            (self.minority_refused, "a minority decided, or was not tried"),
            (self.majority_decided, "the majority did not decide during the partition"),
        )
        return [text for holds, text in claims if not holds]

    def rows(self) -> tuple[tuple[str, str], ...]:
        """For the table at the end."""
        agreed = f"{self.decision!r}, the same for every client" if self.decision_agreed else "SPLIT"
        left = f"{self.left} voted on, quorum {self.quorum or '-'}"
        out = f"{self.put_out_ms} ms after it was killed: {self.reason}; {left}"
        again = f"{self.votes_again_ms} ms after its restart"
        caught_up = f"{self.caught_up_ms} ms after its restart" if self.caught_up_ms >= 0 else "DID NOT"
        participation = (
            (f"{self.lost} put out of the vote", out if self.put_out_ms >= 0 else "NOT PUT OUT"),
            (f"{self.lost} caught up", caught_up),
            (f"{self.lost} votes again", again if self.votes_again_ms >= 0 else "DOES NOT VOTE"),
        )
        fixed = (("policy", "fixed; it adapts with 5 nodes, 7 or 9"), ("caught up", caught_up))
        return (
            ("decision", agreed),
            *(participation if self.adapts else fixed),
            ("minority", "could not decide" if self.minority_refused else "DECIDED"),
            ("majority", "decided meanwhile" if self.majority_decided else "DID NOT DECIDE"),
        )


async def play(nodes: int, seconds: float, stale: bool, stage: Stage) -> tuple[Findings, Story, History]:
    """The whole story. Its steps are spread over `seconds`; each takes the time it takes."""
    story = Story()
    policy = usual(nodes) if nodes % 2 else "fixed"  # of an even number, one stands by for good
    async with arena(nodes, stage.show, stale=stale, policy=policy, hold_us=HOLD_US, stable_us=STABLE_US) as here:
        story.adapts = here.adapts
        here.watch.tell("the cluster is up")
        began_s = time.monotonic()
        here.load.start()
        async with stage.ticking():
            for share, step in zip(BEGIN_AT, (_decide, _crash, _cut_off), strict=True):
                await _until(began_s + seconds * share)
                await step(here, story)
            await _until(began_s + seconds)
            here.watch.tell("the clients stop; judging what they saw")
            findings = await here.findings(must_have=("kill", "split"))
        return findings.with_problems(story.problems()), story, here.load.history


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
    """The leader dies, is put out of the vote, and returns."""
    victim = story.lost = here.leading()
    began_s = time.monotonic()
    await here.kill(victim)
    if here.adapts:
        await _go_on_without(here, story, began_s)
    else:
        await asyncio.sleep(DOWN_S)
    began_s = time.monotonic()
    behind = max(event.commit_index for event in here.watch.events)
    here.restart(victim)

    def has_caught_up() -> bool:
        answer, leader = here.watch.answers[victim], here.watch.leader
        applied = getattr(answer, "applied_index", -1)
        return leader is not None and leader.node != victim and applied >= max(behind, leader.commit_index - 50)

    if await here.watch.until(has_caught_up, WAIT_S):
        story.caught_up_ms = _ms_since(began_s)
        here.watch.tell(f"{victim} has caught up, {story.caught_up_ms} ms after its restart")
    if here.adapts and await here.votes(victim, True, VOTES_WAIT_S):
        story.votes_again_ms = _ms_since(began_s)
        await here.all_vote(VOTES_WAIT_S)


async def _go_on_without(here: Arena, story: Story, began_s: float) -> None:
    """Whoever does not come back is no member of the quorums any more, and the others decide."""
    victim = story.lost
    if not await here.votes(victim, False, VOTES_WAIT_S):
        return
    story.put_out_ms = _ms_since(began_s)
    leader = here.watch.leader
    seat = None if leader is None else leader.seats.get(victim)
    story.reason = "" if seat is None else seat.reason
    story.left, story.quorum = len(here.watch.votes.voters), here.watch.votes.quorum
    try:
        async with here.place.client(WAIT_S) as client:
            decision = await client.decide(WITHOUT, b"without it")
    except QuorumError as error:
        here.watch.tell(f"those left did not decide: {error}")
        return
    story.decided_without = decision.value == b"without it"
    here.watch.tell(f"decided without {victim}, at index {decision.index}")


async def _cut_off(here: Arena, story: Story) -> None:
    """The new leader is cut off with a minority; the others go on without it, and it rejoins them."""
    if here.watch.votes.voters != here.nodes:
        here.watch.tell("not every node votes, so that nobody can say which part is the minority: no partition")
        return
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


async def _until(moment_s: float) -> None:
    await asyncio.sleep(max(0.0, moment_s - time.monotonic()))


def _ms_since(began_s: float) -> int:
    return round((time.monotonic() - began_s) * 1000)
