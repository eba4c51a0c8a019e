"""The system model: names, configurations, fault budgets and their bounds."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from quorum.errors import ConfigurationError

NodeId = str
FaultModel = Literal["crash", "byzantine"]

NODE_ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Ids of running nodes: they become file names and certificate names, so nothing else is let in."""


def check_node_id(node: str) -> NodeId:
    """Return `node` if it is a valid id. Raises ConfigurationError."""
    if not isinstance(node, str) or NODE_ID_PATTERN.fullmatch(node) is None:
        shown = repr(node)[:40]
        raise ConfigurationError(
            f"{shown} was given as a node id, but ids become file and certificate names. "
            "Use 1 to 63 characters of a-z, 0-9 and '-', starting with a letter or digit."
        )
    return node


class Seat(msgspec.Struct, frozen=True):
    """Why a member votes, or does not, since when, and how often it came back and did not stay.

    An empty `reason` means that it votes. `since_us` is the clock of the leader that ordered it, in microseconds
    since 1970: it is shown, and damps flapping; no decision rests on it.
    """

    node: NodeId
    reason: str = ""
    since_us: int = 0
    flaps: int = 0


class Recovery(msgspec.Struct, frozen=True):
    """How an incarnation of a cluster began: its quorum was lost for good, and one survivor went on alone.

    The incarnation is `number`, one more than the one before, with `identity`, drawn at random, so that two
    recoveries that know nothing of each other never meet. `survivor` went on from entry `index` of `term`; those
    in `given_up` were members and are none any more. `by` says who did it, at `at_us` (microseconds since 1970).
    """

    number: int
    identity: str
    survivor: NodeId
    index: int
    term: int
    given_up: tuple[NodeId, ...]
    by: str
    at_us: int

    @property
    def incarnation(self) -> str:
        """The name of the incarnation, such as 1-5d41402abc4b2a76."""
        return f"{self.number}-{self.identity}"


class Configuration(msgspec.Struct, frozen=True):
    """Who takes part in one epoch, and which sets of them decide. A value in the log.

    `voters` count and store, `learners` store only, `witnesses` count without application state.
    `reads` (election quorums) and `writes` (replication quorums) are expressions over the voters and
    witnesses; empty text means the weighted majority. `outgoing` is set while a change is under way: both
    configurations must then agree (joint consensus; Ongaro 2014, section 4.3). `addresses` says where members
    that joined later are dialled ("host:port"); the others stand in cluster.toml. `priorities` (1 where none is
    given) say who should lead among those whose logs agree; 0 never leads. They count no votes.

    `policy` says how the committee follows the members' health (membership.policy), never below `floor` voters,
    and for `faults` (T) where the policy asks for it. `seats` has what is known of members who are or were out of
    the vote.

    `recovered` says how this incarnation of the cluster began, if it is not the first.
    """

    epoch: int = 0
    voters: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    witnesses: tuple[NodeId, ...] = ()
    reads: str = ""
    writes: str = ""
    weights: tuple[tuple[NodeId, int], ...] = ()
    outgoing: Configuration | None = None
    addresses: tuple[tuple[NodeId, str], ...] = ()
    priorities: tuple[tuple[NodeId, int], ...] = ()
    policy: str = "fixed"
    floor: int = 3
    faults: int = 0
    seats: tuple[Seat, ...] = ()
    recovered: Recovery | None = None

    @property
    def incarnation(self) -> str:
        """The name of the incarnation that this configuration is of; "" for the first one."""
        return "" if self.recovered is None else self.recovered.incarnation

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Every node that receives the log, each once, in a stable order."""
        everyone = set(self.voters) | set(self.learners) | set(self.witnesses)
        if self.outgoing is not None:
            everyone |= set(self.outgoing.members)
        return tuple(sorted(everyone))

    @property
    def electors(self) -> tuple[NodeId, ...]:
        """Every node whose vote counts: voters and witnesses, outgoing ones included."""
        counted = set(self.voters) | set(self.witnesses)
        if self.outgoing is not None:
            counted |= set(self.outgoing.electors)
        return tuple(sorted(counted))

    @property
    def candidates(self) -> tuple[NodeId, ...]:
        """Every node that may lead: voters, outgoing ones included, but for those of priority 0."""
        may = set(self.voters)
        if self.outgoing is not None:
            may |= set(self.outgoing.candidates)
        return tuple(sorted(node for node in may if self.priority(node) > 0))

    def priority(self, node: NodeId) -> int:
        """How much `node` is wanted as leader."""
        return next((priority for other, priority in self.priorities if other == node), 1)

    def seat(self, node: NodeId) -> Seat | None:
        """What is recorded of the seat of `node`; None: it has voted for as long as it is a member, or never
        did."""
        return next((seat for seat in self.seats if seat.node == node), None)

    def address(self, node: NodeId) -> str | None:
        """Where `node` is dialled, if the log says so."""
        known = next((address for other, address in self.addresses if other == node), None)
        return known if known is not None or self.outgoing is None else self.outgoing.address(node)


_ENCODE_CONFIGURATION = msgspec.msgpack.Encoder(order="deterministic")
_DECODE_CONFIGURATION = msgspec.msgpack.Decoder(Configuration)


def encode_configuration(configuration: Configuration) -> bytes:
    """The canonical bytes of a configuration, as they stand in the log."""
    return _ENCODE_CONFIGURATION.encode(configuration)


def decode_configuration(data: bytes | memoryview) -> Configuration:
    """Read a configuration from the log. Raises msgspec.ValidationError or DecodeError on damage."""
    return _DECODE_CONFIGURATION.decode(data)


def nodes_needed(faults: int, model: FaultModel) -> int:
    """The smallest N that tolerates T faults: 2T+1 crashed, 3T+1 lying.

    Source: Schneider, "Implementing Fault-Tolerant Services" (1990), section 3; Lamport, Shostak and
    Pease, "The Byzantine Generals Problem" (1982), theorem 1.
    """
    return (2 if model == "crash" else 3) * faults + 1


def quorum_size(nodes: int, faults: int, model: FaultModel) -> int:
    """The smallest safe quorum of `nodes`: floor(N/2)+1 crash, ceil((N+T+1)/2) Byzantine.

    Source: Malkhi and Reiter, "Byzantine Quorum Systems" (1998), dissemination systems.
    """
    return nodes // 2 + 1 if model == "crash" else (nodes + faults) // 2 + 1


def check_fault_budget(nodes: int, faults: int, model: FaultModel) -> None:
    """Raise ConfigurationError unless N nodes can tolerate T faults; the message says what to change."""
    for name, value, least in (("N", nodes, 1), ("T", faults, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigurationError(
                f"{name}={value!r} was asked for, but {name} counts nodes. Give a whole number, {least} or more."
            )
    if model not in ("crash", "byzantine"):
        raise ConfigurationError(
            f"model={model!r} was asked for, but nodes either crash or lie. "
            'Use model="crash" or model="byzantine".'
        )
    needed = nodes_needed(faults, model)
    if nodes < needed:
        rule = "2T+1" if model == "crash" else "3T+1"
        most = (nodes - 1) // (2 if model == "crash" else 3)
        kind = "crashed" if model == "crash" else "lying"
        raise ConfigurationError(
            f"N={nodes} nodes were asked to tolerate T={faults} {kind}, but {rule} = {needed} are needed. "
            f"Add {needed - nodes} node{'s' if needed - nodes > 1 else ''}, or lower T to {most}."
        )
