"""Writing a new member into the files of a cluster, and an old one out of them.

Only files: the member is one once the cluster has admitted it. `cluster.toml` is replaced as a whole, after the
new text was read back and found to say what was meant; whatever else stands in it, stays.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.membership.recovery import policy_after
from quorum.model import NodeId, Recovery, check_node_id
from quorum.runtime import keyring, toml
from quorum.runtime.address import Address, parse_address
from quorum.runtime.config import ClusterConfig, load_cluster, load_node, parse_cluster
from quorum.runtime.files import RealFiles, durably
from quorum.runtime.setup import KEYS_FOLDER, NODE_FILE, free_ports, node_text

LOCK_FILE = ".members.lock"
LOCK_S = 10.0
POLL_S = 0.02
_MEMBER = re.compile(r"(?m)^\[\[members\]\]")
_POLICY = re.compile(r"(?m)^(policy[ \t]*=[ \t]*)\"([a-z]+)\"")
_ROLE = re.compile(r"(?m)^role[ \t]*=.*\n")
_WRITTEN = "# Written by quorum recover"
_ID = re.compile(r"(?m)^id[ \t]*=[ \t]*[\"']([a-z0-9-]+)[\"']")


def add_member(cluster: Path, node: NodeId, role: str = "voter", address: str | None = None) -> ClusterConfig:
    """Add `node` to cluster.toml, write NODE/node.toml beside it, and issue its keys; return what the file says
    now.

    Without `address` it listens on a free port of loopback. Raises ConfigurationError, nothing changed, if the
    name is taken or the files cannot be written.
    """
    with _alone(cluster):
        return _add_member(cluster, node, role, address)


def _add_member(cluster: Path, node: NodeId, role: str, address: str | None) -> ClusterConfig:
    check_node_id(node)
    before = load_cluster(cluster)
    folder = cluster.parent / node
    if any(member.id == node for member in before.members) or os.path.lexists(folder):
        raise ConfigurationError(
            f"{node} was to be added to {cluster}, but {folder if os.path.lexists(folder) else 'a member'} of "
            "that name is there. Choose another name: one that left may have voted, and what it knows now is old."
        )
    listen = parse_address(address) if address is not None else _free_address(before)
    text = toml.read_text(cluster, "cluster.toml").rstrip("\n") + f"\n\n{_block(node, listen, role)}"
    after = parse_cluster(text)
    insecure = _is_insecure(cluster, before)
    try:
        if not insecure:
            keyring.issue(cluster.parent / KEYS_FOLDER, node, hosts=[listen.host] if _is_ip(listen.host) else [])
        folder.mkdir(mode=0o700)
        (folder / NODE_FILE).write_text(node_text(node, insecure, allow_faults=False), encoding="utf-8")
        _replace(cluster, text)
    except OSError as error:
        raise ConfigurationError(
            f"{node} was to be added to {cluster}, but writing failed ({error.strerror}). Free space or correct "
            f"the "
            "rights, remove what was begun, and try again."
        ) from None
    return after


def remove_member(cluster: Path, node: NodeId) -> ClusterConfig:
    """Take `node` out of cluster.toml; its folder and keys stay. Raises ConfigurationError if that cannot be
    done."""
    with _alone(cluster):
        return _remove_member(cluster, node)


def enter_incarnation(cluster: Path, recovery: Recovery) -> ClusterConfig:
    """Write into cluster.toml which incarnation the cluster is of, and leave its survivor as the only member. The
    quorums and the number of faults that were meant for others go, too; the log says who decides. Twice is once.

    Raises ConfigurationError if that cannot be done.
    """
    with _alone(cluster):
        before = load_cluster(cluster)
        if before.incarnation == recovery.incarnation:
            return before
        text = _entered(toml.read_text(cluster, "cluster.toml"), recovery)
        expected = replace(
            before,
            members=(replace(before.member(recovery.survivor), role="voter"),),
            reads="",
            writes="",
            faults=None,
            policy=policy_after(before.policy),
            incarnation=recovery.incarnation,
        )
        try:
            found = parse_cluster(text)
        except ConfigurationError as error:
            raise _by_hand(cluster, recovery, str(error).removesuffix(".")) from None
        if found != expected:
            raise _by_hand(cluster, recovery, "it is written in another way than quorum init does")
        _replace(cluster, text)
        return found


def _entered(text: str, recovery: Recovery) -> str:
    """The text of a cluster.toml with the incarnation, and no member but the survivor; whether it says what it
    should is for the caller to see."""
    starts = [match.start() for match in _MEMBER.finditer(text)] or [len(text)]
    blocks = [text[begin:end] for begin, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    kept = [_ROLE.sub("", block) for block in blocks if _id_of(block) == recovery.survivor]
    head = re.sub(rf"(?m)^((reads|writes|faults|incarnation)[ \t]*=|{_WRITTEN}).*\n", "", text[: starts[0]])
    head = _POLICY.sub(lambda found: f"{found[1]}{toml.quoted(policy_after(found[2]))}", head)
    line = f"incarnation = {toml.quoted(recovery.incarnation)}\n"
    named = f"{_WRITTEN}: nodes of another incarnation are refused.\n{line}"
    head = re.sub(r"(?m)^cluster_id[ \t]*=.*\n", lambda found: f"{found[0]}{named}", head, count=1)
    return head + "".join(kept)


def _id_of(block: str) -> NodeId:
    found = _ID.search(block)
    return found[1] if found else ""


def _by_hand(cluster: Path, recovery: Recovery, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{cluster} was to name incarnation {recovery.incarnation}, but the file cannot be changed safely: {why}. "
        f'The cluster is recovered. Write incarnation = "{recovery.incarnation}" below cluster_id by hand, and '
        f"leave no [[members]] but {recovery.survivor}."
    )


@contextmanager
def _alone(cluster: Path) -> Iterator[None]:
    """Of two commands that change the file, one waits: else one would undo what the other wrote. Raises
    ConfigurationError where that takes too long."""
    deadline = time.monotonic() + LOCK_S
    try:
        lock = (cluster.parent / LOCK_FILE).open("w")
    except OSError as error:
        raise ConfigurationError(
            f"{cluster} was to be changed, but {cluster.parent} cannot be written to ({error.strerror}). Correct "
            "its rights, or run this where the cluster's files are."
        ) from None
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"{cluster} was to be changed, but another command is doing that now. Wait for it, "
                        "then retry."
                    ) from None
                time.sleep(POLL_S)
        yield


def _remove_member(cluster: Path, node: NodeId) -> ClusterConfig:
    before = load_cluster(cluster)
    text = toml.read_text(cluster, "cluster.toml")
    starts = [match.start() for match in _MEMBER.finditer(text)]
    expected = tuple(member for member in before.members if member.id != node)
    for begin, end in zip(starts, [*starts[1:], len(text)], strict=True):
        rest = text[:begin] + text[end:]
        try:
            after = parse_cluster(rest)
        except ConfigurationError:
            continue
        if after.members == expected:
            _replace(cluster, rest)
            return after
    raise ConfigurationError(
        f"{node} was to be taken out of {cluster}, but the file cannot be changed safely. Remove its [[members]] "
        f"by "
        "hand."
    )


def _block(node: NodeId, listen: Address, role: str) -> str:
    lines = ["[[members]]", f"id = {toml.quoted(node)}", f"listen = {toml.quoted(str(listen))}"]
    if role != "voter":
        lines.append(f"role = {toml.quoted(role)}")
    return "\n".join(lines) + "\n"


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.chmod(0o644)
    os.replace(beside, path)
    durably(RealFiles().fsync_dir, str(path.absolute().parent), str(path))


def _free_address(cluster: ClusterConfig) -> Address:
    """One that no member has, also where that member does not run."""
    promised = {address.port for member in cluster.members for address in (member.listen, member.advertise)}
    return Address("127.0.0.1", free_ports(1, promised=promised)[0])


def _is_insecure(cluster: Path, config: ClusterConfig) -> bool:
    """As the other nodes of this folder are."""
    for member in config.members:
        path = cluster.parent / member.id / NODE_FILE
        if path.is_file():
            return load_node(path).insecure
    return False


def _is_ip(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
