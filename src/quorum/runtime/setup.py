"""What `quorum init` does: write the configuration, keys and certificates of a new cluster, once."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from quorum.errors import ConfigurationError
from quorum.membership.observation import Limits
from quorum.membership.policy import usual
from quorum.model import NodeId, check_fault_budget, check_node_id
from quorum.runtime import keyring, toml
from quorum.runtime.address import Address, parse_address
from quorum.runtime.config import ClusterConfig, load_cluster, load_node, parse_cluster

NODES_MAX = 999
"""More than this in one call is surely a mistake; a cluster of this engine has 3 to 9 nodes."""
CLUSTER_FILE, NODE_FILE, KEYS_FOLDER, DATA_FOLDER = "cluster.toml", "node.toml", "keys", "data"
GENESIS_FILE = "genesis.json"
ADMIN = "admin"

# Below the ports that systems hand out for outgoing connections (from 32768 on Linux, 49152 elsewhere).
_PORTS_FIRST, _PORTS_LAST = 20_000, 32_000
_PORT_TRIES = 2_000
STAGING = ".init-"


@dataclass(frozen=True)
class ClusterLayout:
    """Where the files of a new cluster are.

    `nodes` maps each node id to its node.toml; `admin` is the TLS identity, in `keys`, of a client that may
    operate the cluster; `config` is what cluster.toml says.
    """

    folder: Path
    cluster: Path
    keys: Path
    nodes: dict[NodeId, Path]
    admin: str
    config: ClusterConfig


def init_cluster(
    folder: Path | str,
    nodes: int = 5,
    base_port: int | None = None,
    faults: int | None = None,
    model: str = "crash",
    names: Sequence[str] | None = None,
    reads: str = "",
    writes: str = "",
    zones: Sequence[str] = (),
    addresses: Sequence[str] | None = None,
    insecure: bool = False,
    allow_faults: bool = False,
    fill: Callable[[Path, ClusterConfig], None] | None = None,
    ledger: str = "",
    policy: str = "",
    hold_us: int = Limits().hold_us,
    stable_us: int = Limits().stable_us,
) -> ClusterLayout:
    """Write cluster.toml, a NAME/node.toml for each node, and all keys and certificates; start nothing.

    `names` (n1, n2, ... when not given) settle N where they are given. Node i listens on `addresses[i]`
    ("host:port"), else on loopback at `base_port + i`, else on a loopback port that was free. `zones` are dealt
    out in turn. `ledger` names the ledger's application, "MODULE:CLASS". `policy` (the usual one of so many nodes
    where none is given) puts who is badly seen for `hold_us` out of the vote, and takes back who is well for
    `stable_us`. `fill` may add to the folder before it
    appears: it is told where the files are until then.
    Everything appears at once or, after an error, not at all.

    Raises ConfigurationError for what cannot run, and when the folder holds any part of a cluster: setting one up
    is a one-time act, and nothing is ever overwritten.
    """
    folder = Path(folder)
    ids = _node_ids(nodes, names)
    listening = _addresses(len(ids), base_port, addresses)
    usually = _usual_policy(len(ids), faults, reads or writes, model)
    table = _participation_text(model, hold_us, stable_us)
    text = _cluster_text(
        f"q{secrets.token_hex(8)}",
        ids,
        listening,
        zones,
        faults,
        model,
        reads,
        writes,
        ledger,
        policy or usually,
        table,
    )
    config = parse_cluster(text)
    if insecure and not config.is_loopback:
        raise ConfigurationError(
            "insecure was asked for, but some address can be reached from other machines, and without TLS anybody "
            "could speak for a node. Leave it out, or use loopback addresses throughout."
        )
    _refuse_existing(folder, ids)
    admin = _write_all(folder, config, text, insecure, allow_faults, fill)
    nodes_at = {node: folder / node / NODE_FILE for node in ids}
    return ClusterLayout(folder, folder / CLUSTER_FILE, folder / KEYS_FOLDER, nodes_at, admin, config)


def free_ports(count: int, host: str = "127.0.0.1", promised: Collection[int] = ()) -> list[int]:
    """`count` different TCP ports that nobody listens on, none of them `promised`: all are bound at once, then
    given back.

    They are not reserved: start the nodes soon. Raises ConfigurationError when there are not that many.
    """
    ports: list[int] = []
    with ExitStack() as bound:
        for _ in range(_PORT_TRIES + count):
            if len(ports) == count:
                return ports
            port = _PORTS_FIRST + secrets.randbelow(_PORTS_LAST - _PORTS_FIRST)
            if port in promised:
                continue
            taken = bound.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                taken.bind((host, port))
            except OSError:
                taken.close()
            else:
                ports.append(port)
    raise ConfigurationError(
        f"{count} free ports on {host} were asked for, but only {len(ports)} were found. "
        "End other programs, or choose the ports by --base-port."
    )


# --- what was asked for --------------------------------------------------------------------------------


def _node_ids(nodes: int, names: Sequence[str] | None) -> tuple[NodeId, ...]:
    count = nodes if names is None else len(names)
    check_fault_budget(count, 0, "crash")
    if count > NODES_MAX:
        raise ConfigurationError(
            f"{count} nodes were asked for, but at most {NODES_MAX} are made at once. "
            "Ask for fewer; 3 to 9 are usual."
        )
    ids = tuple(check_node_id(name) for name in names or [f"n{number}" for number in range(1, count + 1)])
    if KEYS_FOLDER in ids:
        raise ConfigurationError(
            f"a node {KEYS_FOLDER!r} was asked for, but its folder would be the one of the keys. "
            "Choose another name."
        )
    return ids


def _addresses(count: int, base_port: int | None, given: Sequence[str] | None) -> list[Address]:
    if given is not None:
        if len(given) != count or base_port is not None:
            raise ConfigurationError(
                f"{len(given)} addresses were given for {count} nodes"
                f"{', and a base port too' if base_port is not None else ''}, but each node has one address. "
                "Give one for each node, and no base port."
            )
        return [parse_address(text) for text in given]
    if base_port is None:
        return [Address("127.0.0.1", port) for port in free_ports(count)]
    if not 1 <= base_port <= 65_536 - count:
        raise ConfigurationError(
            f"ports from {base_port} on were asked for {count} nodes, but TCP ports run from 1 to 65535. "
            f"Choose a base port up to {65_536 - count}."
        )
    return [Address("127.0.0.1", base_port + number) for number in range(count)]


def _refuse_existing(folder: Path, ids: Sequence[NodeId]) -> None:
    for name in (CLUSTER_FILE, KEYS_FOLDER, GENESIS_FILE, *ids):
        if os.path.lexists(folder / name):
            raise ConfigurationError(
                f"a new cluster was asked for in {folder}, but {folder / name} exists: a cluster is set up once, "
                "and nothing is overwritten. Choose another folder, or move that one away."
            )


# --- what is written -----------------------------------------------------------------------------------


def _cluster_text(
    cluster_id: str,
    ids: Sequence[NodeId],
    listening: Sequence[Address],
    zones: Sequence[str],
    faults: int | None,
    model: str,
    reads: str,
    writes: str,
    ledger: str,
    policy: str,
    participation: str,
) -> str:
    lies = model == "byzantine"
    words = _OF_LIARS if lies else _OF_CRASHES
    most = (len(ids) - 1) // (3 if lies else 2)
    tolerated = f"faults = {faults}" if faults is not None else f"# faults = {most}"
    place = f"ledger = {toml.quoted(ledger)}" if ledger else '# ledger = "MODULE:CLASS"'
    members = "\n".join(
        _member_text(node, address, zones[number % len(zones)] if zones else "")
        for number, (node, address) in enumerate(zip(ids, listening, strict=True))
    )
    return f"""\
# One cluster, {len(ids)} nodes. Every node and every client reads this same file.

# Part of every message and every data folder: never change it.
cluster_id = {toml.quoted(cluster_id)}

model = {toml.quoted(model)}      # {words.model}
engine = {toml.quoted(words.engine)}
policy = {_policy_text(policy, lies)}

# T, the {words.faults}T + 1. Left out: as many as N allows.
{tolerated}

# Which sets of nodes decide: expressions over the ids below, with + (either), * (both), choose(k, ...) and
# {words.quorums}
reads = {toml.quoted(reads)}
writes = {toml.quoted(writes)}

# The ledger's application, if there is one: settled before the first start, the same on every node.
{place}

[timing]
heartbeat = "100ms"             # how often {words.heartbeat}
election_timeout = {words.timeout}

{participation}[limits]
snapshot_entries = 100_000      # so many applied entries make a snapshot,
snapshot_bytes = 268_435_456    # or so many bytes of them
log_kept_entries = 5_000        # stay in the log after it, for nodes that are a little behind
uncommitted_bytes = 67_108_864  # more than this waiting: commands are refused as overload
digest_entries = 50_000         # after so many, nodes compare the digests of their states

# A node binds `listen`; the others dial `advertise` (left out: the same), so that a proxy fits between.
# `weight` (1) counts votes in a majority; `zone` says what fails together.

{members}"""


STAYS = "nobody is put out of the vote, or taken back into it, without a command"
ADAPTS = "who is lost for a while is put out of the vote, and taken back once it is well"
ADAPTS_TO_LIARS = "who lies or is slow loses its vote, and whoever was slow gets it back"


def _policy_text(policy: str, lies: bool) -> str:
    """The policy, and what it does."""
    if policy == "fixed":
        return f'"fixed"     # {STAYS}'
    does = ADAPTS_TO_LIARS if lies else ADAPTS
    return f"{toml.quoted(policy)}  # {does if policy == 'adaptive' else 'who votes'}"


def _usual_policy(nodes: int, faults: int | None, quorums: str, model: str) -> str:
    from quorum.runtime.byzantine_config import policy_for

    if model == "byzantine":
        return policy_for(nodes, faults, quorums)
    return "fixed" if quorums else usual(nodes)


def _participation_text(model: str, hold_us: int, stable_us: int) -> str:
    """The table of what a policy is told, where one can act."""
    hold, stable = (f'"{time_us / 1_000_000:.12g}s"' for time_us in (hold_us, stable_us))
    weights = (
        'weights = "fixed"               # "network": under every policy, votes and the lead follow round trips'
    )
    if model == "byzantine":
        return f"""\
[participation]                 # for the policy "adaptive"
hold = {hold:<24} # so long a member must be badly seen before another complains of it
stable = {stable:<22} # so long it must be well to return; each time that it flaps, twice as long
{weights}

"""
    return f"""\
[participation]                 # for every policy but "fixed"
floor = 3                       # never fewer voters
hold = {hold:<24} # so long a member must be badly seen to be put out
stable = {stable:<22} # so long it must be well to return; each time that it flaps, twice as long
{weights}

"""


class _Words(NamedTuple):
    """What a cluster.toml says of its model."""

    model: str
    engine: str
    faults: str
    quorums: str
    heartbeat: str
    timeout: str


_OF_CRASHES = _Words(
    "nodes may crash, they do not lie",
    "raft",
    "crashes to be tolerated: N >= 2",
    "majority(...). `reads` elect a leader, `writes` commit. Empty: the majority; one given: the other follows.",
    "a leader speaks",
    '"1s"         # so long a silence makes the others elect; a closed connection does at once',
)
_OF_LIARS = _Words(
    "up to T of the nodes may lie",
    "pbft",
    "liars to be tolerated: N >= 3",
    "majority(...). Every two must share T+1 nodes. Empty: ceil((N+T+1)/2) of them; else give `writes` alone.",
    "members say where they are",
    '"500ms"      # so long without a decision makes the others take another primary',
)


def _member_text(node: NodeId, address: Address, zone: str) -> str:
    lines = ["[[members]]", f"id = {toml.quoted(node)}", f"listen = {toml.quoted(str(address))}"]
    lines.append(f"advertise = {toml.quoted(str(address))}")
    if zone:
        lines.append(f"zone = {toml.quoted(zone)}")
    return "\n".join(lines) + "\n"


def node_text(node: NodeId, insecure: bool, allow_faults: bool) -> str:
    return f"""\
# One node. Relative paths start at the folder of this file.

cluster = "../{CLUSTER_FILE}"
node = {toml.quoted(node)}
data = "{DATA_FOLDER}"             # its log and snapshots: keep it, and never run two nodes on it
keys = "../{KEYS_FOLDER}"
log_level = "info"        # debug, info, warning or error
insecure = {str(insecure).lower()}          # true: no TLS; loopback addresses only
allow_faults = {str(allow_faults).lower()}      # true: drills may cut the links of this node
awake = false             # true: processors do not sleep while requests come: faster, for more power
"""


def _write_all(
    folder: Path,
    config: ClusterConfig,
    text: str,
    insecure: bool,
    allow_faults: bool,
    fill: Callable[[Path, ClusterConfig], None] | None,
) -> str:
    """Write everything beside, look at it, then rename it into place; return the identity of the admin client."""
    ids = [member.id for member in config.members]
    is_new = not os.path.exists(folder)  # unlike Path.exists it takes any name
    staging = folder / f"{STAGING}{secrets.token_hex(8)}"
    held = -1
    try:
        if is_new:
            folder.mkdir(mode=0o700, parents=True)
        _clear_left_over(folder)
        staging.mkdir(mode=0o700)
        held = os.open(staging, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write(staging / CLUSTER_FILE, text)
        for node in ids:
            (staging / node).mkdir(mode=0o700)
            _write(staging / node / NODE_FILE, node_text(node, insecure, allow_faults))
        admin = _issue_keys(staging / KEYS_FOLDER, config)
        if config.model == "byzantine":
            _write(staging / GENESIS_FILE, _genesis_text(staging / KEYS_FOLDER, config))
        assert load_cluster(staging / CLUSTER_FILE) == config, (
            "a written cluster.toml reads back as it was checked"
        )
        assert load_node(staging / ids[0] / NODE_FILE).node == ids[0], "a written node.toml reads back"
        if fill is not None:
            fill(staging, config)
        genesis = (GENESIS_FILE,) if config.model == "byzantine" else ()
        _put_in_place(staging, folder, (KEYS_FOLDER, *ids, *genesis, CLUSTER_FILE))
    except OSError as error:
        raise ConfigurationError(
            f"{toml.shown_path(folder)} was to hold a new cluster, but writing there failed ({error.strerror}). "
            "Choose another folder, or free space in this one."
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if held != -1:
            os.close(held)
        if is_new:
            with suppress(OSError):  # the cluster is in it, as it should be
                folder.rmdir()
    return admin


def _clear_left_over(folder: Path) -> None:
    """Remove what a call left that was killed: keys that nobody will use. A living call holds its own locked."""
    for left in folder.glob(f"{STAGING}*"):
        handle = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)


def _put_in_place(staging: Path, folder: Path, names: Sequence[str]) -> None:
    """Rename all or nothing. The keys go first: of two calls at once, one finds them there and stops."""
    moved: list[str] = []
    try:
        for name in names:
            (staging / name).rename(folder / name)
            moved.append(name)
    except OSError:
        for name in reversed(moved):
            (folder / name).rename(staging / name)
        raise


def _issue_keys(folder: Path, config: ClusterConfig) -> str:
    keyring.create_authority(folder)
    for member in config.members:
        hosts = {address.host for address in (member.listen, member.advertise) if not address.is_wildcard}
        keyring.issue(folder, member.id, hosts=sorted(filter(_is_ip, hosts)))
    return keyring.issue(folder, ADMIN, kind="client", role="admin")


def _genesis_text(keys: Path, config: ClusterConfig) -> str:
    """What an auditor has to trust: the members and their public keys."""
    from quorum.certificate.genesis import encode_genesis
    from quorum.runtime.byzantine_config import committee_of

    return encode_genesis(committee_of(config, keys)).decode() + "\n"


def _is_ip(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
    path.chmod(0o644)
