"""Asking every node of a cluster how it sees itself, and the cluster as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from quorum.errors import NoQuorum, NotLeader, Overloaded, QuorumError
from quorum.runtime.client import Client
from quorum.runtime.config import find_config
from quorum.runtime.connect import Place, at_config
from quorum.runtime.status import NodeStatus, decode_status

STATUS_TIMEOUT_S = 2.0
R = TypeVar("R")


class Silence(msgspec.Struct, frozen=True):
    """A node that did not answer, and why."""

    node: str
    reason: str


Answers = dict[str, NodeStatus | Silence]


async def ask_node(place: Place, node: str, timeout: float = STATUS_TIMEOUT_S) -> NodeStatus | Silence:
    """The status of one node, within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout), place.node(node) as connection:
            return decode_status(await connection.status())
    except TimeoutError:
        return Silence(node, "does not answer")
    except OSError as error:
        return Silence(node, (error.strerror or str(error) or type(error).__name__).lower())
    except (QuorumError, msgspec.DecodeError) as error:
        return Silence(node, str(error))


async def ask_all(place: Place, timeout: float = STATUS_TIMEOUT_S) -> Answers:
    """The status of every node, asked at once, in the order of the configuration."""
    found = await asyncio.gather(*(ask_node(place, node, timeout) for node in place.endpoints))
    return dict(zip(place.endpoints, found, strict=True))


def answering(answers: Answers) -> list[NodeStatus]:
    """Those that answered."""
    return [answer for answer in answers.values() if isinstance(answer, NodeStatus)]


def silent(answers: Answers) -> list[Silence]:
    """Those that did not."""
    return [answer for answer in answers.values() if isinstance(answer, Silence)]


def leader_of(answers: Answers) -> NodeStatus | None:
    """The node that leads: of several that say so, as during a partition, the one of the highest term."""
    leaders = [status for status in answering(answers) if status.role == "leader"]
    return max(leaders, key=lambda status: status.term, default=None)


def run_client(config: Path | None, timeout: float, act: Callable[[Client], Coroutine[Any, Any, R]]) -> R:
    """Open a session with the cluster of `config`, and run `act` in it.

    Raises NoQuorum, naming who does not answer, where no leader was found within `timeout` seconds.
    """
    place = at_config(find_config(config))
    return asyncio.run(_act(place, timeout, act))


async def _act(place: Place, timeout: float, act: Callable[[Client], Coroutine[Any, Any, R]]) -> R:
    async with place.client(timeout) as client:
        try:
            return await act(client)
        except (NotLeader, Overloaded):
            answers = await ask_all(place)
    if leader_of(answers) is not None:
        raise Overloaded(
            f"an answer was asked for, but none came within {timeout:g} s although a node leads. Retry, with a "
            "longer --timeout."
        )
    raise no_quorum(answers)


def no_quorum(answers: Answers) -> NoQuorum:
    """Why nobody leads: who does not answer."""
    missing = silent(answers)
    who = "; ".join(f"{silence.node} ({silence.reason})" for silence in missing) or "nobody is missing"
    return NoQuorum(
        f"a quorum was asked for, but no leader is known: {len(answering(answers))} of {len(answers)} nodes "
        f"answer, missing: {who}. Nothing was changed. Start the missing nodes (a local cluster: `quorum up`) and "
        "retry.",
        tuple(silence.node for silence in missing),
    )
