"""The applications every node hosts, by the id that log entries carry."""

from __future__ import annotations

from quorum.apps.decide import Decisions
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.state_machine import StateMachine

KV_APP = 1
DECIDE_APP = 2


def applications() -> dict[int, StateMachine]:
    """A fresh, empty set of them. The same on every node of a cluster."""
    return {KV_APP: KeyValueStore(), DECIDE_APP: Decisions()}
