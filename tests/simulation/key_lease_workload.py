"""Clients that put keys with leases and with times, keep them alive, are slow or forget to; and a plain model that
judges the log which came of it.

Each worker believes that its lease lives until nine tenths of its time have passed since it sent the last request
that prolonged it. The model counts lease time by its definition (`log_clock`), from the headers alone.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from quorum.apps import kv
from quorum.apps.applied import Applied
from quorum.apps.batch import BatchDecoder
from quorum.apps.catalogue import KV_APP
from quorum.apps.host import Host
from quorum.apps.kv_leases import OWN
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.log_clock import LogClock
from quorum.apps.state_machine import Outputs
from quorum.entry import BARRIER, Buffer
from quorum.header import Header
from quorum.sim.world import World
from simulation.lock_workload import SECOND_US, LockWorker, Script, Step

TTL_US = 3 * SECOND_US
_COMMANDS: BatchDecoder[kv.Command] = BatchDecoder(kv.Command)


class Belief(NamedTuple):
    """A worker took its lease for alive until `until_us`."""

    lease: int
    until_us: int


class LeaseWorker(LockWorker):
    """One client, which does one thing at a time, to keys of its own."""

    def __init__(self, world: World, name: str, stop_us: int) -> None:
        super().__init__(world, name, stop_us)
        self.believed: list[Belief] = []
        self.found_ended = 0

    def script(self) -> Script:
        """Take one lease after the other until the time is over."""
        yield from self.sleep(self.random.randrange(SECOND_US))
        while self.world.now_us < self.stop_us:
            granted = yield from self.prolong(kv.LeaseGrant(TTL_US))
            if isinstance(granted, kv.LeaseGranted):
                yield from self.hold(granted.lease)
                if self.random.random() < 0.5:
                    yield Step(KV_APP, kv.LeaseRevoke(granted.lease))
            if self.random.random() < 0.3:
                yield Step(KV_APP, kv.PutWithTtl(self.key(), b"own", self.random.randrange(1, 4) * SECOND_US))

    def prolong(self, request: Any) -> Generator[Step, Any, Any]:
        """Ask for something that prolongs the lease, counted from before it is sent."""
        asked_us = self.world.now_us
        answer = yield Step(KV_APP, request)
        if isinstance(answer, kv.LeaseGranted | kv.LeaseKept):
            self._valid_us = asked_us + TTL_US * 9 // 10
        return answer

    def hold(self, lease: int) -> Script:
        """Put a few keys, mostly keeping the lease alive, sometimes much too late, sometimes without the lease."""
        for _ in range(self.random.randrange(1, 8)):
            if self.world.now_us >= self.stop_us:
                return
            is_forgetful = self.random.random() < 0.15
            yield from self.sleep(self.random.randrange(2 * TTL_US if is_forgetful else TTL_US // 3))
            if not is_forgetful:
                kept = yield from self.prolong(kv.LeaseKeepAlive(lease))
                self.found_ended += isinstance(kept, kv.Refused)
            put = kv.PutWithLease(self.key(), b"held", lease)
            yield Step(KV_APP, put if self.random.random() < 0.8 else kv.Put(put.key, b"plain"))
            self.believe(lease)

    def believe(self, lease: int) -> None:
        self.believed.append(Belief(lease, min(self.world.now_us, self._valid_us)))

    def key(self) -> bytes:
        return b"%s/%d" % (self.name.encode(), self.random.randrange(4))


class Model:
    """What leases and keys must be, told every entry. `ends` is the entry at which a lease ended by its time."""

    def __init__(self) -> None:
        self.keys: dict[bytes, int] = {}
        self.leases: dict[int, tuple[int, int]] = {}
        self.ends: dict[int, int] = {}
        self.newest = 0
        self.now_us = self.log_time_us = 0

    def advance(self, header: Header) -> None:
        """An entry begins: time goes on, and what is due ends."""
        gap_us = header.time_us - self.log_time_us
        if gap_us > 0:
            self.log_time_us = header.time_us
            self.now_us += 0 if header.kind == BARRIER else min(gap_us, 2 * SECOND_US)
        for lease, (_, deadline_us) in list(self.leases.items()):
            if deadline_us <= self.now_us:
                self.ends[lease] = header.index
                self._end(lease)

    def do(self, command: Any) -> None:
        match command:
            case kv.LeaseGrant(ttl_us):
                self._grant(ttl_us, 0)
            case kv.LeaseKeepAlive(lease) if lease in self.leases:
                ttl_us = self.leases[lease][0]
                self.leases[lease] = (ttl_us, self.now_us + ttl_us)
            case kv.LeaseRevoke(lease) if lease in self.leases:
                self._end(lease)
            case kv.PutWithLease(key, _, lease) if lease in self.leases:
                self._write(key, lease)
            case kv.PutWithTtl(key, _, ttl_us):
                self._write(key, self._grant(ttl_us, OWN))
            case kv.Put(key, _):
                self._write(key, 0)

    def _grant(self, ttl_us: int, kind: int) -> int:
        self.newest += 1
        self.leases[kind + self.newest] = (ttl_us, self.now_us + ttl_us)
        return kind + self.newest

    def _write(self, key: bytes, lease: int) -> None:
        old = self.keys.get(key, 0)
        if old >= OWN and old != lease:
            del self.leases[old]
        self.keys[key] = lease

    def _end(self, lease: int) -> None:
        del self.leases[lease]
        self.keys = {key: held for key, held in self.keys.items() if held != lease}


class Judged:
    """Has a store, and tells a model what is really done; a retried batch, which sessions keep from it, is not. A
    subclass could not be made of a compiled store."""

    def __init__(self, clock: LogClock, model: Model) -> None:
        self.store = KeyValueStore(clock)
        self.model = model

    def apply(self, header: Header, body: Buffer) -> Outputs:
        for command in _COMMANDS.decode(body):
            self.model.do(command)
        return self.store.apply(header, body)

    def expire(self) -> Outputs:
        return self.store.expire()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Recorder:
    """The log of a world as its nodes applied it, and when the first of them did."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.entries: dict[int, tuple[Header, bytes]] = {}
        self.applied_us: dict[int, int] = {}

    def note(self, header: Header, body: Buffer) -> None:
        if header.index not in self.entries:
            self.entries[header.index] = (header, bytes(body))
            self.applied_us[header.index] = self._world.now_us


class RecordingHost:
    """Has a host, and notes its entries."""

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self.host = host
        self.recorder = recorder

    def apply(self, header: Header, body: Buffer) -> Applied:
        self.recorder.note(header, body)
        return self.host.apply(header, body)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)
