"""What a node tells of itself."""

from __future__ import annotations

import msgspec

from quorum.model import Configuration, Recovery


class Proposed(msgspec.Struct, frozen=True):
    """A next committee, in which `faults` of the `members` may lie, and who of the present one approves of it."""

    epoch: int
    members: tuple[str, ...]
    faults: int
    approved: tuple[str, ...]


class SeatTold(msgspec.Struct, frozen=True):
    """Why a member has no vote (empty: it has one), since when (microseconds since 1970, by the clock of who led),
    and how often it came back and did not stay."""

    reason: str
    since_us: int
    flaps: int


class Evicted(msgspec.Struct, frozen=True):
    """`node` is in no committee from `epoch` on, as this node knows since `since_us` (since 1970). `reason`: it
    "lied", was "slow", or "operators" left it out. `returns_in_us`: so long must it go on to show that it is well;
    None: it does not, or does not return by itself."""

    node: str
    epoch: int
    reason: str
    since_us: int
    returns_in_us: int | None = None


class NodeStatus(msgspec.Struct, frozen=True):
    """How a node sees itself and its cluster. Times in microseconds, sizes in bytes, indexes of the log.

    `matched` is, on the leader, what each member has durably; `diverged` names members whose state differs.
    `outgoing` are those who voted before, while a change is under way; `catching_up`, on the leader, those who
    will. `reads` and `writes` are the election and the replication quorums in force. `state_digest` is the
    application's, after `applied_index`, in hexadecimal. `accused` counts what proves that members lied, and
    `evidence` has a file with such a proof for each of them, on the disk of this node. Where members may lie,
    `faults` of the voters may, `committee` is their membership hash in hexadecimal, and `approvals` names who
    approves of next committees, by their hashes, as far as this member does; `proposed` has all next committees of
    which it knows that somebody approves. Where members only crash, `policy` puts them in and out of the vote,
    never below `floor` voters; `seats` tells of those who are or were out. On the leader, `health` has each member
    in a word, `explained` says of each member why it votes or not and what would change that, and `policy_waits`
    why a change that the policy wants is not made. Where weights follow the network, `round_trips` has those that
    are known here, by the member that measured them, and `weighing` says what was made of them, by the leader, or
    where members may lie by each. `last_term` is the term of the newest entry, and `recovered` says how this
    `incarnation` of the cluster began, if it is not the first (""). Nobody leaves by itself where `floor` members
    are left. Where members may lie and the policy is adaptive, `evicted` are those who left, `complaints` says who
    complains of whom, and `refused` why somebody who should leave stays.
    """

    node: str
    cluster: str
    role: str
    term: int
    leader: str | None
    epoch: int
    members: tuple[str, ...]
    voters: tuple[str, ...]
    learners: tuple[str, ...]
    witnesses: tuple[str, ...]
    outgoing: tuple[str, ...]
    priorities: dict[str, int]
    weights: dict[str, int]
    reads: str
    writes: str
    addresses: dict[str, str]
    catching_up: tuple[str, ...]
    connected: tuple[str, ...]
    commit_index: int
    applied_index: int
    state_digest: str
    last_index: int
    snapshot_index: int
    matched: dict[str, int]
    diverged: tuple[str, ...]
    sessions: int
    clients: int
    may_vote: bool
    blocked: tuple[str, ...]
    sync_p50_us: int
    sync_p99_us: int
    model: str
    policy: str
    pid: int
    memory_bytes: int
    cpu_us: int
    no_space: bool = False
    accused: dict[str, int] = {}
    faults: int = 0
    committee: str = ""
    approvals: dict[str, tuple[str, ...]] = {}
    evidence: dict[str, str] = {}
    proposed: tuple[Proposed, ...] = ()
    floor: int = 0
    tolerated: int = 0
    seats: dict[str, SeatTold] = {}
    explained: dict[str, str] = {}
    policy_waits: str = ""
    health: dict[str, str] = {}
    weighing: str = ""
    last_term: int = 0
    incarnation: str = ""
    recovered: Recovery | None = None
    round_trips: dict[str, dict[str, int]] = {}
    evicted: tuple[Evicted, ...] = ()
    complaints: dict[str, tuple[str, ...]] = {}
    refused: str = ""

    @property
    def leads(self) -> bool:
        """Whether it says that it orders commands now."""
        return self.role in ("leader", "primary")

    def configuration(self) -> Configuration:
        """The configuration in force here. While a change is under way it is joint, and all who vote in either
        are its voters; who decides is the same."""
        witnesses = tuple(node for node in self.witnesses if node not in self.outgoing)
        voters = tuple(sorted({*self.voters, *self.outgoing} - set(witnesses)))
        return Configuration(self.epoch, voters, self.learners, witnesses, self.reads, self.writes)


_ENCODE = msgspec.json.Encoder()
_DECODE = msgspec.json.Decoder(NodeStatus)


def encode_status(status: NodeStatus) -> bytes:
    """A status as JSON."""
    return _ENCODE.encode(status)


def decode_status(data: bytes) -> NodeStatus:
    """Read a status. Raises msgspec.DecodeError if it is none."""
    return _DECODE.decode(data)
