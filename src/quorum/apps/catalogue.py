"""The applications every node hosts, by the id that log entries carry."""

from __future__ import annotations

from quorum.apps.decide import Decisions
from quorum.apps.host import Host
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.lock_service import LockService
from quorum.apps.log_clock import LogClock
from quorum.apps.state_machine import StateMachine

KV_APP = 1
DECIDE_APP = 2
LOCK_APP = 3


def applications(clock: LogClock) -> dict[int, StateMachine]:
    """A fresh, empty set of them, which tell lease time by `clock`. The same on every node of a cluster."""
    return {KV_APP: KeyValueStore(), DECIDE_APP: Decisions(), LOCK_APP: LockService(clock)}


def new_host() -> Host:
    """A host of these applications."""
    clock = LogClock()
    return Host(applications(clock), clock=clock)
