"""The applications every node hosts, by the id that log entries carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quorum.apps.ballot_box import BallotBox
from quorum.apps.control_machine import ControlLoops
from quorum.apps.decide import Decisions
from quorum.apps.host import Host
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.ledger_application import LedgerApplication
from quorum.apps.ledger_carried import CarriedLedger
from quorum.apps.ledger_machine import LedgerMachine
from quorum.apps.lock_service import LockService
from quorum.apps.log_clock import LogClock
from quorum.apps.objects_carried import CarriedObjects
from quorum.apps.objects_machine import Objects
from quorum.apps.state_machine import StateMachine
from quorum.certificate.ledger_audit import LEDGER_APP_ID

KV_APP = 1
DECIDE_APP = 2
LOCK_APP = 3
LEDGER_APP = LEDGER_APP_ID
BALLOT_APP = 5
CONTROL_APP = 6
OBJECTS_APP = 16


def applications(
    clock: LogClock, objects: Mapping[str, Any] | None = None, ledger: type[LedgerApplication] | None = None
) -> dict[int, StateMachine]:
    """A fresh, empty set of them, which tell lease time by `clock`. The same on every node of a cluster.

    `objects` are the replicated classes by the names of their objects, `ledger` is the class of the ledger's
    application; without one there is no ledger. Raises as objects_machine.Objects does, and what the application's
    `begin` raises.
    """
    hosted: dict[int, StateMachine] = {
        KV_APP: KeyValueStore(clock),
        DECIDE_APP: Decisions(),
        LOCK_APP: LockService(clock),
        BALLOT_APP: BallotBox(clock),
        CONTROL_APP: ControlLoops(),
        OBJECTS_APP: Objects(objects or {}),
    }
    if ledger is not None:
        hosted[LEDGER_APP] = LedgerMachine(ledger())
    return hosted


def new_host(objects: Mapping[str, Any] | None = None, ledger: type[LedgerApplication] | None = None) -> Host:
    """A host of these applications."""
    clock = LogClock()
    return Host(applications(clock, objects, ledger), clock=clock, fresh=lambda: new_host(objects, ledger))


def carrying_host() -> Host:
    """A host for the state of a cluster whose replicated classes, and whose ledger's application, are not here: it
    carries them from a snapshot to another, and runs nothing of them."""
    clock = LogClock()
    carried: dict[int, StateMachine] = {OBJECTS_APP: CarriedObjects(), LEDGER_APP: CarriedLedger()}
    return Host({**applications(clock), **carried}, clock=clock)
