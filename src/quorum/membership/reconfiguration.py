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

from quorum.errors import AlreadySo, ConfigurationError
from quorum.membership.health import HELD
from quorum.membership.policy import check_policy
from quorum.membership.votes import with_sound_weights
from quorum.model import Configuration, NodeId, Seat, check_fault_budget, check_node_id
from quorum.systems.build import build
from quorum.systems.expression import parse
from quorum.systems.weights import check_weights

Role = Literal["voter", "learner", "witness"]
VOTER: Role = "voter"
LEARNER: Role = "learner"
WITNESS: Role = "witness"
PRIORITY_MAX = 1_000_000
Value = TypeVar("Value", int, str)


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="change"):
    """Base of every change."""


class Admit(_Change, frozen=True, tag="admit"):
    """A new node joins, dialled at `address` ("host:port"; empty: as cluster.toml says). A standby is a learner
    that the policy may let vote."""

    node: NodeId
    role: Role | Literal["standby"] = "voter"
    address: str = ""
    weight: int = 1


class Promote(_Change, frozen=True, tag="promote"):
    """A learner becomes a voter once it has caught up; the policy may put it out again."""

    node: NodeId


class Demote(_Change, frozen=True, tag="demote"):
    """A voter becomes a learner: it keeps its data and has no vote, until an operator promotes it."""

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


class Reseat(_Change, frozen=True, tag="reseat"):
    """What a policy changes: members whose seat has no reason vote from now on, the others do not, all in one
    change."""

    seats: tuple[Seat, ...]


class SetPolicy(_Change, frozen=True, tag="set-policy"):
    """Another policy puts members in and out of the vote; None leaves the floor, or T, as it is. A T that is given
    must be one that N >= 2T+1 tolerates."""

    policy: str
    floor: int | None = None
    faults: int | None = None


class SetWeight(_Change, frozen=True, tag="set-weight"):
    """The votes of a member; 1 is usual."""

    node: NodeId
    weight: int


class SetWeights(_Change, frozen=True, tag="set-weights"):
    """The votes of all who vote, in one change; who is not named has 1. Refused unless any `faults` of them can be
    lost and a quorum is left. Learners have no weight for later any more."""

    weights: tuple[tuple[NodeId, int], ...]
    faults: int


class SetPriority(_Change, frozen=True, tag="set-priority"):
    """How much a voter is wanted as leader: 1 is usual, 0 means never."""

    node: NodeId
    priority: int


Asked: TypeAlias = (
    Admit | Promote | Demote | Evict | Replace | SetQuorums | SetWeight | SetWeights | SetPriority | SetPolicy
)
"""What an operator may ask for. What is remembered of seats is a leader's own: later leaders go by it."""
Change: TypeAlias = Asked | Reseat

_ENCODE = msgspec.json.Encoder()
_DECODE: msgspec.json.Decoder[Asked] = msgspec.json.Decoder(Asked)


def encode_change(change: Change) -> bytes:
    """The bytes of a change, as an operator's request carries them."""
    return _ENCODE.encode(change)


def decode_change(data: bytes, now_us: int = 0) -> Callable[[Configuration], Configuration]:
    """The change as a function of the configuration in force. Raises ConfigurationError if the bytes are none."""
    try:
        change = _DECODE.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"a change of members was asked for, but it cannot be read: {error}. Run compatible versions."
        ) from None
    return lambda present: apply_change(present, change, now_us)


def apply_change(present: Configuration, change: Change, now_us: int = 0) -> Configuration:
    """The configuration that should follow `present`, if it is asked for at `now_us`. Raises ConfigurationError
    for a change that makes none; AlreadySo where `present` is as it asks.

    Whether its quorums meet, and whether it may be taken up now, is for the protocol to judge.
    """
    if present.outgoing is not None:
        present = replace(present, outgoing=None)  # judged by the protocol: another change is under way
    target = _target(present, change, now_us)
    if target == present:
        raise AlreadySo(
            "a change of members was asked for, but everything is already as it asks. Look at `quorum members`."
        )
    return replace(target, epoch=present.epoch + 1)


def _target(present: Configuration, change: Change, now_us: int) -> Configuration:
    match change:
        case Admit(node, role, address, weight):
            stands_by = node in standbys(present)
            has = (present.address(node), dict(present.weights).get(node, 1))
            if has == (address or has[0], weight) and stands_by == (role == "standby"):
                _not_yet(present, node, LEARNER if role == "standby" else role, "admitted")
            return _admit(present, change, now_us)
        case Promote(node):
            _not_yet(present, node, VOTER, "promoted")
            _expect(present, node, LEARNER, "promoted")
            return _seated(present, (Seat(node, "", now_us),))
        case Demote(node):
            if node not in standbys(present):
                _not_yet(present, node, LEARNER, "demoted")
            _expect(present, node, VOTER, "demoted")
            return _seated(present, (Seat(node, HELD, now_us),))
        case Reseat(seats):
            for seat in seats:
                _expect(present, seat.node, VOTER if seat.reason else LEARNER, "seated anew")
            return with_sound_weights(present, _seated(present, seats))
        case Evict(nodes):
            return _evict(present, nodes)
        case Replace():
            return _replace(present, change, now_us)
        case SetQuorums(reads, writes):
            return replace(present, reads=reads, writes=writes)
        case SetPolicy():
            return _set_policy(present, change)
        case SetWeight(node, weight):
            _expect_member(present, node, "given a weight")
            return replace(present, weights=_valued(present.weights, node, _weight(weight), 1))
        case SetWeights():
            return _set_weights(present, change)
        case SetPriority(node, priority):
            _expect(present, node, VOTER, "given a priority")
            return replace(present, priorities=_valued(present.priorities, node, _priority(priority), 1))


def _seated(present: Configuration, seats: tuple[Seat, ...]) -> Configuration:
    """Those whose seat has no reason vote, the others only store."""
    into = {seat.node for seat in seats if not seat.reason}
    out = {seat.node for seat in seats if seat.reason}
    voters = tuple(sorted({*present.voters, *into} - out))
    if not voters:
        raise ConfigurationError(
            f"{', '.join(sorted(out))} was to be demoted, but it is the last voter, and nobody else could lead. "
            "Promote or admit another first."
        )
    learners = tuple(sorted({*present.learners, *out} - into))
    known = {seat.node: seat for seat in present.seats} | {seat.node: seat for seat in seats}
    return replace(present, voters=voters, learners=learners, seats=tuple(known[node] for node in sorted(known)))


def _set_weights(present: Configuration, change: SetWeights) -> Configuration:
    voting = {*present.voters, *present.witnesses}
    given = dict(change.weights)
    strangers = sorted(given.keys() - voting)
    if strangers or len(given) < len(change.weights):
        what = f"{strangers[0][:80]} has no vote" if strangers else "a member is named twice"
        raise ConfigurationError(
            f"weights were given to {len(change.weights)} members, but {what}. Name each voter and witness once, "
            "and nobody else."
        )
    named = (present.writes or present.reads)[:80]
    if named:
        raise ConfigurationError(
            f"weights were given to members, but the sets that decide are named by {named!r}, in which they do "
            "not count. Go back to the majority by `quorum quorums` first."
        )
    for weight in given.values():
        _weight(weight)
    check_fault_budget(len(voting), change.faults, "crash")
    target = replace(present, weights=tuple(sorted(pair for pair in given.items() if pair[1] != 1)))
    votes = build(target).writes.as_threshold()
    assert votes is not None, "weights decide by a threshold"
    check_weights(dict(votes.weights), change.faults)
    return target


def role_of(configuration: Configuration, node: NodeId) -> Role | None:
    """The role of a node; None if it is no member."""
    if node in configuration.voters:
        return "voter"
    if node in configuration.witnesses:
        return "witness"
    return "learner" if node in configuration.learners else None


def standbys(configuration: Configuration) -> tuple[NodeId, ...]:
    """The learners that a policy may let vote: those whom no operator keeps out."""
    held = {seat.node for seat in configuration.seats if seat.reason == HELD}
    return tuple(node for node in configuration.learners if node not in held)


def _admit(present: Configuration, change: Admit, now_us: int) -> Configuration:
    node = check_node_id(change.node)
    role = role_of(present, node)
    wanted: Role = LEARNER if change.role == "standby" else change.role
    if role is not None and not (role == LEARNER and wanted == VOTER):
        raise ConfigurationError(
            f"{node} was to be admitted as a {change.role}, but it is a {role} already. Choose another name, or "
            "evict it first."
        )
    groups = {VOTER: present.voters, LEARNER: present.learners, WITNESS: present.witnesses}
    if role is not None:
        groups[role] = _without(groups[role], node)
    groups[wanted] = _with(groups[wanted], node)
    seats = tuple(seat for seat in present.seats if seat.node != node)
    if change.role == LEARNER:
        seats = tuple(sorted((*seats, Seat(node, HELD, now_us)), key=lambda seat: seat.node))
    addresses = _valued(present.addresses, node, change.address, "") if change.address else present.addresses
    return replace(
        present,
        voters=groups[VOTER],
        learners=groups[LEARNER],
        witnesses=groups[WITNESS],
        weights=_valued(present.weights, node, _weight(change.weight), 1),
        addresses=addresses,
        seats=seats,
    )


def _set_policy(present: Configuration, change: SetPolicy) -> Configuration:
    floor = present.floor if change.floor is None else change.floor
    faults = present.faults if change.faults is None else change.faults
    nodes = len({*present.voters, *standbys(present)})
    if change.floor is not None and floor > nodes:
        raise ConfigurationError(
            f"a floor of {floor} voters was asked for, but {nodes} members may vote. Give {nodes} or less, or "
            "admit more."
        )
    if change.faults is not None:
        check_fault_budget(nodes, faults, "crash")
    check_policy(change.policy, nodes, faults, floor)
    return replace(present, policy=change.policy, floor=floor, faults=faults)


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


def _replace(present: Configuration, change: Replace, now_us: int) -> Configuration:
    old, new, address = change.old, change.new, change.address
    _expect_member(present, old, "replaced")
    role = role_of(present, old)
    assert role is not None, "a member has a role"
    weight, priority = dict(present.weights).get(old, 1), present.priority(old)
    seat = present.seat(old)
    standby = role == LEARNER and (seat is None or seat.reason != HELD)
    target = _admit(_forget(present, old), Admit(new, "standby" if standby else role, address, weight), now_us)
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
        seats=tuple(seat for seat in configuration.seats if seat.node != node),
    )


def _expect(present: Configuration, node: NodeId, role: Role, done: str) -> None:
    found = role_of(present, node)
    if found != role:
        what = f"is a {found}" if found else "is no member"
        raise ConfigurationError(
            f"{node[:80]} was to be {done}, but it {what}, and only a {role} can be. Its members are "
            f"{', '.join(present.members)}."
        )


def _not_yet(present: Configuration, node: NodeId, role: Role, done: str) -> None:
    """Raise AlreadySo for what a node need not become, since it is that."""
    if role_of(present, node) == role:
        raise AlreadySo(f"{node} was to be {done}, but it is a {role} already: nothing has to change.")


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
