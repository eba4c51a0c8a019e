"""What a node looks at when a change of the members is asked for, before its protocol judges it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from quorum.errors import ConfigurationError, Overloaded
from quorum.membership.policy import CUSTOM
from quorum.model import Configuration, NodeId
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.replica import Replica
from quorum.runtime.address import parse_address
from quorum.runtime.cluster_checks import EXPRESSION_CHARACTERS_MAX
from quorum.runtime.driver import Driver


def undecided(replica: Replica, present: Configuration) -> Overloaded | None:
    """Why `present`, which is so already, may yet be undone; None: it is decided."""
    assert isinstance(replica, RaftReplica), "the other engine changes nothing so"
    objection = replica.objection(replace(present, epoch=present.epoch + 1))
    return objection if isinstance(objection, Overloaded) else None


def check_function(driver: Driver, target: Configuration) -> None:
    """Raise ConfigurationError where the custom policy is wanted of a leader without its function."""
    if target.policy == CUSTOM and (driver.beside.steward is None or not driver.beside.steward.has_function):
        raise ConfigurationError(
            f"the custom policy was asked for, but {driver.node}, which leads, has no function. Name it in "
            'cluster.toml, [participation] function = "MODULE:NAME", and restart the nodes one after the other.'
        )


def check_target(present: Configuration, target: Configuration, known: Mapping[NodeId, str]) -> None:
    """Every node will dial and count by what the log says, for ever. Raises ConfigurationError for a new address
    that cannot be dialled or is another member's, and for expressions beyond bounds."""
    longest = max(len(target.reads), len(target.writes))
    if longest > EXPRESSION_CHARACTERS_MAX:
        raise ConfigurationError(
            f"quorums of {longest} characters were asked for, but {EXPRESSION_CHARACTERS_MAX} is the most. Write "
            "them shorter, with choose(...)."
        )
    for node, text in target.addresses:
        if (node, text) not in present.addresses and parse_address(text, f"the address of {node}").is_wildcard:
            raise ConfigurationError(
                f"{node} was to be reached at {text}, but that stands for every interface of a machine. Give the "
                "address that the others dial."
            )
    places = {node: known[node] for node in target.members if node in known} | dict(target.addresses)
    for node, text in target.addresses:
        there = [other for other, place in places.items() if place == text and other != node]
        if there and (node, text) not in present.addresses:
            raise ConfigurationError(
                f"{node} was to be reached at {text}, but {there[0]} is there. Give each its own address."
            )
