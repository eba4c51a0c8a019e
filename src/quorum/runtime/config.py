"""`cluster.toml`, the same on every node, and `node.toml`, one for each: read strictly, or refused with a remedy.

Only this room parses `150ms`; what it returns is in microseconds and bytes. Nothing here touches the network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from quorum.errors import ConfigurationError
from quorum.membership.health import HELD
from quorum.model import Configuration, NodeId, Seat, check_node_id
from quorum.runtime import toml
from quorum.runtime.address import Address, parse_address
from quorum.runtime.byzantine_config import system_of
from quorum.runtime.cluster_checks import check_cluster, check_one_of
from quorum.runtime.object_names import check_place, named_objects
from quorum.runtime.participation_config import DURATIONS, Participation, check_function

if TYPE_CHECKING:
    from quorum.protocols.raft.settings import Settings

ENVIRONMENT_VARIABLE = "QUORUM_CONFIG"
DEFAULT_PATH = Path(".quorum", "cluster.toml")
LOG_LEVELS = ("debug", "info", "warning", "error")

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(us|ms|s|m)")
_MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000}
_DURATION_US_MAX = 24 * 3600 * 1_000_000
_Count = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node of the cluster. It binds `listen`; the others dial `advertise`, so that a proxy fits between."""

    id: NodeId
    listen: Address
    advertise: Address
    zone: str = ""
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    role: str = "voter"


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a leader speaks, how long a silence makes the others elect a new one, and whether reads go by
    lease (protocols.raft.lease), on clocks of which none runs faster than another by more than the drift."""

    heartbeat_us: int = msgspec.field(default=100_000, name="heartbeat")
    election_timeout_us: int = msgspec.field(default=1_000_000, name="election_timeout")
    lease_reads: bool = False
    clock_drift_ppm: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10_000


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the log is cut by a snapshot, how much may wait uncommitted before commands are refused, and after how
    many entries each node tells the others the digest of its state."""

    snapshot_entries: _Count = 100_000
    snapshot_bytes: _Count = 256 * 1024 * 1024
    log_kept_entries: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 5_000
    uncommitted_bytes: _Count = 64 * 1024 * 1024
    digest_entries: _Count = 50_000


class ClusterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `cluster.toml` says: who the members are and how they decide. Every node must read the same.

    `objects` names the classes of replicated objects, by the names of the objects, and `ledger` that of the
    ledger's application ("": there is no ledger). `reads` and `writes` are quorum
    expressions over member ids; empty text means the weighted majority. `faults` is T, the members that may fail,
    or None for as many as the members allow. `incarnation` is written by `quorum recover`: nodes of another one
    are refused.
    """

    cluster_id: str
    members: tuple[Member, ...]
    model: str = "crash"
    engine: str = "raft"
    policy: str = "fixed"
    reads: str = ""
    writes: str = ""
    faults: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    timing: Timing = Timing()
    limits: Limits = Limits()
    participation: Participation = Participation()
    objects: dict[str, str] = {}
    ledger: str = ""
    incarnation: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether no address of the cluster can be reached from another machine."""
        return all(member.listen.is_loopback and member.advertise.is_loopback for member in self.members)

    def configuration(self) -> Configuration:
        """The first configuration, epoch 1: the same value from any order of the members in the file.

        Where members may lie it names their quorums: the majority would be too few.
        """
        if self.model == "byzantine":
            decide = str(system_of(self).writes)
            return Configuration(epoch=1, voters=self._with_role("voter"), reads=decide, writes=decide)
        return Configuration(
            epoch=1,
            voters=self._with_role("voter"),
            learners=self._with_role("learner"),
            witnesses=self._with_role("witness"),
            reads=self.reads,
            writes=self.writes,
            weights=tuple(sorted((member.id, member.weight) for member in self.members if member.weight != 1)),
            policy=self.policy,
            floor=self.participation.floor,
            faults=self._tolerated(),
            seats=tuple(Seat(node, HELD) for node in self._with_role("learner")),
        )

    def _tolerated(self) -> int:
        """T: what was given, or as many crashes as the voters survive."""
        return (len(self._with_role("voter")) - 1) // 2 if self.faults is None else self.faults

    def _with_role(self, role: str) -> tuple[NodeId, ...]:
        return tuple(sorted(member.id for member in self.members if member.role == role))

    def member(self, node: NodeId) -> Member:
        """The member of that id. Raises ConfigurationError when there is none."""
        for member in self.members:
            if member.id == node:
                return member
        raise ConfigurationError(
            f"node {toml.shown(node)} was asked for, but cluster {self.cluster_id} has no such member"
            f"{toml.did_you_mean(node, [member.id for member in self.members])}. "
            f"Its members are {', '.join(member.id for member in self.members[:20])}."
        )

    def peers(self, node: NodeId) -> dict[NodeId, Address]:
        """Where `node` dials the other members. Raises ConfigurationError when it is no member itself."""
        own = self.member(node)
        return {member.id: member.advertise for member in self.members if member is not own}

    def raft_settings(self) -> Settings:
        """Timing and limits as the replica takes them."""
        from quorum.protocols.raft.settings import Settings

        return Settings(
            heartbeat_us=self.timing.heartbeat_us,
            election_timeout_us=self.timing.election_timeout_us,
            lease_reads=self.timing.lease_reads,
            clock_drift_ppm=self.timing.clock_drift_ppm,
            uncommitted_bytes_max=self.limits.uncommitted_bytes,
            snapshot_entries=self.limits.snapshot_entries,
            snapshot_bytes=self.limits.snapshot_bytes,
            log_kept_entries=self.limits.log_kept_entries,
        )


class NodeConfig(msgspec.Struct, frozen=True):
    """What `node.toml` says, its paths made absolute: which member this process is, and where its files are.

    `insecure` turns TLS off and needs loopback addresses throughout; `allow_faults` lets drills cut links;
    `awake` keeps processors from sleeping while requests come.
    """

    cluster: Path
    node: NodeId
    data: Path
    keys: Path
    log_level: str = "info"
    insecure: bool = False
    allow_faults: bool = False
    awake: bool = False


class _NodeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: str
    node: str
    data: str = "data"
    keys: str = "keys"
    log_level: str = "info"
    insecure: bool = False
    allow_faults: bool = False
    awake: bool = False


# --- loading -------------------------------------------------------------------------------------------


def find_config(explicit: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The cluster.toml a command is about: `explicit` (--config), else QUORUM_CONFIG, else .quorum/cluster.toml.

    Raises ConfigurationError when the first of these that is given does not exist.
    """
    named = environ.get(ENVIRONMENT_VARIABLE, "")
    if explicit is not None:
        path, origin = Path(explicit), "--config"
    elif named:
        path, origin = Path(named), ENVIRONMENT_VARIABLE
    else:
        path, origin = DEFAULT_PATH, ""
    try:
        path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        if not origin:
            raise ConfigurationError(
                f"a cluster was to be found, but there is no {DEFAULT_PATH} here. Start one with `quorum up`, or "
                f"name its cluster.toml by --config or {ENVIRONMENT_VARIABLE}."
            ) from None
        raise ConfigurationError(
            f"{toml.shown_path(path)} was named by {origin}, but it cannot be opened ({reason}). "
            f"Name an existing cluster.toml by {origin}."
        ) from None
    return path


def load_cluster(path: Path | str) -> ClusterConfig:
    """Read and check a cluster.toml. Raises ConfigurationError that names the file, the key and the remedy."""
    text = toml.read_text(Path(path), "cluster.toml")
    try:
        return parse_cluster(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{toml.shown_path(path)}: {error}") from None


def parse_cluster(text: str) -> ClusterConfig:
    """Check the text of a cluster.toml. Raises ConfigurationError for whatever cannot run, and nothing else."""
    raw = toml.parse(text)
    if {"cluster", "node"} <= raw.keys():
        raise ConfigurationError(
            "a cluster.toml was asked for, but this is a node.toml. Name the file that its key `cluster` names."
        )
    toml.check_keys(raw, ClusterConfig, "")
    if raw.get("model") == "byzantine":
        raw.setdefault("engine", "pbft")
    if "objects" in raw:
        raw["objects"] = named_objects(raw["objects"])
    if "ledger" in raw:
        check_place("ledger", raw["ledger"])
    check_function(raw.get("participation"))
    for name, kind in (("timing", Timing), ("limits", Limits), ("participation", Participation)):
        if isinstance(raw.get(name), dict):
            toml.check_keys(raw[name], kind, f"{name}.", ClusterConfig)
    timing, members, participation = raw.get("timing"), raw.get("members"), raw.get("participation")
    if isinstance(participation, dict):
        raw["participation"] = {
            key: parse_duration(value, f"participation.{key}") if key in DURATIONS else value
            for key, value in participation.items()
        }
    if isinstance(timing, dict):
        raw["timing"] = {
            key: value if key in ("lease_reads", "clock_drift_ppm") else parse_duration(value, f"timing.{key}")
            for key, value in timing.items()
        }
    for number, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, dict):
            toml.check_keys(member, Member, f"members[{number}].", ClusterConfig)
            for key in ("listen", "advertise"):
                if key in member:
                    member[key] = parse_address(member[key], f"members[{number}].{key}")
            if "listen" in member:
                member.setdefault("advertise", member["listen"])
    cluster = toml.convert(raw, ClusterConfig)
    check_cluster(cluster)
    return cluster


def load_node(path: Path | str) -> NodeConfig:
    """Read and check a node.toml and the cluster.toml that it names.

    Relative paths in it start at its own folder. Raises ConfigurationError, also when the node is no member or
    `insecure` is asked for beyond loopback.
    """
    path = Path(path)
    text = toml.read_text(path, "node.toml")
    try:
        raw = toml.parse(text)
        if {"cluster_id", "members"} <= raw.keys():
            raise ConfigurationError(
                "a node.toml was asked for, but this is a cluster.toml. Name the one of the node, such as "
                "n1/node.toml beside it."
            )
        toml.check_keys(raw, _NodeFile, "")
        file = toml.convert(raw, _NodeFile)
        check_node_id(file.node)
        check_one_of("log_level", file.log_level, LOG_LEVELS)
        folder = path.parent.resolve()
        node = NodeConfig(
            cluster=_beside(folder, file.cluster, "cluster"),
            node=file.node,
            data=_beside(folder, file.data, "data"),
            keys=_beside(folder, file.keys, "keys"),
            log_level=file.log_level,
            insecure=file.insecure,
            allow_faults=file.allow_faults,
            awake=file.awake,
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{toml.shown_path(path)}: {error}") from None
    cluster = load_cluster(node.cluster)
    try:
        cluster.member(node.node)
        _check_security(node, cluster)
    except ConfigurationError as error:
        raise ConfigurationError(f"{toml.shown_path(path)}: {error}") from None
    return node


def node_beside(
    cluster: Path, node: NodeId, data: Path | str | None, keys: Path | str | None, insecure: bool
) -> NodeConfig:
    """The settings of a node that has no node.toml; `data` is NODE/data, `keys` is keys, beside its cluster.toml,
    where they are not given. Raises ConfigurationError as `load_node` does."""
    folder = cluster.resolve().parent
    config = load_cluster(cluster)
    found = NodeConfig(
        cluster=cluster.resolve(),
        node=config.member(node).id,
        data=Path(data).resolve() if data is not None else folder / node / "data",
        keys=Path(keys).resolve() if keys is not None else folder / "keys",
        insecure=insecure,
    )
    _check_security(found, config)
    return found


def parse_duration(text: object, name: str = "duration") -> int:
    """Microseconds of a text such as `150ms`, `2s`, `1.5s` or `1m`. Raises ConfigurationError, saying `name`."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    exact = Fraction(found[1]) * _MICROSECONDS[found[2]] if found else Fraction(0)
    if exact.denominator != 1 or not 1 <= exact <= _DURATION_US_MAX:
        raise ConfigurationError(
            f"{name} = {toml.shown(text)} was given, but a duration is a text of a positive number and a unit, "
            'at most 24 hours and not finer than 1us. Write "150ms" or "2s"; the units are us, ms, s and m.'
        )
    return int(exact)


def _check_security(node: NodeConfig, cluster: ClusterConfig) -> None:
    if node.insecure and not cluster.is_loopback:
        open_ones = [
            f"{member.id} at {address}"
            for member in cluster.members
            for address in (member.listen, member.advertise)
            if not address.is_loopback
        ]
        raise ConfigurationError(
            f"insecure = true was asked for, but {open_ones[0]} can be reached from other machines, and "
            "without TLS anybody could speak for a node. Remove `insecure`, or use loopback addresses throughout."
        )


def _beside(folder: Path, text: str, name: str) -> Path:
    if not text.strip() or not text.isprintable():
        raise ConfigurationError(
            f"{name} = {toml.shown(text)} was given, but it is no path. Name a file or folder."
        )
    return Path(os.path.normpath(folder / text))
