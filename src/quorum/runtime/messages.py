"""What drivers and clients say to each other outside the protocol. Frozen values; bodies are attached bytes."""

from __future__ import annotations

import msgspec

from quorum.certificate.complaint import Complaint
from quorum.certificate.epochs import EpochChange
from quorum.certificate.evidence import Evidence
from quorum.certificate.latency_report import LatencyReport
from quorum.certificate.readmission import Readmission, ShownState
from quorum.certificate.state_pieces import PieceProof
from quorum.protocols.pbft.messages import Blocks, PbftMessage, PrePrepare
from quorum.protocols.raft.messages import Append, RaftMessage


class Wire(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Base of everything here: compact, tagged by a number."""


# Between drivers.


class ChunkRequest(Wire, frozen=True, gc=False, array_like=True, tag=20):
    """Driver to driver: send me bytes of the snapshot at `index`, from `offset` on."""

    index: int
    offset: int


class Chunk(Wire, frozen=True, gc=False, array_like=True, tag=21):
    """The answer: the bytes are attached. `gone`: that snapshot is not kept any more."""

    index: int
    offset: int
    gone: bool = False


class PieceRequest(Wire, frozen=True, gc=False, array_like=True, tag=23):
    """Driver to driver: send me pieces of the certified state with this root, after block `index`, from the one of
    this number on."""

    index: int
    root: bytes
    number: int


class Pieces(Wire, frozen=True, gc=False, array_like=True, tag=24):
    """The answer: pieces of these sizes are attached, one behind the other, with what proves them. `proof` None:
    that state is not kept here (any more)."""

    index: int
    root: bytes
    number: int
    sizes: tuple[int, ...]
    proof: PieceProof | None


class StateDigest(Wire, frozen=True, gc=False, array_like=True, tag=22):
    """Driver to every other: the digest of my application after `index`."""

    index: int
    digest: bytes


class Echo(Wire, frozen=True, gc=False, array_like=True, tag=25):
    """Driver to every other: send this number back at once."""

    number: int


class EchoReply(Wire, frozen=True, gc=False, array_like=True, tag=26):
    """The answer."""

    number: int


class RoundTripsTold(Wire, frozen=True, gc=False, array_like=True, tag=27):
    """Driver to the leader: how long my round trips with the others take, in microseconds."""

    took_us: dict[str, int]


class Complaints(Wire, frozen=True, gc=False, array_like=True, tag=28):
    """Member to every other: complaints of one epoch, its own or such as it holds."""

    complaints: tuple[Complaint, ...]


class AskReadmission(Wire, frozen=True, gc=False, array_like=True, tag=29):
    """Who was evicted for being slow to every member, again and again: I ask to come back."""

    request: Readmission


class ShowState(Wire, frozen=True, gc=False, array_like=True, tag=30):
    """The same to every member: this is what I have."""

    shown: ShownState


class GiveEvidence(Wire, frozen=True, gc=False, array_like=True, tag=31):
    """Member to every other: who asks to come back lied once, and this proves it."""

    evidence: Evidence


class ReportLatency(Wire, frozen=True, gc=False, array_like=True, tag=32):
    """Member to every other: how long its round trips take."""

    report: LatencyReport


class ProposeWeights(Wire, frozen=True, gc=False, array_like=True, tag=33):
    """Primary to every other: from these reports other weights follow."""

    epoch: int
    reports: tuple[LatencyReport, ...]


OF_COMMITTEE = (Complaints, AskReadmission, ShowState, GiveEvidence)
"""What members whose policy is adaptive say of each other (runtime.committee_keeper)."""
OF_WEIGHTS = (ReportLatency, ProposeWeights)
"""What members say whose weights follow the network (runtime.committee_weigher)."""

PeerMessage = (
    RaftMessage
    | PbftMessage
    | ChunkRequest
    | Chunk
    | PieceRequest
    | Pieces
    | StateDigest
    | Echo
    | EchoReply
    | RoundTripsTold
    | Complaints
    | AskReadmission
    | ShowState
    | GiveEvidence
    | ReportLatency
    | ProposeWeights
)

WITH_ENTRIES = (Append, PrePrepare, Blocks)
"""Messages whose attachment are stored entries."""


# From a client to a node. `request` comes back in the answer; the client chooses it.


class Submit(Wire, frozen=True, gc=False, array_like=True, tag=40):
    """Order this batch (entry.Batch); its body is attached."""

    request: int
    app: int
    client: int
    first_sequence: int
    acked_below: int
    count: int


class Query(Wire, frozen=True, gc=False, array_like=True, tag=41):
    """Answer this batch of reads, attached: linearizably, or `stale` from what this node has applied. With `here`
    this very node is to answer linearizably, whatever its role."""

    request: int
    app: int
    stale: bool
    here: bool = False


class StatusRequest(Wire, frozen=True, gc=False, array_like=True, tag=42):
    """How do you see yourself and your cluster?"""

    request: int


class CertificateRequest(Wire, frozen=True, gc=False, array_like=True, tag=43):
    """Who stores the decision on `topic`? Answered by the leader."""

    request: int
    topic: str


class LinkFaultRequest(Wire, frozen=True, gc=False, array_like=True, tag=44):
    """Drop frames to and from these nodes: only where the node runs with faults allowed."""

    request: int
    blocked_in: tuple[str, ...]
    blocked_out: tuple[str, ...]


class ChangeRequest(Wire, frozen=True, gc=False, array_like=True, tag=45):
    """Change the members: a membership.reconfiguration.Change is attached. The leader answers, once it is done; or
    with `dry` at once, with the configuration that would follow, and changes nothing."""

    request: int
    dry: bool = False


class TransferRequest(Wire, frozen=True, gc=False, array_like=True, tag=46):
    """Hand leadership to `target`, or to the best candidate. Answered by the leader, when it leads no more."""

    request: int
    target: str | None


class BackupRequest(Wire, frozen=True, gc=False, array_like=True, tag=47):
    """Make a snapshot of everything acknowledged so far. Answered by a runtime.backup.BackupOffer."""

    request: int


class BackupChunkRequest(Wire, frozen=True, gc=False, array_like=True, tag=48):
    """Send me bytes of the snapshot at `index`, from `offset` on. None come when it is not kept any more."""

    request: int
    index: int
    offset: int


class MembersRequest(Wire, frozen=True, gc=False, array_like=True, tag=49):
    """Who are the members, and where are they reached? Answered now, and again under the same request whenever
    that has changed, until the connection ends."""

    request: int


class Watch(Wire, frozen=True, gc=False, array_like=True, tag=50):
    """Tell me from now on what happens to what is attached: under `request`, until Unwatch or the connection ends.

    For the key-value store that is an encoded apps.kv_watch.Interest, and the answers are Watched, Changed and
    Forgotten. For any other application it is a topic, and the answers are Noticed, the first of them at once.
    """

    request: int
    app: int


class Unwatch(Wire, frozen=True, gc=False, array_like=True, tag=51):
    """Tell me no more of this watch. No answer; what is on its way still comes."""

    request: int


class Pulse(Wire, frozen=True, gc=False, array_like=True, tag=52):
    """Are you there, and in touch with a leader? Answered by Pulsed, or Failure NOT_LEADER."""

    request: int


class SubmitSigned(Wire, frozen=True, gc=False, array_like=True, tag=53):
    """Order the request that is attached (certificate.requests), signed by its client. Every member answers it
    once it has applied it."""

    request: int


class ApproveRequest(Wire, frozen=True, gc=False, array_like=True, tag=54):
    """To one member: its operator approves of the attached committee (certificate.genesis) as the next one.
    Answered once the approval is durable there."""

    request: int


class ProofRequest(Wire, frozen=True, gc=False, array_like=True, tag=55):
    """Prove what the question that is attached (apps.ledger) is about, as far as you can. Any node answers, with a
    document of certificate.ledger_forms."""

    request: int


class EpochsRequest(Wire, frozen=True, gc=False, array_like=True, tag=56):
    """Which committees followed that of `epoch`? Any node answers whose members may lie, with EpochsReply."""

    request: int
    epoch: int


ClientMessage = (
    ApproveRequest
    | EpochsRequest
    | Submit
    | SubmitSigned
    | ProofRequest
    | Query
    | StatusRequest
    | CertificateRequest
    | LinkFaultRequest
    | ChangeRequest
    | TransferRequest
    | BackupRequest
    | BackupChunkRequest
    | MembersRequest
    | Watch
    | Unwatch
    | Pulse
)


# From a node to a client.


class Result(Wire, frozen=True, gc=False, array_like=True, tag=60):
    """Done; the answer is attached. For a Submit `status` is the host's (apps.host)."""

    request: int
    status: int


class Failure(Wire, frozen=True, gc=False, array_like=True, tag=61):
    """Not done. `code` is one of the constants below; `leader` is who to ask instead, where known."""

    request: int
    code: int
    text: str = ""
    leader: str | None = None


class StatusReply(Wire, frozen=True, gc=False, array_like=True, tag=62):
    """How a node sees itself and its cluster; the fields are those of runtime.status.NodeStatus, as JSON."""

    request: int
    status: bytes


class MembersReply(Wire, frozen=True, gc=False, array_like=True, tag=63):
    """`node` answers; the members of the newest epoch that it knows to be committed, each with the address that it
    advertises ("host:port"). Nobody is named while it knows none."""

    request: int
    node: str
    epoch: int
    members: tuple[tuple[str, str], ...]


class EpochsReply(Wire, frozen=True, gc=False, array_like=True, tag=64):
    """The changes behind the epoch that was asked for, 16 at most; none: I know no later one. Each proves itself
    to whoever knows the committee before. `addresses` ("host:port", by node) of the members of the last of them,
    or the newest, are one node's word."""

    request: int
    changes: tuple[EpochChange, ...]
    addresses: tuple[tuple[str, str], ...]


class Noticed(Wire, frozen=True, gc=False, array_like=True, tag=70):
    """Something happened at entry `index` to the topic of these watches; the newest notice is attached.

    Notices that nobody took in time are left out but for the newest. With `is_gap` none is attached: some may
    have been missed, as before the first of them, so read the state.
    """

    requests: list[int]
    index: int
    is_gap: bool


class Pulsed(Wire, frozen=True, gc=False, array_like=True, tag=71):
    """The answer to Pulse. Whatever the connection's watches had to hear up to this revision of the key-value
    store was sent before."""

    request: int
    revision: int


class Changed(Wire, frozen=True, gc=False, array_like=True, tag=72):
    """Changes of watched keys are attached, in order, as pairs: the requests that want it, an apps.kv_watch.Event.

    Whatever those watches had to hear up to revision `through` is in it, or was sent before. Where one revision
    takes several messages, `through` is below it in all but the last.
    """

    through: int


class Watched(Wire, frozen=True, gc=False, array_like=True, tag=73):
    """These watches of keys have begun. Those that asked for what happens from now on hear of everything behind
    `revision`."""

    requests: list[int]
    revision: int


class Forgotten(Wire, frozen=True, gc=False, array_like=True, tag=74):
    """These watches of keys have ended: changes that they had to hear are not kept any more, since everything up
    to `revision` may be dropped."""

    requests: list[int]
    revision: int


NOT_LEADER = 1
"""Definite: nothing happened here."""
OVERLOADED = 2
"""Definite: nothing happened; retry after a pause."""
OUTCOME_UNKNOWN = 3
"""Indefinite: retry with the same request id."""
REFUSED = 4
"""Definite: asked wrongly; retrying changes nothing."""
ALREADY_SO = 5
"""Definite: nothing happened, since it is so already."""

NodeMessage = (
    Result | Failure | StatusReply | MembersReply | EpochsReply | Noticed | Pulsed | Changed | Watched | Forgotten
)
