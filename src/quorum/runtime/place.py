"""Where a cluster is, how to prove who we are, and what can be reached there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from quorum.apps.ledger import GetTransaction, Look
from quorum.certificate.committee import Committee
from quorum.errors import ConfigurationError, QuorumError
from quorum.runtime.byzantine_config import tolerated
from quorum.runtime.client import Client
from quorum.runtime.committee_dialler import EVERYBODY, CommitteeDialler
from quorum.runtime.config import ClusterConfig
from quorum.runtime.dialler import Dialler
from quorum.runtime.directory import anywhere, loopback_only
from quorum.runtime.keyring import Signer, TlsContexts, find_client_signer
from quorum.runtime.ledger_proofs import Given
from quorum.runtime.node_connection import NodeConnection
from quorum.systems.build import build
from quorum.systems.system import QuorumSystem

TIMEOUT_S = 10.0


class Place:
    """Where a cluster is and how to prove who we are: `endpoints` by name, cluster id ("" unknown), TLS; and
    whether clients `discover` its other members."""

    def __init__(
        self,
        endpoints: dict[str, str],
        cluster_id: str,
        tls: TlsContexts | None,
        discover: bool = True,
        signer: Signer | None = None,
        trusted: Callable[[], Committee] | None = None,
        first: ClusterConfig | None = None,
        are_named: bool = True,
    ) -> None:
        self.endpoints = endpoints
        self._first = first
        self._trusted = trusted
        self._signer = signer
        self._are_named = are_named
        self.discover = discover
        self.sign_each = False
        """Whether clients sign each command alone."""
        self.file: Path | None = None
        """The cluster.toml that named it, if one did."""
        self.cluster_id = cluster_id
        self._tls = tls
        self.own_keys: Path | None = None
        """The folder with the client's own keys, where it has any."""
        self.identity = ""
        """Whom its certificate, or the name of its keys, makes it; "" where nobody vouches for a name."""

    @property
    def may_lie(self) -> bool:
        """Whether members may lie, so that no single one is believed."""
        return self._signer is not None

    @property
    def faults(self) -> int:
        """T of the first committee, by the cluster's file: as many members may lie (0: none)."""
        return 0 if self._first is None or not self.may_lie else tolerated(self._first)

    def system(self) -> QuorumSystem | None:
        """The quorums of the cluster's file; None where the place was given by addresses alone."""
        return None if self._first is None else build(self._first.configuration())

    @property
    def caller(self) -> str:
        """By which name applications know this client (apps.state_machine.Attributed): client.NAME of its
        certificate, where members may lie its public key in hexadecimal digits, in plain text ""."""
        if self._signer is not None:
            return self._signer.public_key.hex()
        return self.identity if self._tls is not None else ""

    @property
    def signs(self) -> bool:
        """Whether requests are signed with the client's key."""
        return self._signer is not None

    def client(self, timeout: float = TIMEOUT_S, only: Sequence[str] = ()) -> Client:
        """A session with the cluster, on the running loop; with `only` it dials these nodes and no other."""
        if self._signer is not None and self._trusted is not None:
            given, unnamed = (self.endpoints, ()) if self._are_named else ({}, tuple(self.endpoints))
            dialler = CommitteeDialler(self._trusted(), given, self._signer, self._tls, unnamed, self.discover)
            client = Client((EVERYBODY,), dialler, timeout, discover=False, sign_each=self.sign_each)
        else:
            found = [self.endpoints[name] for name in only or self.endpoints]
            client = Client(found, self._dialler(), timeout, self.discover and not only)
        client.proof_source = self
        client.identity = self.identity if self._tls is not None else ""
        client.signer = self.own_signer()
        return client

    def client_at(self, node: str, timeout: float = TIMEOUT_S) -> Client:
        """A session with this node alone, for whoever believes it: what it shows is not asked of others. Raises
        ConfigurationError for a node that is not known."""
        if node not in self.endpoints:
            raise ConfigurationError(
                f"node {node[:80]!r} was to be asked alone, but only {', '.join(self.endpoints)[:200]} are known. "
                "Name one of these."
            )
        return Client([self.endpoints[node]], self._dialler(), timeout, discover=False)

    def own_signer(self) -> Signer | None:
        """The client's own signing key, None where it has none. Raises ConfigurationError for a damaged one."""
        if self._signer is not None or self.own_keys is None or not self.identity:
            return self._signer
        return find_client_signer(self.own_keys, self.identity)

    def learn(self, endpoints: dict[str, str]) -> None:
        """Further nodes, or where known ones are now, as the cluster itself tells it."""
        if self.discover:
            follows = loopback_only if self._tls is None else anywhere
            self.endpoints |= {node: endpoint for node, endpoint in endpoints.items() if follows(endpoint)}

    def node(self, name: str) -> NodeConnection:
        """A connection to one node, on the running loop."""
        return NodeConnection(self.endpoints[name], self._dialler())

    def committee(self) -> Committee | None:
        """The members whose signatures count, by the keys folder; None where nobody signs. Raises
        ConfigurationError."""
        return None if self._trusted is None else self._trusted()

    async def proofs(self, wanted: GetTransaction | Look, timeout_s: float) -> AsyncGenerator[Given, None]:
        """What each node proves of its ledger, or why it does not: all are asked at once, and told as they
        come."""
        asked = [asyncio.create_task(self._proof_of(name, wanted, timeout_s)) for name in tuple(self.endpoints)]
        try:
            for answer in asyncio.as_completed(asked):
                yield await answer
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _proof_of(self, name: str, wanted: GetTransaction | Look, timeout_s: float) -> Given:
        try:
            async with asyncio.timeout(timeout_s), self.node(name) as connection:
                return name, await connection.prove(wanted)
        except QuorumError as error:
            return name, error
        except (OSError, TimeoutError) as error:
            return name, QuorumError(
                f"{name} was asked for a proof, but does not answer ({error or 'in time'}). Look whether it runs."
            )

    def _dialler(self) -> Dialler:
        return Dialler(self.cluster_id, self._tls)
