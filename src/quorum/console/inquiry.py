"""Asking every node of a cluster how it sees itself, and the cluster as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from quorum.console.loop import run_interruptibly
from quorum.console.lost import lost_text
from quorum.console.need import is_primary_of, links_text, may_lie, needed_text, orderer
from quorum.console.told import status_told
from quorum.console.voters import quorum_runs
from quorum.errors import NoQuorum, NoSpace, NotLeader, Overloaded, QuorumError, RequestRefused
from quorum.runtime.client import Client
from quorum.runtime.config import find_config
from quorum.runtime.connect import at_config
from quorum.runtime.connection import system_reason
from quorum.runtime.place import Place
from quorum.runtime.status import NodeStatus

STATUS_TIMEOUT_S = 2.0
NOTICE_S = 1.5
NOTICE_S_MAX = 12.0
AGAIN_S = 0.5
R = TypeVar("R")


class Silence(msgspec.Struct, frozen=True):
    """A node that did not say how it is, and why. One that `is_discreet` runs, and tells only an admin."""

    node: str
    reason: str
    is_discreet: bool = False


Answers = dict[str, NodeStatus | Silence]


async def ask_node(place: Place, node: str, timeout: float = STATUS_TIMEOUT_S) -> NodeStatus | Silence:
    """The status of one node, within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout), place.node(node) as connection:
            return status_told(node, await connection.status())
    except TimeoutError:
        return Silence(node, "does not answer")
    except OSError as error:
        return Silence(node, system_reason(error).lower())
    except (QuorumError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return Silence(node, str(error), isinstance(error, RequestRefused))


async def ask_all(place: Place, timeout: float = STATUS_TIMEOUT_S) -> Answers:
    """The status of every node, asked at once, in the order of the configuration; and of the leader that they
    name, where an old configuration does not."""
    answers = await _ask(place, tuple(place.endpoints), timeout)
    known = set(place.endpoints)
    for status in answering(answers):
        if status.leader is not None and status.leader not in known and status.leader in status.addresses:
            place.learn({status.leader: status.addresses[status.leader]})
    further = tuple(node for node in place.endpoints if node not in known)
    return answers | await _ask(place, further, timeout) if further else answers


async def _ask(place: Place, nodes: Sequence[str], timeout: float) -> Answers:
    found = await asyncio.gather(*(ask_node(place, node, timeout) for node in nodes))
    return dict(zip(nodes, found, strict=True))


def answering(answers: Answers) -> list[NodeStatus]:
    """Those that answered."""
    return [answer for answer in answers.values() if isinstance(answer, NodeStatus)]


def silent(answers: Answers) -> list[Silence]:
    """Those that did not."""
    return [answer for answer in answers.values() if isinstance(answer, Silence) and not answer.is_discreet]


def discreet(answers: Answers) -> list[Silence]:
    """Those that run, and tell only an admin how they are."""
    return [answer for answer in answers.values() if isinstance(answer, Silence) and answer.is_discreet]


def leader_of(answers: Answers, place: Place | None = None) -> NodeStatus | None:
    """The node that leads: of several that say so, as during a partition, the one of the highest term. Where
    members may lie, a node is not believed alone, and orders nothing without links to a quorum."""
    leaders = [status for status in answering(answers) if status.leads]
    if may_lie(answers, place):
        leaders = [status for status in leaders if is_primary_of(status, answers, place)]
    return max(leaders, key=lambda status: status.term, default=None)


def run_client(
    config: Path | None,
    timeout: float,
    act: Callable[[Client], Coroutine[Any, Any, R]],
    identity: str | None = None,
) -> R:
    """Open a session with the cluster of `config`, as the client `identity` (None: as always), and run `act` in
    it.

    Raises NoQuorum, naming who does not answer, where no leader was found within `timeout` seconds.
    """
    place = at_config(find_config(config), identity=identity)
    return asyncio.run(_act(place, timeout, act))


def hold_client(
    config: Path | None,
    timeout: float,
    act: Callable[[Client], Coroutine[Any, Any, R]],
    waits: Callable[[], bool] | None = None,
    identity: str | None = None,
) -> R | None:
    """As `run_client`, until it ends or SIGINT or SIGTERM ask for that, which gives None: `act` is cancelled and
    cleans up first. Whenever no leader can be reached, that is said, and when one can again. `waits` tells whether
    something else than a request is given up `timeout` seconds after it was asked for."""
    place = at_config(find_config(config), identity=identity)
    try:
        return run_interruptibly(_act(place, timeout, act, waits or (lambda: False)))
    except KeyboardInterrupt:
        return None


async def _act(
    place: Place,
    timeout: float,
    act: Callable[[Client], Coroutine[Any, Any, R]],
    waits: Callable[[], bool] | None = None,
) -> R:
    async with place.client(timeout) as client:
        watcher = Outages(place, client, timeout, waits)
        notice = asyncio.create_task(watcher.tell())
        try:
            return await act(client)
        except (NotLeader, Overloaded) as error:
            answers = await ask_all(place)
            if isinstance(error, Overloaded) and discreet(answers):
                raise  # whether a node leads is not told to this client
        finally:
            notice.cancel()
    leader = leader_of(answers, place)
    if leader is not None and leader.no_space:
        raise NoSpace(
            f"an answer was asked for, but the disk of {leader.node}, which leads, has no space left, and no "
            "other node could take over. Nothing was stored. Free some; it goes on by itself, then retry."
        )
    if leader is not None:
        raise Overloaded(
            f"an answer was asked for, but none came within {timeout:g} s although a node leads. Retry, with a "
            "longer --timeout."
        )
    raise no_quorum(answers, place)


class Outages:
    """Nobody should wait in silence: while no leader is reached, a command says so on stderr, once.

    One that stays (it was given `waits`) says so each time, also where no request waits, and when it goes on.
    """

    def __init__(self, place: Place, client: Client, timeout: float, waits: Callable[[], bool] | None) -> None:
        self._place = place
        self._client = client
        self._timeout = timeout
        self._waits = waits

    async def tell(self) -> None:
        """Look every NOTICE_S, less often where a leader is there after all, until cancelled."""
        pause_s = NOTICE_S
        while True:
            await asyncio.sleep(pause_s)
            if not self._is_cut_off():
                pause_s = NOTICE_S
                continue
            answers = await ask_all(self._place)
            if not self._is_cut_off() or leader_of(answers, self._place) is not None:
                pause_s = min(2 * pause_s, NOTICE_S_MAX)
                continue
            click.echo(f"{waiting_line(answers, self._place)}; {self._outlook()}", err=True)
            if self._waits is None:
                return
            await self._wait_for_leader()
            click.echo(f"a {orderer(answers, self._place)} answers: going on", err=True)
            pause_s = NOTICE_S

    async def _wait_for_leader(self) -> None:
        while self._is_cut_off():
            await asyncio.sleep(AGAIN_S)
            if not self._gives_up() and leader_of(await ask_all(self._place), self._place) is not None:
                return  # what is held was not prolonged since, and need not yet

    def _gives_up(self) -> bool:
        return self._client.unanswered > 0 or (self._waits is not None and self._waits())

    def _is_cut_off(self) -> bool:
        return self._gives_up() or (self._waits is not None and not self._client.is_served)

    def _outlook(self) -> str:
        """What becomes of the command if it stays like this."""
        left_s = min((kept.remaining for kept in self._client.held), default=0.0)
        if left_s > 0:
            return f"what is held, or its place in the queue, is lost in {left_s:.1f} s"
        if self._gives_up():
            return f"giving up {self._timeout:g} s after the request"
        return "going on once one leads"


def refuse_discretion(answers: Answers) -> None:
    """Raise what the nodes say where all that run tell only an admin how they are: waiting would not help."""
    reticent = discreet(answers)
    if reticent and not answering(answers):
        raise RequestRefused(reticent[0].reason)


DISCRETION = "which tell only an admin whether one leads"


def waiting_line(answers: Answers, place: Place | None = None) -> str:
    """That a leader is waited for, what is known of the nodes, and how many are needed."""
    missing = ", ".join(f"{silence.node} ({silence.reason})" for silence in silent(answers)) or "nobody"
    quiet = {silence.node for silence in silent(answers)}
    names = ", ".join(node for node in answers if node not in quiet) or "none"
    if discreet(answers):
        line = f"waiting for an answer: of {len(answers)} nodes run {names}, {DISCRETION}, missing {missing}"
    else:
        who = orderer(answers, place)
        line = f"waiting for a {who}: of {len(answers)} nodes answer {names}, missing {missing}"
    return "; ".join(filter(None, (line, needed_text(answers, place), links_text(answers))))


def no_quorum(answers: Answers, place: Place | None = None) -> NoQuorum:
    """Why nobody leads: who does not answer, how many are needed, and which links are missing."""
    missing, reticent = silent(answers), discreet(answers)
    who = "; ".join(f"{silence.node} ({silence.reason})" for silence in missing) or "nobody is missing"
    answer = f"{len(answering(answers)) + len(reticent)} of {len(answers)} nodes answer"
    if reticent:
        answer += f", {DISCRETION}"
    needed, links = needed_text(answers, place), links_text(answers)
    answer += f", {needed}" if needed else ""
    remedy = "Start the missing nodes (a local cluster: `quorum up`) and retry."
    remedy = " ".join(filter(None, (remedy, lost_text(answers, place) if missing else "")))
    if reticent and not missing:
        remedy = "Retry, or let an admin look at `quorum status`."
    elif links and not missing:
        remedy = "Look whether the addresses in cluster.toml reach the nodes, and what their logs say, and retry."
    elif quorum_runs(answers):
        answer += ", a quorum of those who vote among them"
        remedy = "Retry in a moment: they agree on one; `quorum status` shows how they are."
    elif not missing:
        remedy = "Retry in a moment; `quorum status` shows how they are."
    known = "no primary that reaches a quorum" if may_lie(answers, place) else "no leader"
    return NoQuorum(
        f"a quorum was asked for, but {known} is known: {answer}, missing: {who}.{f' {links}.' if links else ''} "
        f"Nothing was changed. {remedy}",
        tuple(silence.node for silence in missing),
    )
