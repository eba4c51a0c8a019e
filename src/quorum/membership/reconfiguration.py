"""The changes an operator may ask for, each from one configuration to the one that should follow it.

Nothing here acts: the protocol takes the result up, or refuses it. A change names what it changes and leaves the
rest, so that two operators who look at the same members do not undo each other's work unseen: the epoch of the
result must follow the one in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.model import Configuration, NodeId, check_node_id
from quorum.systems.expression import parse

Role = Literal["voter", "learner", "witness"]
VOTER: Role = "voter"
LEARNER: Role = "learner"
WITNESS: Role = "witness"
PRIORITY_MAX = 1_000_000
Value = TypeVar("Value", int, str)


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="change"):
    """Base of every change."""


class Admit(_Change, frozen=True, tag="admit"):
    """A new node joins, dialled at `address` ("host:port"; empty: as cluster.toml says)."""

    node: NodeId
    role: Role = "voter"
    address: str = ""
    weight: int = 1


class Promote(_Change, frozen=True, tag="promote"):
    """A learner becomes a voter once it has caught up."""

    node: NodeId


class Demote(_Change, frozen=True, tag="demote"):
    """A voter becomes a learner: it keeps its data and has no vote."""

    node: NodeId


class Evict(_Change, frozen=True, tag="evict"):
    """Members leave, all in one change."""

    nodes: tuple[NodeId, ...]


class Replace(_Change, frozen=True, tag="replace"):
    """A new node takes the place, the role, the weight and the priority of an old one, in one change."""

    old: NodeId
    new: NodeId
    address: str = ""


class SetQuorums(_Change, frozen=True, tag="set-quorums"):
    """Other sets of nodes decide: expressions over the members' names; empty text is the weighted majority."""

    reads: str = ""
    writes: str = ""


class SetWeight(_Change, frozen=True, tag="set-weight"):
    """The votes of a member; 1 is usual."""

    node: NodeId
    weight: int


class SetPriority(_Change, frozen=True, tag="set-priority"):
    """How much a voter is wanted as leader: 1 is usual, 0 means never."""

    node: NodeId
    priority: int


Change: TypeAlias = Admit | Promote | Demote | Evict | Replace | SetQuorums | SetWeight | SetPriority

_ENCODE = msgspec.json.Encoder()
_DECODE: msgspec.json.Decoder[Change] = msgspec.json.Decoder(Change)


def encode_change(change: Change) -> bytes:
    """The bytes of a change, as an operator's request carries them."""
    return _ENCODE.encode(change)


def decode_change(data: bytes) -> Callable[[Configuration], Configuration]:
    """The change as a function of the configuration in force. Raises ConfigurationError if the bytes are none."""
    try:
        change = _DECODE.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"a change of members was asked for, but it cannot be read: {error}. Run compatible versions."
        ) from None
    return lambda present: apply_change(present, change)


def apply_change(present: Configuration, change: Change) -> Configuration:
    """The configuration that should follow `present`. Raises ConfigurationError for a change that makes none.

    Whether its quorums meet, and whether it may be taken up now, is for the protocol to judge.
    """
    if present.outgoing is not None:
        present = replace(present, outgoing=None)  # judged by the protocol: another change is under way
    match change:
        case Admit():
            target = _admit(present, change)
        case Promote(node):
            _expect(present, node, LEARNER, "promoted")
            learners, voters = _without(present.learners, node), _with(present.voters, node)
            target = replace(present, learners=learners, voters=voters)
        case Demote(node):
            _expect(present, node, VOTER, "demoted")
            learners, voters = _with(present.learners, node), _without(present.voters, node)
            if not voters:
                raise ConfigurationError(
                    f"{node} was to be demoted, but it is the last voter, and nobody else could lead. Promote or "
                    "admit another first."
                )
            target = replace(present, learners=learners, voters=voters)
        case Evict(nodes):
            target = _evict(present, nodes)
        case Replace(old, new, address):
            target = _replace(present, old, new, address)
        case SetQuorums(reads, writes):
            target = replace(present, reads=reads, writes=writes)
        case SetWeight(node, weight):
            _expect_member(present, node, "given a weight")
            target = replace(present, weights=_valued(present.weights, node, _weight(weight), 1))
        case SetPriority(node, priority):
            _expect(present, node, VOTER, "given a priority")
            target = replace(present, priorities=_valued(present.priorities, node, _priority(priority), 1))
    if target == present:
        raise ConfigurationError(
            "a change of members was asked for, but everything is already as it asks. Look at `quorum members`."
        )
    return replace(target, epoch=present.epoch + 1)


def role_of(configuration: Configuration, node: NodeId) -> Role | None:
    """The role of a node; None if it is no member."""
    if node in configuration.voters:
        return "voter"
    if node in configuration.witnesses:
        return "witness"
    return "learner" if node in configuration.learners else None


def _admit(present: Configuration, change: Admit) -> Configuration:
    node = check_node_id(change.node)
    role = role_of(present, node)
    if role is not None and not (role == LEARNER and change.role == VOTER):
        raise ConfigurationError(
            f"{node} was to be admitted as a {change.role}, but it is a {role} already. Choose another name, or "
            "evict it first."
        )
    groups = {VOTER: present.voters, LEARNER: present.learners, WITNESS: present.witnesses}
    if role is not None:
        groups[role] = _without(groups[role], node)
    groups[change.role] = _with(groups[change.role], node)
    addresses = _valued(present.addresses, node, change.address, "") if change.address else present.addresses
    return replace(
        present,
        voters=groups[VOTER],
        learners=groups[LEARNER],
        witnesses=groups[WITNESS],
        weights=_valued(present.weights, node, _weight(change.weight), 1),
        addresses=addresses,
    )


def _evict(present: Configuration, nodes: tuple[NodeId, ...]) -> Configuration:
    if not nodes:
        raise ConfigurationError("nobody was named to be evicted. Name one member or more.")
    target = present
    for node in dict.fromkeys(nodes):
        _expect_member(present, node, "evicted")
        target = _forget(target, node)
    if not target.voters:
        raise ConfigurationError(
            "every voter was to be evicted, but nobody could decide then. Keep one voter at least."
        )
    return target


def _replace(present: Configuration, old: NodeId, new: NodeId, address: str) -> Configuration:
    _expect_member(present, old, "replaced")
    role = role_of(present, old)
    assert role is not None, "a member has a role"
    weight, priority = dict(present.weights).get(old, 1), present.priority(old)
    target = _admit(_forget(present, old), Admit(new, role, address, weight))
    return replace(
        target,
        priorities=_valued(target.priorities, new, priority, 1),
        reads=_renamed(present.reads, old, new),
        writes=_renamed(present.writes, old, new),
    )


def _renamed(text: str, old: NodeId, new: NodeId) -> str:
    """An expression with one name put for another."""
    return str(parse(text).renamed({old: new})) if text else ""


def _forget(configuration: Configuration, node: NodeId) -> Configuration:
    return replace(
        configuration,
        voters=_without(configuration.voters, node),
        learners=_without(configuration.learners, node),
        witnesses=_without(configuration.witnesses, node),
        weights=tuple(pair for pair in configuration.weights if pair[0] != node),
        addresses=tuple(pair for pair in configuration.addresses if pair[0] != node),
        priorities=tuple(pair for pair in configuration.priorities if pair[0] != node),
    )


def _expect(present: Configuration, node: NodeId, role: Role, done: str) -> None:
    found = role_of(present, node)
    if found != role:
        what = f"is a {found}" if found else "is no member"
        raise ConfigurationError(
            f"{node[:80]} was to be {done}, but it {what}, and only a {role} can be. Its members are "
            f"{', '.join(present.members)}."
        )


def _expect_member(present: Configuration, node: NodeId, done: str) -> None:
    if role_of(present, node) is None:
        raise ConfigurationError(
            f"{node[:80]} was to be {done}, but it is no member. Members are {', '.join(present.members)}."
        )


def _weight(weight: int) -> int:
    if not 1 <= weight <= PRIORITY_MAX:
        raise ConfigurationError(
            f"a weight of {weight} was asked for, but weights run from 1 to {PRIORITY_MAX}. Choose one of those."
        )
    return weight


def _priority(priority: int) -> int:
    if not 0 <= priority <= PRIORITY_MAX:
        raise ConfigurationError(
            f"a priority of {priority} was asked for, but priorities run from 0 to {PRIORITY_MAX}. Choose one of "
            "those."
        )
    return priority


def _with(nodes: Iterable[NodeId], node: NodeId) -> tuple[NodeId, ...]:
    return tuple(sorted({*nodes, node}))


def _without(nodes: Iterable[NodeId], node: NodeId) -> tuple[NodeId, ...]:
    return tuple(other for other in nodes if other != node)


Pairs = tuple[tuple[NodeId, Value], ...]


def _valued(pairs: Pairs[Value], node: NodeId, value: Value, usual: Value) -> Pairs[Value]:
    """The pairs with `value` for `node`; the usual value is not written down."""
    kept = dict(pairs)
    kept.pop(node, None)
    if value != usual:
        kept[node] = value
    return tuple(sorted(kept.items(), key=lambda pair: pair[0]))
