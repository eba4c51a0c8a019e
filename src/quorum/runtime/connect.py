"""`quorum.connect`: one way in, for asyncio programs and, by `.sync`, for scripts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from quorum.apps.decide import Decision
from quorum.errors import ConfigurationError, LocalProtocolError
from quorum.runtime.address import Address, parse_address
from quorum.runtime.ballot_client import BallotClient
from quorum.runtime.byzantine_config import genesis_for, trusted_by
from quorum.runtime.client import Client
from quorum.runtime.config import ClusterConfig, find_config, load_cluster, load_node
from quorum.runtime.control_client import ControlClient
from quorum.runtime.key_client import KeyValueClient
from quorum.runtime.keyring import CLIENT_PREFIX, load_client_signer, load_tls
from quorum.runtime.ledger_client import LedgerClient
from quorum.runtime.lock_client import Election, Lock
from quorum.runtime.place import TIMEOUT_S, Place
from quorum.runtime.setup import ADMIN, KEYS_FOLDER, NODE_FILE
from quorum.runtime.signing import BATCH, is_each
from quorum.runtime.subscription import TopicWatch
from quorum.runtime.sync_client import SyncClient
from quorum.runtime.within import Within

SCHEME = "quorum://"
IDENTITY_VARIABLE = "QUORUM_IDENTITY"
"""Which client of a keys folder to be, where nobody says so: `client.reporting`."""
T = TypeVar("T")


class Connection:
    """A cluster within reach; nothing is opened before the first request.

    In asyncio code use it as `async with`, or call `aclose` at the end. It belongs to the loop of its first
    request. `sync` is the same for code without a loop. What the methods raise: runtime.client.Client says it.
    """

    def __init__(self, place: Place, timeout: float) -> None:
        self._place = place
        self._timeout = timeout
        self._opened: Client | None = None
        self._at: dict[str, Client] = {}
        self._sync: SyncClient | None = None

    async def __aenter__(self) -> Connection:
        self.client()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    if not TYPE_CHECKING:  # type checkers know already that a plain `with` does not fit

        def __enter__(self):
            raise TypeError(
                "a connection was used with a plain `with`, but it is asynchronous. Write `async with`, or `with "
                "quorum.connect(...).sync` in code without an event loop."
            )

        def __exit__(self, *_):
            pass

    @property
    def caller(self) -> str:
        """By which name applications know this client, such as the owner of a channel: see Place.caller."""
        return self._place.caller

    @property
    def kv(self) -> KeyValueClient:
        """The key-value store."""
        return self.client().kv

    @property
    def ledger(self) -> LedgerClient:
        """The ledger."""
        return self.client().ledger

    @property
    def ballot(self) -> BallotClient:
        """Ballots."""
        return self.client().ballot

    @property
    def control(self) -> ControlClient:
        """Control loops."""
        return self.client().control

    def control_at(self, node: str) -> ControlClient:
        """The decisions of control loops as this node shows them, for who runs it and so believes it: nobody else
        is asked. Where members may lie that is the quick way to hear of them; reports go by `control`. Raises
        ConfigurationError for a node that is not known."""
        self.client()  # it belongs to the same loop, or there is none
        if node not in self._at:
            self._at[node] = self._place.client_at(node, self._timeout)
        return ControlClient(self._at[node], is_at_node=True)

    @property
    def sync(self) -> SyncClient:
        """The blocking face: a session of its own, on a thread of its own, until `sync.close()`."""
        if self._sync is None:
            self._sync = SyncClient(self._place, self._timeout)
        return self._sync

    def object(self, name: str, kind: type[T]) -> T:
        """A handle of the replicated object `name`, which is of class `kind`: await its commands and queries.

        Raises NotReplicable for a class that is none.
        """
        return self.client().object(name, kind)

    def watch_topic(self, app: int, topic: bytes) -> TopicWatch:
        """Hear of a topic of an application: see runtime.client.Client.watch_topic."""
        return self.client().watch_topic(app, topic)

    def lock(self, name: str, ttl: float = 10.0, wait: float | None = None, value: bytes = b"") -> Lock:
        """A lock, to be used as `async with`: see runtime.lock_client.Lock. `wait` bounds the seconds in its queue
        (None: no bound, 0: do not queue); then LockBusy is raised."""
        return self.client().lock(name, ttl, wait, value)

    def election(self, name: str, ttl: float = 10.0) -> Election:
        """An election: see runtime.lock_client.Election."""
        return self.client().election(name, ttl)

    def within(self, seconds: float) -> Within:
        """The same client for calls that end within so many `seconds`: see runtime.within.Within. Raises
        LocalProtocolError for what is no time."""
        return self.client().within(seconds)

    async def decide(self, topic: str, value: bytes) -> Decision:
        """Propose `value` on `topic`; return the decision, which is the first value that was committed."""
        return await self.client().decide(topic, value)

    async def decision(self, topic: str) -> Decision | None:
        """What was decided on `topic`, read linearizably; None if nothing was."""
        return await self.client().decision(topic)

    async def aclose(self) -> None:
        """End the sessions. Requests that still wait are cancelled."""
        if self._opened is not None:
            await self._opened.aclose()
        for client in self._at.values():
            await client.aclose()
        if self._sync is not None:
            self._sync.close()

    def client(self) -> Client:
        """The session behind it, opened at the first request. Raises LocalProtocolError where no loop runs."""
        if self._opened is None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                raise LocalProtocolError(
                    "an asyncio request was made where no event loop runs. Await it in a coroutine, or use "
                    "`.sync`."
                ) from None
            self._opened = self._place.client(self._timeout)
        return self._opened


def connect(
    url: str | None = None,
    *,
    config: Path | str | None = None,
    tls: Path | str | None = None,
    identity: str | None = None,
    timeout: float = TIMEOUT_S,
    discover: bool = True,
    sign: Literal["batch", "each"] = BATCH,
) -> Connection:
    """Reach the cluster at `url` ("quorum://host:port,host:port"), or the one of `config`, a cluster.toml.

    Neither given: QUORUM_CONFIG, else .quorum/cluster.toml. `tls` is the keys folder (with `config`: the one
    beside it, when not given) and `identity` the client in it (not given: the one that QUORUM_IDENTITY names, else
    client.admin, else the only one there). `timeout` bounds each request, in seconds; 0 or less: never. The
    members are learned from the cluster, and followed as they change; without `discover` only the addresses given
    are dialled, as proxies need it. Where members may lie, a URL takes a keys folder with the client's signing key
    and, in it or beside it, genesis.json: the committee that is trusted.

    There the client signs what it asks: all that waits together at once, or with sign="each" each command alone,
    as a request that can be shown to others by itself, at a price (docs/pbft.md). Commands that are made together
    may then be executed in any order.

    Raises ConfigurationError.
    """
    if url is not None and config is not None:
        raise ConfigurationError(
            "a URL and a configuration were given, but each says where the cluster is. Give one of them."
        )
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ConfigurationError(
            f"timeout={timeout!r:.40} was asked for, but it is a number of seconds. Give one such as 10."
        )
    place = at_url(url, tls, identity) if url is not None else at_config(find_config(config), tls, identity)
    place.discover = discover
    place.sign_each = is_each(sign, place)
    return Connection(place, timeout)


def at_url(url: str, tls: Path | str | None = None, identity: str | None = None) -> Place:
    """The place that a URL names. Raises ConfigurationError, also for plain text beyond loopback."""
    if not isinstance(url, str) or not url.startswith(SCHEME) or not url.removeprefix(SCHEME):
        raise ConfigurationError(
            f"{str(url)[:80]!r} was to be connected to, but it is no address of a cluster. "
            'Write it like "quorum://127.0.0.1:7001,127.0.0.1:7002", or give a cluster.toml as config=PATH.'
        )
    addresses = [parse_address(part.strip(), "an address") for part in url.removeprefix(SCHEME).split(",")]
    if tls is None:
        _check_loopback(addresses)
    endpoints = {str(address): str(address) for address in addresses}
    if tls is None:
        return Place(endpoints, "", None)
    keys = Path(tls)
    name = _client_of(keys, identity)
    contexts, genesis = load_tls(keys, name), genesis_for(keys)
    if genesis is None:
        return _owned(Place(endpoints, "", contexts), keys, name)
    signer = load_client_signer(keys, name)
    place = Place(endpoints, genesis.cluster, contexts, signer=signer, trusted=lambda: genesis, are_named=False)
    return _owned(place, keys, name)


def at_config(cluster: Path, tls: Path | str | None = None, identity: str | None = None) -> Place:
    """The place that a cluster.toml names; in plain text where the node.toml files beside it say `insecure`.

    Raises ConfigurationError.
    """
    config = load_cluster(cluster)
    keys = cluster.parent / KEYS_FOLDER if tls is None else Path(tls)
    if tls is None and _is_insecure(cluster, [member.id for member in config.members]):
        place = place_of(config, None, identity, signing_keys=keys)
    else:
        place = place_of(config, keys, identity)
    place.file = cluster
    return place


def place_of(
    cluster: ClusterConfig,
    keys: Path | None,
    identity: str | None = None,
    first: str = "",
    signing_keys: Path | None = None,
) -> Place:
    """The place of a cluster, with the keys of `keys` (None: in plain text); node `first` is asked first.

    Where members may lie, requests are signed with the client's key, in plain text with that of `signing_keys`.
    Raises ConfigurationError.
    """
    members = sorted(cluster.members, key=lambda member: member.id != first)
    endpoints = {member.id: str(member.advertise) for member in members}
    contexts = None if keys is None else load_tls(keys, _client_of(keys, identity))
    signer, trusted = None, None
    folder = keys or signing_keys
    if cluster.model == "byzantine" and folder is not None:
        signer = load_client_signer(folder, _client_of(folder, identity))
        trusted = partial(trusted_by, cluster, folder)
    place = Place(endpoints, cluster.cluster_id, contexts, signer=signer, trusted=trusted, first=cluster)
    if folder is not None and (keys is not None or signer is not None):
        return _owned(place, folder, _client_of(folder, identity))
    return place


def _is_insecure(cluster: Path, nodes: Sequence[str]) -> bool:
    for node in nodes:
        path = cluster.parent / node / NODE_FILE
        if path.is_file():
            return load_node(path).insecure
    return False


def _check_loopback(addresses: Sequence[Address]) -> None:
    for address in addresses:
        if not address.is_loopback:
            raise ConfigurationError(
                f"{address} was to be reached without TLS, but it is not on this machine, and anybody on the way "
                "could read and change what is sent. Give the keys folder: tls=FOLDER."
            )


def _owned(place: Place, keys: Path, identity: str) -> Place:
    place.own_keys, place.identity = keys, identity
    return place


def _client_of(folder: Path, identity: str | None) -> str:
    return identity or _named_client(folder) or _only_client(folder)


def _named_client(folder: Path) -> str:
    """The client that QUORUM_IDENTITY says; "" where it says none. Raises ConfigurationError for one not there."""
    named = os.environ.get(IDENTITY_VARIABLE, "")
    if named and not (folder / f"{named}.crt").is_file():
        raise ConfigurationError(
            f"{IDENTITY_VARIABLE}={named[:80]} was to be the client, but {folder} has no {named[:80]}.crt. Name a "
            "client whose certificate and key are there, such as client.admin, or unset the variable."
        )
    return named


def _only_client(folder: Path) -> str:
    """The client to be when nobody said so. Raises ConfigurationError when that is not clear."""
    found = sorted(path.name.removesuffix(".crt") for path in folder.glob(f"{CLIENT_PREFIX}*.crt"))
    if CLIENT_PREFIX + ADMIN in found:
        return CLIENT_PREFIX + ADMIN
    if len(found) == 1:
        return found[0]
    asked = f"a client identity was to be taken from {folder}, but "
    if found:
        raise ConfigurationError(
            f"{asked}{len(found)} are there: {', '.join(found)[:200]}. Say which by "
            f"{IDENTITY_VARIABLE}={found[0]} (in Python identity={found[0]!r}), or keep one alone there."
        )
    raise ConfigurationError(
        f"{asked}no certificate of a client is there. Put CLIENT.crt, CLIENT.key and ca.crt there, as "
        "`quorum keys issue` makes them, or name their folder (in Python tls=FOLDER)."
    )
