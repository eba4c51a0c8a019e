"""The clients' side of a node, without I/O: requests in, answers out, however they travel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from quorum.apps.answer import OK
from quorum.apps.applied import Applied
from quorum.apps.host import APPLICATION_ID_MAX, OPEN, SESSIONS, opening
from quorum.apps.state_machine import Notice
from quorum.certificate.genesis import decode_genesis
from quorum.entry import ENTRY_BYTES_MAX, HEAD_BYTES, Buffer
from quorum.errors import AlreadySo, ConfigurationError, NotLeader, OutcomeUnknown, Overloaded, QuorumError
from quorum.header import Batch, Header
from quorum.membership.reconfiguration import decode_change
from quorum.model import NodeId, encode_configuration
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.raft.replica import RaftReplica
from quorum.runtime import messages
from quorum.runtime.backup_offer import BackupOffer, encode_offer
from quorum.runtime.change_checks import check_function, check_target, undecided
from quorum.runtime.committees import changes_after
from quorum.runtime.driver import Driver
from quorum.runtime.member_board import MemberBoard
from quorum.runtime.messages import (
    ApproveRequest,
    BackupChunkRequest,
    BackupRequest,
    CertificateRequest,
    ChangeRequest,
    EpochsReply,
    EpochsRequest,
    Failure,
    LinkFaultRequest,
    MembersRequest,
    ProofRequest,
    Pulse,
    Query,
    Result,
    StatusReply,
    StatusRequest,
    Submit,
    SubmitSigned,
    TransferRequest,
    Unwatch,
    Watch,
)
from quorum.runtime.signed_requests import TOO_MANY, SignedRequests
from quorum.runtime.transfer import CHUNK_BYTES
from quorum.runtime.watch import WatchHub
from quorum.runtime.watch_reader import Client

NUMBER_MAX = (1 << 64) - 1
"""What the head of an entry holds of a session id or a sequence number."""
COUNT_MAX = (1 << 32) - 1
BODY_BYTES_MAX = ENTRY_BYTES_MAX - HEAD_BYTES
TEXT_CHARACTERS_MAX = 2_000


class Operator(Protocol):
    """What a node can tell of itself, and the drills it allows."""

    def status(self, answer: Callable[[bytes], None]) -> None:
        """Call `answer` with the status of the node, now or later."""
        ...

    def certificate(self, topic: str) -> bytes: ...

    def prove(self, body: Buffer) -> bytes: ...

    def set_link_faults(self, blocked_in: tuple[str, ...], blocked_out: tuple[str, ...]) -> None: ...


class _Read:
    """One query that waits for its index."""

    __slots__ = ("body", "client", "query")

    def __init__(self, client: Client, query: Query, body: bytes) -> None:
        self.client = client
        self.query = query
        self.body = body


class Gateway:
    """Gives each request a token, and turns what becomes of it into an answer on its connection.

    `addresses` tells clients where a leader is; a node that is not in it goes by its name. `watches` tells
    them what happens; the owner calls its `pump` each turn. `members` tells them who takes part, as far as the
    owner shows it.
    """

    def __init__(
        self,
        addresses: Mapping[NodeId, str] | None = None,
        requests_max: int = 200_000,
        watches: WatchHub | None = None,
        members: MemberBoard | None = None,
    ) -> None:
        self._addresses = addresses or {}
        self.watches = WatchHub() if watches is None else watches
        self.members = MemberBoard() if members is None else members
        self._driver: Driver | None = None
        self._operator: Operator | None = None
        self._requests_max = requests_max
        self._next_token = 1
        self._submits: dict[int, tuple[Client, int]] = {}
        self._reads: dict[int, _Read] = {}
        self._operations: dict[int, tuple[Client, int]] = {}
        self._backups: set[int] = set()
        self._signed_requests = SignedRequests()
        self._handlers: dict[type, Callable[..., None]] = {
            Submit: self._on_submit,
            SubmitSigned: self._on_submit_signed,
            Query: self._on_query,
            StatusRequest: self._on_status,
            CertificateRequest: self._on_certificate,
            ProofRequest: self._on_proof,
            LinkFaultRequest: self._on_link_fault,
            ChangeRequest: self._on_change,
            TransferRequest: self._on_transfer,
            ApproveRequest: self._on_approve,
            BackupRequest: self._on_backup,
            BackupChunkRequest: self._on_backup_chunk,
            MembersRequest: self._on_members,
            EpochsRequest: self._on_epochs,
            Watch: self._on_watch,
            Unwatch: self._on_unwatch,
            Pulse: self._on_pulse,
        }

    def attach(self, driver: Driver, operator: Operator) -> None:
        """The driver that serves, and whom to ask for the rest; before the first request."""
        self._driver, self._operator = driver, operator

    @property
    def requests(self) -> int:
        """How many requests the driver was given so far."""
        return self._next_token

    def receive(self, client: Client, message: object, attached: Sequence[Buffer]) -> None:
        """Take one request; the answer comes by `client.answer`, at once or later."""
        if len(self._submits) + len(self._reads) >= self._requests_max and not isinstance(message, Unwatch):
            request = getattr(message, "request", 0)
            client.answer(Failure(request, messages.OVERLOADED, TOO_MANY), ())
            return
        self._handlers[type(message)](client, message, b"".join(attached))

    def lost(self, client: Client) -> None:
        """The connection of `client` ended."""
        self.watches.lost(client)
        self.members.lost(client)
        self._signed_requests.lost(client)

    def _on_submit(self, client: Client, submit: Submit, body: bytes) -> None:
        if not (
            0 <= submit.app <= APPLICATION_ID_MAX
            and 0 <= submit.client <= NUMBER_MAX
            and 0 <= submit.first_sequence <= NUMBER_MAX
            and 0 <= submit.acked_below <= NUMBER_MAX
            and 0 <= submit.count <= COUNT_MAX
        ):
            text = (
                f"a batch for application {submit.app} with {submit.count} commands was sent, but a number in it "
                f"is out of range. Use applications 0 to {APPLICATION_ID_MAX}, and no negative number."
            )
            client.answer(Failure(submit.request, messages.REFUSED, text), ())
            return
        if len(body) > BODY_BYTES_MAX:
            text = f"a batch of {len(body)} bytes was sent, at most {BODY_BYTES_MAX} fit. Send smaller batches."
            client.answer(Failure(submit.request, messages.REFUSED, text), ())
            return
        driver = self._running()
        if isinstance(driver.replica, PbftReplica):
            client.answer(self._failure(submit.request, _unsigned()), ())
            return
        if submit.app == SESSIONS and body.startswith(OPEN):
            body = opening(client.identity)
        elif submit.client:
            owner = driver.application.session_owner(submit.client)
            failure = None if owner == "" else self._not_the_owner(client, submit, owner)
            if failure is not None:
                client.answer(failure, ())
                return
        if driver.replica.leader == driver.node:
            objection = driver.application.vet(submit.app, body)
            if objection is not None:
                client.answer(Failure(submit.request, messages.REFUSED, objection), ())
                return
        token = self._token()
        self._submits[token] = (client, submit.request)
        batch = Batch(submit.app, submit.client, submit.first_sequence, submit.acked_below, submit.count, body)
        driver.propose(token, batch)

    def _on_submit_signed(self, client: Client, submit: SubmitSigned, body: bytes) -> None:
        driver = self._running()
        if isinstance(driver.replica, PbftReplica):
            domain = driver.replica.state.request_domain
            self._signed_requests.submit(client, submit.request, body, driver, domain)
            return
        text = "a signed request was sent, but this cluster is of crash mode, which orders none. Send it unsigned."
        client.answer(Failure(submit.request, messages.REFUSED, text), ())

    def _not_the_owner(self, client: Client, submit: Submit, owner: str | None) -> Failure | None:
        """Why this client may not use the session it names, which is that of `owner` here; None if it may.

        A session never changes hands, so what holds here holds when the batch is applied, too. One that is not in
        a state which has reached its index is gone for good: its batch will be answered as expired. One that was
        opened without a name, in plain text, is anybody's.
        """
        driver = self._running()
        if owner == client.identity or (owner is None and submit.client <= driver.applied_index):
            return None
        if owner is not None:
            who = client.identity or "this client"
            text = f"a batch was sent in session {submit.client}, but {who} did not open it. Open your own."
            return Failure(submit.request, messages.REFUSED, text)
        if driver.replica.leader != driver.node:
            return self._failure(submit.request, NotLeader(driver.replica.leader))
        text = f"{driver.node} leads, but has not applied entry {submit.client}, which opens the session. Retry."
        return Failure(submit.request, messages.OVERLOADED, text)

    def _on_query(self, client: Client, query: Query, body: bytes) -> None:
        read = _Read(client, query, body)
        if query.stale:
            self._answer_read(read)
            return
        if isinstance(self._running().replica, PbftReplica):
            client.answer(self._failure(query.request, _unsigned()), ())
            return
        token = self._token()
        self._reads[token] = read
        self._running().read(token, query.here)

    def _on_watch(self, client: Client, watch: Watch, body: bytes) -> None:
        driver = self._running()
        if driver.application.keeps_state:
            self.watches.watch(client, watch, body)
        else:  # a witness would never have anything to tell
            client.answer(self._failure(watch.request, NotLeader(driver.replica.leader)), ())

    def _on_unwatch(self, client: Client, unwatch: Unwatch, body: bytes) -> None:
        self.watches.unwatch(client, unwatch.request)

    def _on_pulse(self, client: Client, pulse: Pulse, body: bytes) -> None:
        """A node that is out of touch would let its watchers wait for ever."""
        if self._running().replica.leader is None:
            client.answer(Failure(pulse.request, messages.NOT_LEADER), ())
        else:
            self.watches.pulse(client, pulse)

    def _on_members(self, client: Client, request: MembersRequest, body: bytes) -> None:
        self.members.ask(client, request.request)

    def _on_epochs(self, client: Client, request: EpochsRequest, body: bytes) -> None:
        """How the committees went on, for whoever trusts an earlier one."""
        replica = self._running().replica
        if not isinstance(replica, PbftReplica):
            text = (
                "the committees of a cluster were asked for, but members of crash mode are in none. Ask for its "
                "members."
            )
            client.answer(Failure(request.request, messages.REFUSED, text), ())
            return
        changes = changes_after(replica.state.epochs, request.epoch)
        members = changes[-1].committee.nodes if changes else replica.state.epochs.newest.nodes
        places = tuple((node, self._addresses[node]) for node in members if node in self._addresses)
        client.answer(EpochsReply(request.request, changes, places), ())

    def _on_status(self, client: Client, request: StatusRequest, body: bytes) -> None:
        self._operating().status(lambda status: client.answer(StatusReply(request.request, status), ()))

    def _on_certificate(self, client: Client, request: CertificateRequest, body: bytes) -> None:
        self._try(client, request.request, lambda: self._operating().certificate(request.topic))

    def _on_proof(self, client: Client, request: ProofRequest, body: bytes) -> None:
        self._try(client, request.request, lambda: self._operating().prove(body))

    def _on_link_fault(self, client: Client, request: LinkFaultRequest, body: bytes) -> None:
        def set_faults() -> bytes:
            self._operating().set_link_faults(request.blocked_in, request.blocked_out)
            return b""

        self._try(client, request.request, set_faults)

    def _on_change(self, client: Client, request: ChangeRequest, body: bytes) -> None:
        """The change is applied to the configuration as this node knows it; the leader checks that it still is."""
        driver = self._running()
        if isinstance(driver.replica, PbftReplica):
            client.answer(self._failure(request.request, _unchangeable("a change of its members")), ())
            return
        if driver.replica.leader != driver.node:
            client.answer(self._failure(request.request, NotLeader(driver.replica.leader)), ())
            return
        try:
            present = driver.replica.configuration
            target = decode_change(body, driver.now_us)(present)
            check_target(present, target, self._addresses)
            check_function(driver, target)
        except AlreadySo as error:
            client.answer(self._failure(request.request, undecided(driver.replica, present) or error), ())
            return
        except ConfigurationError as error:
            client.answer(self._failure(request.request, error), ())
            return
        if request.dry:
            assert isinstance(driver.replica, RaftReplica), "the other engine changes nothing so"
            refusal = driver.replica.objection(target)
            body = encode_configuration(target)
            answer = Result(request.request, OK) if refusal is None else self._failure(request.request, refusal)
            client.answer(answer, (body,) if refusal is None else ())
            return
        driver.change(self._operation(client, request.request), target)

    def _on_transfer(self, client: Client, request: TransferRequest, body: bytes) -> None:
        driver = self._running()
        if isinstance(driver.replica, PbftReplica):
            client.answer(self._failure(request.request, _unchangeable("another leader")), ())
            return
        driver.transfer(self._operation(client, request.request), request.target)

    def _on_approve(self, client: Client, request: ApproveRequest, body: bytes) -> None:
        """One member's word on the next committee: the committee changes once a quorum has said the same."""
        driver = self._running()
        try:
            if not isinstance(driver.replica, PbftReplica):
                raise ConfigurationError(
                    "a next committee was approved of, but this cluster is of crash mode: its leader changes the "
                    "members. Use quorum admit and quorum evict."
                )
            committee = decode_genesis(body)
        except ConfigurationError as error:
            client.answer(self._failure(request.request, error), ())
            return
        driver.approve(self._operation(client, request.request), committee)

    def _on_backup(self, client: Client, request: BackupRequest, body: bytes) -> None:
        """What was acknowledged anywhere is known by a linearizable read; then a snapshot of that is wanted."""
        token = self._operation(client, request.request)
        self._backups.add(token)
        self._running().read(token, here=True)

    def _on_backup_chunk(self, client: Client, request: BackupChunkRequest, body: bytes) -> None:
        data = self._running().snapshots.read_chunk(request.index, request.offset, CHUNK_BYTES)
        client.answer(Result(request.request, OK), (data or b"",))

    def _backup_offer(self) -> bytes:
        mark = self._running().snapshots.newest()
        assert mark is not None, "a snapshot was made"
        return encode_offer(BackupOffer(mark.index, mark.term, mark.size, mark.digest))

    def _operation(self, client: Client, request: int) -> int:
        token = self._token()
        self._operations[token] = (client, request)
        return token

    def _try(self, client: Client, request: int, act: Callable[[], bytes]) -> None:
        try:
            body = act()
        except QuorumError as error:
            client.answer(self._failure(request, error), ())
        else:
            client.answer(Result(request, OK), (body,))

    def _answer_read(self, read: _Read) -> None:
        answer = self._running().application.query(read.query.app, read.body)
        read.client.answer(Result(read.query.request, answer.status), (answer.body,))

    # What the driver says (runtime.driver.Requests).

    def applied(self, token: int, header: Header, result: Applied) -> None:
        client, request = self._submits.pop(token)
        client.answer(Result(request, result.status), (result.body,))

    def decided(self, requests: Sequence[tuple[bytes, Applied]]) -> None:
        self._signed_requests.decided(requests)

    def read_ready(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if token in self._backups:
                self._running().want_snapshot(token)
            else:
                self._answer_read(self._reads.pop(token))

    def completed(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            client, request = self._operations.pop(token)
            body = self._backup_offer() if token in self._backups else b""
            self._backups.discard(token)
            client.answer(Result(request, OK), (body,))

    def refused(self, tokens: Sequence[int], error: QuorumError) -> None:
        for token in tokens:
            client, request = self._pop(token)
            client.answer(self._failure(request, error), ())

    def unknown(self, tokens: Sequence[int]) -> None:
        text = "leadership moved while the request was under way. Retry it with the same request id."
        for token in tokens:
            client, request = self._pop(token)
            client.answer(Failure(request, messages.OUTCOME_UNKNOWN, text), ())

    def noticed(self, index: int, notices: Sequence[Notice]) -> None:
        self.watches.noticed(index, notices)

    def moved(self) -> None:
        """Nothing: what is watched is told once a turn."""

    def jumped(self, index: int) -> None:
        self.watches.jumped(index)

    def _pop(self, token: int) -> tuple[Client, int]:
        read = self._reads.pop(token, None)
        if read is not None:
            return read.client, read.query.request
        self._backups.discard(token)
        operation = self._operations.pop(token, None)
        return operation if operation is not None else self._submits.pop(token)

    def _failure(self, request: int, error: QuorumError) -> Failure:
        match error:
            case NotLeader(leader=leader):
                endpoint = None if leader is None else self._addresses.get(leader, leader)
                return Failure(request, messages.NOT_LEADER, "", endpoint)
            case Overloaded():
                return Failure(request, messages.OVERLOADED, str(error))
            case OutcomeUnknown():
                return Failure(request, messages.OUTCOME_UNKNOWN, str(error))
            case AlreadySo():
                return Failure(request, messages.ALREADY_SO, str(error)[:TEXT_CHARACTERS_MAX])
        text = str(error)
        if len(text) > TEXT_CHARACTERS_MAX:  # it quotes what was asked
            text = f"{text[:TEXT_CHARACTERS_MAX]}..."
        return Failure(request, messages.REFUSED, text)

    def _token(self) -> int:
        token = self._next_token
        self._next_token += 1
        return token

    def _running(self) -> Driver:
        assert self._driver is not None, "a gateway is attached before requests arrive"
        return self._driver

    def _operating(self) -> Operator:
        assert self._operator is not None, "a gateway is attached before requests arrive"
        return self._operator


def _unsigned() -> ConfigurationError:
    return ConfigurationError(
        "an unsigned request was sent, but members of this cluster may lie, and order what clients sign. Connect "
        "by cluster.toml (config=PATH), or by a URL with a keys folder (tls=FOLDER) that has the client's signing "
        "key, and genesis.json in it or beside it."
    )


def _unchangeable(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} was asked for, but no leader changes a committee whose members may lie, and its view decides who "
        "orders. Its operators use quorum approve for other members. Ask a cluster of crash mode for all else."
    )
