"""What a cluster.toml must satisfy beyond its form: names, roles, addresses, times and quorums that fit."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from quorum.errors import ConfigurationError
from quorum.membership.policy import POLICIES
from quorum.model import NodeId, check_fault_budget, check_node_id
from quorum.runtime import byzantine_config, toml
from quorum.runtime.address import canonical_host
from quorum.runtime.byzantine_config import check_byzantine_cluster
from quorum.runtime.participation_config import check_hold, check_participation, check_weights_followed

if TYPE_CHECKING:
    from quorum.runtime.config import ClusterConfig, Timing
    from quorum.systems.system import QuorumSystem

EXPRESSION_CHARACTERS_MAX = 64 * 1024

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_INCARNATION = re.compile(r"[1-9][0-9]{0,8}-[0-9a-f]{16}")


def check_cluster(cluster: ClusterConfig) -> None:
    """Raise ConfigurationError unless a cluster can run as it is described; the message has the remedy."""
    _check_choices(cluster)
    _check_members(cluster)
    _check_timing(cluster.timing)
    if cluster.policy != "fixed":
        check_hold(cluster.participation, cluster.timing.election_timeout_us)
    _check_quorums(cluster)


def _check_choices(cluster: ClusterConfig) -> None:
    if _LABEL.fullmatch(cluster.cluster_id) is None:
        raise ConfigurationError(
            f"cluster_id = {toml.shown(cluster.cluster_id)} was given, but it is part of every message and file. "
            "Use 1 to 63 letters, digits, '.', '_' and '-', starting with a letter or digit."
        )
    if cluster.incarnation and (_INCARNATION.fullmatch(cluster.incarnation) is None or cluster.model != "crash"):
        raise ConfigurationError(
            f"incarnation = {toml.shown(cluster.incarnation)} was given, but `quorum recover` writes it, for a "
            "cluster whose members crash. Copy the line from the machine where that was run, or leave it out."
        )
    check_one_of("model", cluster.model, ("crash", "byzantine"))
    check_one_of("engine", cluster.engine, ("raft", "pbft"))
    if cluster.model == "crash" and cluster.engine != "raft":
        raise ConfigurationError(
            f'engine = "{cluster.engine}" was asked for with model = "crash", but it is for members that may lie. '
            'Set engine = "raft", or model = "byzantine".'
        )
    check_weights_followed(cluster.participation, cluster.writes or cluster.reads)
    check_one_of("policy", cluster.policy, byzantine_config.POLICIES if cluster.model == "byzantine" else POLICIES)


def _check_members(cluster: ClusterConfig) -> None:
    if not cluster.members:
        raise ConfigurationError("a cluster without members was given, but somebody must vote. Add [[members]].")
    seen: dict[tuple[str, int], NodeId] = {}
    for member in cluster.members:
        check_node_id(member.id)
        check_one_of(f"role of {member.id}", member.role, ("voter", "learner", "witness"))
        if member.zone and _LABEL.fullmatch(member.zone) is None:
            raise ConfigurationError(
                f"zone = {toml.shown(member.zone)} was given for {member.id}, but a zone is a plain name. "
                "Use 1 to 63 letters, digits, '.', '_' and '-', starting with a letter or digit."
            )
        if member.advertise.is_wildcard:
            raise ConfigurationError(
                f"{member.id} was to advertise {member.advertise}, but nobody can dial that. "
                "Set `advertise` to an address at which the other nodes reach it."
            )
        for address in sorted({member.listen, member.advertise}):
            place = (canonical_host(address.host), address.port)
            other = seen.setdefault(place, member.id) if not address.is_wildcard else member.id
            if other != member.id:
                raise ConfigurationError(
                    f"{address} was given to {member.id}, but {other} has it already. Give each its own address."
                )
    repeated = [node for node, count in Counter(member.id for member in cluster.members).items() if count > 1]
    if repeated:
        raise ConfigurationError(
            f"the id {repeated[0]} was given to more than one member, but each votes once, under its own id. "
            "Rename or remove one of them."
        )


def _check_timing(timing: Timing) -> None:
    if timing.election_timeout_us < 3 * timing.heartbeat_us:
        raise ConfigurationError(
            f"timing.election_timeout = {timing.election_timeout_us / 1000:g}ms was asked for with a heartbeat of "
            f"{timing.heartbeat_us / 1000:g}ms, but then one lost heartbeat deposes a leader. "
            "Use at least three heartbeats; ten are usual."
        )


def _check_quorums(cluster: ClusterConfig) -> None:
    from quorum.systems.build import build
    from quorum.systems.check import check_raft

    for name, text in (("reads", cluster.reads), ("writes", cluster.writes)):
        if len(text) > EXPRESSION_CHARACTERS_MAX or not "".join(text.split()).isprintable():
            raise ConfigurationError(
                f"{name} was given, but it is longer than {EXPRESSION_CHARACTERS_MAX} characters or has "
                'unprintable ones. Write an expression over member ids, such as "majority(a, b, c)".'
            )
    if cluster.model == "byzantine":
        check_byzantine_cluster(cluster)
        return
    check_fault_budget(len(cluster.members), cluster.faults or 0, "crash")
    first = cluster.configuration()
    check_participation(cluster.policy, cluster.participation, len(cluster.members), first.faults)
    system = build(first)
    check_raft(system)
    if cluster.faults and (
        cluster.reads or cluster.writes or any(member.weight != 1 for member in cluster.members)
    ):
        _check_tolerated(cluster, system)


def _check_tolerated(cluster: ClusterConfig, system: QuorumSystem) -> None:
    """T crashes stop one side exactly where T nodes hold a quorum of its dual, and so miss N - T others."""
    from quorum.systems.algebra import Node, choose
    from quorum.systems.check import disjoint_quorums

    assert cluster.faults, "asked only where some fault is to be tolerated"
    survivors = choose(len(cluster.members) - cluster.faults, *(Node(member.id) for member in cluster.members))
    for does, side in (("elect a leader", system.reads), ("commit", system.writes)):
        witness = disjoint_quorums(survivors, side.dual())
        if witness is not None:
            crashed = ", ".join(sorted(witness[1]))
            raise ConfigurationError(
                f"faults = {cluster.faults} was asked for, but without {crashed} the rest cannot {does}. "
                "Lower faults, or change the weights or the quorums."
            )


def check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigurationError for a value that is none of these."""
    if value not in allowed:
        raise ConfigurationError(
            f"{name} = {toml.shown(value)} was asked for, but it is not known{toml.did_you_mean(value, allowed)}. "
            f"Use {' or '.join(allowed)}."
        )
