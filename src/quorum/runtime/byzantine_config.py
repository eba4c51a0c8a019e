"""What `model = "byzantine"` asks of a cluster.toml, and the committee and settings that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quorum.errors import ConfigurationError
from quorum.model import check_fault_budget
from quorum.runtime import key_files, keyring

if TYPE_CHECKING:
    from quorum.certificate.committee import Committee
    from quorum.membership.observation import Limits
    from quorum.protocols.pbft.settings import Settings
    from quorum.runtime.config import ClusterConfig, Member
    from quorum.systems.system import QuorumSystem

FIRST_EPOCH = 1
ENTRIES_A_BLOCK = 100
POLICIES = ("fixed", "adaptive")


def voters_of(cluster: ClusterConfig) -> tuple[Member, ...]:
    """The first committee, sorted by id: every later one is decided, and stands in no file. A learner follows, and
    votes once a committee names it."""
    return tuple(sorted((each for each in cluster.members if each.role == "voter"), key=lambda each: each.id))


def tolerated(cluster: ClusterConfig) -> int:
    """T: what the file says, else as many as N >= 3T+1 allows."""
    return (len(voters_of(cluster)) - 1) // 3 if cluster.faults is None else cluster.faults


def policy_for(nodes: int, faults: int | None, writes: str) -> str:
    """The policy of a new cluster: adaptive where somebody could leave, and members are equal."""
    from quorum.membership.committee_policy import FIXED, usual_policy

    return FIXED if writes else usual_policy(nodes, (nodes - 1) // 3 if faults is None else faults)


def system_of(cluster: ClusterConfig) -> QuorumSystem:
    """The Byzantine quorum system of the members. Raises ConfigurationError."""
    from quorum.systems.byzantine import byzantine, weighted_byzantine
    from quorum.systems.system import QuorumSystem

    if cluster.writes:
        return QuorumSystem(cluster.reads or cluster.writes, cluster.writes)
    weights = {member.id: member.weight for member in voters_of(cluster)}
    if set(weights.values()) == {1}:
        return byzantine(tuple(weights), tolerated(cluster))
    return weighted_byzantine(weights, tolerated(cluster))


def check_byzantine_cluster(cluster: ClusterConfig) -> None:
    """Raise ConfigurationError unless the members can decide although T of them lie."""
    from quorum.membership.policy import FLOOR
    from quorum.systems.byzantine import check_byzantine

    if cluster.engine != "pbft":
        raise ConfigurationError(
            f'engine = "{cluster.engine}" was asked for with model = "byzantine", but its replicas trust each '
            'other. Set engine = "pbft", or leave it out.'
        )
    others = [member.id for member in cluster.members if member.role not in ("voter", "learner")]
    if others:
        raise ConfigurationError(
            f"{others[0]} was not to vote in a cluster whose members may lie, but all members of its committee "
            'do. Leave its role out; or give it role = "learner", and it follows until a committee names it.'
        )
    if cluster.reads and cluster.reads != cluster.writes:
        raise ConfigurationError(
            "reads were given beside other writes, but a committee that may lie changes views by the quorums by "
            "which it decides. Give writes alone."
        )
    if cluster.timing.lease_reads:
        raise ConfigurationError(
            'lease_reads was asked for with model = "byzantine", but a lease is one member\'s word. Leave it out: '
            "reads are ordered like writes there."
        )
    if cluster.policy == "adaptive" and cluster.writes:
        raise ConfigurationError(
            'policy = "adaptive" was asked for with quorums by name, but whoever is evicted stands in them. Leave '
            'writes out; or set policy = "fixed".'
        )
    if cluster.participation.floor > FLOOR or cluster.participation.function:
        raise ConfigurationError(
            'participation.floor or a function was given with model = "byzantine", but there the floor is 3T+1, '
            "and the policies are fixed and adaptive. Leave them out."
        )
    check_fault_budget(len(voters_of(cluster)), tolerated(cluster), "byzantine")
    check_byzantine(system_of(cluster), tolerated(cluster))


def committee_of(cluster: ClusterConfig, keys: Path) -> Committee:
    """The members with their public keys, from the list in the keys folder. Raises ConfigurationError."""
    from quorum.certificate import committee as committees
    from quorum.certificate.committee import Committee, check_committee

    known = keyring.load_public_keys(keys)
    missing = [member.id for member in cluster.members if member.id not in known]
    if missing:
        raise ConfigurationError(
            f"the committee of {cluster.cluster_id} was wanted, but {keys} has no signing key of {missing[0]}. "
            "Copy signing-keys.json from where the cluster was set up."
        )
    members = tuple(committees.Member(member.id, known[member.id], member.weight) for member in voters_of(cluster))
    committee = Committee(cluster.cluster_id, FIRST_EPOCH, members, tolerated(cluster), cluster.writes)
    check_committee(committee)
    return committee


def genesis_for(keys: Path) -> Committee | None:
    """The committee that a keys folder says to trust: of the genesis file in it, else of the one beside it, where
    `quorum init` writes it; None where neither is. Raises ConfigurationError for a file that is no such thing."""
    from quorum.certificate.genesis import FILE_NAME, decode_genesis

    for path in (keys / FILE_NAME, keys.resolve().parent / FILE_NAME):
        if path.is_file():
            return key_files.parse(path, "a genesis file", decode_genesis)
    return None


def trusted_by(cluster: ClusterConfig, keys: Path) -> Committee:
    """The committee with which a client of the cluster begins: the first one, or where its keys folder has no list
    of the members' keys, that of the genesis file. Raises ConfigurationError."""
    genesis = None if keyring.has_public_keys(keys) else genesis_for(keys)
    if genesis is None:
        return committee_of(cluster, keys)
    if genesis.cluster != cluster.cluster_id:
        raise ConfigurationError(
            f"the genesis file of cluster {genesis.cluster[:40]} is with the keys in {keys}, but cluster "
            f"{cluster.cluster_id} was asked for. Put the genesis.json of that cluster there."
        )
    return genesis


def limits_of(cluster: ClusterConfig) -> Limits:
    """When members complain of each other, and how long whoever returns has to show that it is well. A block
    counts as a hundred entries."""
    from msgspec.structs import replace

    limits = cluster.participation.limits()
    return replace(limits, lag_entries_max=max(1, limits.lag_entries_max // ENTRIES_A_BLOCK))


def settings_of(cluster: ClusterConfig) -> Settings:
    """Timing and limits as the replica takes them: a view is given the election timeout, and members say where
    they are at every heartbeat."""
    from quorum.protocols.pbft.settings import Settings

    return Settings(
        view_timeout_us=cluster.timing.election_timeout_us,
        status_us=cluster.timing.heartbeat_us,
        pending_bytes_max=cluster.limits.uncommitted_bytes,
    )
