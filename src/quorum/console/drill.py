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
from quorum.console.watch import Event, Watch
from quorum.errors import ConfigurationError, QuorumError
from quorum.runtime.connect import Place, at_config
from quorum.runtime.local import LocalCluster
from quorum.runtime.setup import init_cluster

FAULTS = ("kill", "stop", "split")
START_TIMEOUT_S = 40.0
SETTLE_TIMEOUT_S = 30.0
CALM_S = 2.0
"""The last seconds of a drill are without new faults."""
FAULT_S_MIN = 0.5
LINKS_TIMEOUT_S = 2.0
RETRY_S = 0.05


class Findings(msgspec.Struct, frozen=True):
    """What a run showed. `problems` says everything that is wrong; there is none exactly if `verdict` is "good".

    `failover_ms`: from each kill of a leader to the next acknowledged write. `faults` counts what was done.
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


class Arena:
    """A running cluster of real processes that may be hurt, what watches it, and the clients that use it."""

    def __init__(self, cluster: LocalCluster, place: Place, watch: Watch, load: Load) -> None:
        self.cluster = cluster
        self.place = place
        self.watch = watch
        self.load = load
        self.faults = dict.fromkeys(FAULTS, 0)
        self.failover_ms: list[int] = []
        self.nodes = tuple(sorted(cluster.nodes))

    @property
    def minority(self) -> int:
        """How many nodes may be missing."""
        return (len(self.nodes) - 1) // 2

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
        self.watch.tell(f"kill -9 {node}{', the leader' if is_leader else ''}")
        self.watch.forget(node, "killed")
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
        self.cluster.start(node, with_parent=True)
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
        digests = {status.state_digest for status in statuses}
        states_equal = has_settled and len(digests) == 1 and not any(status.diverged for status in statuses)
        async with self.place.client(SETTLE_TIMEOUT_S) as client:
            lost = await self.load.lost(client)
        history = await asyncio.to_thread(check_linearizable, self.load.history)
        problems = [f"the history is {history.verdict}"] if not history else []
        if not states_equal:
            problems.append(self._difference(has_settled))
        problems += [f"the acknowledged write {key} is lost" for key in lost[:5]]
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
) -> AsyncIterator[Arena]:
    """A cluster of `nodes` processes in a folder of its own, gone at the end, whatever happens.

    mTLS, durable, faults allowed. Every node is ready when this enters; clients are not started yet. `lies` says
    which nodes lie, and how (sim.adversary), where the `model` lets them.
    """
    folder = Path(tempfile.mkdtemp(prefix="quorum-drill-"))
    try:
        layout = init_cluster(folder / "cluster", nodes=nodes, allow_faults=True, model=model)
        cluster = LocalCluster(layout.cluster)
        try:
            started = cluster.start_all(with_parent=True, lies=lies or {})
            place = at_config(layout.cluster)
            await wait_until_ready(cluster, started, START_TIMEOUT_S)
            cluster.first_start_done()
            watch, load = Watch(place, on_event), Load(place, clients, seed, stale)
            watch.start()
            try:
                await watch.until(lambda: len(watch.participants) == nodes, START_TIMEOUT_S)
                yield Arena(cluster, place, watch, load)
            finally:
                await load.abandon()
                await watch.stop()
        finally:
            cluster.stop_all(grace_s=5.0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run_drill(
    nodes: int = 5,
    seconds: float = 60.0,
    *,
    faults: Sequence[str] = FAULTS,
    clients: int = 8,
    seed: int = 0,
    stale: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[Findings, History]:
    """Put a cluster under fire for `seconds`, and judge it. `seed` draws the faults; processes keep no schedule.

    Raises ConfigurationError for what cannot run, and QuorumError when the cluster cannot be started.
    """
    unknown = [kind for kind in faults if kind not in FAULTS]
    if unknown or seconds <= CALM_S or nodes < 3 or clients < 1:
        raise ConfigurationError(
            f"a drill of {nodes} nodes and {clients} clients for {seconds:g} s with {', '.join(faults) or 'no'} "
            f"faults was asked for, but it needs 3 nodes, a client, more than {CALM_S:g} s, and faults of: "
            f"{', '.join(FAULTS)}. Change that."
        )
    async with arena(nodes, on_event, clients=clients, seed=seed, stale=stale) as under_fire:
        under_fire.load.start()
        await _strike(under_fire, Random(seed), faults, seconds)
        return await under_fire.findings(must_have=faults), under_fire.load.history


async def _strike(target: Arena, random: Random, faults: Sequence[str], seconds: float) -> None:
    """One fault after the other, each kind in turn; half of them, and some more, hit the leader."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    kinds: list[str] = []
    while faults and loop.time() < end_s - CALM_S - FAULT_S_MIN:
        if not kinds:
            kinds = random.sample(list(faults), len(faults))
        victims = random.sample(target.nodes, random.randint(1, target.minority))
        leader = target.leading()
        if random.random() < 0.6 and leader not in victims:
            victims[0] = leader
        left_s = max(0.0, end_s - CALM_S - loop.time())
        await _hurt(target, kinds.pop(), victims, min(random.uniform(FAULT_S_MIN, 3.0), left_s))
        await asyncio.sleep(min(random.uniform(0.3, 1.2), max(0.0, end_s - loop.time())))
    await asyncio.sleep(max(0.0, end_s - loop.time()))


async def _hurt(target: Arena, kind: str, victims: Sequence[str], lasts_s: float) -> None:
    """One fault, and its end."""
    match kind:
        case "kill":
            for node in victims:
                await target.kill(node)
            await asyncio.sleep(lasts_s)
            for node in victims:
                target.restart(node)
        case "stop":
            for node in victims:
                target.freeze(node)
            await asyncio.sleep(lasts_s)
            for node in victims:
                target.thaw(node)
        case "split":
            await target.split(sorted(victims))
            await asyncio.sleep(lasts_s)
            await target.heal()
