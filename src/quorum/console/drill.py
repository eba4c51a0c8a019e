"""A real cluster under fire: processes on loopback, clients, kill -9, SIGSTOP and partitions, and a verdict."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec

from quorum.checkers.history import History
from quorum.checkers.linearizability import Verdict, check_linearizable
from quorum.console.inquiry import Silence, answering
from quorum.console.load import Load
from quorum.console.local import wait_until_ready
from quorum.console.need import orderer
from quorum.console.strike import CALM_S, strike
from quorum.console.tolerance import tolerance_of
from quorum.console.watch import Event, Watch
from quorum.errors import ConfigurationError, QuorumError
from quorum.membership.observation import Limits
from quorum.model import nodes_needed
from quorum.runtime.connect import at_config
from quorum.runtime.local import NOBODY, LocalCluster
from quorum.runtime.place import Place
from quorum.runtime.setup import init_cluster
from quorum.sim.adversary import BEHAVIOURS

FAULTS = ("kill", "stop", "split")
LIAR = "n1"
"""Who lies where one does: the first that orders."""
START_TIMEOUT_S = 40.0
SETTLE_TIMEOUT_S = 30.0
LINKS_TIMEOUT_S = 2.0
RETRY_S = 0.05


class Findings(msgspec.Struct, frozen=True):
    """What a run showed. `problems` says everything that is wrong; there is none exactly if `verdict` is "good".

    `failover_ms`: from each kill of a leader to the next acknowledged write. `faults` counts what was done. `lies`
    says who lied, and how; `accused`, of whom nodes hold a proof that it lied.
    """

    verdict: str
    problems: tuple[str, ...]
    history: Verdict
    nodes: int
    seconds: float
    unknown: int
    acknowledged: int
    lost: tuple[str, ...]
    applied_index: int
    states_equal: bool
    terms: int
    faults: dict[str, int]
    failover_ms: tuple[int, ...]
    model: str = "crash"
    lies: dict[str, str] = {}
    accused: tuple[str, ...] = ()

    def with_problems(self, problems: Sequence[str]) -> Findings:
        """The same, where more was wrong."""
        found = (*self.problems, *problems)
        return msgspec.structs.replace(self, problems=found, verdict="bad" if found else "good")


class Arena:
    """A running cluster of real processes that may be hurt, what watches it, and the clients that use it."""

    def __init__(
        self, cluster: LocalCluster, place: Place, watch: Watch, load: Load, lies: Mapping[str, str] = NOBODY
    ) -> None:
        self.lies = dict(lies)
        self.cluster = cluster
        self.place = place
        self.watch = watch
        self.load = load
        self.faults = dict.fromkeys(FAULTS, 0)
        self.failover_ms: list[int] = []
        self.nodes = tuple(sorted(cluster.nodes))

    @property
    def minority(self) -> int:
        """How many nodes may be missing, beside those that lie."""
        return tolerance_of(self.cluster.config).faults - len(self.lies)

    @property
    def adapts(self) -> bool:
        """Whether a policy puts members out of the vote, and takes them back."""
        return self.cluster.config.policy != "fixed"

    async def votes(self, node: str, votes: bool, timeout_s: float) -> bool:
        """Wait until a node votes, or does not."""
        return await self.watch.until(lambda: (node in self.watch.votes.voters) == votes, timeout_s)

    async def all_vote(self, timeout_s: float) -> bool:
        """Wait until every node votes."""
        return await self.watch.until(lambda: self.watch.votes.voters == self.nodes, timeout_s)

    def leading(self) -> str:
        """The node that leads, or else any."""
        leader = self.watch.leader
        return leader.node if leader is not None else self.nodes[0]

    async def kill(self, node: str) -> None:
        """kill -9; of a leader, measure how long until a write is acknowledged again."""
        leader = self.watch.leader
        is_leader = leader is not None and leader.node == node
        next_write = asyncio.ensure_future(self.load.next_write())
        began_ns = asyncio.get_running_loop().time()
        self.cluster.signal(node, signal.SIGKILL)
        self.faults["kill"] += 1
        role = f", the {orderer(self.watch.answers)}" if is_leader else ""
        self.watch.forget(node, "killed")
        self.watch.tell(f"kill -9 {node}{role}")
        if not is_leader:
            next_write.cancel()
            return
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await next_write
        except TimeoutError:
            self.watch.tell("no write was acknowledged since")
            return
        taken_ms = round((asyncio.get_running_loop().time() - began_ns) * 1000)
        self.failover_ms.append(taken_ms)
        self.watch.tell(f"writes are acknowledged again {taken_ms} ms after the kill")

    def restart(self, node: str) -> None:
        """Start a killed node again, from what its disk has."""
        self.cluster.start(node, with_parent=True, lie=self.lies.get(node, ""))
        self.watch.tell(f"{node} is started again")

    def freeze(self, node: str) -> None:
        """SIGSTOP: the process stands still, its connections stay."""
        self.cluster.signal(node, signal.SIGSTOP)
        self.faults["stop"] += 1
        self.watch.tell(f"SIGSTOP {node}")

    def thaw(self, node: str) -> None:
        """SIGCONT."""
        self.cluster.signal(node, signal.SIGCONT)
        self.watch.tell(f"SIGCONT {node}")

    async def split(self, minority: Sequence[str]) -> None:
        """Nodes of `minority` and the others hear each other no more; connections stay, frames vanish."""
        others = [node for node in self.nodes if node not in minority]
        self.faults["split"] += 1
        await asyncio.gather(
            *(self._block(node, others if node in minority else list(minority)) for node in self.nodes)
        )
        self.watch.tell(f"partition: {' '.join(minority)} | {' '.join(others)}")

    async def heal(self) -> None:
        """Every link carries again."""
        await asyncio.gather(*(self._block(node, []) for node in self.nodes))
        self.watch.tell("the partition heals")

    async def _block(self, node: str, others: Sequence[str]) -> None:
        """Cut or restore one node's links, once it answers: it may be starting. A node that is down comes back
        with all of them."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + START_TIMEOUT_S
        while loop.time() < deadline_s:
            try:
                async with asyncio.timeout(LINKS_TIMEOUT_S), self.place.node(node) as connection:
                    await connection.set_link_faults(others, others)
                    return
            except (OSError, QuorumError):
                if self.cluster.pid(node) is None:
                    return
            await asyncio.sleep(RETRY_S)
        raise QuorumError(f"the links of {node} were to be changed, but it does not answer. See its log.")

    async def reunited(self, timeout_s: float) -> bool:
        """Wait until every node answers and follows the one leader."""

        def follows() -> bool:
            leader, statuses = self.watch.leader, answering(self.watch.answers)
            known = {(status.leader, status.term) for status in statuses}
            return leader is not None and len(statuses) == len(self.nodes) and len(known) == 1

        return await self.watch.until(follows, timeout_s)

    async def settled(self) -> bool:
        """Wait until every node answers, follows one leader and has applied the same entries to the same state."""
        return await self.watch.until(self._is_settled, SETTLE_TIMEOUT_S)

    def _is_settled(self) -> bool:
        statuses = answering(self.watch.answers)
        if len(statuses) < len(self.nodes) or self.watch.leader is None:
            return False
        if any(status.model == "byzantine" for status in statuses):
            # Up to T may have left a view alone, and wait for the next; what is decided reaches them, too.
            return len({(s.applied_index, s.commit_index) for s in statuses}) == 1
        return len({(s.applied_index, s.commit_index, s.last_index, s.leader) for s in statuses}) == 1

    async def findings(self, must_have: Sequence[str] = ()) -> Findings:
        """Stop the clients and judge the run; `must_have` names faults without which it proves nothing."""
        await self.load.stop()
        has_settled = await self.settled()
        statuses = answering(self.watch.answers)
        honest = [status for status in statuses if status.node not in self.lies]
        digests = {status.state_digest for status in statuses}
        states_equal = has_settled and len(digests) == 1 and not any(status.diverged for status in statuses)
        async with self.place.client(SETTLE_TIMEOUT_S) as client:
            lost = await self.load.lost(client)
        history = await asyncio.to_thread(check_linearizable, self.load.history)
        problems = [f"the history is {history.verdict}"] if not history else []
        if not states_equal:
            problems.append(self._difference(has_settled))
        problems += [f"the acknowledged write {key} is lost" for key in lost[:5]]
        accused = sorted({node for status in honest for node in status.accused})
        problems += [f"{node} is accused, but it is honest" for node in accused if node not in self.lies]
        problems += [f"no {kind} happened: the run proves nothing" for kind in must_have if not self.faults[kind]]
        if not self.load.acknowledged:
            problems.append("no write was acknowledged: the run proves nothing")
        return Findings(
            verdict="bad" if problems else "good",
            problems=tuple(problems),
            history=history,
            nodes=len(self.nodes),
            seconds=round(self.watch.elapsed_s, 1),
            unknown=self.load.unknown,
            acknowledged=len(self.load.acknowledged),
            lost=tuple(lost),
            applied_index=min((status.applied_index for status in statuses), default=0),
            states_equal=states_equal,
            terms=len(self.watch.leaderships),
            faults=self.faults,
            failover_ms=tuple(self.failover_ms),
            model=self.cluster.config.model,
            lies=self.lies,
            accused=tuple(accused),
        )

    def _difference(self, has_settled: bool) -> str:
        if has_settled:
            return "the nodes applied the same entries, but their states differ"
        applied = ", ".join(
            f"{node}: {answer.reason if isinstance(answer, Silence) else answer.applied_index}"
            for node, answer in self.watch.answers.items()
        )
        stopped = "".join(f"; {node} stopped: {why}" for node, why in self.cluster.failures(self.nodes).items())
        return f"the nodes did not come to one state within {SETTLE_TIMEOUT_S:g} s ({applied}){stopped}"


@asynccontextmanager
async def arena(
    nodes: int,
    on_event: Callable[[Event], None],
    *,
    clients: int = 8,
    seed: int = 0,
    stale: bool = False,
    model: str = "crash",
    lies: Mapping[str, str] | None = None,
    policy: str = "",
    hold_us: int = Limits().hold_us,
    stable_us: int = Limits().stable_us,
) -> AsyncIterator[Arena]:
    """A cluster of `nodes` processes in a folder of its own, gone at the end, whatever happens.

    mTLS, durable, faults allowed. Every node is ready when this enters; clients are not started yet. `lies` says
    which nodes lie, and how (sim.adversary), where the `model` lets them. `policy`, `hold_us` and `stable_us`: who
    is put out of the vote, and how soon (runtime.setup.init_cluster).
    """
    folder = Path(tempfile.mkdtemp(prefix="quorum-drill-"))
    try:
        layout = init_cluster(
            folder / "cluster",
            nodes=nodes,
            allow_faults=True,
            model=model,
            policy=policy,
            hold_us=hold_us,
            stable_us=stable_us,
        )
        cluster = LocalCluster(layout.cluster)
        try:
            started = cluster.start_all(with_parent=True, lies=lies or NOBODY)
            place = at_config(layout.cluster)
            await wait_until_ready(cluster, started, START_TIMEOUT_S)
            cluster.first_start_done()
            watch, load = Watch(place, on_event), Load(place, clients, seed, stale)
            watch.start()
            try:
                await watch.until(lambda: len(watch.participants) == nodes, START_TIMEOUT_S)
                yield Arena(cluster, place, watch, load, lies or NOBODY)
            finally:
                await load.abandon()
                await watch.stop()
        finally:
            cluster.stop_all(grace_s=5.0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_byzantine_drill(nodes: int, stale: bool, lie: str) -> None:
    """Raise ConfigurationError for a drill that cannot run among members that may lie: one of them is to be hurt
    at a time, beside the one that lies."""
    least = nodes_needed(2 if lie else 1, "byzantine")
    if nodes < least:
        liar = "one of which lies and another may be hurt" if lie else "one of which may be hurt"
        raise ConfigurationError(
            f"a drill of {nodes} members that may lie was asked for, but {least} are needed, {liar}. Ask for more."
        )
    if lie and lie not in BEHAVIOURS:
        known = ", ".join(sorted(BEHAVIOURS))
        raise ConfigurationError(
            f"a member was to lie by {lie[:40]!r}, but that is not known. Choose from {known}."
        )
    if stale:
        raise ConfigurationError(
            "reads by any node were asked for where members may lie, but T+1 of them answer each read. Leave "
            "--unsafe-reads out."
        )


async def run_drill(
    nodes: int = 5,
    seconds: float = 60.0,
    *,
    faults: Sequence[str] = FAULTS,
    clients: int = 8,
    seed: int = 0,
    stale: bool = False,
    model: str = "crash",
    lie: str = "",
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[Findings, History]:
    """Put a cluster under fire for `seconds`, and judge it. `seed` draws the faults; processes keep no schedule.
    With model "byzantine" n1 lies all the time where `lie` says how (sim.adversary).

    Raises ConfigurationError for what cannot run, and QuorumError when the cluster cannot be started.
    """
    unknown = [kind for kind in faults if kind not in FAULTS]
    if unknown or seconds <= CALM_S or nodes < 3 or clients < 1:
        raise ConfigurationError(
            f"a drill of {nodes} nodes and {clients} clients for {seconds:g} s with {', '.join(faults) or 'no'} "
            f"faults was asked for, but it needs 3 nodes, a client, more than {CALM_S:g} s, and faults of: "
            f"{', '.join(FAULTS)}. Change that."
        )
    if model == "byzantine":
        check_byzantine_drill(nodes, stale, lie)
    elif lie:
        raise ConfigurationError(
            f"a member was to lie by {lie[:40]!r}, but in a drill of model crash members are trusted. Add --model "
            "byzantine."
        )
    lies = {LIAR: lie} if lie else NOBODY
    async with arena(
        nodes, on_event, clients=clients, seed=seed, stale=stale, model=model, lies=lies
    ) as under_fire:
        under_fire.load.start()
        await strike(under_fire, Random(seed), faults, seconds)
        return await under_fire.findings(must_have=faults), under_fire.load.history
